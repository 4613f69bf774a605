"""How each language prints a stack trace. A dialect takes lines and gives exceptions, the outermost first.

Written from the runtimes' own output: CPython's traceback module, Throwable.printStackTrace, V8's stack, Go's
runtime.Stack and pkg/errors, .NET's Exception.ToString, Ruby's full_message, PHP's uncaught exceptions, Rust's panics.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from watchfloor.stack_frames import (
    CAUSE,
    CONTEXT,
    DOTNET,
    ELIXIR,
    GO,
    JAVA,
    MEMBER,
    NODE,
    OUTERMOST,
    PHP,
    PYTHON,
    RUBY,
    RUST,
    Frame,
    Raised,
)

_PY_FRAME = re.compile(r'^[\s|>]{0,60}File "([^"]{1,500})", line (\d{1,9})(?:, in (.{1,200}))?$')
_JAVA_FRAME = re.compile(
    r"^\s{0,40}at (?:[\w.@-]{0,80}/{1,2}){0,2}([\w$.<>\-]{1,400})\.([\w$<>\-]{1,200})"
    r"\((Native Method|Unknown Source|<generated>|[\w$.\-]{1,120}\.(?:java|kt|scala|groovy|clj|kts|sc)(?::-?\d{1,9})?|"
    r"[\w$]{1,80}:\d{1,9}|NO_SOURCE_FILE(?::\d{1,9})?|SourceFile(?::\d{1,9})?)\)"
)
_NODE_FRAME = re.compile(
    r"^\s{0,40}at (?:async )?(?:(.{1,300}?) \()?((?:[A-Za-z]:[\\/]|[a-z][\w-]{1,30}:/{0,3}|/|\.{0,2}/?|<)[^()]{0,500}?)"
    r"(?::(\d{1,9}))?:(\d{1,9})\)?$"
)
_NODE_BARE = re.compile(
    r"^\s{0,40}at (?:async )?(.{1,300}?) \((<anonymous>|native|index \d{1,6}|unknown location)\)$|^\s{0,40}at (<anonymous>)$"
)
_GECKO_FRAME = re.compile(r"^([\w$.<>/*\[\]]{0,200})@((?:https?|file|webpack)://?[^\s]{1,500}?):(\d{1,9}):(\d{1,9})$")
_GO_FILE = re.compile(
    r"^\s{1,20}((?:[A-Za-z]:)?[^\s:]{1,400}\.(?:go|s|c)):(\d{1,9})(?: \+0x[0-9a-f]{1,16})?(?: fp=.{0,80})?$"
)
_GO_CALL = re.compile(
    r"^\s{0,8}(?:created by )?([\w./\-~%@]{0,300}[\w)\]}](?:\.[\w.*()\[\]{}·\-]{1,200}?)?)(?:\([^)]{0,500}\)?|\(\.\.\.\))?(?: in goroutine \d{1,12})?$"
)
_DOTNET_FRAME = re.compile(
    r"^\s{0,40}at ([^\s(][^(]{0,400}?)\(([^()]{0,500}(?:\([^()]{0,100}\)[^()]{0,200}){0,4})\)(?: in (.{1,400}):line (\d{1,9}))?$"
)
_RUBY_FRAME = re.compile(
    r"^\s{0,40}(?:\d{1,6}: )?(?:from )?((?:[A-Za-z]:)?[^\s:'\"`]{1,400}):(\d{1,9}):in [`']([^'`]{1,200})'(?::? (.{0,1500}))?$"
)
_PHP_FRAME = re.compile(
    r"^\s{0,20}#\d{1,4} (?:(\[internal function\])|([^\s()][^()]{0,400})\((\d{1,9})\)): (.{1,400})$"
)
_RUST_FRAME = re.compile(r"^\s{0,8}\d{1,4}:\s{1,8}(?:0x[0-9a-f]{4,16} - )?([<\w][^\s]{0,300}(?: as [^\s]{1,200})?)$")
_RUST_AT = re.compile(r"^\s{6,40}at ([^\s]{1,400}\.rs):(\d{1,9})(?::\d{1,9})?$")
_RUST_PANIC = re.compile(r"^thread '([^']{0,100})'(?: \(\d{1,9}\))? panicked at (.{1,1500})$")
_ELIXIR_FRAME = re.compile(
    r"^\s{1,20}(?:\(([\w]{1,60}) [\w.\-+]{1,40}\) )?((?:lib|src|test|deps|apps)?/?[\w./\-]{1,300}\.(?:exs?|erl)):(\d{1,9}): (.{1,300})$"
)
ESCAPED_FRAME = re.compile(r'\\n(?:\\t|\s{1,20})(?:at \S|File \\?"|from /)|Traceback \(most recent call last\)')

_TYPE = r"[A-Za-z_$][\w$]{0,100}(?:(?:\.|::|\\|/)[A-Za-z_$][\w$`+]{0,100}){0,15}"
_HEADER = re.compile(
    rf"^({_TYPE})(?:\[[\w,` .]{{1,80}}\])?(?: \[([A-Z][A-Z0-9_]{{2,60}})\])?(?: \(0x[0-9A-Fa-f]{{8}}\))?(?:\s?: (.*)|:)?$",
    re.DOTALL,
)
_PREFIXES = re.compile(
    r"^(?:Exception in thread \"[^\"]{0,200}\" |Caused by: |Suppressed: |Wrapped by: |Unhandled [Ee]xception[.:] |"
    r"Unhandled (?:Promise )?[Rr]ejection:? |Uncaught (?:Exception:? |\(in promise\) )?|\(node:\d+\) |"
    r"(?:\S{1,40} )?message: |Unhandled exception in thread started by |nested exception is |exception: |PHP Fatal error:  Uncaught |"
    r"Error occurred: |Exception: )+"
)
_TYPE_ENDING = re.compile(
    r"(?:Error|Exception|Throwable|Failure|Fault|Interrupt|Exit|Warning|Timeout|Rejected|NotFound|DoesNotExist|Panic|"
    r"Invalid|Refused|Denied|Abort|Violation|Deadlock\w*|Iteration|Http404|Unavailable|Conflict|Forbidden|Unauthorized|Expired|"
    r"Reset|Closed|Missing|Exceeded|Failed|Overflow\w*|Errno::[A-Z0-9]+|Exists|Exhausted|Declined|Cancelled|Unreachable|Retry|Ignore|Stopped|Mismatch|Problem)$"
)
_INLINE_TYPE = re.compile(
    r"(?:^|[\s(\[\"'>=])([A-Za-z_$][\w$.\\:]{0,200}(?:Error|Exception|Throwable))(?:\)?: (.*)|\((.*)\)|$)", re.DOTALL
)


def is_type_name(name: str) -> bool:
    """Whether a word reads as the name of an exception's class."""
    last = re.split(r"\.|::|\\|\+|/", name)[-1]
    if _TYPE_ENDING.search(name):
        return bool(last) and (last[0].isupper() or "_" in last or name[0].isupper())
    # my.package.Thing and My::Thing; not file.py, not "level.Something" of prose.
    return len(name) > len(last) and last[:1].isupper() and not last.isupper() and last.isidentifier()


def header(line: str) -> tuple[str, str] | None:
    """Type and message of a line like `pkg.SomeError: message`, or None."""
    text = _PREFIXES.sub("", line.strip())
    found = _HEADER.match(text)
    if not found or not is_type_name(found[1]):
        return None
    return found[1], (found[3] or "").strip()


def inline_type(text: str) -> tuple[str, str] | None:
    """Type and message of an exception that is named within a line of prose."""
    for found in _INLINE_TYPE.finditer(text):
        name = found[1].strip(".:\\")
        if is_type_name(name) and len(name) > len("Error"):
            return name, (found[2] or found[3] or "").strip()
    return None


def _named(span: list[str]) -> tuple[str, str]:
    """Type and message from the lines before a trace's first frame: the last header in them that is followed by text only."""
    for index, line in enumerate(span):
        if found := header(line):
            rest = [part for part in span[index + 1 :] if part.strip()]
            # A later header wins only where this one has been a log message of its own.
            later = next((place for place, part in enumerate(rest) if header(part)), None)
            if later is not None and not found[1]:
                return _named(rest[later:])
            return found[0], "\n".join([found[1], *rest]).strip()
    for line in reversed(span):
        if found := inline_type(line):
            return found
    return "", next((line.strip() for line in reversed(span) if line.strip()), "")


# --- Python ---------------------------------------------------------------------------------------------------------

_PY_START = "Traceback (most recent call last)"
_PY_LINKS = {
    "The above exception was the direct cause of the following exception": CAUSE,
    "During handling of the above exception, another exception occurred": CONTEXT,
}
_PY_GROUP_EDGE = re.compile(r"^\s{0,200}\+[-+]{2,60}(?: (\d{1,6}|\.\.\.) -{2,60})?$")
_PY_GROUP_BAR = re.compile(r"^\s{0,200}[|+] ?")
_PY_MARKS = re.compile(r"^[\s~^]*$|^\s*(?:\[Previous line repeated|\.\.\.<\d+ lines>)|[│└├]")


def python(lines: list[str]) -> list[Raised]:
    blocks: list[Raised] = []
    links: list[str] = []
    frames: list[Frame] = []
    before: list[str] = []
    member_from: int | None = None
    index, pending, wants_type = 0, OUTERMOST, False
    while index < len(lines):
        raw = lines[index]
        index += 1
        if member_from is None and _PY_GROUP_EDGE.match(raw) and blocks:
            member_from = len(blocks)
        line = _PY_GROUP_BAR.sub("", raw, count=1) if "|" in raw[:200] or "+ Exception Group" in raw else raw
        if _PY_GROUP_EDGE.match(raw):
            pending = OUTERMOST if member_from is None else MEMBER
            continue
        link = next((kind for words, kind in _PY_LINKS.items() if words in line), None)
        if link:
            pending = link
            continue
        if _PY_START in line:
            if frames and not wants_type:
                frames = []
            wants_type = True
            head = line.split(_PY_START)[0]
            if head.strip():
                before.append(head)
            continue
        found = _PY_FRAME.match(line)
        if found:
            wants_type = True
            source = ""
            if index < len(lines):
                after = _PY_GROUP_BAR.sub("", lines[index], count=1) if "|" in lines[index][:200] else lines[index]
                if after[:1] in " \t" and not _PY_FRAME.match(after) and not _PY_MARKS.match(after):
                    source = after.strip()
                    index += 1
            frames.append(Frame(found[1], found[3] or "<module>", int(found[2]), source=source))
            continue
        if not frames:
            before.append(line)
            continue
        if not line.strip() or line[0] in " \t" or _PY_MARKS.search(line):
            continue
        if not wants_type:
            continue
        named = header(line) or _py_header(line)
        if named is None:
            continue
        words = [named[1]]
        while index < len(lines) and _continues_message(lines[index]):
            words.append(_PY_GROUP_BAR.sub("", lines[index], count=1) if member_from is not None else lines[index])
            index += 1
        blocks.append(Raised(named[0], "\n".join(words).strip(), tuple(frames)))
        links.append(pending)
        frames, wants_type, pending = [], False, OUTERMOST
        before = []
    if frames:
        # Lambda prints the type before the trace; a trace cut short has none.
        kind, message = _named(before)
        if not kind and blocks:
            return _py_order(blocks, links, member_from)
        blocks.append(Raised(kind, message, tuple(frames)))
        links.append(pending)
    return _py_order(blocks, links, member_from)


def _py_header(line: str) -> tuple[str, str] | None:
    found = re.match(rf"^({_TYPE})(?:: (.*))?$", line)
    return (
        (found[1], found[2] or "")
        if found and (found[2] is not None or "." in found[1] or found[1][0].isupper())
        else None
    )


def _continues_message(line: str) -> bool:
    return (
        bool(line.strip())
        and not any(words in line for words in (*_PY_LINKS, _PY_START))
        and not _PY_GROUP_EDGE.match(line)
    )


def _py_order(blocks: list[Raised], links: list[str], member_from: int | None) -> list[Raised]:
    """Python prints the first exception first; what links a block to the one printed before it stands in `links`."""
    if member_from is None:
        ordered = list(reversed(blocks))
        relations = [OUTERMOST, *reversed(links[1:])]
        merged: list[Raised] = []
        for raised, relation in zip(ordered, relations, strict=True):
            if merged and relation == OUTERMOST:
                break
            merged.append(replace(raised, relation=relation))
        return merged
    group = _py_order(blocks[:member_from], links[:member_from], None)[:1]
    return [*group, *(replace(raised, relation=MEMBER) for raised in blocks[member_from:])]


# --- Java, Kotlin, Scala --------------------------------------------------------------------------------------------

_JAVA_COMMON = re.compile(r"^\s{0,40}\.\.\. (\d{1,6}) (?:more|common frames omitted)")


def java(lines: list[str]) -> list[Raised]:
    printed: list[tuple[str, list[str], list[Frame], int]] = []
    span: list[str] = []
    current: list[Frame] | None = None
    relation = OUTERMOST
    skipping = False
    for line in lines:
        stripped = line.strip()
        found = _JAVA_FRAME.match(line)
        if found:
            if skipping:
                continue
            if current is None:
                current = []
                printed.append((relation, span, current, 0))
                span = []
            if len(current) < 2_000:
                file, _, number = found[3].partition(":")
                current.append(Frame(file, found[2], int(number) if number.lstrip("-").isdigit() else None, found[1]))
            continue
        common = _JAVA_COMMON.match(line)
        if common:
            if current is None and span:
                current = []
                printed.append((relation, span, current, 0))
                span = []
            if printed and not skipping:
                relation_, span_, frames_, _ = printed[-1]
                printed[-1] = (relation_, span_, frames_, int(common[1]))
            current = None
            continue
        if stripped.startswith(("Caused by: ", "Wrapped by: ")):
            if span and current is None and not skipping and relation != OUTERMOST:
                printed.append((relation, span, [], 0))
            # Causes of a suppressed exception are indented.
            skipping = skipping and line[:1].isspace()
            current, span, relation = None, [stripped.split(": ", 1)[1]], CAUSE
            continue
        if stripped.startswith("Suppressed: "):
            current, skipping = None, True
            continue
        if current is not None:
            # A frame list that has ended: another trace is not this one's.
            if stripped and not line[:1].isspace():
                break
            continue
        span.append(line)
    else:
        if span and current is None and printed and relation == CAUSE and not skipping:
            printed.append((relation, span, [], 0))
    exceptions: list[Raised] = []
    for relation, span, found_frames, common_count in printed:
        kind, message = _named(span)
        outer = exceptions[-1].frames if exceptions else ()
        frames = (*outer[: min(common_count, len(outer))], *reversed(found_frames))
        exceptions.append(Raised(kind, message, frames, relation if exceptions else OUTERMOST))
    return exceptions


# --- .NET -----------------------------------------------------------------------------------------------------------

_DOTNET_INNER = re.compile(r"\s{0,4}---> (?:\(Inner Exception #\d{1,3}\) )?")


def dotnet(lines: list[str]) -> list[Raised]:
    heads: list[list[str]] = []
    frames: list[list[Frame]] = []
    open_heads: list[int] = []
    span: list[str] = []
    for line in lines:
        stripped = line.strip()
        if stripped.startswith("--- End of inner exception stack trace"):
            if len(open_heads) > 1:
                open_heads.pop()
            continue
        if stripped.startswith(("--- End of stack trace", "<---")):
            continue
        found = _DOTNET_FRAME.match(line)
        if found:
            if span or not heads:
                _dotnet_heads(span, heads, frames, open_heads)
                span = []
            module, _, function = found[1].rpartition(".")
            if open_heads:
                frames[open_heads[-1]].append(
                    Frame(found[3] or "", function, int(found[4]) if found[4] else None, module)
                )
            continue
        if frames and any(frames):
            if "---> " in line:
                span.append(line)
            elif stripped and not line[:1].isspace():
                break
            continue
        span.append(line)
    return [
        Raised(*_named(head), tuple(reversed(calls)), CAUSE if index else OUTERMOST)
        for index, (head, calls) in enumerate(zip(heads, frames, strict=True))
    ]


def _dotnet_heads(span: list[str], heads: list[list[str]], frames: list[list[Frame]], open_heads: list[int]) -> None:
    if heads and "---> " in span[0]:
        # A further inner exception of an AggregateException, after the stack of the first: left out.
        return
    for part in _DOTNET_INNER.split("\n".join(span)):
        if part.strip() or not heads:
            heads.append(part.split("\n"))
            frames.append([])
            open_heads.append(len(heads) - 1)


# --- Node and browsers ----------------------------------------------------------------------------------------------

_NODE_CAUSE = re.compile(r"^\s{0,40}(?:\[(?:cause|errors)\]: (?:\[)?|[Cc]aused by: |\[\d{1,3}\]: )")
_NODE_CODE = re.compile(r"^\s{1,40}(?:code|errno|name): '?([A-Z][A-Z0-9_]{2,60}|[A-Z]\w{2,60}(?:Exception|Error))'?,?$")


def node(lines: list[str]) -> list[Raised]:
    found_all: list[tuple[str, list[str], list[Frame]]] = []
    span: list[str] = []
    relation = OUTERMOST
    current: list[Frame] | None = None
    for line in lines:
        frame = _node_frame(line)
        if frame:
            if current is None:
                current = []
                found_all.append((relation, span, current))
                span = []
            current.append(frame)
            continue
        cause = _NODE_CAUSE.match(line)
        if cause:
            current, relation, span = None, CAUSE, [line[cause.end() :].strip()]
            continue
        if current is not None:
            stripped = line.strip()
            if stripped and not line[:1].isspace() and stripped[0] not in "{}])" and header(line):
                break
            continue
        span.append(line)
    else:
        if relation == CAUSE and span and current is None and header(span[0].rstrip("]}")):
            found_all.append((relation, span[:1], []))
    return [
        Raised(*_node_named(span), tuple(reversed(frames)), relation if index else OUTERMOST)
        for index, (relation, span, frames) in enumerate(found_all)
    ]


def _node_frame(line: str) -> Frame | None:
    found = _NODE_FRAME.match(line)
    if found:
        return Frame(found[2], found[1] or "<anonymous>", int(found[3] or found[4]))
    bare = _NODE_BARE.match(line)
    if bare:
        return Frame(bare[2] or "<anonymous>", bare[1] or "<anonymous>")
    gecko = _GECKO_FRAME.match(line)
    return Frame(gecko[2], gecko[1] or "<anonymous>", int(gecko[3])) if gecko else None


def _node_named(span: list[str]) -> tuple[str, str]:
    # A crash shows the source and a caret before the error itself.
    at = next((index for index in range(len(span) - 1, -1, -1) if header(span[index])), None)
    first = next((index for index, line in enumerate(span) if header(line)), None)
    if first is not None and at is not None and any(set(line.strip()) == {"^"} for line in span[:at]):
        first = at
    return _named(span[first:] if first is not None else span)


# --- Go -------------------------------------------------------------------------------------------------------------

_GO_PANIC = re.compile(r"^(?:.{0,300}?\s)?(panic|fatal error|http: panic serving [^\s:]{1,60}(?::\d+)?): (.{1,1500})$")
_GO_RUNTIME_ERROR = re.compile(r"^runtime error: ")
_GO_GOROUTINE = re.compile(r"^goroutine \d{1,12}(?: gp=\S+ m=\S+.{0,40})? \[[^\]]{1,100}\]:$")
_GO_WRAPPED = re.compile(r"^\(?\*?([\w./]{0,200}\b[A-Z]?\w*(?:Error|error|Err))\)?(?:\(0x[0-9a-f]+\))?[{:]?")


def go(lines: list[str]) -> list[Raised]:
    frames: list[Frame] = []
    span: list[str] = []
    goroutines = 0
    for index, line in enumerate(lines):
        if _GO_GOROUTINE.match(line):
            goroutines += 1
            if goroutines > 1 and frames:
                break
            continue
        file = _GO_FILE.match(line)
        if file and index:
            call = _GO_CALL.match(lines[index - 1])
            if call:
                if span and span[-1] == lines[index - 1]:
                    span.pop()
                if lines[index - 1].lstrip().startswith("created by "):
                    continue
                if call[1] in ("panic", "runtime.gopanic", "runtime.sigpanic", "runtime/debug.Stack"):
                    # What stands above was the printing of the panic: the logger, the recovering handler.
                    frames = []
                    continue
                module, function = _go_name(call[1])
                frames.append(Frame(file[1], function, int(file[2]), module))
                continue
        if not frames:
            span.append(line)
    if not frames:
        return []
    return [Raised(*_go_named(span), tuple(reversed(frames)))]


def _go_name(name: str) -> tuple[str, str]:
    head, slash, last = name.rpartition("/")
    package, _, function = last.partition(".")
    return f"{head}{slash}{package}", function


def _go_named(span: list[str]) -> tuple[str, str]:
    for line in span:
        found = _GO_PANIC.match(line)
        if found:
            message = re.sub(r" \[recovered\].*$", "", found[2])
            if _GO_RUNTIME_ERROR.match(message):
                return "runtime error", message
            typed = _GO_WRAPPED.match(message)
            return (
                typed[1] if typed and "." in typed[1] else "fatal error" if found[1] == "fatal error" else "panic"
            ), message
    return "", next((line.strip() for line in span if line.strip()), "")


# --- Ruby -----------------------------------------------------------------------------------------------------------

_RUBY_TAIL = re.compile(r"^(.{0,1500}) \(([A-Z][\w:]{1,200})\)$")
_RUBY_RAILS = re.compile(r"^([A-Z][\w:]{1,200}) \((.{0,1500})\):?$")


def ruby(lines: list[str]) -> list[Raised]:
    exceptions: list[Raised] = []
    span: list[str] = []
    frames: list[Frame] = []
    named: tuple[str, str] | None = None
    for line in lines:
        found = _RUBY_FRAME.match(line)
        if found is None:
            if frames and line.strip():
                if line.startswith(("Caused by:", "caused by:")) or _RUBY_RAILS.match(line):
                    exceptions.append(Raised(*(named or _ruby_named(span)), tuple(reversed(frames))))
                    frames, named, span = [], None, [re.sub(r"^[Cc]aused by: ?", "", line)]
                continue
            if line.strip():
                span.append(line)
            continue
        frame = Frame(found[1], found[3], int(found[2]))
        tail = found[4]
        if tail and "from " not in line[:12]:
            if frames:
                exceptions.append(Raised(*(named or _ruby_named(span)), tuple(reversed(frames))))
                frames, span = [], []
            typed = _RUBY_TAIL.match(tail)
            named = (typed[2], typed[1]) if typed else (header(tail) or ("", tail))
        frames.append(frame)
    if frames:
        exceptions.append(Raised(*(named or _ruby_named(span)), tuple(reversed(frames))))
    return [replace(raised, relation=CAUSE if index else OUTERMOST) for index, raised in enumerate(exceptions)]


def _ruby_named(span: list[str]) -> tuple[str, str]:
    for line in reversed(span):
        if found := _RUBY_RAILS.match(line.strip()):
            return found[1], found[2]
        if found := _RUBY_TAIL.match(line.strip()):
            return found[2], found[1]
    return _named(span)


# --- PHP ------------------------------------------------------------------------------------------------------------

_PHP_HEAD = re.compile(
    r"(?:Uncaught |Next |\(|^)([A-Z][\w\\]{1,200})(?:\(code: [^)]{1,40}\))?:? (.{0,1500}?) (?:in|at) ([^\s:]{1,400}):(\d{1,9})"
)


def php(lines: list[str]) -> list[Raised]:
    exceptions: list[Raised] = []
    span: list[str] = []
    calls: list[tuple[str, int | None, str]] = []
    for line in lines:
        found = _PHP_FRAME.match(line)
        if found:
            calls.append((found[2] or found[1], int(found[3]) if found[3] else None, found[4]))
            continue
        if calls and _PHP_HEAD.search(line) and "Next " in line[:20]:
            exceptions.append(_php_raised(span, calls))
            span, calls = [line], []
            continue
        if not calls:
            span.append(line)
    if calls:
        exceptions.append(_php_raised(span, calls))
    # PHP prints the first exception first, like Python; `previous` is declared.
    ordered = list(reversed(exceptions))
    return [replace(raised, relation=CAUSE if index else OUTERMOST) for index, raised in enumerate(ordered)]


def _php_raised(span: list[str], calls: list[tuple[str, int | None, str]]) -> Raised:
    kind, message, file, line = "", next((text for text in reversed(span) if text.strip()), ""), "", None
    for text in span:
        found = _PHP_HEAD.search(text)
        if found:
            kind, message, file, line = found[1], found[2], found[3], int(found[4])
    frames: list[Frame] = []
    for called_file, called_line, call in calls:
        if file:
            frames.append(Frame(file, re.sub(r"\(.*$", "", call), line))
        file, line = called_file, called_line
    frames.append(Frame(file, "{main}", line))
    return Raised(kind, message.strip(), tuple(reversed(frames)))


# --- Rust, Elixir ---------------------------------------------------------------------------------------------------


def rust(lines: list[str]) -> list[Raised]:
    frames: list[Frame] = []
    kind, message = "panic", ""
    for index, line in enumerate(lines):
        panic = _RUST_PANIC.match(line)
        if panic:
            quoted = re.match(r"^'(.{0,1400})', \S{1,300}:\d", panic[2])
            message = quoted[1] if quoted else (lines[index + 1].strip() if index + 1 < len(lines) else "")
            continue
        found = _RUST_FRAME.match(line)
        if found:
            frames.append(Frame("", re.sub(r"::h[0-9a-f]{16}$", "", found[1])))
            continue
        at = _RUST_AT.match(line)
        if at and frames:
            frames[-1] = replace(frames[-1], file=at[1], line=int(at[2]))
        elif not frames and not message and line.startswith("Error: "):
            kind, message = "Error", line[len("Error: ") :]
    return [Raised(kind, message, tuple(reversed(frames)))] if frames else []


def elixir(lines: list[str]) -> list[Raised]:
    frames: list[Frame] = []
    span: list[str] = []
    for line in lines:
        found = _ELIXIR_FRAME.match(line)
        if found:
            frames.append(Frame(found[2], re.sub(r"\(.*\)$|/\d+$", "", found[4]), int(found[3]), found[1] or ""))
        elif not frames:
            span.append(line)
    for line in span:
        typed = re.search(r"\*\* \(([A-Z][\w.]{1,200})\) ?(.{0,1500})", line)
        if typed:
            return [Raised(typed[1], typed[2], tuple(reversed(frames)))]
    return [Raised(*_named(span), tuple(reversed(frames)))] if frames else []


# In the order of trying: a line that several would take belongs to the first.
FRAMES: Iterable[tuple[str, re.Pattern[str]]] = (
    (PYTHON, _PY_FRAME),
    (JAVA, _JAVA_FRAME),
    (RUST, _RUST_AT),
    (NODE, _NODE_FRAME),
    (NODE, _NODE_BARE),
    (DOTNET, _DOTNET_FRAME),
    (RUBY, _RUBY_FRAME),
    (GO, _GO_FILE),
    (PHP, _PHP_FRAME),
    (ELIXIR, _ELIXIR_FRAME),
    (NODE, _GECKO_FRAME),
)
