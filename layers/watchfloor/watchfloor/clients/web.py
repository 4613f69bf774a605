"""Web pages and APIs on behalf of somebody's input: bounded, and never from inside to inside.

An address that a user gives may point at the function's own network: metadata, the runtime's API, databases. So a
name is resolved once, every address it has is looked at, and the connection goes to one of those addresses. Redirects
go through the same gate. See https://cheatsheetseries.owasp.org (Server Side Request Forgery Prevention).
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from watchfloor.certificates import Certificate, read_certificate
from watchfloor.errors import AccessDeniedError, InvalidInputError, TransientError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Iterable[str]]

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_REDIRECTS = {301, 302, 303, 307, 308}
_MAX_URL = 4_096
_MAX_HEADERS = 40
_MAX_HEADER_BYTES = 8_192
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
# What a URL may be written with (RFC 3986); the rest is either encoded by its author or no URL.
_URL = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
# The request's own business: a header of the caller's must not contradict the connection.
_OWN_HEADERS = {
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
# Headers that may go along to another site after a redirect; others may hold credentials.
_HARMLESS_HEADERS = {"accept", "accept-language", "user-agent"}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
# Metadata of EC2 and ECS, Lambda's own addresses, Amazon's DNS and time. A list of networks never opens these.
_NEVER = (
    ipaddress.ip_network("169.254.0.0/16"),
    ipaddress.ip_network("fe80::/10"),
    ipaddress.ip_network("fd00:ec2::/32"),
)


class WebError(TransientError):
    """The other side could not be reached, or did not answer in time or in HTTP.

    Attributes
    ----------
    step
        How far it came: `dns`, `connect`, `tls`, `answer`, `body`, `redirect`.
    url
        Where, after redirects.
    """

    def __init__(self, step: str, url: str, message: str) -> None:
        super().__init__(message)
        self.step = step
        self.url = url


class CertificateError(WebError):
    """The server's certificate is not trusted; `certificate` is it, where it can be read."""

    def __init__(self, url: str, message: str, certificate: Certificate | None) -> None:
        super().__init__("tls", url, message)
        self.certificate = certificate


@dataclass
class Timing:
    """Milliseconds that each step took; `first_byte` counts from the request's end."""

    dns: float = 0
    connect: float = 0
    tls: float = 0
    first_byte: float = 0
    body: float = 0
    total: float = 0

    def to_json(self) -> dict[str, float]:
        return {f"{name}_ms": round(value, 1) for name, value in vars(self).items()}


@dataclass(frozen=True)
class Hop:
    """A redirect that was followed."""

    url: str
    status: int
    location: str


@dataclass(frozen=True)
class Page:
    """An answer. `body` may be cut (`truncated`); header names are lower case, repeated ones joined by a comma."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool
    address: str
    timing: Timing
    certificate: Certificate | None = None
    redirects: tuple[Hop, ...] = ()

    @property
    def text(self) -> str:
        """The body in the charset that the answer names, UTF-8 otherwise."""
        found = re.search(r"charset=[\"']?([\w-]{1,40})", self.headers.get("content-type", ""), re.IGNORECASE)
        try:
            return self.body.decode(found.group(1) if found else "utf-8", "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes that one fetch may take, redirects included."""

    connect_seconds: float = 5
    total_seconds: float = 20
    body_bytes: int = 1_000_000
    redirects: int = 5


@dataclass
class _Request:
    method: str
    parts: SplitResult
    headers: dict[str, str]
    body: bytes | None
    redirects: list[Hop] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.parts.geturl()

    @property
    def shown(self) -> str:
        """For messages: a query may hold what is nobody else's business."""
        return self.parts._replace(query="").geturl()

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.parts.scheme, _host(self.parts), _port(self.parts)


class Web:
    """HTTP and HTTPS to public addresses, and to private ones of the networks given.

    Parameters
    ----------
    allowed_networks
        Networks (CIDR) that may be reached though they are not public. Link-local addresses, the metadata services
        among them, cannot be allowed.
    limits
        For each fetch.
    resolve
        Addresses of a host by name and port; the machine's own resolver where it is not given.
    trust
        Certificates to trust instead of the machine's.
    """

    def __init__(
        self,
        allowed_networks: Sequence[str] = (),
        limits: Limits | None = None,
        *,
        resolve: Resolver | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = _networks(allowed_networks)
        self._limits = limits or Limits()
        self._resolve = resolve or _resolve
        self._trust = trust or ssl.create_default_context()

    def fetch(
        self,
        url: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        follow: bool = True,
    ) -> Page:
        """Send a request and read its answer, following redirects.

        Raises
        ------
        InvalidInputError
            The URL, method or a header cannot be used.
        AccessDeniedError
            The URL, or a redirect, points at an address that is not public and not allowed.
        WebError
            The other side did not answer, or not in time; CertificateError where it is not who it should be.
        """
        request = _Request(_method(method), _parts(url), _headers(headers or {}), body)
        deadline = time.monotonic() + self._limits.total_seconds
        began = time.monotonic()
        while True:
            page = self._once(request, deadline)
            page.timing.total = 1000 * (time.monotonic() - began)
            location = page.headers.get("location")
            if not follow or page.status not in _REDIRECTS or not location:
                return page
            if len(request.redirects) >= self._limits.redirects:
                raise WebError("redirect", request.url, f"more than {self._limits.redirects} redirects")
            request = _redirected(request, page.status, location)

    def check(self, url: str) -> None:
        """Raise what `fetch` would raise of the URL's form, without asking anybody."""
        _parts(url)

    def _once(self, request: _Request, deadline: float) -> Page:
        timing = Timing()
        with _timed(timing, "dns"):
            addresses = self._addresses(request, deadline)
        host, port = _host(request.parts), _port(request.parts)
        with contextlib.ExitStack() as stack:
            with _timed(timing, "connect"):
                connection = stack.enter_context(self._connect(addresses, port, request.url, deadline))
            address = connection.getpeername()[0]
            # Time limits of single reads do not end a server that drips; this does.
            watch = stack.enter_context(_Watch(connection, deadline))
            certificate = None
            if request.parts.scheme == "https":
                with _timed(timing, "tls"):
                    connection = stack.enter_context(self._secure(connection, host, address, port, request.url, watch))
                certificate = _certificate(connection)
            return self._exchange(request, connection, address, certificate, timing, watch)

    def _addresses(self, request: _Request, deadline: float) -> list[str]:
        host, port = _host(request.parts), _port(request.parts)
        found = _bounded(lambda: list(self._resolve(host, port)), deadline - time.monotonic())
        if isinstance(found, Exception):
            raise WebError("dns", request.url, f"{host} is not known: {found}") from found
        if not found:
            raise WebError("dns", request.url, f"the name {host} was not resolved in time, or has no address")
        for address in found:
            if reason := self.refusal(address):
                raise AccessDeniedError(
                    f"{host} is at {address}, which {reason}; private networks are reached only when the stack"
                    " parameter ScriptAllowedNetworks lists them"
                )
        return found

    def refusal(self, address: str) -> str | None:
        """Why an address may not be reached, or None where it may."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        meant = [ip, *_embedded(ip)]
        if any(each in network for each in meant for network in _NEVER):
            return "is link-local (metadata services are there) and never reached"
        if not all(_is_public(each) or any(each in network for network in self._allowed) for each in meant):
            return "is not a public address"
        return None

    def _connect(self, addresses: list[str], port: int, url: str, deadline: float) -> socket.socket:
        problem: Exception | None = None
        for address in addresses[:8]:
            left = min(self._limits.connect_seconds, deadline - time.monotonic())
            if left <= 0:
                break
            try:
                return socket.create_connection((address, port), left)
            except OSError as error:
                problem = error
        raise WebError("connect", url, f"no connection to {addresses[0]} port {port}: {problem or 'out of time'}")

    def _secure(
        self, connection: socket.socket, host: str, address: str, port: int, url: str, watch: _Watch
    ) -> ssl.SSLSocket:
        try:
            connection.settimeout(watch.left())
            return self._trust.wrap_socket(connection, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            certificate = self._untrusted(address, port, host, watch.left())
            raise CertificateError(
                url, f"the certificate is not trusted: {error.verify_message}", certificate
            ) from error
        except (OSError, ValueError) as error:
            raise WebError("tls", url, f"no TLS connection to {host}: {watch.reason(error)}") from error

    def _untrusted(self, address: str, port: int, host: str, seconds: float) -> Certificate | None:
        """The certificate that was refused, by a second handshake that sends nothing."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with (
                socket.create_connection((address, port), seconds) as connection,
                _Watch(connection, time.monotonic() + seconds),
                context.wrap_socket(connection, server_hostname=host) as secured,
            ):
                return _certificate(secured)
        except (OSError, ValueError):
            return None

    def _exchange(
        self,
        request: _Request,
        connection: socket.socket,
        address: str,
        certificate: Certificate | None,
        timing: Timing,
        watch: _Watch,
    ) -> Page:
        step = "answer"
        try:
            connection.settimeout(watch.left())
            channel = http.client.HTTPConnection(_host(request.parts), _port(request.parts))
            channel.sock = connection
            channel.request(request.method, _target(request.parts), request.body, _sent_headers(request))
            with _timed(timing, "first_byte"):
                answer = channel.getresponse()
            # A connection that was cut among the headers looks like their end.
            step = "answer" if watch.over else "body"
            with _timed(timing, "body"):
                body, truncated = self._read(answer)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise WebError(step, request.url, f"{request.shown} gave no {step}: {watch.reason(error)}") from error
        if watch.over:
            raise WebError(step, request.url, f"{request.shown} did not end within {self._limits.total_seconds:g} s")
        headers: dict[str, str] = {}
        for name, value in answer.getheaders():
            key = name.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        return Page(
            request.url, answer.status, headers, body, truncated, address, timing, certificate, tuple(request.redirects)
        )

    def _read(self, answer: http.client.HTTPResponse) -> tuple[bytes, bool]:
        limit, body = self._limits.body_bytes, bytearray()
        while len(body) <= limit and (piece := answer.read1(65_536)):
            body += piece
        truncated = len(body) > limit
        if answer.length and not truncated:
            raise http.client.IncompleteRead(b"", answer.length)
        return bytes(body[:limit]), truncated


class _Watch:
    """Ends a connection at a deadline, whatever it is doing."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._descriptor = connection.dup()
        self._deadline = deadline
        self._timer = threading.Timer(max(0.0, deadline - time.monotonic()), self._end)
        self._timer.daemon = True
        self.over = False

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._descriptor.close()

    def left(self) -> float:
        """Seconds until the deadline; a socket's time limit must not be zero."""
        return max(0.001, self._deadline - time.monotonic())

    def reason(self, error: Exception) -> str:
        return "out of time" if self.over or isinstance(error, TimeoutError) else str(error) or type(error).__name__

    def _end(self) -> None:
        self.over = True
        with contextlib.suppress(OSError):
            self._descriptor.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _timed(timing: Timing, name: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        setattr(timing, name, 1000 * (time.monotonic() - began))


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _bounded(function: Callable[[], Any], seconds: float) -> Any:
    """The function's answer, or its error; None where it takes too long (the resolver knows no time limit)."""
    answer: list[Any] = []

    def work() -> None:
        try:
            answer.append(function())
        except (OSError, UnicodeError) as error:
            answer.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    return answer[0] if answer else None


def _networks(texts: Sequence[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    try:
        return [ipaddress.ip_network(text.strip(), strict=False) for text in texts if text.strip()]
    except ValueError as error:
        raise InvalidInputError(f"ScriptAllowedNetworks: {error}") from None


def _is_public(ip: Address) -> bool:
    if isinstance(ip, ipaddress.IPv6Address):
        return ip in _NAT64 or (ip in _GLOBAL_V6 and ip.is_global and not ip.is_multicast)
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _embedded(ip: Address) -> list[ipaddress.IPv4Address]:
    """IPv4 addresses that an IPv6 address stands for: mapped, 6to4, Teredo, NAT64."""
    if isinstance(ip, ipaddress.IPv4Address):
        return []
    found = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in _NAT64:
        found.append(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF))
    return [each for each in found if each is not None]


def _method(method: str) -> str:
    if method.upper() not in METHODS:
        raise InvalidInputError(f"method {method[:20]!r} is none of {', '.join(METHODS)}")
    return method.upper()


def _parts(url: str) -> SplitResult:
    """The URL taken apart; what two programs might read differently is refused."""
    if len(url) > _MAX_URL:
        raise InvalidInputError(f"the URL has more than {_MAX_URL} characters")
    try:
        parts = urlsplit(_ascii(url))
        port = parts.port
    except ValueError as error:
        raise InvalidInputError(f"{url[:200]!r} is no URL: {error}") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise InvalidInputError(f"{url[:200]!r} is no http or https URL")
    if not parts.hostname or port == 0:
        raise InvalidInputError(f"{url[:200]!r} names no host, or port 0")
    if "@" in parts.netloc:
        raise InvalidInputError("a URL with a user name or password in it is not fetched; give a header instead")
    return parts._replace(fragment="")


def _ascii(url: str) -> str:
    """The URL in ASCII: an international host name encoded, the rest percent-encoded; anything odd is an error."""
    if any(character.isspace() or ord(character) < 33 or character in "\\\x7f" for character in url):
        raise ValueError("it holds spaces, control characters or a backslash")
    if not url.isascii():
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()
        port = f":{parts.port}" if parts.port is not None else ""
        if "@" in parts.netloc or not host:
            raise ValueError("its host cannot be read")
        url = parts._replace(
            netloc=host + port,
            path=quote(parts.path, "/%:@!$&'()*+,;=~"),
            query=quote(parts.query, "/?%:@!$&'()*+,;=~"),
            fragment="",
        ).geturl()
    if not _URL.fullmatch(url):
        url = quote(url, ":/?#[]@!$&'()*+,;=%~")
    return url


def _host(parts: SplitResult) -> str:
    return parts.hostname or ""


def _port(parts: SplitResult) -> int:
    return parts.port or _DEFAULT_PORTS[parts.scheme]


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    checked: dict[str, str] = {}
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise InvalidInputError(f"{name[:100]!r} is no header name")
        if name.lower() in _OWN_HEADERS:
            raise InvalidInputError(f"the header {name} is set by the request itself")
        try:
            encoded = value.encode("latin-1")
        except UnicodeEncodeError:
            raise InvalidInputError(f"the header {name} holds characters that no header may") from None
        if any(byte < 32 and byte != 9 or byte == 127 for byte in encoded):
            raise InvalidInputError(f"the header {name} holds control characters")
        checked[name] = value
    if len(checked) > _MAX_HEADERS or sum(len(n) + len(v) for n, v in checked.items()) > _MAX_HEADER_BYTES:
        raise InvalidInputError(f"more than {_MAX_HEADERS} headers, or more than {_MAX_HEADER_BYTES} bytes of them")
    return checked


def _sent_headers(request: _Request) -> dict[str, str]:
    own = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "watchfloor", "Connection": "close"}
    given = {name.lower() for name in request.headers}
    headers = {name: value for name, value in own.items() if name.lower() not in given} | request.headers
    # An address in brackets, or a name; the default port is left out, as browsers do.
    return {"Host": request.parts.netloc.removesuffix(f":{_DEFAULT_PORTS[request.parts.scheme]}"), **headers}


def _redirected(request: _Request, status: int, location: str) -> _Request:
    try:
        parts = _parts(urljoin(request.url, location))
    except (InvalidInputError, ValueError) as error:
        raise WebError("redirect", request.url, f"redirected to what cannot be fetched: {error}") from error
    hops = [*request.redirects, Hop(request.url, status, parts.geturl())]
    method, body, headers = request.method, request.body, dict(request.headers)
    if status == 303 or (status in (301, 302) and method == "POST"):
        method, body = ("HEAD" if method == "HEAD" else "GET"), None
        headers = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
    moved = _Request(method, parts, headers, body, hops)
    if moved.origin != request.origin:
        if body is not None:
            raise WebError("redirect", request.url, f"redirected to {parts.netloc}, which the body was not meant for")
        moved.headers = {name: value for name, value in headers.items() if name.lower() in _HARMLESS_HEADERS}
    return moved


def _certificate(connection: Any) -> Certificate | None:
    try:
        der = connection.getpeercert(binary_form=True)
        return read_certificate(der) if der else None
    except ValueError:
        return None
