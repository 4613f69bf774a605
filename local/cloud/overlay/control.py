"""The local cloud's own HTTP paths, below ``/_watchfloor/``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from local.cloud.overlay import faults, performance_insights, records

PREFIX = "/_watchfloor/"
_POSTS: dict[str, Callable[[Any], None]] = {
    "POST faults": faults.replace,
    "POST databases": performance_insights.replace,
}


def wrap(application: Callable[..., Any]) -> Callable[..., Any]:
    """The ASGI application with the control paths in front of it."""

    async def wrapped(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            await _answer(send, *await _handle(scope, receive))
        elif scope["type"] == "http" and faults.any_for_requests():
            await _with_faults(application, scope, receive, send)
        else:
            await application(scope, receive, send)

    return wrapped


async def _handle(scope: dict[str, Any], receive: Callable[..., Any]) -> tuple[int, dict[str, Any]]:
    asked = f"{scope['method']} {scope['path'].removeprefix(PREFIX)}"
    if asked == "GET calls":
        return 200, {"calls": records.calls()}
    if asked == "GET state":
        return 200, {"state": await asyncio.to_thread(records.state)}
    if asked not in _POSTS:
        return 404, {"error": f"there are only {', '.join(_POSTS)}, GET calls and GET state below {PREFIX}"}
    try:
        _POSTS[asked](json.loads(await _body(receive)))
    except ValueError as error:
        return 400, {"error": str(error)}
    return 200, {}


async def _with_faults(
    application: Callable[..., Any], scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
) -> None:
    body = await _body(receive)
    fault = faults.take_request(scope.get("query_string", b""), body)
    if fault and fault["kind"] != "slow":
        code = "ThrottlingException" if fault["kind"] == "429" else "InternalFailure"
        if any(name == b"content-type" and b"json" in value for name, value in scope["headers"]):
            await _answer(send, int(fault["kind"]), {"__type": code, "message": "on request"})
        else:
            error = f"<Error><Code>{code}</Code><Message>on request</Message></Error>"
            await _send(send, int(fault["kind"]), b"text/xml", f"<ErrorResponse>{error}</ErrorResponse>".encode())
        return
    if fault:
        await asyncio.sleep(fault["seconds"])
    unread = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Any:
        return unread.pop() if unread else await receive()

    await application(scope, again, send)


async def _body(receive: Callable[..., Any]) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _answer(send: Callable[..., Any], status: int, answer: dict[str, Any]) -> None:
    await _send(send, status, b"application/json", json.dumps(answer).encode())


async def _send(send: Callable[..., Any], status: int, content_type: bytes, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type)]})
    await send({"type": "http.response.body", "body": body})
