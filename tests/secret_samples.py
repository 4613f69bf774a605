"""Log lines with secrets planted in them, and ordinary ones that look dangerous. Made anew from a seed.

Nothing in here is a secret, and none is written out: they are put together from random characters when a test runs.
"""

import base64
import json
import random
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
BASE64 = ALNUM + "+/"
BASE64URL = ALNUM + "-_"
WORDS = [
    "orders",
    "billing",
    "invoice",
    "customer",
    "payment",
    "ledger",
    "stock",
    "shipment",
    "basket",
    "gateway",
    "search",
    "profile",
]
HOSTS = ("db.internal", "redis-01", "mq.example.com", "10.0.12.7", "cluster.abc123.eu-west-1.rds.amazonaws.com")


@dataclass(frozen=True)
class Planted:
    """A line, and what must not be in it afterwards."""

    kind: str
    secret: str
    line: str


class Maker:
    """Random values of one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def chars(self, alphabet: str, count: int) -> str:
        """Random characters, digits and letters among them."""
        body = "".join(self.random.choice(alphabet) for _ in range(count - 2))
        return f"{self.random.choice(alphabet[:6])}{body}{self.random.choice('23456789')}"

    def pick(self, *values):
        return self.random.choice(values)

    def word(self) -> str:
        return self.random.choice(WORDS)

    def password(self) -> str:
        start = self.pick("Summer", "tiger", "Passw0rd", "qwErty", "correct-horse", "Zx", "letmein")
        return start + self.pick("", "!", "#", "$", "_", "-", "*") + self.chars(ALNUM, self.random.randint(4, 12))

    # --- secrets by kind

    def aws_access_key(self) -> str:
        return (
            self.pick("AK", "AS")
            + "IA"
            + "".join(self.random.choice(string.ascii_uppercase + "234567") for _ in range(16))
        )

    def jwt(self) -> str:
        parts = [json.dumps({"alg": "HS256", "typ": "JWT"}), json.dumps({"sub": self.word(), "iat": 1_790_000_000})]
        encoded = [base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts]
        return ".".join([*encoded, self.chars(BASE64URL, 43)])

    def private_key(self) -> str:
        lines = [self.chars(BASE64, 64) for _ in range(self.random.randint(3, 14))]
        name = self.pick("RSA ", "EC ", "OPENSSH ", "")
        return "\n".join([f"-----BEGIN {name}PRIVATE" + " KEY-----", *lines, f"-----END {name}PRIVATE" + " KEY-----"])

    def card(self) -> str:
        prefix = self.pick("4", "51", "55", "2221", "6011", "35" + "28", "37")
        length = 15 if prefix == "37" else 16
        digits = prefix + "".join(self.random.choice(string.digits) for _ in range(length - 1 - len(prefix)))
        total = sum(sum(divmod(int(digit) * (2 - place % 2), 10)) for place, digit in enumerate(reversed(digits)))
        digits += str(-total % 10)
        separator = self.pick("", " ", "-")
        if length == 15:
            return separator.join((digits[:4], digits[4:10], digits[10:]))
        return separator.join(digits[at : at + 4] for at in range(0, 16, 4))

    def iban(self) -> str:
        country, length = self.pick(("DE", 22), ("GB", 22), ("FR", 27), ("NL", 18), ("ES", 24))
        body = "".join(self.random.choice(string.digits) for _ in range(length - 4))
        number = int("".join(str(int(c, 36)) for c in body + country + "00"))
        plain = f"{country}{98 - number % 97:02d}{body}"
        return plain if self.pick(True, False) else " ".join(plain[at : at + 4] for at in range(0, length, 4))

    def mail(self) -> str:
        return f"{self.word()}.{self.pick('ana', 'ben', 'chris')}{self.random.randint(1, 99)}@{self.word()}.{self.pick('com', 'co.uk', 'io', 'de')}"

    def ssn(self) -> str:
        return f"{self.random.randint(100, 665)}-{self.random.randint(10, 99)}-{self.random.randint(1000, 9999)}"


# What a vendor's token looks like; no name has to stand beside it.
TOKENS: dict[str, Callable[[Maker], str]] = {
    "aws access key": Maker.aws_access_key,
    "aws session token": lambda m: "IQoJb3Jp" + "Z2luX2Vj" + m.chars(BASE64, m.random.randint(200, 600)),
    "jwt": Maker.jwt,
    "github": lambda m: m.pick("ghp", "gho", "ghs", "ghu") + "_" + m.chars(ALNUM, 36),
    "github fine-grained": lambda m: "github" + "_pat_" + m.chars(ALNUM, 22) + "_" + m.chars(ALNUM, 59),
    "gitlab": lambda m: "glp" + "at-" + m.chars(BASE64URL, 20),
    "slack bot": lambda m: "xox" + f"{m.pick('b', 'p')}-{m.random.randint(10**10, 10**11)}-{m.chars(ALNUM, 24)}",
    "slack webhook": lambda m: f"https://hooks.slack.com/services/T{m.chars(string.ascii_uppercase, 8)}/B{m.chars(string.ascii_uppercase, 8)}/{m.chars(ALNUM, 24)}",
    "stripe": lambda m: m.pick("sk", "rk") + "_li" + "ve_" + m.chars(ALNUM, 24),
    "google": lambda m: "AI" + "za" + m.chars(BASE64URL, 35),
    "google oauth": lambda m: "ya29" + "." + m.chars(BASE64URL, 80),
    "twilio": lambda m: "S" + "K" + m.chars(HEX, 32),
    "sendgrid": lambda m: "SG" + "." + m.chars(BASE64URL, 22) + "." + m.chars(BASE64URL, 43),
    "npm": lambda m: "npm" + "_" + m.chars(ALNUM, 36),
    "pypi": lambda m: "py" + "pi-AgEIcHlwaS5vcmc" + m.chars(BASE64URL, 100),
    "openai": lambda m: "sk" + "-" + m.pick("proj-", "svcacct-", "") + m.chars(ALNUM, 48),
    "anthropic": lambda m: "sk" + "-ant-api03-" + m.chars(BASE64URL, 93) + "AA",
    "gitlab other": lambda m: m.pick("gl" + "rt-", "gl" + "dt-", "gl" + "ptt-") + m.chars(BASE64URL, 20),
    "telegram": lambda m: m.pick("", "bot") + f"{m.random.randint(10**9, 10**10 - 1)}:A" + "A" + m.chars(BASE64URL, 33),
    "docker": lambda m: "dckr" + "_pat_" + m.chars(ALNUM, 27),
    "terraform": lambda m: m.chars(ALNUM, 14) + ".atl" + "asv1." + m.chars(BASE64URL, 67),
    "figma": lambda m: "fi" + "gd_" + m.chars(ALNUM, 40),
    "airtable": lambda m: "pa" + "t" + m.chars(ALNUM, 14) + "." + m.chars(HEX, 64),
    "heroku": lambda m: "HR" + "KU-" + m.chars(ALNUM, 60),
    "crates.io": lambda m: "ci" + "o" + m.chars(ALNUM, 32),
    "vault": lambda m: "hv" + "s." + m.chars(BASE64URL, 90),
    "databricks": lambda m: "da" + "pi" + m.chars(HEX, 32),
    "shopify": lambda m: "shp" + "at_" + m.chars(HEX, 32),
    "digitalocean": lambda m: "dop" + "_v1_" + m.chars(HEX, 64),
    "hugging face": lambda m: "h" + "f_" + m.chars(ALNUM, 34),
    "atlassian": lambda m: "ATA" + "TT3xFfGF0" + m.chars(BASE64URL, 180),
    "mail address": Maker.mail,
    "mail address of another script": lambda m: f"{m.word()}{m.random.randint(1, 99)}@{m.pick('müller.de', 'почта.рф', 'café.example')}",
    "card": Maker.card,
    "iban": Maker.iban,
    "ssn": Maker.ssn,
}  # fmt: skip
# What only its name tells.
NAMED: dict[str, tuple[tuple[str, ...], Callable[[Maker], str]]] = {
    "password": (("password", "passwd", "DB_PASSWORD", "dbPassword", "spring.datasource.password", "pwd", "PGPASSWORD", "user_password"), Maker.password),
    "aws secret key": (("aws_secret_access_key", "SecretAccessKey", "AWS_SECRET_ACCESS_KEY", "secret_key"), lambda m: m.chars(BASE64, 40)),
    "api key": (("api_key", "apiKey", "X-Api-Key", "STRIPE_API_KEY", "api-key"), lambda m: m.chars(ALNUM, m.random.randint(20, 40))),
    "token": (("token", "access_token", "refreshToken", "GITLAB_TOKEN", "X-Auth-Token", "csrf_token"), lambda m: m.chars(BASE64URL, m.random.randint(16, 60))),
    "client secret": (("client_secret", "clientSecret", "OAUTH_CLIENT_SECRET", "secret"), lambda m: m.chars(ALNUM + "~-_", 34)),
    "session id": (("session_id", "JSESSIONID", "sessionId", "PHPSESSID"), lambda m: m.chars(HEX, 32)),
    "twilio auth token": (("TWILIO_AUTH_TOKEN", "authToken"), lambda m: m.chars(HEX, 32)),
}  # fmt: skip
# Lines around a value with a name: {n} name, {v} value.
ASSIGNMENTS = (
    "{n}={v}", "{n}: {v}", '{n}="{v}"', "{n} = '{v}'", "env {n}={v} PATH=/usr/bin", "--{n}={v} --verbose",
    "2026-11-20T10:15:00Z ERROR config {{{n}={v}, region=eu-west-1}}", "Settings({n}={v}, timeout=30)", "'{n}': '{v}', 'port': 5432",
    ":{n}=>\"{v}\", :port=>5432", "set {n}={v};", "    at com.acme.Client.<init>(Client.java:12) [{n}={v}]", "<{n}>{v}</{n}>",
    "level=info msg=starting {n}={v} attempt=3", "export {n}={v}",
)  # fmt: skip
# Lines around a token: {v}.
PLACES = (
    "using {v} for the call", "Caused by: java.io.IOException: 401 for {v} at com.acme.Api.call(Api.java:88)", "[{v}]", "({v})", "'{v}'",
    "GET /v1/orders?cursor=1&x={v}&page=2 HTTP/1.1", "INFO {v}", "{v}", "value <{v}> rejected", "error: {v}: not accepted", "a,{v},b", "key:{v};",
)  # fmt: skip


# Lines around a password that has no sign before it, or one of its own kind: {v}.
SAID = (
    "+ curl -uadmin:{v} http://search:9200/_cat", "Command '['mysql', '-u', 'root', '-p{v}', 'shop']' returned non-zero exit status 1.",
    "docker login -u ci -p {v} registry.example.com", "Command '['deploy', '--token', '{v}', 'run']' returned 2", "sqlplus system/{v}@ORCL",
    "Settings(db_user='app', db_password=SecretStr('{v}'), debug=False)", "password: >{v}<", "password: |\n  {v}\nuser: app",
    "- name: DB_PASSWORD\n  value: {v}", "{{name: API_TOKEN, value: {v}}}", '<wsse:Password Type="x#PasswordText">{v}</wsse:Password>',
    "#0 /app/db.php(12): PDO->__construct('mysql:host=db', 'root', '{v}')", "contraseña={v}", "cred={v}",
    "Login failed for user 'bob' with password '{v}'", "java.naming.security.credentials={v}, java.naming.provider.url=ldap://x",
    "INSERT INTO users (name, password) VALUES ('bob', '{v}')", "-Djavax.net.ssl.keyStorePassword={v} -jar app.jar", "machine h login bob password {v}",
)  # fmt: skip
# Lines around a token of no form of its own: {v}.
HEADERS = (
    "Authorization: GenieKey {v}", "Authorization: SSWS {v}", "> authorization: Token token={v}", "'Authorization': 'ApiKey {v}'",
    'Proxy-Authorization: Digest username="Mufasa", realm="x", uri="/", response="{v}"', "authorization=[Bearer {v}], accept=[*/*]",
    "redis: AUTH {v} -> WRONGPASS invalid password", "botToken {v}", "The API key '{v}' is not valid", "x-vault-token: {v}", "curl -sS -H 'PRIVATE-TOKEN: {v}' https://gitlab.example.com/",
)  # fmt: skip


def planted(seed: int, count: int) -> list[Planted]:
    """So many lines with a secret each, all kinds in turn."""
    maker = Maker(seed)
    kinds = [
        *TOKENS,
        *NAMED,
        "url password",
        "basic",
        "bearer",
        "cookie",
        "azure connection",
        "azure sas",
        "private key",
        "password without a sign",
        "other header",
        "short token",
    ]
    return [_planted(maker, kinds[number % len(kinds)]) for number in range(count)]


def _planted(maker: Maker, kind: str) -> Planted:
    pick = maker.pick
    if kind in TOKENS:
        secret = TOKENS[kind](maker)
        line = pick(*PLACES).format(v=secret)
    elif kind in NAMED:
        names, make = NAMED[kind]
        secret, name = make(maker), pick(*names)
        if pick(True, False, False):
            line = json.dumps({"level": "error", name: secret, "port": 5432})
        else:
            line = pick(*ASSIGNMENTS).format(n=name, v=secret)
    elif kind == "url password":
        secret = maker.password()
        scheme = pick("postgres", "mysql", "mongodb+srv", "redis", "amqps", "jdbc:postgresql", "https", "ftp")
        user = pick("app", "root", "svc-orders", "") if scheme == "redis" else pick("app", "root")
        line = f"cannot connect to {scheme}://{user}:{secret}@{pick(*HOSTS)}:5432/orders?x=1"
    elif kind == "basic":
        secret = base64.b64encode(f"{maker.word()}:{maker.password()}".encode()).decode()
        line = pick("Authorization: Basic {}", "'authorization': 'Basic {}'", '-H "Authorization: Basic {}"').format(
            secret
        )
    elif kind == "bearer":
        secret = maker.chars(BASE64URL, 40)
        line = pick(
            "Authorization: Bearer {}",
            '{{"Authorization":"Bearer {}"}}',
            "{{Authorization=[Bearer {}], Accept=[*/*]}}",
            "sent bearer {}",
        ).format(secret)
    elif kind == "cookie":
        secret = maker.chars(ALNUM, 32)
        line = pick(
            "Cookie: theme=dark; sid={}; lang=en",
            "Set-Cookie: session={}; Path=/; HttpOnly",
            "'cookie': 'connect.sid={}'",
        ).format(secret)
    elif kind == "azure connection":
        secret = maker.chars(BASE64, 43) + "="
        line = pick(
            "Endpoint=sb://acme.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey={};EntityPath=q",
            "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={};EndpointSuffix=core.windows.net",
        ).format(secret)
    elif kind == "azure sas":
        secret = quote(maker.chars(BASE64, 43) + "=", safe="")
        line = f"https://acme.blob.core.windows.net/logs/a.txt?sv=2024-05-04&se=2026-12-01T00%3A00%3A00Z&sr=b&sp=r&sig={secret}"
    elif kind == "password without a sign":
        secret = maker.password()
        line = pick(*SAID).format(v=secret)
    elif kind == "other header":
        secret = maker.chars(ALNUM, maker.random.randint(24, 40))
        line = pick(*HEADERS).format(v=secret)
    elif kind == "short token":
        secret = f"abc{maker.random.randint(10, 99)}{maker.chars(string.ascii_uppercase, 4)}"
        line = pick("token {} rejected", "invalid token '{}'", "sid={}; lang=en", "api key {} is unknown").format(
            secret
        )
    else:
        secret = maker.private_key()
        line = pick("{}", "loaded {} from disk", "key={}").format(secret)
    form = pick("plain", "plain", "json", "json in json", "url", "prefixed")
    return Planted(kind, secret, _wrapped(form, line))


def _wrapped(form: str, line: str) -> str:
    if form == "json":
        return json.dumps({"time": "2026-11-20T10:15:00.123Z", "level": "ERROR", "message": line})
    if form == "json in json":
        return json.dumps({"log": json.dumps({"message": line})})
    if form == "url":
        return f"GET /callback?state={quote(line, safe='')}&x=1"
    if form == "prefixed":
        return f"2026-11-20 10:15:00,123 [http-nio-8080-exec-7] ERROR c.a.OrderService - {line}"
    return line


def forms_of(secret: str) -> set[str]:
    """Every way in which a secret may still be readable in a text; of a key each of its lines."""
    pieces = {secret, *secret.split("\n")} - {""}
    pieces = {piece for piece in pieces if "PRIVATE KEY" not in piece}
    return {form for piece in pieces for form in (piece, quote(piece, safe=""), json.dumps(piece)[1:-1])}


def ordinary(seed: int, count: int) -> list[str]:
    """So many lines without anything to hide."""
    maker = Maker(seed)
    return [maker.random.choice(_ORDINARY)(maker) for _ in range(count)]


def _uuid(m: Maker) -> str:
    return str(uuid.UUID(int=m.random.getrandbits(128), version=4))


def _time(m: Maker) -> str:
    base = f"2026-{m.random.randint(1, 12):02d}-{m.random.randint(1, 28):02d}"
    clock = f"{m.random.randint(0, 23):02d}:{m.random.randint(0, 59):02d}:{m.random.randint(0, 59):02d}"
    return m.pick(
        f"{base}T{clock}.{m.random.randint(0, 999):03d}Z",
        f"{base} {clock},{m.random.randint(0, 999):03d}",
        f"{base}T{clock}+02:00",
        f"{base}T{clock}.{m.random.randint(0, 999999):06d}+0000",
    )


def _arn(m: Maker) -> str:
    account = "".join(m.random.choice(string.digits) for _ in range(12))
    tail = m.pick(
        f"lambda:eu-west-1:{account}:function:{m.word()}-{m.word()}:42",
        f"secretsmanager:eu-west-1:{account}:secret:prod/{m.word()}-{m.chars(ALNUM, 6)}",
        f"iam::{account}:role/{m.word()}-role",
        f"states:us-east-1:{account}:execution:{m.word()}:{_uuid(m)}",
        f"kms:eu-central-1:{account}:key/{_uuid(m)}",
        f"dynamodb:eu-west-1:{account}:table/{m.word()}/stream/2026-01-01T00:00:00.000",
        f"sqs:eu-west-1:{account}:{m.word()}-queue.fifo",
        f"cloudformation:eu-west-1:{account}:stack/{m.word()}/{_uuid(m)}",
        f"sts::{account}:assumed-role/{m.word()}/i-{m.chars(HEX, 17)}",
    )
    return f"arn:aws:{tail}"


_ORDINARY: tuple[Callable[[Maker], str], ...] = (
    lambda m: f"START RequestId: {_uuid(m)} Version: $LATEST",
    lambda m: f"REPORT RequestId: {_uuid(m)}\tDuration: {m.random.random() * 3000:.2f} ms\tBilled Duration: {m.random.randint(1, 3000)} ms\tMemory Size: 128 MB\tMax Memory Used: {m.random.randint(40, 128)} MB\tInit Duration: 312.45 ms",
    lambda m: f"{_time(m)} INFO calling {_arn(m)}",
    lambda m: f"{_time(m)} DEBUG commit {m.chars(HEX, 40)} built as sha256:{m.chars(HEX, 64)}",
    lambda m: f"ETag: \"{m.chars(HEX, 32)}-{m.random.randint(1, 40)}\" x-amz-request-id: {m.chars(string.ascii_uppercase, 16)} x-amz-id-2: {m.chars(BASE64, 76)}",
    lambda m: f"XRAY TraceId: 1-{m.chars(HEX, 8)}-{m.chars(HEX, 24)} SegmentId: {m.chars(HEX, 16)} Sampled: true",
    lambda m: f"traceparent: 00-{m.chars(HEX, 32)}-{m.chars(HEX, 16)}-01",
    lambda m: f"dd.trace_id={m.random.randint(10**18, 9 * 10**18)} dd.span_id={m.random.randint(10**17, 10**18)} status=ok",
    lambda m: f"s3://{m.word()}-bucket/year=2026/month=11/day=20/part-{m.random.randint(0, 99999):05d}-{_uuid(m)}.c000.snappy.parquet",
    lambda m: f"put {m.word()}/{m.chars(HEX, 2)}/{m.chars(HEX, 64)}.json.gz version {m.chars(ALNUM + '._', 32)}",
    lambda m: f"next_token={m.chars(BASE64, 120)} page=3",
    lambda m: f'{{"nextToken": "{m.chars(BASE64, 88)}", "items": 100}}',
    lambda m: f'{{"LastEvaluatedKey": {{"pk": {{"S": "{m.word()}#{m.random.randint(1, 10**6)}"}}}}, "Count": 100}}',
    lambda m: f"ClientRequestToken: {_uuid(m)} accepted",
    lambda m: f"\tat com.acme.{m.word()}.security.TokenAuthenticationFilter.doFilterInternal(TokenAuthenticationFilter.java:{m.random.randint(10, 400)}) ~[classes!/:{m.random.randint(1, 9)}.{m.random.randint(0, 20)}.1]",
    lambda m: f"   at Acme.{m.word().title()}.PasswordHasher.Verify(String password, String hash) in /src/PasswordHasher.cs:line {m.random.randint(1, 300)}",
    lambda m: f"System.IO.FileNotFoundException: Could not load file or assembly 'Acme.{m.word().title()}, Version=1.2.3.4, Culture=neutral, PublicKeyToken={m.chars(HEX, 16)}'",
    lambda m: f"  File \"/var/task/{m.word()}.py\", line {m.random.randint(1, 900)}, in get_token\n    token = client.get_token(scope)",
    lambda m: "    password=os.environ[\"DB_PASSWORD\"],",
    lambda m: "    raise ValueError('password must be at least 12 characters long')",
    lambda m: f"    at async getSecret (/app/node_modules/@aws-sdk/client-secrets-manager@3.{m.random.randint(1, 900)}.0/index.js:{m.random.randint(1, 90)}:{m.random.randint(1, 90)})",
    lambda m: f"npm WARN deprecated {m.word()}@{m.random.randint(1, 9)}.{m.random.randint(0, 30)}.{m.random.randint(0, 9)}: use @{m.word()}/core@2.1.0",
    lambda m: f"handler@app.bundle.js:{m.random.randint(1, 99)}:{m.random.randint(1, 9999)}",
    lambda m: "Password: is required",
    lambda m: "Invalid token: unexpected end of input at position 1024",
    lambda m: f"SyntaxError: Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON at position {m.random.randint(0, 99999)}",
    lambda m: f"parse error: unexpected token: IDENT at line {m.random.randint(1, 99)}",
    lambda m: f"usage: max_tokens=4096 prompt_tokens={m.random.randint(1, 9999)} completion_tokens={m.random.randint(1, 9999)} tokens: {m.random.randint(1, 9999)}",
    lambda m: f"tests: pass: {m.random.randint(1, 999)}, fail: {m.random.randint(0, 9)}, skipped=2",
    lambda m: f"secret prod/{m.word()}/db not found in Secrets Manager; secretName={m.word()}-db",
    lambda m: f"Successfully rotated secret {_arn(m)}",
    lambda m: "authentication failed: token expired, please sign in again",
    lambda m: "Authorization header missing; auth=false; token=null; password=********",
    lambda m: f"primary key: {m.random.randint(1, 10**6)}, partition_key={m.word()}#{m.random.randint(1, 10**6)}, sort key: 2026-11-20",
    lambda m: f"cache key=user:{m.random.randint(1, 10**6)}:profile hit ratio 0.{m.random.randint(1, 10**15)}",
    lambda m: f"metrics p50={m.random.random():.6f} p99={m.random.random() * 100:.9f} total={m.random.randint(10**12, 10**13)} bytes={m.random.randint(10**15, 9 * 10**15)}",
    lambda m: f"epoch {m.random.randint(1_700_000_000_000, 1_799_999_999_999)} ns={m.random.randint(1_700_000_000_000_000_000, 1_799_999_999_999_999_999)} seq={m.random.randint(10**15, 10**16)}",
    lambda m: f"offset 49{m.random.randint(10**53, 10**54)} shardId-00000000000{m.random.randint(0, 9)}",
    lambda m: f"image {''.join(m.random.choice(string.digits) for _ in range(12))}.dkr.ecr.eu-west-1.amazonaws.com/{m.word()}@sha256:{m.chars(HEX, 64)}",
    lambda m: f"git@github.com:acme/{m.word()}.git at v{m.random.randint(1, 9)}.{m.random.randint(0, 30)}.{m.random.randint(0, 30)}-rc.1+build.{m.random.randint(1, 999)}",
    lambda m: f"java.lang.Object@{m.chars(HEX, 8)} com.acme.{m.word()}.Basket$$EnhancerBySpringCGLIB$${m.chars(HEX, 8)}",
    lambda m: f"Exception in thread \"pool-{m.random.randint(1, 9)}-thread-{m.random.randint(1, 99)}\" java.lang.IllegalStateException: {m.word()} {_uuid(m)} is locked",
    lambda m: f"goroutine {m.random.randint(1, 999)} [running]: main.main() /go/src/{m.word()}/main.go:{m.random.randint(1, 99)} +0x{m.chars(HEX, 4)}",
    lambda m: f"ip-10-0-{m.random.randint(0, 255)}-{m.random.randint(0, 255)}.eu-west-1.compute.internal kubelet: pod {m.word()}-{m.chars(HEX, 9)}-{m.chars(string.ascii_lowercase, 5)} ready",
    lambda m: f"GET https://api.acme.example/v2/{m.word()}/{m.random.randint(1, 10**9)}?page=2&sort=desc&from={_time(m)[:10]} 200 {m.random.randint(1, 999)}ms",
    lambda m: f"POST /{m.word()}?id={_uuid(m)}&etag={m.chars(HEX, 32)} HTTP/1.1\" 503 - \"-\" \"python-requests/2.34.2\"",
    lambda m: f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{m.random.randint(90, 140)}.0.{m.random.randint(1000, 7000)}.{m.random.randint(10, 200)} Safari/537.36",
    lambda m: f"md5={m.chars(HEX, 32)} crc32={m.chars(HEX, 8)} sha512={m.chars(HEX, 128)}",
    lambda m: f"integrity sha512-{base64.b64encode(m.random.randbytes(64)).decode()}",
    lambda m: f"docker run -e REGION=eu-west-1 -p 8080:80 {m.word()}:1.{m.random.randint(0, 99)}.0",
    lambda m: f"checkpoint {base64.b64encode(m.random.randbytes(24)).decode()} saved, lag {m.random.randint(0, 9999)} records",
    lambda m: f"order {m.random.randint(10**9, 10**10)} total 1,{m.random.randint(100, 999)}.{m.random.randint(10, 99)} EUR on {_time(m)[:10]}",
    lambda m: f"stack arn {_arn(m)} UPDATE_COMPLETE",
    lambda m: f'{{"errorType": "KeyError", "errorMessage": "\'{m.word()}_id\'", "requestId": "{_uuid(m)}", "stackTrace": ["  File \\"/var/task/app.py\\", line {m.random.randint(1, 99)}, in handler\\n"]}}',
    lambda m: f"fields = ['username', 'password', 'email', 'token']; required: [\"secret\", \"api_key\"] ({m.random.randint(1, 9)})",
    lambda m: f"{{\"password\": [\"This field is required.\"], \"code\": {m.random.randint(400, 499)}}}",
    lambda m: f"session {m.word()} opened for user root by (uid=0); pid={m.random.randint(1, 99999)}",
    lambda m: f"std::vector<{m.word()}::Item>::at: index {m.random.randint(1, 99)} out of range; mac 0a:1b:2c:{m.chars(HEX, 2)}:4e:5f",
    lambda m: f"ValidationError: 1 validation error detected: Value at 'tokenType' failed to satisfy constraint ({m.random.randint(1, 99)})",
    lambda m: f"Bearer authentication is required for {m.word()}; basic auth is switched off",
    lambda m: f"arn:aws:iam::{m.random.randint(10**11, 10**12 - 1)}:policy/PasswordRotationPolicy is attached to {m.random.randint(1, 9)} roles",
    lambda m: f"secret \"db-credentials-{m.chars(string.ascii_lowercase + '23456789', 5)}\" not found",
    lambda m: f"couldn't find key password in Secret prod/{m.word()}-db",
    lambda m: f"Object s3://my-bucket/secret-santa/list-{m.random.randint(1000, 9999)}.csv not found",
    lambda m: f"Back-off restarting failed container token-service in pod token-service-{m.chars(HEX, 10)}-{m.chars('bcdfgh', 5)}_prod({_uuid(m)})",
    lambda m: f"Authorization header missing; expected 'Bearer <token>' ({m.random.randint(1, 9)})",
    lambda m: f"Access denied for user 'app'@'10.0.0.{m.random.randint(1, 99)}' (using password: YES)",
    lambda m: f"principalId AROA{m.chars(string.ascii_uppercase + '234567', 17)}:session-{m.random.randint(1000, 9999)}",
    lambda m: f"env DB_PASSWORD is not set; TOKEN_URL=https://auth.example.com/oauth/token try {m.random.randint(1, 9)}",
    lambda m: f"token refresh for tenant {m.random.randint(1000, 9999)} succeeded in {m.random.randint(1, 999)}ms; token bucket: tokens={m.random.randint(1, 99)}",
    lambda m: f"public key of kid={m.chars(ALNUM, 8)}-{m.random.randint(100, 999)} not found in JWKS at https://idp.example.com/.well-known/jwks.json",
    lambda m: f"OAuth2 error invalid_grant: code_challenge_method=S256 auth_type=iam token_type=Bearer expires_in={m.random.randint(1, 9999)}",
    lambda m: f"-----BEGIN CERTIFICATE----- MII{m.chars(ALNUM, 40)} -----END CERTIFICATE-----",
    lambda m: f"ssh: host key fingerprint is SHA256:{m.chars(BASE64, 43)}; signing with token Base64UrlEncoder and token OAuth2Client",
    lambda m: f"data:image/png;base64,{base64.b64encode(m.random.randbytes(60)).decode()}",
    lambda m: f"compass_bearing={m.random.randint(1, 359)} bypass=true secretary=jane passphrase_required=false author=bob",
    lambda m: f"{_time(m)} INFO com.acme.secrets.SecretRotation - rotation of {m.word()} began",
    lambda m: f"cookie banner accepted by visitor {m.random.randint(1, 10**6)}; cookies enabled: yes",
    lambda m: f"signature mismatch for event {_uuid(m)}; sigv4 region=eu-west-1; signing key: derived",
    lambda m: f"[{_time(m)}] {m.word()}.WARNING: retry {m.random.randint(1, 9)}/10 in {m.random.randint(1, 60)}s {{\"exception\":\"[object] (RuntimeException(code: 0): lost at /app/src/{m.word().title()}.php:{m.random.randint(1, 400)})\"}} []",
)  # fmt: skip
