"""Web pages on behalf of somebody's input: what is inside stays out of reach, and nothing takes longer than it may."""

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from watchfloor.clients.web import CertificateError, Limits, Web, WebError
from watchfloor.errors import AccessDeniedError, InvalidInputError

LOOPBACK = ["127.0.0.0/8"]
QUICK = Limits(connect_seconds=1, total_seconds=1, body_bytes=1_000, redirects=3)


class Server:
    """Answers every connection by `behave(connection, request bytes)`; remembers the requests."""

    def __init__(self, behave: Callable[[socket.socket, bytes], None], context: ssl.SSLContext | None = None) -> None:
        self._behave = behave
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.requests: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            request = b""
            while b"\r\n\r\n" not in request and (piece := connection.recv(65_536)):
                request += piece
            if not request:
                return
            self.requests.append(request)
            self._behave(connection, request)
            connection.close()

    def url(self, path: str = "/", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def stop(self) -> None:
        self._socket.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(behave: Callable[[socket.socket, bytes], None], context: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(behave, context))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def answering(text: str) -> Callable[[socket.socket, bytes], None]:
    return lambda connection, request: connection.sendall(text.replace("\n", "\r\n").encode())


def moved(to: str, status: int = 302) -> Callable[[socket.socket, bytes], None]:
    return answering(f"HTTP/1.1 {status} Moved\nLocation: {to}\nContent-Length: 0\n\n")


FINE = answering("HTTP/1.1 200 OK\nContent-Type: text/plain; charset=latin-1\nX-A: 1\nX-A: 2\nContent-Length: 2\n\nok")


def test_fetch_tells_status_headers_body_and_where_the_time_went(serve):
    server = serve(FINE)
    page = Web(LOOPBACK).fetch(server.url("/a?b=c"), headers={"X-Trace": "t1"})
    assert (page.status, page.text, page.truncated) == (200, "ok", False)
    assert page.headers["x-a"] == "1, 2"
    assert page.address == "127.0.0.1"
    assert page.timing.total >= page.timing.first_byte > 0
    head = server.requests[0].decode()
    assert head.startswith("GET /a?b=c HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n" in head
    assert "X-Trace: t1\r\n" in head


def test_fetch_sends_method_and_body(serve):
    server = serve(FINE)
    Web(LOOPBACK).fetch(server.url(), "post", {"Content-Type": "application/json"}, b'{"a": 1}')
    assert server.requests[0].startswith(b"POST / ")
    assert b"Content-Length: 8\r\n" in server.requests[0]


# Many ways to write an address that is inside.
INSIDE = [
    "http://127.0.0.1/",
    "http://localhost/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://127。0。0。1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://169.254.170.2/v2/credentials",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[fe80::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[64:ff9b::10.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a9fe:a9fe::]/",
]


@pytest.mark.parametrize("url", INSIDE)
def test_fetch_never_reaches_an_address_inside(url):
    # An address that this machine's resolver does not take for one is as good as refused.
    with pytest.raises((AccessDeniedError, WebError)) as caught:
        Web(limits=QUICK).fetch(url)
    assert not isinstance(caught.value, WebError) or caught.value.step == "dns"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fd00:ec2::254", "2002:0a00:0001::1"],
)
def test_fetch_refuses_a_name_that_has_one_address_inside(address):
    with pytest.raises(AccessDeniedError, match="innocent.example is at"):
        Web(limits=QUICK, resolve=lambda host, port: ["8.8.8.8", address]).fetch("http://innocent.example/")


@pytest.mark.parametrize("address", ["8.8.8.8", "52.94.236.248", "2600:1f18::1", "64:ff9b::8.8.8.8"])
def test_public_addresses_are_not_refused(address):
    assert Web().refusal(address) is None


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "169.254.0.0/16", "fd00::/8"])
def test_metadata_is_refused_whatever_is_allowed(network):
    web = Web([network, "127.0.0.1/32"])
    for address in ("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "fe80::1", "::ffff:169.254.169.254"):
        assert "never reached" in (web.refusal(address) or ""), address


def test_allowed_network_opens_itself_and_no_other():
    web = Web(["10.2.0.0/16", "fd12::/16"])
    assert web.refusal("10.2.3.4") is None
    assert web.refusal("fd12::1") is None
    assert web.refusal("10.3.0.1")
    with pytest.raises(InvalidInputError, match="ScriptAllowedNetworks"):
        Web(["10.0.0.0/40"])


def test_fetch_asks_the_resolver_once_and_connects_to_what_was_checked(serve):
    """A name that is public when looked at and private when connected to (DNS rebinding) gains nothing."""
    server = serve(FINE)
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    web = Web(LOOPBACK, resolve=lambda host, port: answers.pop(0))
    page = web.fetch(f"http://rebinding.example:{server.port}/")
    assert page.address == "127.0.0.1"
    assert len(answers) == 1
    assert b"Host: rebinding.example:" in server.requests[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "//169.254.169.254/",
        "http://2852039166/",
    ],
)
def test_fetch_does_not_follow_a_redirect_inside(serve, status, target):
    server = serve(moved(target, status))
    with pytest.raises((AccessDeniedError, WebError)):
        Web(LOOPBACK, QUICK).fetch(server.url())
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "gopher://127.0.0.1/", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/"]
)
def test_fetch_does_not_follow_a_redirect_to_another_scheme_or_with_credentials(serve, target):
    with pytest.raises(WebError, match="redirected to what cannot be fetched"):
        Web(LOOPBACK, QUICK).fetch(serve(moved(target)).url())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1",
        "file:///etc/passwd",
        "gopher://example.com/",
        "http://",
        "http:///path",
        "http://user:password@example.com/",
        "http://example.com@169.254.169.254/",
        "http://example.com\\@169.254.169.254/",
        "http://example.com /",
        "http://example.com/\r\nX-Injected: 1",
        "http://example.com/\x00",
        "\x01http://example.com/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://example.com:http/",
        "http://[::1/",
        "http://[not-an-address]/",
        "http://example.com/" + "a" * 5_000,
    ],
)
def test_fetch_refuses_what_is_no_plain_url(url):
    with pytest.raises(InvalidInputError):
        Web(LOOPBACK, QUICK).fetch(url)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "other"},
        {"Transfer-Encoding": "chunked"},
        {"content-length": "5"},
        {"X-A": "1\r\nX-B: 2"},
        {"X A": "1"},
        {"": "1"},
        {"X-A": "€"},
        {"X-A": "a" * 9_000},
    ],
)
def test_fetch_refuses_headers_that_bend_the_request(headers):
    with pytest.raises(InvalidInputError, match="header"):
        Web(LOOPBACK, QUICK).fetch("http://example.com/", headers=headers)


def test_fetch_refuses_an_unknown_method():
    with pytest.raises(InvalidInputError, match="method"):
        Web(LOOPBACK, QUICK).fetch("http://example.com/", "TRACE")


def test_international_names_and_paths_are_encoded(serve):
    server = serve(FINE)
    web = Web(LOOPBACK, resolve=lambda host, port: ["127.0.0.1"] if host == "xn--bcher-kva.example" else [])
    web.fetch(f"http://bücher.example:{server.port}/größe?q=ä&r=%20")
    assert server.requests[0].startswith(b"GET /gr%C3%B6%C3%9Fe?q=%C3%A4&r=%20 ")


def test_redirects_are_followed_remembered_and_bounded(serve):
    last = serve(FINE)
    first = serve(moved(last.url("/end")))
    page = Web(LOOPBACK).fetch(first.url("/begin"))
    assert (page.url, page.status) == (last.url("/end"), 200)
    assert [(hop.url, hop.status) for hop in page.redirects] == [(first.url("/begin"), 302)]
    assert Web(LOOPBACK).fetch(first.url(), follow=False).status == 302
    circle = serve(moved("/again"))
    with pytest.raises(WebError, match="more than 3 redirects"):
        Web(LOOPBACK, QUICK).fetch(circle.url())
    assert len(circle.requests) == 4


def test_credentials_stay_with_the_site_they_were_meant_for(serve):
    other = serve(FINE)
    headers = {"Authorization": "Bearer s3cret", "Cookie": "a=b", "X-Api-Key": "k", "Accept": "text/html"}
    Web(LOOPBACK).fetch(serve(moved(other.url())).url(), headers=headers)
    sent = other.requests[0].decode()
    assert "s3cret" not in sent
    assert "Cookie" not in sent
    assert "X-Api-Key" not in sent
    assert "Accept: text/html" in sent


def test_a_post_becomes_a_get_after_302_and_its_body_does_not_go_elsewhere(serve):
    target = serve(FINE)
    Web(LOOPBACK).fetch(serve(moved(target.url())).url(), "POST", {"Content-Type": "text/plain"}, b"secret")
    assert target.requests[0].startswith(b"GET ")
    assert b"Content-Type" not in target.requests[0]
    with pytest.raises(WebError, match="body was not meant for"):
        Web(LOOPBACK).fetch(serve(moved(target.url(), 307)).url(), "POST", {}, b"secret")
    assert len(target.requests) == 1


def test_a_huge_body_is_cut(serve):
    def endless(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65_536)

    page = Web(LOOPBACK, QUICK).fetch(serve(endless).url())
    assert (len(page.body), page.truncated) == (1_000, True)
    exact = serve(answering("HTTP/1.1 200 OK\nContent-Length: 1000\n\n" + "x" * 1_000))
    assert not Web(LOOPBACK, QUICK).fetch(exact.url()).truncated


def drip(first: bytes) -> Callable[[socket.socket, bytes], None]:
    """Sends a byte now and then, so that no single read runs out of time."""

    def behave(connection: socket.socket, request: bytes) -> None:
        connection.sendall(first)
        while True:
            time.sleep(0.1)
            connection.sendall(b"x")

    return behave


@pytest.mark.parametrize(
    ("first", "step"),
    [(b"", "answer"), (b"HTTP/1.1 200 OK\r\nX-Slow: ", "answer"), (b"HTTP/1.1 200 OK\r\n\r\n", "body")],
)
def test_a_server_that_drips_is_left_at_the_deadline(serve, first, step):
    began = time.monotonic()
    with pytest.raises(WebError) as caught:
        Web(LOOPBACK, QUICK).fetch(serve(drip(first)).url())
    assert 0.9 < time.monotonic() - began < 2.5
    assert caught.value.step == step


def test_a_silent_server_a_slow_resolver_and_a_closed_port_are_told_apart(serve):
    with pytest.raises(WebError, match="out of time") as silent:
        Web(LOOPBACK, QUICK).fetch(serve(lambda connection, request: time.sleep(3)).url("/a?token=s3cret"))
    assert silent.value.step == "answer"
    assert "s3cret" not in str(silent.value)

    def slow(host: str, port: int) -> list[str]:
        time.sleep(3)
        return []

    with pytest.raises(WebError) as unresolved:
        Web(LOOPBACK, QUICK, resolve=slow).fetch("http://slow.example/")
    assert unresolved.value.step == "dns"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(WebError) as closed:
        Web(LOOPBACK, QUICK).fetch(f"http://127.0.0.1:{port}/")
    assert closed.value.step == "connect"


def test_redirects_share_one_deadline(serve):
    def slowly(connection: socket.socket, request: bytes) -> None:
        time.sleep(0.4)
        moved("/next")(connection, request)

    began = time.monotonic()
    with pytest.raises(WebError):
        Web(LOOPBACK, Limits(1, 1, 1_000, 50)).fetch(serve(slowly).url())
    assert time.monotonic() - began < 2.5


@pytest.mark.parametrize(
    "answer",
    [
        "garbage\n\n",
        "HTTP/1.1 abc\n\n",
        "HTTP/1.1 200 OK\n" + "X: y\n" * 200 + "\n",
        "HTTP/1.1 200 OK\nX: " + "a" * 70_000 + "\n\n",
    ],
)
def test_an_answer_that_is_no_http_is_an_error_of_the_other_side(serve, answer):
    with pytest.raises(WebError) as caught:
        Web(LOOPBACK, QUICK).fetch(serve(answering(answer)).url())
    assert caught.value.step == "answer"


def test_a_body_that_ends_too_early_is_an_error(serve):
    with pytest.raises(WebError) as caught:
        Web(LOOPBACK, QUICK).fetch(serve(answering("HTTP/1.1 200 OK\nContent-Length: 50\n\nshort")).url())
    assert caught.value.step == "body"


def self_signed(folder: Path, name: str, days: int = 30) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context, and one that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=40))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(pem + secret)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


def test_https_tells_the_certificate(serve, tmp_path):
    context, trust = self_signed(tmp_path, "service.example")
    server = serve(FINE, context)
    page = Web(LOOPBACK, trust=trust, resolve=lambda host, port: ["127.0.0.1"]).fetch(
        f"https://service.example:{server.port}/"
    )
    assert page.status == 200
    assert page.certificate is not None
    assert page.certificate.names == ("service.example", "127.0.0.1")
    assert 29 < page.certificate.days_left(dt.datetime.now(dt.UTC)) < 31
    assert page.timing.tls > 0


@pytest.mark.parametrize(
    ("name", "days", "trusted", "host", "message"),
    [
        ("service.example", 30, False, "service.example", "self.signed"),
        ("service.example", -5, True, "service.example", "expired"),
        ("other.example", 30, True, "service.example", "[Hh]ostname mismatch"),
    ],
)
def test_https_does_not_talk_to_a_server_it_cannot_trust(serve, tmp_path, name, days, trusted, host, message):
    context, trust = self_signed(tmp_path, name, days)
    server = serve(FINE, context)
    web = Web(LOOPBACK, QUICK, trust=trust if trusted else None, resolve=lambda *_: ["127.0.0.1"])
    with pytest.raises(CertificateError, match=message) as caught:
        web.fetch(f"https://{host}:{server.port}/")
    assert server.requests == []
    # What is wrong with it can be looked at all the same.
    assert caught.value.certificate is not None
    assert caught.value.certificate.subject == f"CN={name}"


def test_https_to_a_server_that_speaks_no_tls_fails_in_time(serve):
    with pytest.raises(WebError) as caught:
        Web(LOOPBACK, QUICK).fetch(serve(answering("HTTP/1.1 400 Bad\n\n")).url(scheme="https"))
    assert caught.value.step == "tls"
