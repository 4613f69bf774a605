"""Where in a text secrets and personal data stand: `sensitive(text)` gives spans and kinds.

Three ways: the form that a vendor gave its tokens, the name that a value is assigned to, and numbers with check digits.
All patterns are bounded or cannot be entered twice at the same place, so that the time is linear in the text.

Why not a library: detect-secrets 1.5, the one made for this, reads source code. Of what `tests/secret_samples.py` plants
it finds less than half, or, with its entropy detectors, takes nearly every ordinary line of a log for a secret.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterator
from itertools import chain

SECRET, PASSWORD, TOKEN, AWS_KEY, PRIVATE_KEY, COOKIE = (
    "SECRET",
    "PASSWORD",
    "TOKEN",
    "AWS_KEY",
    "PRIVATE_KEY",
    "COOKIE",
)
EMAIL, CARD, IBAN, SSN, PHONE, IP = "EMAIL", "CARD", "IBAN", "SSN", "PHONE", "IP"
KINDS = (SECRET, PASSWORD, TOKEN, AWS_KEY, PRIVATE_KEY, COOKIE, EMAIL, CARD, IBAN, SSN, PHONE, IP)
PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(KINDS)})_\d{{1,6}}\]")

# (start, end, kind)
Span = tuple[int, int, str]


def sensitive(text: str, ips: bool = False) -> Iterator[Span]:
    """Spans of secrets and personal data; they may overlap."""
    yield from _private_keys(text)
    yield from _aws_keys(text)
    for pattern in _TOKENS:
        for match in pattern.finditer(text):
            yield *match.span(), TOKEN
    yield from _assignments(text)
    yield from _spoken(text)
    yield from _inserted(text)
    yield from _credentials(text)
    yield from _cookies(text)
    yield from _url_passwords(text)
    yield from _mails(text)
    yield from _cards(text)
    yield from _ibans(text)
    yield from _people(text)
    if ips:
        yield from _addresses(text)


# --- tokens by their form -----------------------------------------------------------------------------------------

# Minimal lengths are below the vendors': a text may have been cut.
_W = r"(?<![A-Za-z0-9_])"
_TOKENS = [
    re.compile(pattern)
    for pattern in (
        # JSON Web Tokens and JSON Web Encryption: header and body are JSON in base64url.
        r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}+\.[A-Za-z0-9_-]{5,}+(?:\.[A-Za-z0-9_-]*+){0,3}",
        # AWS session tokens begin like this since they exist.
        r"(?<![A-Za-z0-9/+])(?:IQoJb3JpZ2lu|FwoGZXIvYXdz|FQoGZXIvYXdz|AQoDYXdz|AQoEXAMPLE)[A-Za-z0-9/+%=]{16,}+",
        _W + r"gh[pousr]_[A-Za-z0-9]{10,255}",
        _W + r"github_pat_[A-Za-z0-9_]{10,255}",
        _W + r"gl(?:pat|dt|rt|ptt|cbt|soat|ft|imt|agent|oas)-[A-Za-z0-9_.-]{10,200}",
        _W + r"xox[a-z]-[A-Za-z0-9-]{10,250}",
        _W + r"xapp-\d-[A-Za-z0-9-]{10,250}",
        _W + r"xoxe\.xox[a-z]-\d-[A-Za-z0-9-]{10,250}",
        r"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{8,200}",
        r"discord(?:app)?\.com/api/(?:v\d+/)?webhooks/\d{10,}/[\w-]{20,200}",
        r"[a-z0-9-]{1,60}\.webhook\.office\.com/webhookb2/[\w@/-]{20,300}",
        _W + r"[srp]k_(?:live|test)_[A-Za-z0-9]{10,250}",
        _W + r"whsec_[A-Za-z0-9+/=]{16,200}",
        _W + r"AIza[A-Za-z0-9_-]{20,60}",
        _W + r"ya29\.[A-Za-z0-9_.-]{20,400}",
        _W + r"GOCSPX-[A-Za-z0-9_-]{20,60}",
        r"(?<![A-Za-z0-9/])1//0[A-Za-z0-9_-]{30,200}",
        r"(?<![A-Za-z0-9_~.-])[A-Za-z0-9_~.]{3}[78]Q~[A-Za-z0-9_~.-]{31,34}",
        _W + r"(?:SK|AC)[0-9a-f]{32}(?![A-Za-z0-9])",
        _W + r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}",
        _W + r"npm_[A-Za-z0-9]{20,60}",
        _W + r"pypi-[A-Za-z0-9_-]{40,400}",
        r"(?<![A-Za-z0-9_-])sk-(?=[A-Za-z0-9_-]{0,60}\d)[A-Za-z0-9_-]{20,300}",
        _W + r"sk-ant-[A-Za-z0-9_-]{16,300}",
        _W + r"(?:hf|gsk|xai|r8|nvapi|pplx|tgp_v1)[_-][A-Za-z0-9_-]{30,120}(?<=\w)",
        _W + r"(?:dop|doo|dor)_v1_[a-f0-9]{40,80}",
        _W + r"shp(?:at|ca|pa|ss|ua)_[A-Fa-f0-9]{24,64}",
        _W + r"sq0(?:csp|atp|idp)-[A-Za-z0-9_-]{20,60}",
        _W + r"key-[0-9a-f]{32}(?![A-Za-z0-9])",
        _W + r"[0-9a-f]{32}-us\d{1,2}(?![A-Za-z0-9])",
        _W + r"hv[sbr]\.[A-Za-z0-9_-]{20,300}",
        _W + r"dapi[0-9a-f]{32}(?:-\d)?(?![A-Za-z0-9])",
        _W + r"(?:lin_api|rubygems|glsa|glc|pscale_tkn|pscale_pw|sntrys|sntryu|ntn|secret)_[A-Za-z0-9_-]{30,300}",
        _W
        + r"(?:xkeysib|PMAK|NRAK|NRJS|tfp|pul|EZAK|EZTK|duffel_live|HRKU|dckr_pat|figd|CCIPAT)[-_][A-Za-z0-9_-]{20,120}",
        _W + r"pat[A-Za-z0-9]{14}\.[0-9a-f]{40,64}",
        _W + r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{40,100}",
        _W + r"cio(?=[A-Za-z]{0,31}\d)[A-Za-z0-9]{32}(?![A-Za-z0-9])",
        _W + r"ATBB(?=[A-Za-z]{0,31}\d)[A-Za-z0-9]{28,32}(?![A-Za-z0-9])",
        _W + r"EAA[A-Za-z0-9]{80,400}",
        r"amzn\.mws\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        r"access_token\$(?:production|sandbox)\$[0-9a-z]{16}\$[0-9a-f]{32}",
        _W + r"sl\.[A-Za-z0-9_-]{100,300}",
        _W + r"(?:ph[cx]|nfp|rnd|vercel|sk_prod)_(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{24,60}(?![A-Za-z0-9_])",
        _W + r"dt0[a-z]01\.[A-Z0-9]{24}\.[A-Z0-9]{40,64}",
        _W + r"oy2[a-z0-9]{43}(?![A-Za-z0-9])",
        _W + r"AKC[A-Za-z0-9]{60,80}(?![A-Za-z0-9])",
        _W + r"fm[12][ar]?_[A-Za-z0-9+/=_-]{40,1000}",
        _W + r"(?i:cfpat)-[A-Za-z0-9_-]{40,60}",
        _W + r"tskey-[a-z]{2,12}-[A-Za-z0-9-]{16,80}",
        _W + r"sbp_[0-9a-f]{40}(?![A-Za-z0-9])",
        r"(?<![A-Za-z0-9_-])ATATT3x[A-Za-z0-9_=-]{40,300}",
        _W + r"AGE-SECRET-KEY-1[A-Z0-9]{50,70}",
        _W + r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9._-]{30,100}",
        _W + r"ops_eyJ[A-Za-z0-9_-]{40,2000}",
        # Hashes of passwords: crypt, bcrypt, Argon2, PBKDF2 as Django writes it.
        r"\$(?:2[abxy]?|1|5|6|apr1|y)\$[./A-Za-z0-9$=,]{20,200}",
        r"\$argon2(?:id|i|d)\$v=\d+\$[A-Za-z0-9+/=,$]{30,300}",
        r"pbkdf2_sha\d{1,3}\$\d+\$[A-Za-z0-9+/=$]{20,200}",
        _W + r"(?:bot)?\d{8,10}:AA[A-Za-z0-9_-]{32,36}(?![A-Za-z0-9_-])",
    )
]

_AWS_ID = re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])")
_AWS_SECRET = re.compile(r"(?<![A-Za-z0-9/+=])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")
_AWS_NEAR = 200


def _aws_keys(text: str) -> Iterator[Span]:
    """Access key ids, and what has the form of a secret key close to one."""
    looked_until = 0
    for match in _AWS_ID.finditer(text):
        yield *match.span(), AWS_KEY
        start = max(looked_until, match.start() - _AWS_NEAR)
        looked_until = match.end() + _AWS_NEAR
        for near in _AWS_SECRET.finditer(text, start, looked_until):
            if _is_mixed(near[0]):
                yield *near.span(), AWS_KEY


# --- private keys -------------------------------------------------------------------------------------------------

_KEY_BEGIN = re.compile(r"-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_KEY_END = re.compile(r"-{4,5} ?END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_KEY_BODY = re.compile(r"(?:(?:[ \t\r\n]|\\[nr])*+[A-Za-z0-9+/=]{16,}+)*+")
_KEY_LINE = re.compile(r"[A-Za-z0-9+/=]{16,}+(?=[\s\"',\\]*$)")
_ENCODED_KEY = re.compile(r"LS0tLS1CRUdJTi[A-Za-z0-9+/=]{40,}+")
_MAX_KEY = 16_384
_MAX_KEY_LINES = 100


def _private_keys(text: str) -> Iterator[Span]:
    """Blocks from BEGIN to END, whatever stands before each of their lines; and what is left of a block cut in two."""
    for match in _ENCODED_KEY.finditer(text):
        yield *match.span(), PRIVATE_KEY
    at, end = 0, _KEY_END.search(text)
    while begin := _KEY_BEGIN.search(text, at):
        while end and end.start() < begin.end():
            if end.start() >= at:
                yield from _key_lines_before(text, at, end)
            end = _KEY_END.search(text, max(end.end(), begin.end()))
        if end and end.start() - begin.end() <= _MAX_KEY:
            at = end.end()
        else:
            at = _end_of_open_key(text, begin.end())
        yield begin.start(), at, PRIVATE_KEY
    while end:
        if end.start() >= at:
            yield from _key_lines_before(text, at, end)
            at = end.end()
        end = _KEY_END.search(text, end.end())


def _end_of_open_key(text: str, at: int) -> int:
    body = _KEY_BODY.match(text, at)
    at = body.end() if body else at
    for _ in range(_MAX_KEY_LINES):
        start = text.find("\n", at)
        if start < 0:
            break
        stop = text.find("\n", start + 1)
        stop = len(text) if stop < 0 else stop
        if not _KEY_LINE.search(text[max(start + 1, stop - 400) : stop]):
            break
        at = stop
    return at


def _key_lines_before(text: str, at: int, end: re.Match[str]) -> Iterator[Span]:
    """The lines of a key of which only the end is here."""
    stop = text.rfind("\n", at, end.start())
    for _ in range(_MAX_KEY_LINES):
        if stop < 0:
            return
        start = text.rfind("\n", at, stop)
        line = max(at if start < 0 else start + 1, stop - 400)
        found = _KEY_LINE.search(text[line:stop])
        if not found:
            return
        yield line + found.start(), line + found.end(), PRIVATE_KEY
        stop = start


# --- values by the name that they are assigned to ------------------------------------------------------------------

_ASSIGNMENT = re.compile(
    r"(?P<word>pass(?:word|wd|wort|phrase|code|w)?s?|pwd|psw|pw|secrets?|tokens?|credentials?|authorization"
    r"|kennwort|contrase[ñn]a|mot[_ -]de[_ -]passe|senha|wachtwoord|пароль|密码|パスワード"
    r"|(?<![a-z])creds?|(?-i:(?<=[a-z])Creds?)"
    r"|(?:api|access|secret|private|encryption|signing|account|sharedaccess|shared[_-]access|master|storage|auth|consumer"
    r"|deploy|ssh|hmac|jwt|cipher|crypto|aes|rsa|subscription|license|webhook|functions|session|client|app|stripe"
    r"|sendgrid|twilio|integration|fernet|pass)[_\-. ]?key"
    r"|(?:secret|token|password)[_-]?(?:string|value|hash|base)|key[_-]?base"
    r"|session(?:[_-]?id)?|sess(?:ion)?id|sessid|sid|sig|signature|auth|credential|connect\.sid"
    r"|samlresponse|saml_response|client_assertion|assertion|code_verifier)"
    r"[_-]?\d{0,3}"
    r"(?P<after>\\*[\"'`]?(?:\[\w{0,20}\]|\])?)[ \t]{0,8}(?P<sign>=>|->|:=|==|::(?=[ \t])|[:=>,])(?P<space>[ \t]{0,8})",
    re.IGNORECASE,
)
_NAME_BEFORE = re.compile(r"[A-Za-z0-9_.-]{0,60}\Z")
_OPENING = re.compile(r"(?:\[[ \t]?)?[bBrRuU]{0,2}(\\*)([\"'`])")
_BRACED = re.compile(r"\{([^{}=:\"'\s]{3,100})\}")
_BARE = re.compile(rf"[^\s\"'`<>]{{1,{8_192}}}")
# What ends an unquoted value, if something like the next field, a blank or the end follows.
_DELIMITER = re.compile(r"[&;,](?=$|[\w .\-\[\]%]{1,60}[=:]|[)\]}])|\\+[nrt\"'u]|%(?:26|22|0[aAdD])")
_OTHER_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{1,30}[ \t]+")
# A field between markup: ">value<".
_ENCLOSED = re.compile(r">([^\s<>]{3,200})<(?!/)")
# YAML's text over lines.
_YAML_BLOCK = re.compile(r"[|>][+-]?[ \t]*\n([ \t]+)([^\s][^\n]{0,2000}(?:\n\1[^\n]{1,2000}){0,30})")
# What makes an object of a password: SecretStr("..."). What is handed to any other call may be a name: getenv("...").
_WRAPPED = re.compile(r"(?:\w{1,40}\.){0,3}(\w{1,60})\(\\*[\"']([^\s\"'\\()]{3,200})\\*[\"']\)")
_SCHEME = re.compile(
    r"(?:bearer|basic|token|digest|negotiate|ntlm|apikey|key|bot|splunk|oauth|hmac|signature|aws4-hmac-sha256)[ \t]+",
    re.IGNORECASE,
)
_WHOLE_HEADER = re.compile(r"(?:digest|oauth|signature|hmac|aws4)", re.IGNORECASE)
# Name and value, name and value: of schemes that have more than one.
_REST = re.compile(r"(?:[\w-]{1,40}=(?:\\*\"[^\"\r\n]{0,1000}\"|[^\s,\"']{0,1000}),?[ \t]*)++|[^\r\n\"']{1,2000}")

STRONG, USUAL, WEAK = 3, 2, 1
_NOT_SECRET = (
    "nexttoken", "pagetoken", "continuationtoken", "paginationtoken", "clienttoken", "clientrequesttoken",
    "requesttoken", "idempotencytoken", "synctoken", "resumetoken", "cancellationtoken", "startingtoken",
    "forwardtoken", "backwardtoken", "sequencetoken", "publickeytoken", "unexpectedtoken", "maxtokens", "mintokens",
    "numtokens", "totaltokens", "prompttokens", "completiontokens", "inputtokens", "outputtokens", "lasttoken",
    "bypass", "compass", "trespass", "encompass", "passes", "surpass", "onepass",
)  # fmt: skip
# Passwords in other languages than English.
_PASSWORDS = ("kennwort", "contrase", "mot", "senha", "wachtwoord", "пароль", "密码", "パスワード")
_WEAK = (
    "key", "sid", "sig", "signature", "auth", "session", "sessid", "authorization", "samlresponse", "saml_response",
    "assertion", "code_verifier",
)  # fmt: skip
_NO_VALUES = frozenset(
    re.findall(
        r"\w+",
        "none null nil true false undefined nan empty missing unset set yes no on off required optional invalid valid"
        " expired redacted masked hidden removed filtered omitted present absent unknown ok failed failure success changed"
        " string str text bytes int number boolean object any password secret token username default disabled enabled"
        " bearer basic not is was has must should cannot for from with error mismatch incorrect wrong rejected accepted"
        " denied refused revoked generated created updated deleted rotated reset",
    )
)
_MESSAGE_WORDS = frozenset(
    re.findall(
        r"\w+",
        "must required should cannot invalid incorrect missing expired is are was least characters field does not"
        " failed wrong has have been too short",
    )
)
_CODE = re.compile(
    r"\$\w|\$?\{|\{\{|<|%[(sdv]|[A-Za-z_][\w.]*(?:\(|\[(?:['\"\w]|$))|(?:self|this|os|process|config|settings|env|args|params|options|ctx"
    r"|context|event|request|req|conf|cfg|user|data|props|state)\.[a-z_]",
    re.IGNORECASE,
)
_PATH = re.compile(r"(?:~|\.{1,2})?/[\w.@/-]+|[a-z0-9][a-z0-9_.-]*(?:/[a-z0-9_.-]+)+")
_IDENTIFIER = re.compile(r"[A-Za-z_]+(?:[._][A-Za-z_]+)*")
_MASKED = re.compile(r"[*xX•.#-]{2,}|\*+\S{0,4}|<[^<>]{0,60}>|\[[A-Za-z_ ]{2,30}\]")
_PARSER = re.compile(
    r"\b(?:unexpected|invalid|illegal|unrecognized|unknown|bad|expected|near|at|next|missing)\s+$", re.IGNORECASE
)


_SESSION_NAME = re.compile(r"(?:sess(?:ion)?[_-]?id|\bsid)$", re.IGNORECASE)


def strength(name: str) -> int:
    """How surely a value of this name is a secret: 0, WEAK (if it looks like one), USUAL or STRONG."""
    match = _ASSIGNMENT.search(f"{name[-80:]}=")
    return _strength(match["word"], name) if match and match.end() > len(name[-80:]) else 0


def _strength(word: str, name: str) -> int:
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    word = word.lower()
    if plain.rstrip("0123456789").endswith(_NOT_SECRET):
        return 0
    if word.startswith(("pass", "pw", "psw")) and not word.endswith("key"):
        # "pass" alone also counts tests; as the end of another word it is not our business.
        inner = len(name) > len(word) and name[-len(word) - 1 : -len(word)].isalpha() and not name[-len(word)].isupper()
        if word in ("pass", "passes"):
            return WEAK if inner else (USUAL if plain == "pass" else STRONG)
        if word == "pw" and inner:
            return 0
        return STRONG
    if word.startswith(_PASSWORDS):
        return STRONG
    if word.endswith(_WEAK):
        is_sure = word in (
            "sharedaccesskey",
            "api_key",
            "apikey",
            "api-key",
            "secret_key",
            "secretkey",
            "accesskey",
            "access_key",
            "accountkey",
        )
        return USUAL if is_sure else WEAK
    return USUAL


def _assignments(text: str) -> Iterator[Span]:
    at = 0
    while match := _ASSIGNMENT.search(text, at):
        at = match.end()
        found = _assigned(text, match)
        if found:
            yield found
            at = max(at, found[1])


def _assigned(text: str, match: re.Match[str]) -> Span | None:
    before = _NAME_BEFORE.search(text[max(0, match.start() - 60) : match.start()])
    name = (before[0] if before else "") + text[match.start() : match.end("word")]
    rank = _strength(match["word"], name)
    sign, at = match["sign"], match.end()
    # In "arn:aws:secretsmanager:...:secret:name" the word is no name of what follows.
    is_part = sign == ":" and not match["space"] and text.startswith(":", match.end("word") - len(name) - 1)
    # Nor is it in "Password::verify".
    is_part = is_part or (sign == ":" and text.startswith(":", at))
    if not rank or sign == "==" or is_part:
        return None
    kind = PASSWORD if rank == STRONG else SECRET
    if sign == ">":
        return _element(text, match, name, kind)
    if rank >= USUAL and sign in (":", "=") and (found := _set_apart(text, at, kind)):
        return found
    opening = _OPENING.match(text, at)
    if opening and not PLACEHOLDER.match(text, at):
        start, stop = opening.end(), _closing(text, opening)
        if match["word"].lower() == "authorization":
            return _after_scheme(text, start, stop)
        value = text[start:stop]
        # A list of names of fields has the same form as a name and its value.
        if sign == "," and not (match["after"] and (_is_telling(value) or (rank == STRONG and _has_both(value)))):
            return None
        return (start, stop, kind) if _is_secret(value, rank, quoted=True, name=name) else None
    if sign == ",":
        return None
    braced = _BRACED.match(text, at)
    if braced and rank == STRONG and sign == "=" and not match["space"]:
        return (*braced.span(1), kind)
    start = at + (text[at : at + 1] == "[" and not PLACEHOLDER.match(text, at))
    if match["word"].lower() == "authorization":
        return _after_scheme(text, start, None)
    bare = _BARE.match(text, start)
    if not bare:
        return None
    value = _without_end(bare[0])
    if not value:
        return None
    stop = start + len(value)
    is_prose = sign == ":" and bool(match["space"]) and not match["after"]
    if is_prose and not _is_secret_in_prose(text, match, value, rank, stop):
        return None
    is_code = bool(match["space"]) and sign in ("=", ":=", ":")
    return (start, stop, kind) if _is_secret(value, rank, quoted=False, code=is_code, name=name) else None


def _set_apart(text: str, at: int, kind: str) -> Span | None:
    """A value between angle brackets, on the lines below, or wrapped by a call."""
    if block := _YAML_BLOCK.match(text, at):
        return (*block.span(2), kind)
    if (enclosed := _ENCLOSED.match(text, at)) and not is_no_value(enclosed[1]):
        return (*enclosed.span(1), kind)
    wrapped = _WRAPPED.match(text, at)
    if wrapped and (wrapped[1].startswith(("Secret", "Password")) or (len(wrapped[2]) > 7 and _is_chosen(wrapped[2]))):
        return (*wrapped.span(2), kind)
    return None


def _element(text: str, match: re.Match[str], name: str, kind: str) -> Span | None:
    """Content of an XML element of this name."""
    opening = match.end("word") - len(name) - 1
    if (cdata := _CDATA.match(text, match.end())) and text[opening] in "<:":
        return (*cdata.span(1), kind)
    stop = text.find("<", match.end(), match.end() + 2_000)
    is_element = opening >= 0 and text[opening] in "<:" and stop > match.end() and text[stop + 1 : stop + 2] == "/"
    return (match.end(), stop, kind) if is_element and not is_no_value(text[match.end() : stop]) else None


def _closing(text: str, opening: re.Match[str]) -> int:
    """Where the quoted value ends: at the same quote with as many backslashes, or with the line."""
    slashes, quote = len(opening[1]), opening[2]
    limit = min(len(text), opening.end() + 8_192)
    at = text.find(quote, opening.end(), limit)
    while at >= 0:
        run = at
        while run > opening.end() and text[run - 1] == "\\":
            run -= 1
        count = at - run
        if count == slashes or (not slashes and count % 2 == 0):
            return run if slashes else at
        at = text.find(quote, at + 1, limit)
    end = text.find("\n", opening.end(), limit)
    return end if end >= 0 else limit


def _after_scheme(text: str, start: int, stop: int | None) -> Span | None:
    """What follows the scheme of an Authorization header."""
    limit = min(len(text), start + 8_192) if stop is None else stop
    scheme = _SCHEME.match(text, start, limit)
    if not scheme:
        if other := _OTHER_SCHEME.match(text, start, limit):
            start = other.end()
        value = text[start:stop] if stop is not None else _without_end(_matched(_BARE, text, start, limit))
        return (start, start + len(value), TOKEN) if len(value) > 256 or _is_telling(value) else None
    if _WHOLE_HEADER.match(scheme[0]):
        rest = _matched(_REST, text, scheme.end(), limit)
    else:
        rest = _without_end(_matched(_BARE, text, scheme.end(), limit)) if stop is None else text[scheme.end() : stop]
    return (scheme.end(), scheme.end() + len(rest), TOKEN) if rest and not is_no_value(rest) else None


def _matched(pattern: re.Pattern[str], text: str, start: int, stop: int) -> str:
    match = pattern.match(text, start, stop)
    return match[0] if match else ""


def _without_end(value: str) -> str:
    """An unquoted value without what belongs to the text around it."""
    delimiter = _DELIMITER.search(value)
    value = value[: delimiter.start()] if delimiter else value
    end = value.rstrip(".,;:!?")
    while end and end[-1] in ")]}" and end.count(end[-1]) > end.count({")": "(", "]": "[", "}": "{"}[end[-1]]):
        end = end[:-1].rstrip(".,;:")
    return end


def _is_secret_in_prose(text: str, match: re.Match[str], value: str, rank: int, stop: int) -> bool:
    """Whether what follows "password: " is one, and not the rest of a sentence."""
    if value.replace("'", "").isalpha():
        rest = text[stop : stop + 40].lstrip(" \t")
        goes_on = text[stop : stop + 1] in (" ", "\t") and rest[:1].isalpha()
        return rank == STRONG and len(value) >= 4 and not goes_on
    if rank == STRONG:
        return len(value) >= 4
    if match["word"].lower() == "pass":
        return False
    if _PARSER.search(text[max(0, match.start() - 20) : match.start()]):
        return len(value) >= 20 and _is_telling(value)
    return (len(value) >= 6 and _has_both(value)) or (len(value) >= 20 and value.lower() != value)


def _is_secret(value: str, rank: int, *, quoted: bool, code: bool = False, name: str = "") -> bool:
    if len(value) > 256:
        return True
    if is_no_value(value) or len(value) < (2 if rank == STRONG else 4):
        return False
    words = value.lower().split()
    if len(words) > 1 and any(word.strip(".,:;!") in _MESSAGE_WORDS for word in words):
        return False
    if rank == WEAK:
        if _SESSION_NAME.search(name) and len(value) >= 8 and _is_chosen(value):
            return True
        return (_is_telling(value) and not value.startswith(("sha1=", "sha256="))) or _is_basic(value)
    if value.startswith("arn:") or "://" in value[:12]:
        return False
    # A shell's PWD is a folder.
    if name.lower().endswith("pwd") and value.startswith(("/", "~", "C:")):
        return False
    if rank == USUAL:
        if value.isdigit() and len(value) < 6:
            return False
        if _PATH.fullmatch(value) and not (len(value) == 40 and _is_mixed(value)):
            return False
    if quoted:
        return True
    if _CODE.match(value):
        return False
    if _IDENTIFIER.fullmatch(value):
        last = re.split(r"[._]", name)[-1].lower()
        is_variable = "_" in value or "." in value or value.lower() in (last, name.lower())
        return not (is_variable and (code or value.lower().endswith(last)) or (code and rank == USUAL))
    return True


def is_no_value(value: str) -> bool:
    """Whether it stands for a value, or for none, rather than being one."""
    plain = value.strip(" \t\"'.,;:()")
    return not plain or plain.lower() in _NO_VALUES or bool(PLACEHOLDER.fullmatch(value) or _MASKED.fullmatch(value))


def _is_telling(value: str) -> bool:
    """Whether it looks like something random: long, with letters and digits, no word, no path, no id of AWS."""
    if len(value) < 16 or value.startswith(("arn:", "S-1-")) or "://" in value[:12]:
        return False
    if _PATH.fullmatch(value) and "/" in value:
        return False
    return _has_both(value) and " " not in value


def _has_both(value: str) -> bool:
    return any(c.isdigit() for c in value) and any(c.isalpha() for c in value)


def _is_mixed(value: str) -> bool:
    return any(c.isupper() for c in value) and any(c.islower() for c in value) and any(c.isdigit() for c in value)


# --- other places of secrets --------------------------------------------------------------------------------------

_FLAG = re.compile(
    r"(?<![\w-])--?(?:[\w-]{0,40}-)?(?:password|passwd|passphrase|pass|token|secret|api-?key|access-?key|private-?key)"
    r"(?:[ \t]+|[\"'],[ \t]*)(?:\"([^\"\n]{2,512})\"|'([^'\n]{2,512})'|([^\s\"'-][^\s\"']{2,512}))",
    re.IGNORECASE,
)
_SPOKEN = re.compile(
    r"\b(?:identified by|(?:password|passphrase)(?: (?:for|of)(?: user)? \S{1,60})?(?: is| was| =)?|secret (?:is|was))[ \t]+"
    r"(?:\"([^\"\n]{2,200})\"|'([^'\n]{2,200})'|(?<= is )([^\s\"'`<>]{4,200})|(?<= was )([^\s\"'`<>]{4,200}))",
    re.IGNORECASE,
)
_WITH = re.compile(
    r"\b(?:with|using) (?:password|passphrase)[ \t]+([^\s\"']{5,200})"
    r"|(?:(?:\b|_)(?:api|access)[ _-]?key|(?:\b|_|(?-i:(?<=[a-z])(?=[TS])))(?<!next )(?<!page )(?<!pagination )(?<!continuation )(?:token|secret)|\b(?:authorization|requirepass))"
    r"(?: (?:is|was))?[ \t]+[\"']?([A-Za-z0-9_~+/=.-]{16,512})",
    re.IGNORECASE,
)
_AFTER_PASSWORD = re.compile(r"\bpassword[ \t]+([^\s\"'`<>=]{6,200})(?!=)", re.IGNORECASE)
_ALGORITHM = re.compile(r"pbkdf|sha-?\d|argon|crypt|hmac|md5|base\d|oauth|x\.?509|http|utf|\bv\d|\d:", re.IGNORECASE)
# Short values with capitals, small letters and digits behind such a word.
_AFTER_NAME = re.compile(
    r"(?:\b(?:api|access)[ _-]?key|\bsecret|(?:\b|(?-i:(?<=[a-z])(?=T)))(?<!next )(?<!page )token|\b(?:password|passphrase))(?: is| was)?[ \t]+"
    r"(?:\"([^\s\"]{8,200})\"|'([^\s']{8,200})'|([A-Za-z0-9_-]{8,40})(?![\w(=:/.-]))",
    re.IGNORECASE,
)
# Names of secrets, not secrets: "prod/db-password", "db-credentials-7f9c".
_RESOURCE = re.compile(r"[a-z][a-z0-9]*(?:[-/._][a-z0-9]+)+")
_TOOLS = [
    re.compile(pattern)
    for pattern in (
        r"\bcurl\b[^\n]{0,300}?[ \t][\"']?(?:-u|--user)[ \t=\"',]{0,6}[^\s:\"']{1,100}:([^\s\"']{1,200})",
        r"\bmysql(?:dump|admin)?\b[^\n]{0,200}?[ \t][\"']?-p([^\s\"']{3,200})",
        r"\b(?:docker|podman|helm|oras|skopeo)\b[^\n]{0,60}?\blogin\b[^\n]{0,200}?[ \t][\"']?-p[\"',]{0,2}[ \t]+[\"']?([^\s\"']{3,200})",
        r"\b(?:sqlplus|sqlldr|expdp|impdp|rman)\b[^\n]{0,100}?[ \t=\"']\w{1,60}/([^\s@/\"']{3,200})@",
        r"\b(?:PDO|mysqli?)[^\s('\"]{0,20}\('[^'\n]{0,300}', ?'[^'\n]{0,100}', ?'([^'\n]{3,200})'",
        r"\b(?:auth[\"']?[ \t]?[=:][ \t]?|\w{0,20}BasicAuth)\([\"'][^\"'\n]{1,100}[\"'], ?[\"']([^\"'\n]{3,200})[\"']",
        r"\bhttps?[ \t][^\n]{0,100}?(?:-a|--auth)[ \t]+[\"']?[^\s:\"']{1,100}:([^\s\"']{3,200})",
        r"\bldap(?:search|modify|add|whoami|delete)\b[^\n]{0,200}?[ \t]-w[ \t]+[\"']?([^\s\"']{3,200})",
        r"\bnet use\b[^\n]{0,200}?/user:\S{1,100}[ \t]+([^\s/]{3,200})",
        r"\b(?:smbclient|rpcclient)\b[^\n]{0,200}?[ \t]-U[ \t]+[\"']?[^\s%\"']{1,100}%([^\s\"']{3,200})",
        r"\bmongo(?:dump|restore|export|import|sh)?\b[^\n]{0,200}?[ \t]-p[ \t]+[\"']?([^\s\"'-][^\s\"']{2,200})",
        r"\b[A-Za-z]{1,3}\d{1,6} LOGIN \S{1,100} ([^\s\"']{3,200})",
        r"\b(?:7z[ar]?|zip|rar)[ \t](?:[^\n]{0,60}?[ \t])?-p([^\s\"']{5,200})",
        r"\bunzip\b[^\n]{0,60}?[ \t]-P[ \t]*([^\s\"']{3,200})",
        r"\b(?:signtool|certutil)\b[^\n]{0,100}?[ \t][/-]p[ \t]+([^\s\"']{3,200})",
        r"-(?:store|key|deststore|srcstore)pass[ \t]+([^\s\"']{3,200})",
        # Twilio's token beside the name of its account.
        r"\bAC[0-9a-f]{32}[ \"':,]{1,4}([0-9a-f]{32})(?![A-Za-z0-9])",
        r"\bsshpass[ \t]+-p[ \t]*[\"']?([^\s\"']{3,200})",
        r"\bredis-cli\b[^\n]{0,200}?[ \t](?:-a|--pass)[ \t]+[\"']?([^\s\"']{3,200})",
        r"\blogin[ \t]+\S{1,100}[ \t]+password[ \t]+(\S{3,200})",
        r"-pass(?:in|out)?[ \t]+pass:(\S{3,200})",
    )
]
_ONE_TIME = re.compile(
    r"\b(?:cvv2?|cvc2?|otp|one[_ -]time[_ -](?:password|code)|(?:mfa|otp|verification|login|sms|2fa|totp)[_ -]?code|pin(?=\\*[\"']?[=:][ \t]?"
    r"\\*[\"']?(?:\d{4}|\d{6})\b))\\*[\"']?(?:[ \t]{0,3}[=:][ \t]{0,3}|[ \t](?:is|was)[ \t])\\*[\"']?(\d{3,8})\b",
    re.IGNORECASE,
)
_PAIR = re.compile(
    r"(?P<q>\\{0,7}\")(?:name|key|header)(?P=q)[ \t]{0,4}:[ \t]{0,4}(?P=q)(?P<name>[\w.-]{1,80})(?P=q)[ \t]{0,4},[ \t]{0,4}"
    r"(?P=q)value(?P=q)[ \t]{0,4}:[ \t]{0,4}(?P=q)(?P<value>[^\"\\]{2,2000})",
    re.IGNORECASE,
)
_ATTRIBUTES = re.compile(
    r"\b(?:name|key|id)=(?P<q>\\{0,7}[\"'])(?P<name>[\w.:-]{1,80})(?P=q)(?:[ \t][^<>]{0,100}?)?[ \t]value=(?P=q)(?P<value>[^\"'<>\\]{2,2000})",
    re.IGNORECASE,
)
_YAML_PAIR = re.compile(
    r"\b(?:name|key):[ \t]{1,4}[\"']?(?P<name>[\w.-]{1,80})[\"']?(?:,[ \t]{0,4}|[ \t]{0,4}\n[ \t]{0,40})value:[ \t]{1,4}[\"']?"
    r"(?P<value>[^\s\"'{},]{2,2000})",
    re.IGNORECASE,
)
# <wsse:Password Type="...">...</wsse:Password>; without attributes it is an assignment.
_ELEMENT = re.compile(r"<(?:[\w-]{1,40}:)?(?P<name>[\w.-]{1,80})[ \t][^<>]{1,300}>(?P<value>[^<>]{2,2000})</")
# <Property Name="Password">...</Property>
_NAMED_ELEMENT = re.compile(
    r"\b(?:name|key)=[\"'](?P<name>[\w.:-]{1,80})[\"'][^<>]{0,100}>(?P<value>[^<>]{2,2000})</", re.IGNORECASE
)
_CDATA = re.compile(r"<!\[CDATA\[(.{1,2000}?)\]\]>")
_INSERT = re.compile(
    r"\binsert\s+into\s+\S{1,128}\s*\((?P<columns>[^()]{1,1000})\)\s*values\s*\((?P<values>[^()\n]{1,4000})\)",
    re.IGNORECASE,
)
_SQL_VALUE = re.compile(r"\s*(?:'((?:[^']|'')*+)'|\"([^\"]*+)\"|([^,]*+))\s*(?:,|$)")
_QUERY_KEY = re.compile(r"[?&](?:key|code|apikey|access_key|subscription-key)=([^&\s\"'<>#/]{16,512})", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def _spoken(text: str) -> Iterator[Span]:
    """On command lines, in SQL, in sentences, in queries of URLs."""
    for pattern in (_FLAG, _SPOKEN):
        for match in pattern.finditer(text):
            group = match.lastindex or 1
            value = match[group] if group < 3 and pattern is _FLAG else _without_end(match[group])
            # "the password is wrong"
            is_word = pattern is _SPOKEN and group > 2 and value.isalpha()
            if value and not is_word and _is_secret(value, STRONG, quoted=group < 3):
                yield match.start(group), match.start(group) + len(value), PASSWORD
    for match in _WITH.finditer(text):
        value = match[match.lastindex or 1].rstrip(".")
        if _is_resource(value) or _is_type_name(value) or _UUID.fullmatch(value):
            continue
        if _is_telling(value) or (match[1] and _has_both(value)):
            yield match.start(match.lastindex or 1), match.start(match.lastindex or 1) + len(value), SECRET
    for match in _AFTER_PASSWORD.finditer(text):
        value = match[1].rstrip(".,;:)")
        if _is_chosen(value) and not _ALGORITHM.search(value):
            yield match.start(1), match.start(1) + len(value), PASSWORD
    for match in _AFTER_NAME.finditer(text):
        value = match[match.lastindex or 1]
        digits = sum(c.isdigit() for c in value)
        least = 1 if (match.lastindex or 1) < 3 else 2
        if (
            digits >= least
            and not _is_type_name(value)
            and _is_chosen(value)
            and not _ALGORITHM.search(value)
            and not is_no_value(value)
        ):
            yield match.start(match.lastindex or 1), match.start(match.lastindex or 1) + len(value), SECRET
    for pattern in _TOOLS:
        for match in pattern.finditer(text):
            if not is_no_value(match[1]):
                yield *match.span(1), PASSWORD
    for match in _ONE_TIME.finditer(text):
        yield *match.span(1), SECRET
    for match in chain.from_iterable(
        pattern.finditer(text) for pattern in (_PAIR, _ATTRIBUTES, _YAML_PAIR, _ELEMENT, _NAMED_ELEMENT)
    ):
        if strength(match["name"]) >= USUAL and not is_no_value(match["value"]):
            yield *match.span("value"), SECRET
    for match in _QUERY_KEY.finditer(text):
        if _is_telling(match[1]) and not _UUID.fullmatch(match[1]):
            yield *match.span(1), SECRET


_TYPE_NAME = re.compile(r"[a-z]*(?:[A-Z][a-z]{2,})+")


def _is_type_name(value: str) -> bool:
    """Whether it is one of code: "Base64UrlEncoder"."""
    return sum(c.isdigit() for c in value) < 4 and bool(_TYPE_NAME.fullmatch(re.sub(r"\d", "", value)))


def _is_resource(value: str) -> bool:
    """Whether it is the name under which something is kept: words, and few digits."""
    words = sum(c.isalpha() for c in value)
    return bool(_RESOURCE.fullmatch(value)) and words > 3 * sum(c.isdigit() for c in value)


def _is_chosen(value: str) -> bool:
    """Whether it has three of the kinds of characters that rules for passwords ask for."""
    kinds = (str.isupper, str.islower, str.isdigit, "!@#$%^&*+=?".__contains__)
    return sum(any(kind(character) for character in value) for kind in kinds) >= 3


def _inserted(text: str) -> Iterator[Span]:
    """Values of an SQL INSERT by the names of their columns."""
    for match in _INSERT.finditer(text):
        at, stop = match.span("values")
        for column in match["columns"].split(","):
            value = _SQL_VALUE.match(text, at, stop)
            if not value:
                break
            group = value.lastindex or 3
            if strength(column.strip(" \"'`[]\t\n")) >= USUAL and not is_no_value(value[group]):
                yield *value.span(group), SECRET
            at = value.end()


_BEARER = re.compile(r"\bbearer[ \t+]{1,4}([A-Za-z0-9._~+/%-]{8,}+=*)", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{8,4096}={0,2}")
_SMTP = re.compile(r"\bAUTH (?:PLAIN|LOGIN) ([A-Za-z0-9+/]{8,400}={0,2})")
_AUTH = re.compile(r"(?<![\w.-])AUTH[ \t]+([A-Za-z0-9_~+/=.-]{16,512})(?![\w(])")
_BASIC = re.compile(r"\bbasic[ \t+]{1,4}([A-Za-z0-9+/]{6,4096}={0,2})", re.IGNORECASE)


def _credentials(text: str) -> Iterator[Span]:
    """Bearer tokens and basic credentials without the header's name."""
    for match in _BEARER.finditer(text):
        if len(match[1]) >= 24 or any(c.isdigit() for c in match[1]):
            yield *match.span(1), TOKEN
    for match in _BASIC.finditer(text):
        if _is_basic(match[1]):
            yield *match.span(1), PASSWORD
    for match in _SMTP.finditer(text):
        yield *match.span(1), PASSWORD
    for match in _AUTH.finditer(text):
        if _is_telling(match[1]) and not _UUID.fullmatch(match[1]):
            yield *match.span(1), PASSWORD


def _is_basic(value: str) -> bool:
    """Whether it is user:password in base64."""
    if not _BASE64.fullmatch(value):
        return False
    plain = value.rstrip("=")
    try:
        decoded = base64.b64decode(plain + "=" * (-len(plain) % 4)).decode("utf-8")
    except (binascii.Error, ValueError):
        return False
    return ":" in decoded and decoded.isprintable()


_COOKIE = re.compile(
    r"(?<![\w-])(?:set-)?cookies?2?\\*[\"']?\]?[ \t]{0,4}(?:=>|[:=,])[ \t]{0,4}\[?\\*[\"']?([^\r\n\"']{3,4096})",
    re.IGNORECASE,
)
_CRUMB = re.compile(r"([\w.$!#%&*+^|~-]{1,100})=([^;,\s\"'\\\]})]{4,4096})")
_CRUMB_ATTRIBUTES = ("path", "domain", "expires", "max-age", "samesite", "priority", "version")


def _cookies(text: str) -> Iterator[Span]:
    at = 0
    while match := _COOKIE.search(text, at):
        at = match.end()
        for crumb in _CRUMB.finditer(text, *match.span(1)):
            is_hidden = PLACEHOLDER.match(text, crumb.start(2)) or is_no_value(crumb[2])
            if crumb[1].lower() not in _CRUMB_ATTRIBUTES and not is_hidden:
                yield *crumb.span(2), COOKIE


_SCHEME_END = re.compile(r"(?<=[A-Za-z0-9])://")
_AUTHORITY = re.compile(r"[^\s\"'<>`]{1,1024}")
_ORACLE = re.compile(r"jdbc:oracle:\w{2,10}:[^\s/@:]{1,100}/([^\s@]{1,200})@")


def _url_passwords(text: str) -> Iterator[Span]:
    """Between the colon and the @ of an address; a password may hold what ought to be encoded."""
    for match in _ORACLE.finditer(text):
        yield *match.span(1), PASSWORD
    at = 0
    while scheme := _SCHEME_END.search(text, at):
        at = scheme.end()
        run = _matched(_AUTHORITY, text, at, len(text))
        inside = re.split(r"[/?#]", run, maxsplit=1)[0]
        is_web = text[max(0, scheme.start() - 5) : scheme.start()].lower().endswith(("http", "https"))
        after_colon = inside.partition(":")[2]
        if is_web and "@" in inside:
            run = inside
        elif not is_web and "@" in run.partition("?")[0]:
            run = run.partition("?")[0]
        elif "@" not in run or not after_colon or after_colon.isdigit():
            continue
        user, colon, password = run.rpartition("@")[0].partition(":")
        start = at + len(user) + len(colon)
        if password and not PLACEHOLDER.fullmatch(password) and not _CODE.match(password):
            yield start, start + len(password), PASSWORD
            at = start + len(password)
        elif not colon and _is_telling(user):
            yield at, at + len(user), TOKEN


# --- personal data ------------------------------------------------------------------------------------------------

_MAIL = re.compile(
    r"(?<![\w.%+-])([\w.%+-]++)@((?:(?:[^\W_]|-){1,63}\.){1,8}(?:[^\W\d_]{2,24}|xn--[a-z0-9]{2,59}))(?![\w-]|\.\w|:\d|[(/])"
)
_FILE_ENDINGS = frozenset(
    re.findall(
        r"\w+",
        "js mjs cjs ts jsx tsx css scss less html json jar war so dll exe tgz gz zip py rb go rs java kt lock md png jpg jpeg gif svg webp ico"
        " mp4 pdf txt log csv xml yml yaml map wasm vue internal",
    )
)


def _mails(text: str) -> Iterator[Span]:
    for match in _MAIL.finditer(text):
        user, domain = match[1], match[2]
        is_version = bool(re.match(r"v?\d+\.\d", domain))
        if user == "git" or is_version or domain.rpartition(".")[2].lower() in _FILE_ENDINGS:
            continue
        yield *match.span(), EMAIL


_CARD = re.compile(
    r"(?<![\w.\-/+])(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}|3[47]\d{2}([ -])\d{6}\2\d{5}|3[068]\d{2}([ -])\d{6}\3\d{4}|\d{14,16})"
    r"(?![\w\-/+]|\.\d)"
)
_CARD_PREFIX = re.compile(
    r"4\d{15}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}"
    r"|(?:6011|65\d\d|64[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14}"
)
_COUNTER_NAME = re.compile(
    r"(?:id|ids|count|bytes|offset|sequence|seq|time|timestamp|ts|version|span|trace)[\"')]?[ \t]{0,3}[=:#][ \t]{0,3}[\"'(]?$",
    re.IGNORECASE,
)


_CARD_NAME = re.compile(r"card|credit|debit|\bpan\b", re.IGNORECASE)


def _cards(text: str) -> Iterator[Span]:
    for match in _CARD.finditer(text):
        digits = match[0].replace(" ", "").replace("-", "")
        if not _CARD_PREFIX.fullmatch(digits) or not _luhn(digits) or len(set(digits)) < 2:
            continue
        is_grouped = digits != match[0]
        before = text[max(0, match.start() - 24) : match.start()]
        if is_grouped or not _COUNTER_NAME.search(before) or _CARD_NAME.search(before):
            yield *match.span(), CARD


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[A-Z0-9]{11,30}|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,4})?)(?![A-Za-z0-9])"
)
# In small letters only where it is called one: a part of a hash may look like one.
_IBAN_NAMED = re.compile(r"(?<=iban)[\"']?[ \t]{0,3}[=:]?[ \t]{0,3}[\"']?([a-z]{2}\d{2}[a-z0-9]{11,30})(?![A-Za-z0-9])")
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "BR": 29, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18,
    "EE": 20, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GI": 23, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23,
    "IS": 26, "IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28,
    "PT": 25, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "TR": 26, "UA": 29,
}  # fmt: skip


def _ibans(text: str) -> Iterator[Span]:
    for match in _IBAN_NAMED.finditer(text):
        if len(match[1]) == _IBAN_LENGTHS.get(match[1][:2].upper()):
            yield *match.span(1), IBAN
    for match in _IBAN.finditer(text):
        plain = match[0].replace(" ", "")
        length = _IBAN_LENGTHS.get(plain[:2], 0)
        # The last group may be a word that only follows.
        while " " in match[0] and len(plain) > length > 0 and len(plain) - length <= 4:
            plain = plain[:length]
        if len(plain) != length:
            continue
        number = "".join(str(int(c, 36)) for c in plain[4:] + plain[:4])
        if int(number) % 97 == 1:
            end = match.start()
            left = length
            while left:
                left -= text[end] != " "
                end += 1
            yield match.start(), end, IBAN


_SSN = re.compile(r"(?<![\w.\-/+])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w\-/+]|\.\d)")
_PHONE = re.compile(
    r"(?<![\w.+\-/])\+[1-9]\d{0,2}(?:[ .-]?\(?\d{1,4}\)?(?:[ .-]\d{2,4}){2,4}|\d{8,11})(?![\w\-/]|\.\d)"
    r"|(?<![\w.+\-/(])\([2-9]\d{2}\) ?[2-9]\d{2}-\d{4}(?![\w\-/]|\.\d)"
)
_PHONE_NAMED = re.compile(
    r"\b(?:phone|mobile|tel|telephone|cell|msisdn|whatsapp|sms|fax)(?:[_ -]?(?:number|no|nr))?\\*[\"']?[ \t]{0,3}[=:][ \t]{0,3}\\*[\"']?"
    r"(\+?\(?\d[\d ().-]{6,18}\d)(?![\w])",
    re.IGNORECASE,
)


def _people(text: str) -> Iterator[Span]:
    for match in _SSN.finditer(text):
        yield *match.span(), SSN
    for match in _PHONE.finditer(text):
        # Long ones without blanks are numbers of something else.
        if 9 <= sum(c.isdigit() for c in match[0]) <= (12 if match[0][1:].isdigit() else 15):
            yield *match.span(), PHONE
    for match in _PHONE_NAMED.finditer(text):
        yield *match.span(1), PHONE


_IPV4 = re.compile(r"(?<![\w.\-])(?:\d{1,3}\.){3}\d{1,3}(?![\w\-]|\.\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f:]{0,39}\d)[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\.\d{1,3}){0,3}(?![\w:])"
)


def _addresses(text: str) -> Iterator[Span]:
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            try:
                ipaddress.ip_address(match[0])
            except ValueError:
                continue
            yield *match.span(), IP
