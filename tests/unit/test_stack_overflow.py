"""Stack Overflow's HTML as text, and an API that answers anything."""

import gzip
import io
import json

import pytest
import requests
import urllib3

from watchfloor.clients import stack_overflow
from watchfloor.clients.stack_overflow import MAX_TEXT_CHARACTERS, StackOverflow, text_of
from watchfloor.errors import InvalidInputError, TransientError


@pytest.fixture(autouse=True)
def forget_pauses(monkeypatch):
    monkeypatch.setattr(stack_overflow, "_paused_until", {})


def test_code_keeps_its_lines_and_other_text_is_folded():
    markup = "<p>Use\n <b>this</b>   one:</p><pre><code>if x:\n    y()\n</code></pre><p>then <code>z</code></p>"
    assert text_of(markup) == "Use this one:\n\n    if x:\n        y()\n\nthen z"


def test_lists_and_entities_become_text():
    assert text_of("<ul><li>a &lt; b</li><li>c</li></ul>") == "- a < b\n- c"


@pytest.mark.parametrize(
    "markup",
    [
        "<script>alert(1)</script>",
        "<style>p{}</style>",
        "<iframe src=x>alert(1)</iframe>",
        "<img src=x onerror=alert(1)>",
        "<!-- alert(1) -->",
    ],
)
def test_what_is_no_text_is_dropped(markup):
    assert text_of(f"<p>a</p>{markup}<p>b</p>").split() == ["a", "b"]


@pytest.mark.parametrize(
    "markup", ["", "<", "<p", "&#0;", "</p></p>", "<pre>", "a" * 200_000, "<div>" * 20_000 + "x", "<li>" * 20_000]
)
def test_any_markup_gives_a_bounded_text(markup):
    assert len(text_of(markup)) <= MAX_TEXT_CHARACTERS


def answer_of(content, status=200, **headers):
    response = requests.Response()
    response.status_code = status
    response.raw = urllib3.HTTPResponse(io.BytesIO(content), headers=headers, preload_content=False)
    return response


class Api(requests.adapters.BaseAdapter):
    """Answers every request with the next of some answers: (status, body), or an exception."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = list(answers)
        self.asked = []

    def send(self, request, stream=False, timeout=None, verify=True, cert=None, proxies=None):
        self.asked.append(request.url)
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(body, Exception):
            raise body
        return answer_of(body if isinstance(body, bytes) else json.dumps(body).encode(), status)

    def close(self):
        pass


def client_of(*answers, **changes):
    client = StackOverflow("https://api.example.com/2.3", **changes)
    api = Api(*answers)
    client._session.mount("https://", api)
    return client, api


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>down for maintenance"),
        (200, []),
        (200, {}),
        (200, {"items": None}),
        (200, {"items": ["x"]}),
        (500, b"oops"),
        (503, {}),
        (429, b""),
        (200, b" " * 3_000_000),
        (200, requests.ConnectionError("refused key=abc")),
        (200, requests.ReadTimeout("late")),
        (400, {"error_id": 503, "error_name": "temporarily_unavailable", "error_message": "soon"}),
        (200, {"error_id": 500, "error_name": "internal_error", "error_message": "oops"}),
    ],
    ids=str,
)
def test_what_passes_is_transient(status, body):
    client, _ = client_of((status, body), key="abc")
    with pytest.raises(TransientError) as caught:
        client.search("KeyError")
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ((400, "`key` doesn't match a known application"), "the key in the Stack Exchange secret"),
        ((405, "key required"), "the key in the Stack Exchange secret"),
        ((400, "pagesize"), "refused the question"),
        ((404, "no method"), "refused the question"),
    ],
)
def test_what_the_owner_has_to_mend_is_named(error, words):
    client, _ = client_of((400, {"error_id": error[0], "error_message": error[1]}), key="abc")
    with pytest.raises(InvalidInputError, match=words):
        client.search("KeyError")


def test_a_question_without_what_one_has_is_no_trouble():
    questions = {"items": [{"question_id": 7}]}
    client, _ = client_of((200, questions), (200, {"items": [{"question_id": 7}, {"question_id": 8, "body": "other"}]}))
    (post,) = client.search("KeyError")
    assert (post.title, post.answer_text, post.score, post.accepted) == ("", "", 0, False)


def test_garbage_in_the_place_of_an_id_is_transient():
    client, _ = client_of((200, {"items": [{"question_id": "7;drop"}]}))
    with pytest.raises(TransientError):
        client.search("KeyError")


def test_a_bomb_is_not_unpacked():
    """What requests unpacks comes in pieces, so that its size is seen before it is all there."""
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 100_000
    response = answer_of(bomb, **{"Content-Encoding": "gzip"})
    with pytest.raises(TransientError, match="too long"):
        StackOverflow("https://api.example.com/2.3")._read(response)


def test_a_quota_that_is_used_up_stops_all_until_the_next_day():
    now = 1_790_000_000.0
    client, api = client_of((200, {"items": [], "quota_remaining": 0}), clock=lambda: now)
    assert client.search("KeyError") == []
    with pytest.raises(TransientError, match=f"for {86_400 - now % 86_400:.0f} s"):
        client.search("KeyError")
    assert len(api.asked) == 1


def test_an_address_that_is_none_is_named():
    with pytest.raises(InvalidInputError, match="StackExchangeUrl"):
        StackOverflow("api.example.com/2.3")
