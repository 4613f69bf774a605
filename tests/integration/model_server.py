"""A model server of a few lines: it answers with what it got, in capitals, and fails when told to."""

import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    calls = 0

    def do_GET(self) -> None:
        ready = self.path == "/ping" and os.environ.get("WATCHFLOOR_MODEL") != "never-ready"
        self._answer(200 if ready else 404, b"")

    def do_POST(self) -> None:
        Handler.calls += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print(f"{len(body)} bytes of {self.headers['Content-Type']}", flush=True)
        if b"crash" in body:
            os._exit(3)
        if b"sleep" in body:
            time.sleep(3)
        if b"hiccup" in body and Handler.calls == 1:
            self._answer(500, b"try again")
        elif b"bad" in body:
            self._answer(400, b"no such input")
        elif b"broken" in body:
            self._answer(500, b"model broke")
        else:
            self._answer(200, body.upper())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    address = os.environ["WATCHFLOOR_BIND_HOST"], int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    ThreadingHTTPServer(address, Handler).serve_forever()
