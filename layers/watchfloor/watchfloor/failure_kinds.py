"""The well-known ways to fail, as messages name them: what tells problems of one place and one general type apart."""

from __future__ import annotations

import re

from watchfloor.message_templates import template

_KINDS = {
    kind: re.compile(pattern, re.IGNORECASE)
    for kind, pattern in {
        "timeout": r"\btimed? ?-?out\b|\btimeout\b|ETIMEDOUT|deadline exceeded|DeadlineExceeded",
        "refused": r"\brefused\b|ECONNREFUSED",
        "unreachable": r"\bunreachable\b|no route to host|EHOSTUNREACH|ENETUNREACH",
        "reset": r"\breset by peer\b|ECONNRESET|socket hang up|broken pipe|EPIPE|connection (?:was )?(?:closed|"
        r"aborted|lost)",
        "name resolution": r"ENOTFOUND|EAI_AGAIN|no such host|name or service not known|getaddrinfo|UnknownHost",
        "throttled": r"\bthrottl|\brate (?:limit|exceeded)|too many requests|TooManyRequests|SlowDown|quota",
        "denied": r"\bdenied\b|\bforbidden\b|not authorized|unauthorized|permission|EACCES|EPERM",
        "expired": r"\bexpired?\b",
        "not found": r"\bnot found\b|\bno such\b|does not exist|doesn't exist|\bmissing\b|ENOENT|NotFound|NoSuch",
        "exists": r"already (?:exists|been taken|in use)|duplicate|EEXIST|unique constraint",
        "deadlock": r"\bdeadlock|lock wait",
        "space": r"no space left|disk (?:is )?full|ENOSPC",
        "memory": r"out of memory|OutOfMemory|heap space|ENOMEM|allocation failed",
        "declined": r"\bdeclined\b|insufficient (?:funds|balance)",
        "unavailable": r"unavailable|overloaded|502|503|bad gateway",
        "certificate": r"certificate|SSL|TLS|handshake",
        "syntax": r"syntax error|unexpected token|unexpected end|parse error|malformed|invalid json|could not parse",
        "null": r"\bnull\b|\bundefined\b|\bnil\b|NoneType",
        "stock": r"out of stock|sold out|insufficient (?:stock|inventory)",
        "mismatch": r"mismatch|does not match|conflict",
        "invalid": r"\binvalid\b|validation|\bmust (?:be|not)\b",
        "exceeded": r"\bexceed|too (?:large|long|short|many)|limit",
    }.items()
}


def kinds(message: str) -> list[str]:
    """Which of the well-known ways to fail a message names, after its values are masked."""
    text = template(message)
    return [kind for kind, pattern in _KINDS.items() if pattern.search(text)]
