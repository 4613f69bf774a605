"""Stack Exchange: the twin keeps the API's rules, and our client asks as it ought to."""

import gzip
import http.client
import json
from urllib.parse import urlsplit

import pytest
import requests

from local.twins.stack_exchange import KEY, QUOTA, QUOTA_WITHOUT_KEY, StackExchangeTwin
from tests.secret_samples import forms_of, planted
from watchfloor.clients import stack_overflow
from watchfloor.clients.stack_overflow import StackOverflow
from watchfloor.errors import InvalidInputError, TransientError
from watchfloor.redaction import Redactor
from watchfloor.reports import search_words


@pytest.fixture(autouse=True)
def forget_pauses(monkeypatch):
    monkeypatch.setattr(stack_overflow, "_paused_until", {})


class Clock:
    def __init__(self):
        self.now = 1_790_000_000.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def twin(clock):
    with StackExchangeTwin() as running:
        running.clock = clock
        yield running


def client_of(twin, key=KEY, **changes):
    return StackOverflow(twin.api_url, key, clock=twin.clock, sleep=twin.clock.sleep, **changes)


# --- the twin keeps the API's rules


def get(twin, path="/search/advanced", **parameters):
    return requests.get(twin.api_url + path, params={"site": "stackoverflow", "q": "KeyError", **parameters}, timeout=5)


def error_of(answer):
    body = answer.json()
    return answer.status_code, body["error_id"], body["error_name"]


@pytest.mark.parametrize(
    ("path", "changes", "error"),
    [
        ("/search/advanced", {"site": None}, (400, "bad_parameter")),
        ("/search/advanced", {"site": "elsewhere"}, (400, "bad_parameter")),
        ("/search/advanced", {"q": None}, (400, "bad_parameter")),
        ("/search", {}, (400, "bad_parameter")),
        ("/search/advanced", {"pagesize": "101"}, (400, "bad_parameter")),
        ("/search/advanced", {"pagesize": "many"}, (400, "bad_parameter")),
        ("/search/advanced", {"page": "0"}, (400, "bad_parameter")),
        ("/search/advanced", {"sort": "beauty"}, (400, "bad_parameter")),
        ("/questions/1/answers", {"q": None, "sort": "relevance"}, (400, "bad_parameter")),
        ("/search/advanced", {"order": "up"}, (400, "bad_parameter")),
        ("/search/advanced", {"filter": "!unknown"}, (400, "bad_parameter")),
        ("/search/advanced", {"flavour": "mint"}, (400, "bad_parameter")),
        ("/search/advanced", {"key": "nobodys"}, (400, "bad_parameter")),
        ("/questions/abc/answers", {"q": None}, (404, "no_method")),
        ("/questions/" + ";".join(map(str, range(101))) + "/answers", {"q": None}, (400, "bad_parameter")),
        ("/nowhere", {}, (404, "no_method")),
        ("/errors/503", {}, (503, "temporarily_unavailable")),
    ],
    ids=str,
)
def test_twin_refuses_what_the_api_refuses_always_with_400(twin, path, changes, error):
    assert error_of(get(twin, path, **changes)) == (400, *error)


def test_twin_zips_whether_asked_to_or_not(twin):
    place = urlsplit(twin.api_url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=5)
    connection.request(
        "GET", "/2.3/search/advanced?site=stackoverflow&q=KeyError", headers={"Accept-Encoding": "identity"}
    )
    answer = connection.getresponse()
    assert answer.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.read()))["items"]


def test_twin_leaves_bodies_out_unless_the_filter_asks_for_them(twin):
    bare, whole = get(twin).json()["items"][0], get(twin, filter="withbody").json()["items"][0]
    assert "body" not in bare and "<p>" in whole["body"]
    assert get(twin, filter="total").json().keys() == {"total"}


def test_twin_gives_pages(twin):
    first = get(twin, q=None, tagged="python", pagesize=2, sort="votes").json()
    second = get(twin, q=None, tagged="python", pagesize=2, page=2, sort="votes").json()
    ids = [row["question_id"] for row in first["items"] + second["items"]]
    assert first["has_more"] and len(set(ids)) == 4
    scores = [row["score"] for row in first["items"] + second["items"]]
    assert scores == sorted(scores, reverse=True)


def test_twin_finds_by_one_of_the_tags(twin):
    tags = [row["tags"] for row in get(twin, q=None, tagged="ruby;rust", pagesize=50).json()["items"]]
    assert tags and all({"ruby", "rust"} & set(row) for row in tags)


def test_twin_counts_the_quota_by_key_and_day(twin, clock):
    assert get(twin).json()["quota_remaining"] == QUOTA_WITHOUT_KEY - 1
    assert get(twin, key=KEY).json()["quota_remaining"] == QUOTA - 1
    twin.state["used"]["address"] = QUOTA_WITHOUT_KEY
    assert error_of(get(twin)) == (400, 502, "throttle_violation")
    clock.now += 86_400
    assert get(twin).json()["quota_remaining"] == QUOTA_WITHOUT_KEY - 1


def test_twin_tells_backoff_and_holds_callers_to_it(twin, clock):
    twin.backoff_seconds = 5
    assert get(twin).json()["backoff"] == 5
    assert error_of(get(twin)) == (400, 502, "throttle_violation")
    assert get(twin, "/questions/70000100/answers", q=None).ok, "it is by method"
    clock.now += 5
    assert get(twin).ok


def test_twin_throttles_more_than_thirty_requests_a_second(twin):
    answers = [get(twin).status_code for _ in range(32)]
    assert answers.count(400) == 2


def test_twin_keeps_what_was_searched_and_shows_questions(twin):
    link = get(twin).json()["items"][0]["link"]
    assert twin.searches()[0]["q"] == "KeyError"
    assert "order_id" in requests.get(link, timeout=5).text
    assert (
        requests.get(twin.url, timeout=5).ok and requests.get(f"{twin.url}/questions/1/x", timeout=5).status_code == 400
    )


def test_every_question_of_the_twin_is_usable(twin):
    for question in twin.state["questions"]:
        assert question["title"] and question["tags"] and question["answers"]
        assert sum(answer["is_accepted"] for answer in question["answers"]) <= 1
    languages = {"python", "java", "node.js", "go", "c#", "ruby", "php", "rust"}
    assert languages <= {tag for question in twin.state["questions"] for tag in question["tags"]}


# --- the client asks as it ought to


@pytest.mark.parametrize(
    ("error", "tags", "words"),
    [
        (("KeyError", "'order_id'"), ["python"], "event.get"),
        (("Sandbox.Timedout", "Task timed out after 3.00 seconds"), ["aws-lambda"], "Timeout"),
        (
            ("java.lang.NullPointerException", 'Cannot invoke "Customer.getName()" because the return value is null'),
            ["java"],
            "Optional",
        ),
        (("TypeError", "Cannot read properties of undefined (reading 'map')"), ["node.js"], "??"),
        (("runtime error", "invalid memory address or nil pointer dereference"), ["go"], "err != nil"),
        (
            ("System.NullReferenceException", "Object reference not set to an instance of an object."),
            ["c#"],
            "Nullable",
        ),
        (("NoMethodError", "undefined method `email' for nil:NilClass"), ["ruby"], "find_by"),
        (("PDOException", "SQLSTATE[HY000] [2002] Connection refused"), ["php"], "container"),
        (("panicked", "called `Option::unwrap()` on a `None` value"), ["rust"], "ok_or"),
        (("botocore.errorfactory.ThrottlingException", "Rate exceeded"), ["python"], "adaptive"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_errors_of_eight_languages_find_their_question(twin, error, tags, words):
    posts = client_of(twin).search(search_words({"type": error[0], "message": error[1]}), tags)
    assert words in posts[0].answer_text, posts
    assert posts[0].accepted and posts[0].url.startswith(twin.url) and posts[0].title


def test_what_is_found_is_text(twin):
    twin.add_question(
        "Wobble &amp; <b>flange</b>", "<p>askew</p><script>alert(1)</script>", ["python"],
        [{"score": 3, "body": "<p>Turn it:</p><pre><code>turn(\n  1)</code></pre><script>alert(2)</script>", "accepted": True}],
    )  # fmt: skip
    (post,) = client_of(twin).search("wobble flange")
    assert post.title == "Wobble &amp; <b>flange</b>" and post.question == "askew"
    assert post.answer_text == "Turn it:\n\n    turn(\n      1)"


def test_accepted_answers_go_first_then_votes(twin):
    twin.add_question("Grommet one", "x", ["a"], [{"score": 90, "body": "many votes"}, {"score": 2, "body": "few"}])
    twin.add_question(
        "Grommet two", "x", ["a"], [{"score": 50, "body": "loud"}, {"score": 1, "body": "accepted", "accepted": True}]
    )
    twin.add_question("Grommet three", "x", ["a"], [])
    posts = client_of(twin).search("grommet")
    assert [(post.title, post.answer_text, post.score, post.accepted) for post in posts] == [
        ("Grommet two", "accepted", 1, True),
        ("Grommet one", "many votes", 90, False),
    ]


def test_queries_are_tried_until_one_finds_something(twin):
    assert client_of(twin).search(["flange askew wobble", "KeyError"], ["python"])
    assert [row["q"] for row in twin.searches()] == ["flange askew wobble", "KeyError"]
    assert client_of(twin).search(["flange askew wobble"]) == []


def test_key_and_tags_are_sent_and_without_a_key_it_works(twin):
    client_of(twin).search("KeyError", ["python", "aws-lambda"])
    client_of(twin, key=None).search("KeyError")
    first, second = twin.searches()
    assert (first["key"], first["tagged"]) == (KEY, "python;aws-lambda")
    assert "key" not in second and "tagged" not in second


def test_a_search_takes_two_requests(twin):
    client_of(twin).search("KeyError", ["python"])
    assert len(twin.log) == 2


def test_a_wrong_key_is_named(twin):
    with pytest.raises(InvalidInputError, match="the secret of StackExchangeSecretArn"):
        client_of(twin, "nobodys", secret_name="the secret of StackExchangeSecretArn").search("KeyError")


def test_a_short_backoff_is_waited_for_by_every_client_of_the_process(twin, clock):
    twin.backoff_seconds = 2
    assert client_of(twin).search("KeyError")
    assert client_of(twin).search("KeyError")
    assert clock.slept == [2.0, 2.0] or sum(clock.slept) == pytest.approx(2.0)


def test_a_long_backoff_is_not_waited_for_and_nothing_is_asked(twin, clock):
    twin.backoff_seconds = 600
    client_of(twin).search("KeyError")
    before = len(twin.log)
    with pytest.raises(TransientError, match="not to be asked again for 600 s"):
        client_of(twin).search("KeyError")
    assert len(twin.log) == before and clock.slept == []
    clock.now += 601
    assert client_of(twin).search("KeyError")


def test_a_throttle_is_kept_for_as_long_as_it_says(twin, clock):
    twin.state["used"][KEY] = QUOTA
    twin.state["day"] = clock.now // 86_400
    with pytest.raises(TransientError, match="throttles"):
        client_of(twin).search("KeyError")
    before = len(twin.log)
    with pytest.raises(TransientError, match="not to be asked again"):
        client_of(twin).search("KeyError")
    assert len(twin.log) == before


@pytest.mark.parametrize("kind", ["down", "500", "429", "garbage"])
@pytest.mark.parametrize("path", ["/search", "/answers"])
def test_a_service_that_is_not_well_is_transient(twin, kind, path):
    twin.fail(kind, path=path)
    with pytest.raises(TransientError):
        client_of(twin).search("KeyError", ["python"])


def test_a_slow_service_is_given_up(twin):
    twin.fail("slow", seconds=2)
    with pytest.raises(TransientError, match="does not answer"):
        client_of(twin, timeout=(0.5, 0.3)).search("KeyError")


def test_the_search_gives_no_planted_secret_away(twin):
    for sample in planted(5, 74):
        error = Redactor().value({"type": "ValueError", "message": f"cannot use {sample.line}"})
        for query in search_words(error):
            client_of(twin).search(query)
            twin.clock.now += 1
        seen = json.dumps(twin.searches()) + json.dumps(twin.log)
        assert not [form for form in forms_of(sample.secret) if form in seen], sample
