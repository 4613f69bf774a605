"""Redaction: what is secret goes, in whatever form it comes; what only looks like it stays."""

import json
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.secret_samples import Maker, forms_of, ordinary, planted
from watchfloor.redaction import Redactor
from watchfloor.sensitive_text import PLACEHOLDER

ROOT = Path(__file__).parents[2]
SEEDS = (1, 2, 3, 20_261_120)
# A password in places that no rule by a vendor's form knows; {} stands for it.
ODD_PLACES = """
Password for user 'admin' is "{}"
user=admin&pass={}&login=1
Connecting with username=svc password={} host=db1
mongodb+srv://admin:{}@mongo.example.com/db?w=majority
https://bob:{}@host/path?email=a%40b.c
postgresql+asyncpg://u:{}/x@h:5432/d
jdbc:oracle:thin:scott/{}@//db:1521/svc
jdbc:sqlserver://h;user=sa;password={{{}}};encrypt=true
Server=tcp:x,1433;Initial Catalog=d;User ID=u;Password={};Encrypt=True;
machine api.example.com login bob password {}
redis-cli -h r -a {} ping
sshpass -p '{}' ssh x
mysql -u root -p{} shop
mysqldump --password={} shop
curl -s -u bob:{} https://api.example.com/v1
openssl rsa -in k.pem -passin pass:{}
{{"name":"DB_PASSWORD","value":"{}"}}
"{{\\"name\\":\\"DB_PASSWORD\\",\\"value\\":\\"{}\\"}}"
<add key="Password" value="{}" />
<property name="password" value="{}"/>
<ns:password>{}</ns:password>
ldap bind cn=admin,dc=x with password {} failed
INSERT INTO users (id, name, password) VALUES (7, 'bob, jr', '{}')
ALTER USER bob WITH PASSWORD '{}'
CREATE USER bob IDENTIFIED BY '{}'
{{'user': 'x', 'password': b'{}'}}
password=\\"{}\\"
pass\\u0077ord=\\u0022{}\\u0022
-Djavax.net.ssl.trustStorePassword={} -jar app.jar
System.setProperty("javax.net.ssl.keyStorePassword", "{}")
login(user=bob, pw={})
user:bob pass:{}
spring.datasource.password={}
env[DB_PASS]={}
password[]={}
{{"password": ["{}"]}}
    at com.acme.Db.connect(jdbc:mysql://root:{}@db/shop) ~[app.jar:1.2]
DATABASE_URL: postgres://app:{}@10.0.0.1/app
error: &quot;password&quot;: &quot;{}&quot;
?redirect=%2Flogin%3Fuser%3Dbob%26password%3D{}%26next%3D%2F
%257B%2522password%2522%253A%2522{}%2522%257D
passwd: {}
login of bob, password A!{} was wrong
Passwort: {}
password: >{}<
secret: "{}"
cred={}
contraseña={}
curl -u'bob:{}' https://api.example.com
['mysqldump', '-u', 'root', '-p{}', 'shop']
['tool', '--password', '{}']
docker login -u bob -p {} registry.example.com
set password for 'app'@'%' = '{}'
ldapsearch -D cn=admin -w {} -b dc=x
net use Z: //srv/share /user:bob {}
smbclient //srv/x -U bob%{}
mongodump -u a -p {} --db x
a001 LOGIN bob {}
auth=('bob', '{}')
HTTPBasicAuth('bob', '{}')
keytool -storepass {} -list
7z x -p{} a.7z
<password><![CDATA[{}]]></password>
<Property Name="Password">{}</Property>
passw: {}
userPassword:: {}
sqlplus system/{}@ORCL
new PDO('mysql:host=db;dbname=x', 'root', '{}')
<wsse:Password Type="PasswordText">{}</wsse:Password>
""".strip().split("\n")
ORDINARY = """
sid=42 session=active
commit=da39a3ee5e6b4b0d3255bfef95601890afd80709
token_count: 1234 tokens_used=512 "tokenizer": "cl100k_base"
X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1
CSRF token missing or incorrect.
Passwords do not match
password PBKDF2WithHmacSHA256 is used
the password Field is empty
{"message": "Incorrect username or password was specified.\\n\\nThe server said no."}
{"message": "Incorrect username or password was specified."}
The password is incorrect
password hash mismatch
credentials: shared-credentials-file
Found credentials in environment variables.
icon@2x.png 404
ssh ec2-user@ip-10-0-0-12.eu-west-1.compute.internal
GET /x?key=550e8400-e29b-41d4-a716-446655440000
GET /x?key=uploads/2026/11/20/A1b2c3d4e5f6.json
secret "db-creds" not found
secret "prod/db" not found
secret "payments/stripe-key-2" not found
token Base64UrlEncoder not found
next page token CAUQuuAdxc0EEOzwsXLYqhj7 used
    self.password = config['database']['password1']
PASS src/login1.test.js
12 LOGIN attempts failed
Password::verify failed, token::Kind is unknown
token OAuth2Client2 is no type
    password = config('DB_PASSWORD')
token = os.environ.get("API_TOKEN")
pin=17 otp=true cred=none creds: none
AUTH request-id 550e8400-e29b-41d4-a716-446655440000
<input type="password" name="p">Password</input>
Key (id)=(4111111111111111) already exists
Kubernetes secret: prod/app/db
Error: Missing required parameter: client_secret
The security token included in the request is invalid.
InvalidSignatureException: Signature expired: 20261120T101500Z is now earlier than 20261120T102000Z
AccessDenied for key: uploads/2026/file.csv
    at com.auth0.jwt.JWTVerifier.verify(JWTVerifier.java:463)
token: ';' expected
auth: method=password user=42
  self.password = password
def login(user, password=''):
const token = req.headers['x-token']
SECRET_NAME=prod/db SECRET_ARN=arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf
KeyError: 'password'
missing field `token` at line 1 column 42
Cannot read properties of undefined (reading 'token')
TypeError: get_token() missing 1 required positional argument: 'secret'
encryption_key=alias/prod-key1 kms_key_id=1234abcd-12ab-34cd-56ef-1234567890ab
private_key=/etc/ssl/private/server1.key
token: Optional[str] = None
secret=${SECRET} token={{ token }} password: <redacted>
PWD=/var/task OLDPWD=/var/task
passed: 12, bypass=1
digest: sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
idempotency-key: 550e8400-e29b-41d4-a716-446655440000
routing key: orders.created.v2
1.2.3.4 - - [20/Nov/2026:10:15:00 +0000]
rate +1234567890123 bytes
""".strip("\n").split("\n")


def redacted(text, **options):
    return Redactor(**options).text(text)


def left_of(secret, line, text, piece=6):
    """Pieces of a secret that are still to be read and were in the line with it alone."""
    rest = line.replace(secret, "")
    pieces = (secret[at : at + piece] for at in range(len(secret) - piece + 1))
    return [part for part in pieces if part in text and part not in rest]


# --- the two bars


@pytest.mark.parametrize("seed", SEEDS)
def test_no_planted_secret_can_be_read_afterwards(seed):
    samples = planted(seed, 240)
    assert len({sample.kind for sample in samples}) >= 30
    for sample in samples:
        text = redacted(sample.line)
        assert not [form for form in forms_of(sample.secret) if form in text], (sample, text)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_piece_of_a_planted_secret_is_left(seed):
    for sample in planted(seed, 240):
        if sample.kind not in ("private key", "slack webhook"):
            assert not left_of(sample.secret, sample.line, redacted(sample.line)), (sample, redacted(sample.line))


@pytest.mark.parametrize("seed", SEEDS)
def test_ordinary_lines_stay_as_they_are(seed):
    for line in ordinary(seed, 500):
        assert redacted(line) == line


@pytest.mark.parametrize("line", ORDINARY)
def test_words_about_secrets_are_none(line):
    assert redacted(line) == line


@pytest.mark.parametrize("place", ODD_PLACES)
def test_passwords_are_found_in_odd_places(place):
    for seed in range(5):
        secret = Maker(seed).chars("abcdefXYZ", 5) + Maker(seed).chars("0123456789abcdef", 8)
        line = place.format(secret)
        text = redacted(line)
        assert secret not in text and not left_of(secret, line, text), text


@pytest.mark.parametrize(
    "name", ["card number: ", "card_id=", '"number": ', "credit card ", "pan=", '{"cardNumber":"', "4 items, "]
)
def test_card_numbers_are_found_whatever_they_are_called(name):
    cards = [sample.secret for sample in planted(11, 1_500) if sample.kind == "card" and sample.secret.isdigit()]
    assert len(cards) > 5
    assert not [card for card in cards if card in redacted(f"paid by {name}{card} today")]


@pytest.mark.parametrize("name", ["benign", "development", "frameworks", "held_out", "second_blind"])
def test_of_a_corpus_of_errors_only_mail_addresses_are_hidden(name):
    for line in (ROOT / f"bench/errors/{name}.jsonl").read_text().split("\n"):
        kinds = {kind.rpartition("_")[0] for kind in PLACEHOLDER.findall(redacted(line))}
        assert kinds <= {"[EMAIL"}, redacted(line)


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("token abc123XYZ rejected", "abc123XYZ"),
        ("- name: DB_PASSWORD\n  value: tiger-river", "tiger-river"),
        ("?to=stock88%40%D0%BF%D0%BE%D1%87%D1%82%D0%B0.%D1%80%D1%84&x=1", "stock88"),
        ("sid=Ab3dE5fG7h; theme=dark", "Ab3dE5fG7h"),
        ("password: |\n  tiger river\n  9 stones\nuser: x", "tiger river"),
        ("OTP code: 923082 sent", "923082"),
        ("your pin: 0018", "0018"),
        ("Settings(db_password=SecretStr('Zx-aj25'))", "Zx-aj25"),
        ("PATH=/usr/bin\nsid=abc81ECV3; lang=en", "abc81ECV3"),
        ("AUTH EQxYKqKr8QS3hHkz -> WRONGPASS", "EQxYKqKr8QS3hHkz"),
        ("Bounce: jürgen.m@müller.de", "jürgen.m"),
        ("iban=gb18west27229223126883&bic=x", "gb18west27229223126883"),
        ("Client('AC" + "0a" * 16 + "', '" + "9f" * 16 + "')", "9f" * 16),
    ],
)
def test_what_was_once_missed_is_found(line, secret):
    assert secret not in redacted(line)


# --- placeholders


def test_the_same_value_has_the_same_placeholder_in_all_texts_of_a_redactor():
    redactor = Redactor()
    first, second = redactor.text("mail ana@example.com and ben@example.com"), redactor.text("again ben@example.com")
    assert (first, second) == ("mail [EMAIL_1] and [EMAIL_2]", "again [EMAIL_2]")
    assert redactor.mapping == {"[EMAIL_1]": "ana@example.com", "[EMAIL_2]": "ben@example.com"}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_hidden_can_be_restored_and_hiding_again_changes_nothing(seed):
    for sample in planted(seed, 120):
        redactor = Redactor()
        text = redactor.text(sample.line)
        assert redactor.restored(text) == sample.line
        assert redacted(text) == text


def test_redaction_is_deterministic():
    lines = [sample.line for sample in planted(9, 60)]
    assert Redactor().lines(lines) == Redactor().lines(lines)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='ab1=:"\\%{}[]&@/ .\npasswordtoken', max_size=200))
def test_any_text_comes_back(text):
    redactor = Redactor(ips=True)
    assert redactor.restored(redactor.text(text)) == text


# --- what belongs together


def private_key(seed=1):
    return Maker(seed).private_key().split("\n")


@pytest.mark.parametrize("prefix", ["", "2026-11-20T10:15:00Z INFO ", "[worker-1] "])
def test_a_private_key_spread_over_events_is_hidden_line_by_line(prefix):
    key = private_key()
    lines = ["reading key", *(prefix + line for line in key), "done in 12 ms"]
    text = Redactor().lines(lines)
    assert len(text) == len(lines) and (text[0], text[-1]) == ("reading key", "done in 12 ms")
    assert not [line for line in key if line in "\n".join(text)]


@pytest.mark.parametrize("part", [slice(0, 3), slice(2, None), slice(-2, None)], ids=["start", "end", "last line"])
def test_a_private_key_that_is_cut_off_is_hidden(part):
    key = private_key(3)
    lines = ["before it", *key[part], "connection closed"]
    text = "\n".join(Redactor().lines(lines))
    assert not [line for line in key[1:-1] if line in text]
    assert text.startswith("before it") and text.endswith("connection closed")


def test_a_secret_without_its_surroundings_is_known_again():
    secret = Maker(4).chars("abcdef", 6) + "7x9"
    text = Redactor().lines([f"login failed for bob with {secret!r}", f"db.password={secret}", f"retry {secret}"])
    assert secret not in "\n".join(text)


def test_a_word_that_is_a_password_is_hidden_there_only():
    assert Redactor().lines(["password=production", "deployed to production"])[1] == "deployed to production"


def test_secret_key_beside_its_access_key_is_hidden():
    maker = Maker(5)
    access, secret = maker.aws_access_key(), maker.chars("abcdefghijkLMNOP0123456789/+", 38) + "zZ"
    text = redacted(f"found credentials {access},{secret} in csv")
    assert access not in text and secret not in text


# --- JSON values


def test_values_keep_their_shape_and_fields_say_what_is_secret():
    card = int(next(sample.secret for sample in planted(6, 400) if sample.kind == "card" and sample.secret.isdigit()))
    value = {
        "headers": {"Authorization": "Bearer x", "Accept": "*/*"},
        "environment": [{"name": "DB_PASSWORD", "value": "swordfish"}, {"name": "REGION", "value": "eu-west-1"}],
        "password": ["sesame", None],
        "cookies": {"theme": "dark"},
        "numbers": [1, 2.5, True, card],
        "trace_id": card,
        "ana@example.com": {"token_type": "Bearer", "next_token": "abcdefgh12345678"},
        "event": {"secret": 12345678, "message": "password=open"},
    }
    redactor = Redactor()
    hidden = redactor.value(value)
    assert hidden["headers"]["Accept"] == "*/*" and hidden["environment"][1]["value"] == "eu-west-1"
    assert hidden["numbers"][:3] == [1, 2.5, True] and hidden["numbers"][3].startswith("[CARD_")
    assert hidden["trace_id"] == card
    assert hidden["[EMAIL_1]"] == {"token_type": "Bearer", "next_token": "abcdefgh12345678"}
    text = json.dumps(hidden)
    for secret in ("Bearer x", "swordfish", "sesame", "dark", "ana@example.com", "12345678,", "=open"):
        assert secret not in text
    assert hidden["password"][1] is None


def test_a_private_key_spread_over_a_list_of_rows_is_hidden():
    key = private_key(8)
    rows = [{"id": f"L{number}", "text": line, "time": 1.5} for number, line in enumerate(key)]
    hidden = Redactor().value(rows)
    assert [row["id"] for row in hidden] == [row["id"] for row in rows]
    assert not [line for line in key[1:-1] if line in json.dumps(hidden)]


# --- options and bounds


@pytest.mark.parametrize("address", ["10.1.2.3", "203.0.113.7", "2001:db8::8a2e:370:7334", "fe80::1", "::1"])
def test_ip_addresses_are_hidden_by_option(address):
    line = f"connect to {address} failed"
    assert redacted(line) == line
    assert redacted(line, ips=True) == "connect to [IP_1] failed"


@pytest.mark.parametrize(
    "line",
    ["at 10:15:00", "v1.2.3.4-beta", "Foo::Bar::baz", "std::string", "0a:1b:2c:3d:4e:5f", "999.1.1.1", "1.2.3.4.5"],
)
def test_what_is_no_ip_address_stays(line):
    assert redacted(line, ips=True) == line


def test_secrets_in_three_layers_of_escapes_are_found():
    secret = "ab'c\"d9x"
    inner = json.dumps({"password": secret})
    for line in (
        inner,
        json.dumps({"log": inner}),
        json.dumps([json.dumps({"log": inner})]),
        quote(json.dumps({"m": inner})),
    ):
        text = redacted(line)
        assert "d9x" not in text and "ab'c" not in text, text


HOSTILE = (
    "a", "a.", "password=", "token=a(", '\\"password\\":\\"', "-----BEGIN PRIVATE" + " KEY-----", "-----END PRIVATE" + " KEY-----",
    "eyJa.", "a@", "a://b:", "%25", "\\", "cookie: a=bcde; ", "authorization=", "insert into x(a) values (", "4111 ", "curl ", "::",
    "docker login ", "mongo ", "password: |\n  a\n", "<a b>", "authorization: digest a=b,", "%D0%BF", "name: a, ",
)  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_is_linear_in_hostile_text(unit):
    def seconds(size):
        text = (unit * (size // len(unit) + 1))[:size]
        start = time.process_time()
        Redactor(ips=True).text(text)
        return time.process_time() - start

    small = min(seconds(4_000), seconds(4_000))
    # Eight times the text takes eight times as long; were it quadratic, 64 times.
    assert seconds(32_000) < 24 * small + 0.05


def test_placeholders_are_none_of_the_secrets():
    assert PLACEHOLDER.fullmatch("[AWS_KEY_12]") and not PLACEHOLDER.search("[ERROR_1]")
    assert (
        redacted("password=[PASSWORD_1] and https://u:[PASSWORD_2]@h/")
        == "password=[PASSWORD_1] and https://u:[PASSWORD_2]@h/"
    )


def test_secret_at_the_cut_does_not_stay_in_part():
    key = "AKIA" + "Q7ZKXJ4MNDWPT2RS"
    for place in range(1, len(key) + 1):
        shown = Redactor().start("x" * (100 - place) + " " + key + " rest", 100)
        assert len(shown) <= 100 and key[:6] not in shown


def test_line_of_a_private_key_is_hidden_wherever_else_it_stands():
    body = "\n".join(f"c9AhA6Wc3nkdiAmpoCAqvrqYsYmaseGDJS88AwCQXrI3pQe/VkaWZ8wwGfQNPkt{n}" for n in range(9))
    redactor = Redactor()
    redactor.text(f"loaded -----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----")
    assert "c9AhA6" not in redactor.text("grouped by c9AhA6Wc3nkdiAmpoCAqvrqYsYmaseGDJS88AwCQXrI3pQe/VkaW “*”")
