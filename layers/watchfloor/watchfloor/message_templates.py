"""Messages without what changes from one occurrence to the next, so that the same problem reads the same.

Masking is stateless: a message gives the same template wherever and whenever it is read. Words of the program (the
missing module, the undefined function, an error code, a constraint's name) are kept, because they tell problems apart.
"""

from __future__ import annotations

import re
from functools import lru_cache

from watchfloor.named_things import EDGES, is_thing, names_a_thing, reads_as_english
from watchfloor.proper_names import names_more, names_place, names_somebody

MAX_TEMPLATE = 2_000
_MAX_WORDS = 60
MASK = "*"

_KEEP_OPEN, _KEEP_CLOSE = "\ue000", "\ue001"

# Quoted or bare, these are names out of the program or its schema: `(before)(name)(after)`.
_SYMBOLS = [
    re.compile(pattern)
    for pattern in (
        r"(No module named ['\"]?)([\w.]{1,120})(['\"]?)",
        r"(Unable to import module ['\"])([\w./]{1,120})(['\"])",
        r"(cannot import name ['\"])(\w{1,80})(['\"])",
        r"(Cannot find (?:module|package) ['\"])([^'\"\s]{1,160})(['\"])",
        r"(has no attribute ['\"])(\w{1,80})(['\"])",
        r"(['\"])(NoneType|\w{1,60})(['\"] object (?:has no|is not|does not|cannot))",
        r"(module ['\"])([\w.]{1,100})(['\"] has no)",
        r"(name ['\"])(\w{1,80})(['\"] is not defined)",
        r"(local variable ['\"])(\w{1,80})(['\"])",
        r"(unexpected keyword argument ['\"])(\w{1,80})(['\"])",
        r"(required positional arguments?: ['\"])(\w{1,80})(['\"])",
        r"(\((?:reading|setting) ['\"])([A-Za-z_$][\w$]{0,80})(['\"]\))",
        r"(Cannot (?:read|set) property ['\"])([A-Za-z_$][\w$]{0,80})(['\"])",
        r"(undefined (?:local variable or )?method [`'])([\w?!=\[\]]{1,80})(')",
        r"(uninitialized constant )([\w:]{1,120})()",
        r"(Cannot invoke \")([\w.$()\[\], ]{1,160})(\")",
        r"(because \"(?:the return value of \\?\")?)([\w.$()<>\[\], ]{1,160})(\\?\" is null)",
        (
            r"((?:relation|column|constraint|table|function|index|type|schema|sequence|foreign key constraint|"
            r"unique constraint|check constraint|role) [\"'`])([A-Za-z_][\w.]{0,100})([\"'`])"
        ),
        r"(\b(?:column|function|type|schema) )([A-Za-z_][\w.]{0,100})((?:\([^()]{0,200}\))? does not exist)",
        r"((?i:no such (?:table|column): |invalid (?:column|object) name '))([A-Za-z_][\w.]{0,100})()",
        r"(\bindex: )([A-Za-z_][\w.\-]{0,100})( dup key)",
        r"((?i:on the (?:fields?|constraint): ?\(?`))([A-Za-z_]\w{0,100})([^`]{0,20}`)",
        # The kind of record that an ORM did not find.
        r"((?:Couldn't|Unable to|Could not) find (?:all )?)([A-Z]\w{0,80}|[a-z][\w.$]{0,160}\.[A-Z][\w$]{0,80})( with\b)",
        r"(^|\s)([A-Z]\w{0,80})( matching query does not exist)",
        r"((?:for model|at path|resolve placeholder) [\"'])([A-Za-z_][\w.\-]{0,100})([\"'])",
        r"(No query results for model \[)([\w\\]{1,160})(\])",
        r"(\bconfig property )([A-Za-z][\w.\-]{0,100})( is required)",
        r"(key not found: )(:[a-z_]\w{0,60})(\b)",
        r"((?i:table|column|for key|field|constraint|foreign key|parameter|argument) ['\"`])([A-Za-z_][\w.]{0,100})(['\"`])",
        r"([\"'])([A-Za-z_][\w.]{0,80})([\"'] (?:is (?:required|missing|not allowed|not set)|must (?:be|have|contain)\b))",
        (
            r"((?i:unknown|unsupported|unrecogni[sz]ed|unexpected|invalid|missing|required) (?:config(?:uration)? )?"
            r"(?:key|option|argument|parameter|property|setting|attribute|header|(?:environment|env) var(?:iable)?) "
            r"[\"'`])([A-Za-z_][\w.\-]{0,80})([\"'`])"
        ),
        r"((?i:result|reason|state|status|cause) ['\"`])([A-Za-z][\w.\-]{1,60})(['\"`])",
        # A method of gRPC.
        r"((?<![\w/])/)((?:[a-z]\w{0,40}\.){1,6}[A-Z]\w{0,60}/[A-Z]\w{0,60})(\b)",
        r"(\(Parameter ')(\w{1,60})('\))",
        r"(Parameter name: )(\w{1,60})()",
        r"(Method not found: ['\"])([^'\"]{1,160})(['\"])",
        r"(Could not load file or assembly ['\"])([\w.]{1,100})()",
        r"(Undefined (?:index|array key|variable|property):? [\"'$]?)([A-Za-z_]\w{0,80})(\b)",
        r"(Call to (?:a member function|undefined (?:method|function)) )([\w\\:>-]{1,120})(\b)",
        r"(when calling the )([A-Z]\w{1,60})( operation)",
        r"(An error occurred \()([A-Z][\w.]{1,80})(\))",
    )
]
# Codes that somebody looks up: kept with their digits.
_CODES = re.compile(
    r"\b(?:ORA-\d{5}|SQLSTATE\[?\s?[:=]?\s?[0-9A-Z]{5}|SQLSTATE\[\w{5}\]|SP2-\d{4}|DB2-\d{4}|E1[10]\d{3}\b|"
    r"errno[ =:]\s?-?\d{1,4}|Errno -?\d{1,4}|"
    r"exit(?:ed)?(?: with)?(?: code| status)?[ =:]{1,2}\d{1,3}(?=[\s,;:.)\]\"']|$)|"
    r"(?:status code|response code|status|HTTP(?:/\d(?:\.\d)?| Error)?|returned|(?:responded|answered|replied)(?: with)?|"
    r"http_status)[ =:]{1,2}\"?[1-5]\d\d(?=[\s,;:.)\]\"']|$)|"
    r"(?:error|err|return|result|exit) ?code[ =:]{1,2}\"?-?\d{1,6}(?=[\s,;:.)\]\"']|$)|"
    r"(?:with|reason|result|response|decline|answer) code \d{1,5}(?=[\s,;:.)\]\"']|$)|"
    r"(?:with|error|reason|result|response|return|status|fault|reject|rejection|decline) code[ =:]{1,2}\"?"
    r"(?=[A-Z_.\-]{0,20}\d)[A-Z][A-Z\d]{0,12}(?:[_.\-][A-Z\d]{1,12}){0,4}(?=[\s,;:.)\]\"']|$)|"
    r"(?:with|returned|got|answered|reported) error \d{1,5}(?=[\s,;:.)\]\"']|$)|"
    r"\berror, data [0-9a-f]{3,8}(?=,)|reason:? \d{1,5}(?=[\s,;:.)\]\"']|$)|"
    r"code[=:] ?\"?\d{1,5}(?=[\s,;:.)\]\"']|$)|"
    r"signal:? ?(?:[1-5]?\d|6[0-4])(?!\w)|[45]\d\d (?:Client Error|Server Error|Bad Gateway|Service Unavailable|Internal Server Error|"
    r"Gateway Time-?out|Too Many Requests|Not Found|Forbidden|Unauthorized|Bad Request)|"
    r"0x8[0-9A-Fa-f]{7}|(?:ERROR|Error) \d{4} \([0-9A-Z]{5}\)|(?:CS|TS|PLS-|PG|MY)\d{4,5})|(?<!\w)\(\d{4}, "
)
_DIGIT_WORDS_TEXT = """
    s3 ec2 r53 route53 utf8 utf-8 utf-16 latin1 iso-8859-1 ipv4 ipv6 http2 http/1.1 http/2 http1 http3 x509 x.509 sha1
    sha256 sha512 md5 base64 oauth2 k8s i18n l10n log4j h2 p12 tls1.2 tls1.3 tlsv1 tlsv1.2 tlsv1.3 mp3 mp4 gpt4 int32
    int64 int16 int8 uint8 uint32 uint64 float32 float64 python3 psycopg2 urllib3 boto3 web3 d3 neo4j db2 oauth1
    sigv4 pkcs1 pkcs8 pkcs12 ssl3 pop3 imap4 smtp5 win32 x86 x64 x86_64 arm64 amd64 hex64
    """
_DIGIT_WORDS = frozenset(_DIGIT_WORDS_TEXT.split())

_PAYLOADS = re.compile(
    r"\[SQL: .*|\[parameters: .*|\(Background on this error at: .*|\bSTATEMENT:  .*|; nested exception is .*|"
    r" at character \d{1,7}\b|\b(?:Request ?ID|RequestId|HostId|Extended Request ID|Proxy): [^;,)]{1,200}",
    re.IGNORECASE,
)
_URL = re.compile(r"\b[a-z][a-z0-9+.\-]{1,20}://[^\s\"'<>\\^`{|}\]),;]{1,1000}", re.IGNORECASE)
_MAIL = re.compile(r"[\w.+\-]{1,64}@[\w\-]{1,63}(?:\.[\w\-]{1,63}){1,6}")
# "login of ann (ann@example.com)": whose the address is.
_MAIL_OF = re.compile(rf"(\b(?:of|for|by|from|to) )[\w.\-]{{2,60}}(?= [(<]{_MAIL.pattern}[)>])")
_ARN = re.compile(r"\barn:aws[\w\-]{0,10}:[^\s\"',;)\]]{1,400}")
_UUID = re.compile(
    r"\b[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}\b",
)
_STAMP = re.compile(
    r"\b\d{4}[-/.]\d\d[-/.]\d\d(?:[T ,]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?)?(?:\s?(?:Z\b|UTC|GMT|[+-]\d\d:?\d\d))?|"
    r"\b\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?\b|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? (?:\d{1,2} )?[A-Z][a-z]{2} "
    r"(?:\d{1,2} |\d{4} ){0,2}\d\d:\d\d:\d\d(?: \w{3,5})?(?: \d{4})?"
)
_IPV6 = re.compile(
    r"(?<![\w:.])\[?(?=[0-9a-fA-F:]{0,8}:)[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){3,8}(?:%\w{1,10})?\]?(?::\d{1,5})?(?!["
    r"\w:])"
)
_HEX = re.compile(
    r"\b0x[0-9a-fA-F]{1,32}\b|(?<!\w)(?=[0-9a-fA-F]{0,40}\d)(?=[0-9a-fA-F]{0,40}[a-fA-F])[0-9a-fA-F]{7,128}(?!\w)"
)
_OBJECT = re.compile(r"\{[^{}]{0,1500}\}")
_LIST = re.compile(r"\[[^\[\]]{0,1500}\]")
_NAME_IN_BRACKETS = re.compile(r"\[[A-Za-z_ .]{1,60}\]")
_DOUBLE = re.compile(r"([\w.]{1,40}=)?\\?\"((?:[^\"\\]|\\[^\"]){0,1500})\\?\"|“([^”]{0,800})”|«([^»]{0,800})»")
_SINGLE = re.compile(r"(?<!\w)'((?:[^'\n]|(?<=\w)'(?=\w)){0,800})'(?!\w)|`([^`'\n]{0,800})[`']|‘([^’]{0,800})’")
_PROSE_KEYS = ("err=", "error=", "msg=", "message=", "reason=", "cause=", "detail=", "exception=", "desc=")
_PROSE = re.compile(r"(?:[A-Za-z][\w'\-]*[,;:.]? ){2}.*[A-Za-z]{2}", re.DOTALL)
_SAYS_FAILURE = re.compile(
    r"\b(?:error|fail|failed|failure|cannot|could not|unable|refused|denied|timed out|timeout|not found|invalid|"
    r"expired|"
    r"exceeded|closed|unavailable|must|missing|already|does not|no such|unexpected|not)\b",
    re.IGNORECASE,
)
_WINDOWS = re.compile(r"(?<!\w)(?:[A-Za-z]:\\|\\\\)[^\s\"'<>|,;()]{1,400}")
_PATH = re.compile(
    # "nas:/export/scans", on another host.
    r"(?<![\w/*:.\-])[a-z][\w.\-]{1,80}:/[\w.@%+=,*\-]{1,200}(?:/[\w.@%+=:,*\-]{0,200}){1,40}|"
    r"(?<![\w*:])(?:~|\.{1,2})?/[\w.@%+=:,*\-]{1,200}(?:/[\w.@%+=:,*\-]{0,200}){0,40}|"
    r"(?<![\w/])[\w.\-]{1,80}(?:/[\w.@%+=\-]{1,120}){2,40}"
)
_PAIR = re.compile(r"\b([A-Za-z_][\w.\-]{0,60})=([^\s,;()\[\]{}<>\"']{1,300})")
# What a pool or a logger adds in brackets once and leaves out another time.
_FIGURES = re.compile(rf"(?<=\w)[.,]?\s?\((?:[\w.\-]{{1,60}}={re.escape(MASK)}[,;]?\s?){{1,20}}\)[.\s]{{0,4}}$")
_KEPT_PAIRS_WORDS = """
    code error err type op operation reason method errno status statuscode status_code errorcode error_code exception
    kind state grpc_code cause desc controller action
    """
_KEPT_PAIRS = frozenset(_KEPT_PAIRS_WORDS.split())
_NAME = re.compile(r"[A-Za-z_.]{1,60}|[A-Z]{1,6}-?\d{1,5}")
_BASE64 = re.compile(
    r"(?<![\w+/=])(?=[A-Za-z0-9+/_\-]{0,300}\d)(?=[A-Za-z0-9+/_\-]{0,300}[A-Z])(?=[A-Za-z0-9+/_\-]{0,300}[a-z])"
    r"[A-Za-z0-9+/_\-]{20,2000}={0,2}(?![\w+/=])"
)
_HOST = re.compile(
    r"(?:[a-z0-9*](?:[a-z0-9\-*]{0,62})\.){1,8}(?:com|net|org|io|local|internal|example|test|dev|cloud|corp|lan|home|"
    r"svc|aws|de|uk|eu|fr|co|us|info|biz|amazonaws|localdomain|invalid|ai|gov|edu)(?::[\d*]{1,5})?"
)
_UNITS_WORDS = """
    ms s sec secs second seconds minute minutes min mins hour hours h day days d kb mb gb tb kib mib gib byte bytes b
    milliseconds millis µs us ns % percent times
    """
_UNITS = frozenset(_UNITS_WORDS.split())
_MONTHS_WORDS = """
    jan feb mar apr may jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun am pm utc gmt
    """
_MONTHS = frozenset(_MONTHS_WORDS.split())
# user:ann:profile; hall-b, partner-a; SHIRT-M-BLUE; EUR, EUR/USD.
_NUMBERED = re.compile(
    r"[A-Z]{1,20}(?:-[A-Z]{1,20}){2,6}|[A-Z]{3}-[A-Z]{3}|"
    r"[\w.\-]{1,80}(?::[\w.\-]{1,80}){2,10}|[A-Za-z]{2,40}[-_][A-Za-z]|(?:[A-Z]{3}/)?(?:EUR|USD|GBP|CHF|JPY|CNY|INR|"
    r"AUD|CAD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|TRY|KRW|SGD|HKD|NZD)(?:/[A-Z]{3})?"
)
_DATA_FILE = re.compile(
    r"[^\s/\\]{1,120}\.(?:zip|t?gz|tar|bz2|7z|csv|tsv|xlsx?|docx?|pptx?|pdf|png|jpe?g|gif|svg|webp|heic|mp[34]|mov|"
    r"avi|wav|txt|ttf|otf|woff2?|"
    r"log|jsonl?|ndjson|xml|parquet|avro|orc|bak|dump|tmp|lock|pid|eml|ics)",
    re.IGNORECASE,
)
_SPACED_FILE = re.compile(
    r"(?<![\w.])((?:document|file|attachment|upload|of) )?([a-z]{3,40}) (\d{1,12}\.[a-z][a-z0-9]{1,4})\b"
)
# "tasks.monthly[<id>]", "load(<value>)": the name of what was done, with its value.
_CALLED = re.compile(r"([A-Za-z_][A-Za-z_.]{2,100})(?:[\[(][^\])]{0,200}[\])]?|\*)$")
_ROMAN = re.compile(r"[IVX]{1,4}")
_UNEXPECTED = re.compile(r"(?i)\b(unexpected (?:token|character|byte))s? \S{1,20}")
_OPENING = "([{<\"'`"
_LETTERS = re.compile(r"[A-Za-z]")


def first_line(message: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in message.split("\n") if _LETTERS.search(line)), message.strip())


@lru_cache(maxsize=2_048)
def template(message: str) -> str:
    """What stays the same of a message: numbers, ids, times, names of things and quoted values become `*`."""
    line = first_line(message)[:MAX_TEMPLATE].replace(_KEEP_OPEN, "").replace(_KEEP_CLOSE, "")
    kept: list[str] = []
    text = _UNEXPECTED.sub(rf"\1 {MASK}", _PAYLOADS.sub(" ", _kept(line, kept)))
    text = _MAIL_OF.sub(rf"\1{MASK}", text)
    for pattern in (_URL, _ARN, _MAIL, _UUID, _STAMP):
        text = pattern.sub(MASK, text)
    text = _SINGLE.sub(_quoted, _DOUBLE.sub(_quoted, text))
    text = _OBJECT.sub(_unless_kept, _OBJECT.sub(_unless_kept, text))
    text = _LIST.sub(_list, text)
    for pattern in (_IPV6, _WINDOWS, _PATH, _BASE64, _HEX):
        text = pattern.sub(_unless_kept, text)
    text = _PAIR.sub(_pair, text)
    text = _FIGURES.sub("", text)
    text = _SPACED_FILE.sub(_spaced, text)
    words = _words(text)
    shown = " ".join(words[:_MAX_WORDS])
    shown = _KEPT.sub(lambda match: kept[_number(match[1])].lower(), shown)
    if _LETTERS.search(shown):
        return shown
    # Nothing but a value: a name out of the program says more than nothing ("KeyError: 'user_id'").
    bare = line.strip(EDGES + " ")
    return bare if _IDENTIFIER.fullmatch(bare) else shown


_KEPT = re.compile(rf"{_KEEP_OPEN}([a-z]{{2}}){_KEEP_CLOSE}")
_IDENTIFIER = re.compile(r"[a-z_]{2,60}|[a-z]+(?:[A-Z][a-z]+)+")


def _words(text: str) -> list[str]:
    words: list[str] = []
    entity, is_named = "", False
    tokens = text.split()
    for index, token in enumerate(tokens):
        core = token.strip(EDGES + "-–=*") if MASK not in token else token.strip(EDGES)
        if not core:
            word = MASK if MASK in token else ""
        elif _KEEP_OPEN in token:
            word = token.strip(EDGES)
        else:
            word = _word(core, token)
        lower = word.lower()
        following = tokens[index + 1] if index + 1 < len(tokens) else ""
        # In A Title every word has a capital.
        before = words[-1] if words and not tokens[index - 1][:1].isupper() else ""
        further_before = words[-2] if len(words) > 1 else ""
        if word == MASK:
            # "Main Street 5 Springfield".
            is_named = is_named and not tokens[index - 1].endswith((",", ";", ":"))
        elif not word or _KEEP_OPEN in word:
            is_named = False
        elif is_named and (names_more(word) or _ROMAN.fullmatch(word)):
            word = lower = MASK
        else:
            is_named = (
                bool(entity and names_a_thing(entity, word, token, following, further_before))
                or names_somebody(word, before, further_before)
                or names_place(word, before)
            )
            word, lower = (MASK, MASK) if is_named else (word, lower)
        entity = token.strip(_OPENING) if is_thing(lower) and not token.endswith((",", ".", ";", ")")) else ""
        if words and words[-1] == MASK and (word == MASK or lower in _UNITS or lower in _MONTHS):
            # "12 ms", "3 Nov" and a list of values read as one value.
            continue
        if MASK in words[-2:] and word != MASK:
            lower = _singular(lower)
        elif word == MASK and words and words[-1] in _MONTHS:
            words.pop()
        if lower:
            words.append(lower)
    return words


def _singular(word: str) -> str:
    # "2 errors" read as "1 error".
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _word(core: str, token: str) -> str:
    lower = core.lower()
    if lower in _DIGIT_WORDS:
        return core
    key, equals, value = core.partition("=")
    if equals and key and not any(character.isdigit() for character in key):
        return core if value and not any(character.isdigit() for character in value) else f"{key}={MASK}"
    called = _CALLED.match(core)
    if called:
        return called[1]
    if MASK in core or any(character.isdigit() for character in core):
        return MASK
    if _HOST.fullmatch(lower) or _DATA_FILE.fullmatch(core) or _NUMBERED.fullmatch(core):
        return MASK
    if core == "/":
        # The root of the file system, one path of many.
        return MASK
    if len(core) == 1:
        return core if lower in ("a", "i") else MASK if core.isalpha() else ""
    if token[:1] == "(" and token.rstrip(".,:;")[-1:] == ")" and ("-" in core or "." in core):
        return MASK
    # Rulers and arrows say nothing.
    return core if any(character.isalpha() for character in core) else ""


def symbols(message: str) -> list[str]:
    """The words of the program and the codes in a message: what tells two problems of one place apart."""
    kept: list[str] = []
    _kept(first_line(message)[:MAX_TEMPLATE], kept)
    return sorted({" ".join(word.split()).strip(" ,()").lower() for word in kept})


def _name(number: int) -> str:
    # Letters only: digits would be masked.
    return chr(97 + number // 26 % 26) + chr(97 + number % 26)


def _number(name: str) -> int:
    return (ord(name[0]) - 97) * 26 + ord(name[1]) - 97


def _kept(text: str, kept: list[str]) -> str:
    def keep(word: str) -> str:
        kept.append(word)
        return f"{_KEEP_OPEN}{_name(len(kept) - 1)}{_KEEP_CLOSE}"

    def symbol(match: re.Match[str]) -> str:
        if _KEEP_OPEN in match[0] or len(kept) >= _MAX_KEPT or _UNNAMED.search(match[2]):
            return match[0]
        return f"{match[1].rstrip(_QUOTES)} {keep(_PERIOD.sub(f'_{MASK}', match[2]))} {match[3].lstrip(_QUOTES)}"

    for pattern in _SYMBOLS:
        text = pattern.sub(symbol, text)
    return _CODES.sub(lambda match: keep(match[0]) if len(kept) < _MAX_KEPT else match[0], text)


_QUOTES = "'\"`\\"
_MAX_KEPT = 100
# "invoices_2026_03", "moves_202601", "log_y2026m03_pkey": a table of one period, of which there is one after another.
_PERIOD = re.compile(
    r"(?<=[A-Za-z])(?:_?[py]?(?:19|20)\d\d(?:_?[mwqd]?\d{1,2}){1,3}|_[py]?(?:19|20)\d\d)(?=_[a-z]|\.|$)"
)
# The compiler's number for a variable changes with the build.
_UNNAMED = re.compile(r"<local\d|\[\d")


def _quoted(match: re.Match[str]) -> str:
    key = match[1] or "" if match.re is _DOUBLE else ""
    inner = next((group for group in match.groups()[1 if match.re is _DOUBLE else 0 :] if group is not None), "")
    if _KEEP_OPEN in inner:
        return f"{key} {inner} "
    # A whole sentence in quotes is what somebody else said about the failure, not a value.
    if _PROSE.match(inner) and (key.lower() in _PROSE_KEYS or _SAYS_FAILURE.search(inner) or match.start() == 0):
        return f"{key} {inner} " if key else f" {inner} "
    return f"{key}{MASK}"


def _unless_kept(match: re.Match[str]) -> str:
    return match[0] if _KEEP_OPEN in match[0] else MASK


def _list(match: re.Match[str]) -> str:
    # "[ServiceName] went away" is a name in brackets; a list of values is not.
    return match[0] if _NAME_IN_BRACKETS.fullmatch(match[0]) or _KEEP_OPEN in match[0] else MASK


def _spaced(match: re.Match[str]) -> str:
    # "lease 452.pdf" is one name, "writing 452.pdf" not.
    before, word, file = match.groups()
    is_word = not before and reads_as_english(word)
    return match[0] if is_word or not _DATA_FILE.fullmatch(file) else f"{before or ''}{MASK}"


def _pair(match: re.Match[str]) -> str:
    key, value = match[1], match[2]
    if key.lower() in _KEPT_PAIRS and _NAME.fullmatch(value) or _KEEP_OPEN in value:
        return match[0]
    return f"{key}={MASK}"
