"""The line of a trace that names the exception: its type and message."""

from __future__ import annotations

import re

_NAME = r"[A-Za-z_$][\w$]{0,100}"
# a.b.C, A::B, A\\B; in .NET also a.B`1+C.
TYPE = rf"{_NAME}(?:(?:\.|::|\\){_NAME}(?:`\d{{1,2}})?(?:\+{_NAME})?){{0,15}}"
# What a name is made of: "TLS", "Handshake", "2".
_PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_MIN_PIECE, _LONG_NAME = 2.5, 12
_SEPARATOR = re.compile(r"\.|::|\\|\+")
_HEADER = re.compile(
    rf"^({TYPE})(?:\[[\w,` .]{{1,80}}\])?(?: \[([A-Z][A-Z0-9_]{{2,60}})\])?(?: \((?:0x[0-9A-Fa-f]{{8}}|\d{{1,6}})\))?(?:\s?: (.*)|"
    rf":)?$",
    re.DOTALL,
)
_PREFIXES = re.compile(
    r"^(?:⨯ |Exception in thread \"[^\"]{0,200}\" |Caused by: |Suppressed: |Wrapped by: |Unhandled [Ee]xception[.:] |"
    r"Unhandled (?:Promise )?[Rr]ejection:? |Uncaught (?:Exception:? |\(in promise\) )?|\(node:\d+\) |"
    r"(?:\S{1,40} )?message: |Unhandled exception in thread started by |nested exception is |exception: |"
    r"PHP Fatal error:  Uncaught |"
    r"Error occurred: |Exception: )+"
)
_TYPE_ENDING = re.compile(
    r"(?:Error|Exception|Throwable|Failure|Fault|Interrupt|Exit|Warning|Timeout|Rejected|NotFound|DoesNotExist|Panic|"
    r"Invalid|Refused|Denied|Abort|Violation|Deadlock\w*|Iteration|Http404|Unavailable|Conflict|Forbidden|"
    r"Unauthorized|Expired|"
    r"Reset|Closed|Missing|Exceeded|Failed|Overflow\w*|Errno::[A-Z0-9]+|Exists|Exhausted|Declined|Cancelled|"
    r"Unreachable|Retry|Ignore|Stopped|Mismatch|Problem)$"
)
_INLINE_TYPE = re.compile(
    r"(?:^|[\s(\[\"'>=|])([A-Za-z_$][\w$.\\:]{0,200}(?:Error|Exception|Throwable))(?: \((?:0x[0-9A-Fa-f]{8}|\d{1,6})\)(?=: ))?(?:\)?: (.*)| ?\((.*)\):?|$)",
    re.DOTALL,
)


# "Microsoft.AspNetCore.Server.Kestrel[13]": who logs, in .NET.
_CATEGORY = re.compile(r"^[\w.]{1,200}\[\d{1,9}\]$")


def ends_like_a_type(name: str) -> bool:
    """Whether a word ends as the names of exceptions' classes do."""
    return _TYPE_ENDING.search(name) is not None


def is_type_name(name: str) -> bool:
    """Whether a word reads as the name of an exception's class."""
    last = _SEPARATOR.split(name)[-1]
    if is_random(name):
        return False
    if _TYPE_ENDING.search(name):
        return bool(last) and (last[0].isupper() or "_" in last or name[0].isupper())
    # my.package.Thing and My::Thing; not file.py, not "level.Something" of prose.
    return len(name) > len(last) and last[:1].isupper() and not last.isupper() and last.isidentifier()


def is_random(name: str) -> bool:
    """Whether a name has a piece of a key or a token in it, whose letters change their case all the time."""
    for part in _SEPARATOR.split(name):
        pieces = _PIECE.findall(part)
        if len(part) >= _LONG_NAME and sum(map(len, pieces)) < _MIN_PIECE * len(pieces):
            return True
    return False


def header(line: str) -> tuple[str, str] | None:
    """Type and message of a line like `pkg.SomeError: message`, or None."""
    text = _PREFIXES.sub("", line.strip())
    found = _HEADER.match(text)
    if not found or not is_type_name(found[1]) or _CATEGORY.search(text):
        return None
    return found[1], (found[3] or "").strip()


def inline_type(text: str) -> tuple[str, str] | None:
    """Type and message of an exception that is named within a line of prose."""
    for found in _INLINE_TYPE.finditer(text):
        name = found[1].strip(".:\\")
        if is_type_name(name) and len(name) > len("Error"):
            return name, (found[2] or found[3] or "").strip()
    return None


def named(span: list[str]) -> tuple[str, str]:
    """Type and message from the lines before a trace's first frame."""
    for index, line in enumerate(span):
        if found := header(line):
            rest = [part for part in span[index + 1 :] if part.strip()]
            # A later header wins only where this one has been a log message of its own.
            later = next((place for place, part in enumerate(rest) if header(part)), None)
            if later is not None and not found[1]:
                return named(rest[later:])
            return found[0], "\n".join([found[1], *rest]).strip()
    for line in reversed(span):
        if found := inline_type(line):
            return found
    return "", next((line.strip() for line in reversed(span) if line.strip()), "")
