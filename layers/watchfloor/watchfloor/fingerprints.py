"""Which errors are one problem: a fingerprint, the rule that gave it, and the reason in words.

The rules, the first that applies: the developer's own fingerprint field; the exception's type and the innermost frames
of the team's own code; the exception's type and what stays the same of its message; the message alone. Nothing is
learned and nothing remembered, so two Lambda environments that never meet agree.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from watchfloor.failure_kinds import kinds
from watchfloor.log_events import ErrorEvent
from watchfloor.message_templates import symbols, template
from watchfloor.stack_frames import CONTEXT, DOTNET, GO, JAVA, MEMBER, NODE, PYTHON, RUBY, Frame, Raised, cut
from watchfloor.stack_traces import main_of

EXPLICIT, FRAMES, TYPE, MESSAGE = "explicit", "frames", "type", "message"
SPLITS = ("message", "log_group", "frames", "type", "text")
# The raising function and its caller: deeper, one helper's error on many ways becomes many problems; with the raising
# function alone, a helper that everybody calls becomes one.
_PLACE_FRAMES = 2
# A defect of the code itself belongs to the function that has it, whoever calls that.
_DEFECT_WORDS = """
    KeyError IndexError AttributeError NameError UnboundLocalError ZeroDivisionError TypeError ReferenceError RangeError
    NullPointerException ArrayIndexOutOfBoundsException StringIndexOutOfBoundsException IndexOutOfBoundsException
    ClassCastException ArithmeticException ConcurrentModificationException NoSuchElementException
    NullReferenceException IndexOutOfRangeException InvalidCastException DivideByZeroException KeyNotFoundException
    UndefinedColumn UndefinedTable UndefinedFunction SQLSyntaxErrorException BadSqlGrammarException
    boundsError TypeAssertionError NoMethodError FrozenError DivisionByZeroError FunctionClauseError MatchError CaseClauseError ArithmeticError
    """
_DEFECTS = frozenset((*_DEFECT_WORDS.split(), "runtime error", "fatal error"))
_RUNTIME_ERROR = re.compile(r"(?:runtime error: )?([a-z][a-z ]{2,80})")
# What stands in such a file is called from anywhere, and raised on purpose is what the caller is to answer for.
_SHARED = re.compile(r"util|helper|common|shared", re.IGNORECASE)
_RAISED = re.compile(r"raise\b|throw\b")
# So is a function that is called by what every program does.
_COMMON_WORDS_TEXT = """
    get post put patch delete head send call request response fetch http https rest api client clients service services
    execute exec run query do invoke perform process handle handler read write load save store open connect session base
    database common core net network json data item items object objects key one all many list find repository repo dao
    manager wrapper proxy gateway adapter async await with retry retries main index app lambda function sql url new
    init create make build update insert add remove set cache redis queue broker bus store storage bucket kafka mongo
    dynamo dynamodb postgres mysql grpc soap graphql rpc file files stream transport connection pool transaction publish
    publisher producer message messages event events table row rows caller sender
    """
_COMMON_WORDS = frozenset(_COMMON_WORDS_TEXT.split())
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# Its collections are the language itself.
_COLLECTIONS = re.compile(r"java\.util\.[A-Z]|System\.(?:Linq|Collections|Nullable|ThrowHelper)\b")

_CYCLE_FRAMES = 40
_ENDLESS = re.compile(
    r"StackOverflow|RecursionError|SystemStackError|Maximum call stack|recursion depth|stack overflow|"
    r"goroutine stack exceeds"
)

# What is wrong with a text differs from one text to the next; that it cannot be read is the problem.
_UNREADABLE = re.compile(r"Decode|Pars(?:e|er|ing)[A-Z]|Syntax|JsonException")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """`value` is 16 hex digits; `basis` is what was hashed; `reason` says it to a person."""

    value: str
    rule: str
    reason: str
    basis: list[str]


def fingerprint(error: ErrorEvent, *, split_by: Sequence[str] = ()) -> Fingerprint:
    """The fingerprint of an error.

    Parameters
    ----------
    error
        From `log_events.errors_in`.
    split_by
        What a person adds to take one fingerprint apart: `message` (what stays the same of it), `text` (the message
        itself), `log_group`, `frames` (all of the team's frames), `type` (the outermost exception's).
    """
    rule, basis, reason = _rule(error)
    for name in split_by:
        basis = [*basis, f"{name}={_split(error, name)}"]
    if split_by:
        reason += f" Split by hand by {', '.join(split_by)}."
    digest = hashlib.sha256("\x1f".join([rule, *basis]).encode("utf-8", "replace"))
    return Fingerprint(digest.hexdigest()[:16], rule, reason, basis)


def _split(error: ErrorEvent, name: str) -> str:
    if name == "message":
        return template(error.message or error.text)
    if name == "text":
        return error.message or error.text
    if name == "log_group":
        return error.log_group
    if name == "type":
        return error.exceptions[0].type if error.exceptions else error.type
    if name == "frames":
        return " < ".join(place(error.language, frame) for frame in reversed(error.frames) if frame.in_app)
    raise ValueError(f"No way to split by {name!r}; there are {', '.join(SPLITS)}")


def _rule(error: ErrorEvent) -> tuple[str, list[str], str]:
    if error.explicit:
        return (
            EXPLICIT,
            [error.explicit],
            f"The log record itself says so: its fingerprint field is “{error.explicit}”.",
        )
    if error.is_platform:
        return (
            TYPE,
            [error.type, error.log_group, *symbols(error.message)],
            (
                f"AWS Lambda reports {error.type} for {error.log_group or 'a function'}; there is no trace, "
                "so the log group tells functions apart."
            ),
        )
    members = [raised for raised in error.exceptions if raised.relation == MEMBER]
    if members:
        return _members(error, members)
    main = main_of(error.exceptions) if error.exceptions else Raised(error.type, error.message)
    placed = _placed(error, main)
    places = _places(error, placed)
    name = _type_name(main.type)
    contexts = _contexts(error.exceptions, main)
    if places:
        told = _told_apart(main) + _key_in_source(main, places)
        basis = [name, *places, *told, *contexts]
        raised = f"{main.type or 'an error'} in {_shown(error, placed)}"
        reason = f"The same exception at the same place in your own code: {raised}."
        if told:
            reason += f" Also told apart by: {', '.join(told)}."
        return FRAMES, basis, reason
    words = template(_without(error.values, main.message or error.message or error.text))
    codes = [*error.codes, *([f"code={main.code}"] if main.code else [])]
    if name:
        said = template(_without(error.values, error.log_message)) if error.log_message else ""
        basis = [name, words, *codes, *contexts, *([said] if said and said != words else [])]
        reason = (
            f"No frame of your own code, so the same type and message apart from its values: {main.type} “{words}”."
        )
        return TYPE, basis, _with_codes(reason, codes)
    reason = f"Neither a trace nor an exception type, so the same message apart from its values: “{words}”."
    return MESSAGE, [words, *codes], _with_codes(reason, codes)


def _without(values: Sequence[str], message: str) -> str:
    """A message without what the record's own fields hold."""
    if not values or message in values:
        return message
    longest_first = "|".join(map(re.escape, sorted(values, key=len, reverse=True)))
    return re.sub(rf"(?<![\w.\-/])(?:{longest_first})(?![\w\-/]|\.\w)", "*", message)


def _placed(error: ErrorEvent, main: Raised) -> Raised:
    """The exception at the frames that say where: where its own show a library's alone, of the nearest one around it."""
    around = error.exceptions[: error.exceptions.index(main)] if main in error.exceptions else ()
    frames = next((raised.frames for raised in (main, *reversed(around)) if _own(error, raised)), main.frames)
    return replace(main, frames=frames)


def _contexts(exceptions: Sequence[Raised], main: Raised) -> list[str]:
    """What an exception of the team's own code was raised over; a library's inner workings say nothing."""
    if main not in exceptions or not main.frames or not main.frames[-1].in_app:
        return []
    after = list(exceptions[exceptions.index(main) + 1 :])
    return [f"after {_type_name(after[0].type)}"] if after and after[0].relation == CONTEXT else []


def _with_codes(reason: str, codes: list[str]) -> str:
    return f"{reason} Also told apart by: {', '.join(codes)}." if codes else reason


def _members(error: ErrorEvent, members: list[Raised]) -> tuple[str, list[str], str]:
    parts, rules = set(), set()
    for raised in members:
        places = _places(error, raised)
        rules.add(FRAMES if places else TYPE)
        parts.add(" | ".join([_type_name(raised.type), *(places or [template(raised.message)])]))
    basis = sorted(parts)
    return (
        FRAMES if FRAMES in rules else TYPE,
        basis if len(basis) > 1 else basis[0].split(" | "),
        f"A group of exceptions; its kinds are: {'; '.join(basis)}.",
    )


def _told_apart(main: Raised) -> list[str]:
    told = symbols(main.message)
    name = _type_name(main.type)
    if name == "runtime error" and (found := _RUNTIME_ERROR.match(main.message)):
        # What other languages have types for.
        told.append(found[1].strip())
    if name not in _DEFECTS and not _UNREADABLE.search(name):
        told += [kind for kind in kinds(main.message) if kind not in told]
    return [*told, f"code={main.code}"] if main.code else told


def _key_in_source(main: Raised, places: Sequence[str]) -> list[str]:
    """A missing key that the line of code itself names: of several in a line, which one it was."""
    key = re.fullmatch(r"['\"](\w{1,60})['\"]", main.message.strip())
    source = places[-1]
    return [f"key={key[1]}"] if key and (f'"{key[1]}"' in source or f"'{key[1]}'" in source) else []


def _type_name(kind: str) -> str:
    # "botocore.errorfactory.X" and "X" are one type: loggers differ in printing the module.
    parts = re.split(r"::|\\|\.|\+|/", re.sub(r"`\d{1,2}|\[.{0,200}\]$", "", kind))
    # "OpenSSL::SSL::Error" is no plain Error.
    return ".".join(parts[-2:]) if parts[-1] in ("Error", "Exception") else parts[-1]


def _places(error: ErrorEvent, main: Raised) -> list[str]:
    if _ENDLESS.search(f"{main.type} {main.message[:200]}"):
        # Where an endless recursion runs out of stack is chance; what it consists of is not.
        called = Counter(place(error.language, frame) for frame in main.frames[-_CYCLE_FRAMES:] if frame.in_app)
        return sorted(name for name, count in called.items() if name and count > 1) or sorted(filter(None, called))
    own = _own(error, main)
    if not own:
        return []
    source = next(iter(own.values())).source
    if source:
        # A long number in code is a value that a template wrote into it.
        return [*own, re.sub(r"\d{5,}", "*", re.sub(r"\s+", " ", source))[:200]]
    return list(own)


def _own(error: ErrorEvent, main: Raised) -> dict[str, Frame]:
    """The frames of the team's own code that count, by place, the innermost first."""
    own: dict[str, Frame] = {}
    count = _PLACE_FRAMES
    for frame in reversed(main.frames):
        name = place(error.language, frame) if frame.in_app else ""
        if not name:
            continue
        if not own and _stands_alone(main, name, frame):
            count = 1
        # Recursion and its depth say nothing.
        own.setdefault(name, frame)
        if len(own) == count:
            break
    return own


def _stands_alone(main: Raised, name: str, frame: Frame) -> bool:
    if _SHARED.search(name) or _RAISED.match(frame.source.strip()):
        return False
    # Go's errors have no trace of their own: a logger shows where it was called.
    is_logged = not main.type and frame.file.endswith(".go")
    if (is_logged or not main.frames[-1].in_app) and _says_what(name):
        # A library failed whom this function asked: the function is the one that asks, whoever calls it.
        return True
    # Lambda's Go runtime names the type behind Go's interface: "errorString".
    if main.message.startswith("runtime error: "):
        return True
    return _type_name(main.type) in _DEFECTS or _COLLECTIONS.match(main.frames[-1].module) is not None


def _says_what(name: str) -> bool:
    """Whether a place is named after what it is about ("TaxClient.Lookup"), not after what anything does ("Client.Get")."""
    parts = re.split(r"[.:]+", re.split(r"[/\\]", name)[-1])
    # In Go the package is a part of the name: "orders.(*Repo).Load".
    parts = parts[-3:] if "(*" in name else parts[-2:]
    words = [word.lower() for part in parts for word in _WORD.findall(part)]
    return any(len(word) > 2 and word not in _COMMON_WORDS for word in words)


def _shown(error: ErrorEvent, main: Raised) -> str:
    shown: list[str] = []
    own = _own(error, main)
    for frame in own.values():
        owner = f"{frame.module}." if frame.module and error.language in (JAVA, DOTNET, GO) else ""
        text = f"{owner}{frame.function}" + (f" ({frame.file})" if frame.file else "")
        if text not in shown:
            shown.append(text)
    name, innermost = next(iter(own.items()))
    whoever = ", whoever calls it" if _stands_alone(main, name, innermost) else ""
    at = f", at “{cut(innermost.source, 200)}”" if innermost.source else ""
    return ", called by ".join(shown) + whoever + at


# --- where a frame is, whatever was deployed when and where ----------------------------------------------------------

_HASHED = re.compile(r"[.\-_](?=[0-9a-zA-Z_\-]{0,40}\d)[0-9a-zA-Z_\-]{6,40}(?=\.|$)")
_CHUNK = re.compile(r"^(?:chunk[.\-_]?)?[0-9a-f]{6,40}$|^\d{1,6}$")
_EXTENSION = re.compile(r"\.(?:[cm]?[jt]sx?|vue|py|pyc|rb|php|go|rs|exs?)$")
_COMMON_FILES_WORDS = """
    __init__ index main app handler handlers views models utils util helpers service services routes controller api
    tasks base client core common errors server lambda_function function
    """
_COMMON_FILES = frozenset(_COMMON_FILES_WORDS.split())
_ROOT_FOLDERS_WORDS = """
    task src app dist build out lib code current release releases workspace python opt home www html srv var tmp repo
    project source bin
    """
_ROOT_FOLDERS = frozenset(_ROOT_FOLDERS_WORDS.split()) | {"", ".", ".."}
_WRAPPERS_WORDS = """
    wrapper wrapped inner decorated decorator _wrapper __call__ wrap _inner sync_wrapper async_wrapper
    wrapped_function
    """
_WRAPPERS = frozenset(_WRAPPERS_WORDS.split())
_MAIN_OWNERS = re.compile(
    r"^(?:Object|Module|exports|module\.exports|Runtime|Function|global|globalThis|process|Proxy|Array|Timeout|"
    r"Immediate|null|undefined|_class|self|Window|window)\."
)


def place(language: str | None, frame: Frame) -> str:
    """A frame's name that outlives line numbers, build hashes, deployment folders and generated names.

    Empty for what is no place of its own: decorators' wrappers.
    """
    if language == JAVA:
        return _java_place(frame)
    if language == DOTNET:
        return _dotnet_place(frame)
    if language == GO:
        return _go_place(frame)
    function = frame.function
    if language == NODE:
        function = _node_function(frame)
    elif language == RUBY:
        function = (
            re.sub(r"^(?:(?:block|rescue|ensure|else)(?: \(\d{1,3} levels\))? in )+", "", function)
            .split("#")[-1]
            .split(".")[-1]
        )
    elif language == PYTHON:
        function = re.sub(r"(?:<locals>\.|\.<locals>)", "", function).rsplit(".", 1)[-1]
        function = {"<lambda>": "lambda", "<listcomp>": "", "<genexpr>": "", "<dictcomp>": "", "<setcomp>": ""}.get(
            function, function
        )
        if function in _WRAPPERS or not function:
            return ""
    else:
        function = re.sub(r"::\{\{?closure\}?\}(?:::)?|\{closure[^}]{0,200}\}|::h[0-9a-f]{16}", "", function).replace(
            "->", "::"
        )
    # Rails names compiled views by numbers.
    return f"{_file(frame.file)}:{_LONG_NUMBER.sub('', function)}"


_LONG_NUMBER = re.compile(r"_{1,3}-?\d{3,20}|\d{3,20}")


_HOME_FOLDERS = frozenset(
    ("work", "src", "code", "dev", "git", "repos", "projects", "workspace", "documents", "desktop", "source")
)
_HOME = re.compile(
    r"^(?:file://)?(?:/home/[^/]{1,60}|/Users/[^/]{1,60}|/root|[A-Za-z]:[\\/]Users[\\/][^\\/]{1,60})[\\/]"
)


def _file(path: str) -> str:
    parts = [part for part in re.split(r"[/\\]", _HOME.sub("", path.split("?", 1)[0])) if part]
    if not parts:
        return ""
    if _HOME.match(path):
        # A checkout: its folder is called as somebody liked.
        while len(parts) > 2 and parts[0].lower() in _HOME_FOLDERS:
            parts.pop(0)
        parts = parts[1:] or parts
    name = _HASHED.sub("", _EXTENSION.sub("", parts[-1])) or parts[-1]
    if _CHUNK.match(name):
        name = "chunk"
    # Right below the root ("/asset-output/app.py") a folder is where somebody put the code.
    if name in _COMMON_FILES and len(parts) > (2 if path[:1] == "/" and not _HOME.match(path) else 1):
        folder = parts[-2].lower()
        if folder not in _ROOT_FOLDERS and not re.fullmatch(r"[\d.\-_v]{1,40}|[0-9a-f]{7,64}", folder):
            return f"{folder}/{name}"
    return name


def _node_function(frame: Frame) -> str:
    function = re.sub(r" \[as [^\]]{1,100}\]", "", frame.function).removeprefix("async ").removeprefix("new ")
    function = _MAIN_OWNERS.sub("", _MAIN_OWNERS.sub("", function))
    function = re.sub(r"\.?<anonymous>|<computed>|/<|/[\w$]{1,40}<$", "", function)
    # A minifier's names change with every build.
    return "" if all(len(part) <= 2 for part in function.split(".")) else function


def _java_place(frame: Frame) -> str:
    owner, function = frame.module, frame.function
    lambda_of = re.match(r"^lambda\$(\w{1,100}?)\$\d{1,6}$", function) or re.match(
        r"^\$anonfun\$(\w{1,100}?)(?:\$\d{1,6}){1,4}$", function
    )
    if lambda_of:
        function = lambda_of[1]
    inner = re.match(r"^([\w.]{1,300}?)\$(\w{1,100}?)\$\d{1,4}$", owner)
    if inner and function in ("invokeSuspend", "invoke", "apply", "emit", "call", "run", "accept"):
        owner, function = inner[1], inner[2]
    owner = re.sub(r"\$\$Lambda.{0,80}$|\$\$anon.{0,40}$|(?:\$\d{1,6})+$|\$+$", "", owner)
    function = re.sub(r"^access\$\d{1,6}$", "", function).split("$default")[0]
    return f"{owner}.{function}" if function else ""


def _dotnet_place(frame: Frame) -> str:
    owner, function = frame.module, frame.function
    if function == "MoveNext":
        found = re.search(r"\.?<(\w{1,100})>[\w|]{0,60}(?:`\d)?$", owner)
        if found:
            owner, function = owner[: found.start()], found[1]
    closure = re.match(r"^<{1,2}(\w{1,100})>(?:\$>)?[bg]__.{1,100}$", function)
    if closure:
        function = closure[1]
    owner = re.sub(r"[.+]<>c(?:__DisplayClass[\d_]{1,12})?|`\d{1,2}|\[.{0,100}\]", "", owner)
    function = re.sub(r"`[0-9]|\[.*$", "", function)
    return f"{owner}.{function}"


# CodeBuild numbers its checkouts.
_BUILD_FOLDER = re.compile(r"^/?codebuild/output/src\d{1,12}/src/")


def _go_place(frame: Frame) -> str:
    function = re.sub(
        r"(?:\.func\d{1,4}|\.gowrap\d{1,4}|\.deferwrap\d{1,4}|\.\d{1,4}|-fm|-range\d{1,3}|\[\.\.\.\])+",
        "",
        frame.function,
    )
    module = re.sub(r"@v[^/]{1,60}|/v\d{1,3}(?=/|$)", "", _BUILD_FOLDER.sub("", frame.module))
    return f"{module}.{function}"
