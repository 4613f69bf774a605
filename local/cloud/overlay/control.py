"""The local cloud's own HTTP paths, below ``/_watchfloor/``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from local.cloud.overlay import faults

PREFIX = "/_watchfloor/"


def wrap(application: Callable[..., Any]) -> Callable[..., Any]:
    """The ASGI application with the control paths in front of it."""

    async def wrapped(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            status, answer = await _handle(scope, receive)
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
        else:
            await application(scope, receive, send)

    return wrapped


async def _handle(scope: dict[str, Any], receive: Callable[..., Any]) -> tuple[int, dict[str, Any]]:
    if scope["path"] != PREFIX + "faults" or scope["method"] != "POST":
        return 404, {"error": "there is only POST /_watchfloor/faults"}
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    try:
        faults.replace(json.loads(body))
    except ValueError as error:
        return 400, {"error": str(error)}
    return 200, {}
