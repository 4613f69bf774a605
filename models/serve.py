"""Serve one model over HTTP the way SageMaker expects it.

    WATCHFLOOR_MODEL=technique|cluster|flow python -m models.serve [serve]

``GET /ping`` answers 200 once the model is loaded. ``POST /invocations`` takes ``application/json`` or
``application/jsonlines`` and answers in the same form; what is wrong with a request comes back as
``{"error": ...}`` with a 4xx status. ``GET /execution-parameters`` holds the settings for a transform job that has none.
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-batch-code.html
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from models.contract import BadRequestError, check_alerts, check_clusters, check_names

MAX_BODY_BYTES = 100 * 1024 * 1024
JSON, JSON_LINES = "application/json", "application/jsonlines"
READ_TIMEOUT_SECONDS = 60
STOP_SECONDS = 25  # SageMaker kills 30 s after SIGTERM


class HttpError(Exception):
    """An answer other than 200."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def load_technique() -> Callable[[Any], Any]:
    model = importlib.import_module("models.technique")
    model.load()

    def answer(records: list[Any]) -> list[Any]:
        names = check_names(records)
        return [{"name": name, "techniques": best} for name, best in zip(names, model.predict(names), strict=True)]

    return answer


def load_cluster() -> Callable[[Any], Any]:
    model = importlib.import_module("models.cluster")
    settings = model.settings_from(os.environ)

    def answer(document: Any) -> Any:
        alerts, node_feature, state, final = check_alerts(document)
        clusters, state = model.update(alerts, node_feature, state, settings, final=final)
        return {"clusters": clusters, "state": state}

    return answer


def load_flow() -> Callable[[Any], Any]:
    model = importlib.import_module("models.flow")

    def answer(document: Any) -> Any:
        clusters, state = check_clusters(document)
        flows, state = model.update(clusters, state)
        return {"flows": flows, "state": state}

    return answer


LOADERS = {"technique": load_technique, "cluster": load_cluster, "flow": load_flow}


def respond(model_name: str, answer: Callable[[Any], Any], content_type: str, body: bytearray) -> bytes:
    """One request body to one response body; the body is emptied as soon as it is parsed."""
    lines = content_type == JSON_LINES
    try:
        if lines and model_name == "technique":
            document = _parse_lines(body)
        else:
            document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"not valid JSON: {error}") from None
    body.clear()
    if model_name != "technique":
        return orjson.dumps(answer(document)) + b"\n"
    one = isinstance(document, dict)
    records = [document] if one else document
    if not isinstance(records, list):
        raise BadRequestError('expected {"name": string}, or a list of them')
    rows = answer(records)
    if lines:
        return b"".join(orjson.dumps(row) + b"\n" for row in rows)
    return orjson.dumps(rows[0] if one else rows)


def _parse_lines(body: bytearray) -> list[Any]:
    rows = []
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            try:
                rows.append(orjson.loads(line))
            except orjson.JSONDecodeError as error:
                raise BadRequestError(f"line {number} is not valid JSON: {error}") from None
    return rows


class Handler(BaseHTTPRequestHandler):
    """GET /ping, GET /execution-parameters, POST /invocations."""

    server: ModelServer
    server_version = "watchfloor-model"
    protocol_version = "HTTP/1.1"
    timeout = READ_TIMEOUT_SECONDS

    def do_GET(self) -> None:
        if self.path == "/ping":
            self._send(HTTPStatus.OK, orjson.dumps({"model": self.server.model_name, "status": "ready"}))
        elif self.path == "/execution-parameters":
            strategy = "MULTI_RECORD" if self.server.model_name == "technique" else "SINGLE_RECORD"
            self._send(
                HTTPStatus.OK,
                orjson.dumps({"MaxConcurrentTransforms": 1, "BatchStrategy": strategy, "MaxPayloadInMB": 100}),
            )
        else:
            self._fail(HTTPStatus.NOT_FOUND, "GET /ping and POST /invocations are all there is")

    def do_POST(self) -> None:
        started = time.monotonic()
        status, size = HTTPStatus.OK, 0
        try:
            if self.path != "/invocations":
                raise HttpError(HTTPStatus.NOT_FOUND, "GET /ping and POST /invocations are all there is")
            content_type = (self.headers.get("Content-Type") or JSON).split(";")[0].strip().lower()
            if content_type not in (JSON, JSON_LINES):
                message = f"Content-Type {content_type}: use {JSON} or {JSON_LINES}"
                raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message)
            # One request at a time, body included, keeps memory bounded; /ping is answered meanwhile.
            with self.server.turn:
                body = self._read_body()
                size = len(body)
                if not body.strip():
                    raise BadRequestError("empty body")
                result = respond(self.server.model_name, self.server.answer, content_type, body)
                self._send(HTTPStatus.OK, result, content_type)
        except BadRequestError as error:
            status = HTTPStatus.BAD_REQUEST
            self._fail(status, str(error))
        except HttpError as error:
            status = error.status
            self._fail(status, str(error))
        except (ConnectionError, TimeoutError):
            status = HTTPStatus.REQUEST_TIMEOUT
            self.close_connection = True
        except Exception as error:  # noqa: BLE001 - the server outlives whatever one request does to the model
            traceback.print_exc()
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            self._fail(status, f"{type(error).__name__} in the {self.server.model_name} model; its log has the details")
        seconds = round(time.monotonic() - started, 3)
        log(model=self.server.model_name, status=int(status), bytes=size, seconds=seconds)

    def _read_body(self) -> bytearray:
        """The body, whole or chunked, refused as soon as it is known to be too large."""
        body = bytearray()
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            while True:
                try:
                    size = int(self.rfile.readline(1024).split(b";")[0], 16)
                except ValueError:
                    raise HttpError(HTTPStatus.BAD_REQUEST, "broken chunked encoding") from None
                self._refuse_large(len(body) + size)
                if size == 0:
                    while self.rfile.readline(65536).strip():
                        pass
                    return body
                body += self._exactly(size)
                self.rfile.readline(1024)
        try:
            size = int(self.headers["Content-Length"])
        except (TypeError, ValueError):
            raise HttpError(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing") from None
        self._refuse_large(size)
        body += self._exactly(size)
        return body

    def _refuse_large(self, size: int) -> None:
        if not 0 <= size <= MAX_BODY_BYTES:
            raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes")

    def _exactly(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError("the client went away")
        return data

    def _send(self, status: HTTPStatus, body: bytes, content_type: str = JSON) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            if status != HTTPStatus.OK:
                # The body of a refused request may be unread: the connection cannot be used again.
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            self.wfile.write(body)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _fail(self, status: HTTPStatus, message: str) -> None:
        self._send(status, orjson.dumps({"error": message}))

    def log_message(self, format: str, *args: Any) -> None:  # /ping every few seconds is not worth a line
        pass


class ModelServer(ThreadingHTTPServer):
    """A model behind HTTP; `turn` is held while a request is read, answered and sent."""

    daemon_threads = True  # idle keep-alive connections must not delay the stop
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], model_name: str) -> None:
        self.model_name = model_name
        self.answer = LOADERS[model_name]()
        self.turn = threading.Lock()
        super().__init__(address, Handler)


def log(**fields: Any) -> None:
    """One JSON line on stderr; never the alerts themselves."""
    sys.stderr.write(orjson.dumps(fields).decode() + "\n")
    sys.stderr.flush()


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    model_name = os.environ.get("WATCHFLOOR_MODEL", "")
    if arguments not in ([], ["serve"]):
        print("usage: WATCHFLOOR_MODEL=technique|cluster|flow python -m models.serve [serve]", file=sys.stderr)
        return 2
    if model_name not in LOADERS:
        print(f"WATCHFLOOR_MODEL must be one of {', '.join(LOADERS)}, not {model_name!r}", file=sys.stderr)
        return 2
    address = (os.environ.get("WATCHFLOOR_BIND_HOST", "0.0.0.0"), int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080")))
    try:
        server = ModelServer(address, model_name)
    except (OSError, ValueError) as error:
        print(f"cannot serve {model_name} on {address[0]}:{address[1]}: {error}", file=sys.stderr)
        return 1

    def stop(*_: object) -> None:
        # shutdown() waits for the loop that this very thread runs, so it needs another.
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log(model=model_name, status="ready", port=server.server_address[1])
    server.serve_forever(poll_interval=0.05)
    server.socket.close()
    server.turn.acquire(timeout=STOP_SECONDS)
    log(model=model_name, status="stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
