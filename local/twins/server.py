"""What all twins have in common: a server in a thread, kept state, and faults on demand.

`POST /_twin/faults` takes one fault or a list of them:

    {"kind": "down" | "slow" | "429" | "500" | "garbage" | "commit-then-drop",
     "method": "POST", "path": "regular expression", "body": "regular expression", "count": 1, "skip": 0, "seconds": 1}

`body` is looked for in the query and the body. A fault waits for the requests it matches, lets `skip` of them pass, and
hits the next `count`. `DELETE` removes all, `GET` lists them. `GET /_twin/state` shows everything the twin holds,
`GET /_twin/log` the requests it answered, the last thousand with what was sent.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import logging
import os
import re
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote_plus

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.wrappers import Request, Response

Json = dict[str, Any]
KINDS = ("down", "slow", "429", "500", "garbage", "commit-then-drop")
_LOG_LENGTH = 10_000
# So many of the last requests are kept with their bodies, each up to so many characters.
_LOGGED_BODIES, _LOGGED_CHARACTERS = 1_000, 64_000


class Refusal(Exception):
    """The service refuses: status, body in the vendor's form, headers."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers or {}


class Twin(ABC):
    """A WSGI application with its own server. Subclasses give routes (method, path, function) and `empty_state`."""

    def __init__(self, state_file: Path | None = None, port: int = 0) -> None:
        self._state_file = state_file
        self._port = port
        self._server: BaseWSGIServer | None = None
        # One request at a time changes state: the services' own writes are atomic.
        self.lock = threading.RLock()
        self.faults: list[Json] = []
        self.log: list[Json] = []
        self.clock: Callable[[], float] = time.time
        self.state: Json = self.empty_state()
        if state_file and state_file.exists():
            self.state = json.loads(state_file.read_text(encoding="utf-8"))
        self._routes = Map(
            [Rule(path, endpoint=function, methods=[method]) for method, path, function in self.routes()]
        )

    @property
    @abstractmethod
    def secret(self) -> Json:
        """Settings by which the pipeline reaches the twin."""

    @abstractmethod
    def empty_state(self) -> Json:
        """What the twin holds before anything was written to it."""

    @abstractmethod
    def routes(self) -> Iterable[tuple[str, str, Callable[..., Any]]]:
        """Method, path and function of everything the twin answers."""

    @abstractmethod
    def authenticate(self, request: Request) -> None:
        """Raise Refusal for a caller who is not let in."""

    def not_found(self, request: Request) -> Refusal:
        return Refusal(404, {"error": f"no handler for {request.method} {request.path}"})

    # --- life

    def start(self) -> Self:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", self._port, self, threaded=True)
        self._port = self._server.server_port
        # It looks for a request to stop as often as this.
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name=type(self).__name__, daemon=True).start()
        return self

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        if self._state_file:
            with self.lock:
                text = json.dumps(self.state)
            self._state_file.parent.mkdir(parents=True, exist_ok=True)
            partial = self._state_file.with_suffix(".part")
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, self._state_file)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # --- requests

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        request.get_data()  # an unread body would garble the next request of a kept connection
        if request.path.startswith("/_twin/"):
            return self._control(request)(environ, start_response)
        fault = self._fault_for(request)
        kind = fault["kind"] if fault else None
        if kind == "down":
            return _drop(environ)
        if kind == "slow":
            time.sleep(fault["seconds"])  # type: ignore[index]
        if kind == "429":
            response = Response('{"message": "Rate limit exceeded"}', 429, {"Retry-After": "1"})
        elif kind == "500":
            response = Response('{"message": "Internal server error"}', 500, content_type="application/json")
        elif kind == "garbage":
            response = Response("<html><title>Down for maintenance</title>", 200, content_type="text/html")
        else:
            response = self._answer(request)
        self._note(request, response)
        if kind == "commit-then-drop":
            return _drop(environ)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        try:
            try:
                function, arguments = self._routes.bind_to_environ(request.environ).match()
            except HTTPException as error:
                raise self.not_found(request) from error
            self.authenticate(request)
            with self.lock:
                answer = function(request, **arguments)
        except Refusal as refusal:
            return _json(refusal.body, refusal.status, refusal.headers)
        if isinstance(answer, Response):
            return answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return Response(status=status) if body is None else _json(body, status)

    def _fault_for(self, request: Request) -> Json | None:
        with self.lock:
            for fault in self.faults:
                if fault["method"] not in (None, request.method) or not re.search(fault["path"], request.path):
                    continue
                if fault["body"] and not re.search(fault["body"], _sent(request)):
                    continue
                if fault["skip"] > 0:
                    fault["skip"] -= 1
                    continue
                if fault["count"] > 0:
                    fault["count"] -= 1
                    return fault
        return None

    def fail(self, kind: str, method: str | None = None, path: str = "", **more: Any) -> None:
        """Inject a fault; see the module's text."""
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        fault = {"kind": kind, "method": method, "path": path, "body": "", "count": 1, "skip": 0, "seconds": 1, **more}
        with self.lock:
            self.faults.append(fault)

    def _control(self, request: Request) -> Response:
        what = request.path.removeprefix("/_twin/")
        with self.lock:
            if what == "state":
                return _json(self.state)
            if what == "log":
                return _json(self.log)
            if what != "faults":
                return _json({"error": f"{request.path}: only state, log and faults are here"}, 404)
            if request.method == "DELETE":
                self.faults.clear()
            elif request.method == "POST":
                try:
                    given = request.get_json(force=True)
                    for fault in given if isinstance(given, list) else [given]:
                        self.fail(**fault)
                except (HTTPException, TypeError, ValueError) as error:
                    return _json({"error": str(error)}, 400)
            return _json(self.faults)

    def _note(self, request: Request, response: Response) -> None:
        with self.lock:
            entry = {"method": request.method, "path": request.full_path.rstrip("?"), "status": response.status_code}
            if body := request.get_data()[: 4 * _LOGGED_CHARACTERS].decode("utf-8", "replace"):
                entry["body"] = body[:_LOGGED_CHARACTERS]
            self.log.append(entry)
            if len(self.log) > _LOGGED_BODIES:
                self.log[-_LOGGED_BODIES - 1].pop("body", None)
            del self.log[:-_LOG_LENGTH]

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.clock(), dt.UTC)


def _sent(request: Request) -> str:
    return f"{unquote_plus(request.query_string.decode())} {request.get_data(as_text=True)}"


def basic_credentials(request: Request) -> tuple[str, str] | None:
    """User and password of a Basic authorization header."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user, password


def json_body(request: Request, refusal: Callable[[str], Refusal]) -> Json:
    """The request's body, which must be a JSON object."""
    try:
        body = json.loads(request.get_data())
    except ValueError as error:
        raise refusal(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise refusal("the body must be a JSON object")
    return body


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status, headers, content_type="application/json;charset=UTF-8")


def _drop(environ: Any) -> Iterable[bytes]:
    """Break the connection without an answer."""
    connection: socket.socket = environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError("dropped on demand")
