"""The client of chat models, against endpoints that are not OpenAI's."""

import http.server
import json
import threading
import time
from typing import Any

import pytest

from watchfloor.answers import SCHEMA
from watchfloor.clients.chat_model import MAX_ANSWER_BYTES, ChatModel
from watchfloor.errors import InvalidInputError, TransientError


class Endpoint:
    """A server of somebody else: `answer(body)` gives status and JSON, or bytes as they are."""

    def __init__(self, answer, drip=0.0, headers=None):
        self.bodies: list[dict[str, Any]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                status, given = answer(body)
                content = given if isinstance(given, bytes) else json.dumps(given).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    step = 1 if drip else len(content)
                    for at in range(0, len(content), step):
                        self.wfile.write(content[at : at + step])
                        self.wfile.flush()
                        time.sleep(drip)
                except OSError:
                    pass

            def log_message(self, *args):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc):
        self._server.shutdown()
        self._server.server_close()


class Patience:
    """Stands for time.sleep: notes instead of waiting."""

    def __init__(self):
        self.waits = []

    def __call__(self, seconds):
        self.waits.append(seconds)


@pytest.mark.parametrize("refused", [("json_schema",), ("json_schema", "json_object")])
@pytest.mark.parametrize("limit", ["max_completion_tokens", "max_tokens"])
@pytest.mark.parametrize("names_it", [True, False])
def test_compatible_endpoints_that_know_less_are_served(refused, limit, names_it):
    """Endpoints of others refuse forms and names of limits, and do not always say which."""

    def answer(body):
        form = body.get("response_format", {}).get("type")
        if form in refused:
            return 400, {
                "error": {
                    "message": f"{form} is unavailable now",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                }
            }
        if limit not in body:
            param = "max_completion_tokens" if names_it else None
            return 422, {
                "error": {"message": "unknown field", "type": "invalid_request_error", "param": param, "code": None}
            }
        content = json.dumps({"seen": body["messages"][-1]["content"]})
        return 200, {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}

    with Endpoint(answer) as endpoint:
        reply = ChatModel({"api_key": "k"}, endpoint.url, "local").ask([{"role": "user", "content": "why"}], SCHEMA, 5)
    assert "JSON Schema" in reply.text and (reply.tokens_in, reply.model) == (0, "local")
    assert len(endpoint.bodies) <= 4


@pytest.mark.parametrize("key", [None, "", " \n", "schlüssel"])
def test_a_secret_without_a_usable_key_is_named(key):
    with pytest.raises(InvalidInputError, match="the OpenAI secret lacks a usable api_key"):
        ChatModel({"key": "x", "api_key": key}, "https://x.example/v1", "m")


def test_a_key_may_end_with_a_line():
    with Endpoint(lambda body: (200, {"choices": [{"message": {"content": "x"}}]})) as endpoint:
        assert ChatModel({"api_key": "k\n"}, endpoint.url, "m").ask([], SCHEMA, 5).text == "x"


def test_an_address_that_is_none_is_named():
    with pytest.raises(InvalidInputError, match="OpenAiBaseUrl"):
        ChatModel({"api_key": "k"}, "llm.example.com/v1", "m")


def test_an_answer_that_drips_is_given_up_in_time():
    with Endpoint(lambda body: (200, b" " * 1_000), drip=0.05) as endpoint:
        start = time.monotonic()
        with pytest.raises(TransientError, match="in time"):
            ChatModel({"api_key": "k"}, endpoint.url, "m").ask([], SCHEMA, 0.6)
        assert time.monotonic() - start < 1.5


def test_an_answer_without_end_is_given_up():
    with (
        Endpoint(lambda body: (200, b" " * (MAX_ANSWER_BYTES + 200_000))) as endpoint,
        pytest.raises(TransientError, match="longer"),
    ):
        ChatModel({"api_key": "k"}, endpoint.url, "m", sleep=Patience()).ask([], SCHEMA, 5)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": 5}}]},
        [],
        b"[",
        b"null",
    ],
)
def test_an_answer_in_no_known_form_is_garbage(body):
    with Endpoint(lambda _: (200, body)) as endpoint, pytest.raises(TransientError, match="cannot be read"):
        ChatModel({"api_key": "k"}, endpoint.url, "m", sleep=Patience()).ask([], SCHEMA, 5)


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"Retry-After": "2"}, [2.0, 2.0]),
        ({"retry-after-ms": "250"}, [0.25, 0.25]),
        ({"Retry-After": "soon"}, [1.0, 2.0]),
        ({"Retry-After": "-5"}, [1.0, 2.0]),
        ({"Retry-After": "inf"}, [1.0, 2.0]),
        ({"Retry-After": "3600"}, []),
    ],
)
def test_retry_after_is_honoured_within_the_deadline(headers, waits):
    patience = Patience()
    with (
        Endpoint(lambda body: (429, {"error": {"message": "later"}}), headers=headers) as endpoint,
        pytest.raises(TransientError),
    ):
        ChatModel({"api_key": "k"}, endpoint.url, "m", sleep=patience).ask([], SCHEMA, 30)
    assert patience.waits == waits


def test_what_the_endpoint_says_is_told_in_one_short_line():
    told = {
        "error": {"message": "no\n\nway " + "x" * 5_000, "type": "t", "param": None, "code": "content_policy_violation"}
    }
    with Endpoint(lambda body: (400, told)) as endpoint, pytest.raises(InvalidInputError, match="no way x") as caught:
        ChatModel({"api_key": "k"}, endpoint.url, "m").ask([], SCHEMA, 5)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "is_open"),
    [((401, {}), False), ((429, {}), False), ((400, {}), False), ((504, {}), True), ((200, b"<html>"), True)],
    ids=["key", "patience", "question", "gateway", "page"],
)
def test_what_is_refused_is_not_billed(answer, is_open):
    with Endpoint(lambda body: answer) as endpoint:
        model = ChatModel({"api_key": "k"}, endpoint.url, "m", sleep=Patience())
        with pytest.raises((InvalidInputError, TransientError)):
            model.ask([{"role": "user", "content": "json"}], SCHEMA, 5)
    assert model.may_be_billed is is_open


def test_where_nobody_listens_nothing_is_billed():
    with Endpoint(lambda body: (200, {})) as endpoint:
        url = endpoint.url
    model = ChatModel({"api_key": "k"}, url, "m", sleep=Patience())
    with pytest.raises(TransientError):
        model.ask([{"role": "user", "content": "json"}], SCHEMA, 5)
    assert not model.may_be_billed
