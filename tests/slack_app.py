"""The application's end of Slack's interactivity: keeps what it is sent, and answers as a test tells it to."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable
from typing import Self

from watchfloor.buttons import Action
from watchfloor.clients.slack import parse_action


class SlackApp:
    """The application's end: keeps what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answer = (200, b"")
        self.then: Callable[[Action], object] = lambda action: None
        app = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                app.requests.append((dict(self.headers), body))
                app.then(parse_action(body))
                status, answer = app.answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/slack/actions"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def actions(self) -> list[Action]:
        return [parse_action(body) for _, body in self.requests]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()
