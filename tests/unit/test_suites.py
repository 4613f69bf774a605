"""Suites of requests: what one may say, and that nothing in it leads elsewhere."""

import json

import pytest

from watchfloor.errors import AccessDeniedError, InvalidInputError
from watchfloor.expectations import UnmetError
from watchfloor.suites import (
    answered,
    captured,
    check_secret,
    filled,
    plan,
    read_suite,
    secret_value,
    step_body,
    step_headers,
    step_url,
    unanswered,
    verdict,
)

SUITE = b"""
base_url: https://users.example.com/api
variables: {tenant: blue, size: 3}
secrets: {token: {secret: watchfloor/tests/users, key: token}}
headers: {Authorization: 'Bearer ${token}'}
requests:
  - name: log in
    method: POST
    path: /sessions
    json: {tenant: '${tenant}', size: '${size}', note: 'for ${tenant}'}
    expect: {status: 201, max_ms: 800, json: [{path: $.id, exists: true}]}
    capture: {session: $.id}
  - name: who am I
    path: /sessions/${session}
    query: {tenant: '${tenant}', n: 1}
"""


def suite(**changes: object):
    document = {"base_url": "https://a.example", "requests": [{"name": "one"}]} | changes
    return read_suite(json.dumps(document).encode(), "s")


def test_a_suite_is_read_and_filled():
    read = read_suite(SUITE, "users/regression.yaml")
    login, who = read.requests
    values = {"tenant": "blue", "size": 3, "token": "t0p", "session": "a/../b?c=d"}
    assert login.writes
    assert not who.writes
    assert step_headers(read, login, values) == {"Content-Type": "application/json", "Authorization": "Bearer t0p"}
    assert json.loads(step_body(login, values) or b"") == {"tenant": "blue", "size": 3, "note": "for blue"}
    # What an answer held cannot bend the next request's address.
    assert step_url(read, who, values) == ("https://users.example.com/api/sessions/a%2F..%2Fb%3Fc%3Dd?tenant=blue&n=1")
    assert step_body(who, values) is None


def test_captures_take_plain_values_and_name_what_is_not_there():
    login = read_suite(SUITE, "s").requests[0]
    assert captured(login, '{"id": 7}') == ({"session": 7}, [])
    for body in ('{"id": null}', '{"id": {"a": 1}}', "{}", json.dumps({"id": "x" * 5_000})):
        assert captured(login, body)[1][0].startswith("session cannot be captured: $.id is ")
    assert "no JSON" in captured(login, "<html>")[1][0]


def test_secret_value_by_key_or_whole():
    reference = read_suite(SUITE, "s").secrets["token"]
    assert secret_value(reference, '{"token": "t0p", "other": 1}') == "t0p"
    assert secret_value(reference.model_copy(update={"key": None}), "plain") == "plain"
    for text in ("plain", '{"no": 1}', "[1]"):
        with pytest.raises(InvalidInputError, match="holds no JSON object with token") as caught:
            secret_value(reference, text)
        assert text not in str(caught.value) or text == "[1]"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"requests": []}, "at least 1"),
        ({"requests": [{"name": "a"}] * 2}, "two requests have one name"),
        ({"requests": [{"name": str(n)} for n in range(51)]}, "at most 50"),
        ({"requests": [{"name": "a", "path": "/${later}"}]}, "later is not known"),
        ({"requests": [{"name": "a", "json": {"x": ["${later}"]}}]}, "later is not known"),
        ({"requests": [{"name": "a", "capture": {"t": "$.x"}}], "secrets": {"t": {"secret": "s"}}}, "secret's name"),
        ({"requests": [{"name": "a", "path": "@evil.example/"}]}, "begins with /"),
        ({"requests": [{"name": "a", "json": 1, "body": "b"}]}, "not both"),
        ({"requests": [{"name": "a", "method": "TRACE"}]}, "method"),
        ({"requests": [{"name": "a", "expect": {"stauts": 200}}]}, "stauts"),
        ({"base_url": "ftp://a.example"}, "base_url"),
        ({"base_url": "https://a.example?x=1"}, "base_url"),
        ({"base_url": "https://${host}", "variables": {"host": "a"}}, "no references"),
        ({"variables": {"a": 1}, "secrets": {"a": {"secret": "s"}}}, "a variable and a secret"),
        ({"secrets": {"a": {"value": "s3cret"}}}, "secret"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_suite_that_is_wrong_says_where(changes, words):
    with pytest.raises(InvalidInputError, match=words):
        suite(**changes)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"just text",
        b"- a\n- b",
        b"base_url: [",
        b"a: &a [1]\nb: *a\n",
        b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
        b"!!python/object/apply:os.system ['true']",
        b"\xff\xfe\x00",
        b"[" * 50_000,
        b"x" * 300_000,
    ],
)
def test_a_file_that_is_no_suite_is_refused(text):
    with pytest.raises(InvalidInputError):
        read_suite(text, "s")


def test_a_value_leads_to_no_other_site():
    read = suite(variables={"p": ".evil.example/"}, requests=[{"name": "a", "path": "${p}"}])
    with pytest.raises(InvalidInputError, match="leads away"):
        step_url(read, read.requests[0], {"p": ".evil.example/"})


def test_filled_keeps_types_and_is_bounded():
    assert filled({"a": ["${n}", "n=${n}"]}, {"n": 1.5}) == {"a": [1.5, "n=1.5"]}
    deep: object = "${n}"
    for _ in range(40):
        deep = [deep]
    with pytest.raises(InvalidInputError, match="too deeply"):
        filled(deep, {"n": 1})


def test_plan_shows_references_and_no_values():
    shown = plan(read_suite(SUITE, "s"), "s3://data/s.yaml")
    assert shown["findings"] == ["2 requests to https://users.example.com/api"]
    assert [(step["method"], step["url"]) for step in shown["steps"]] == [
        ("POST", "https://users.example.com/api/sessions"),
        ("GET", "https://users.example.com/api/sessions/${session}"),
    ]


def test_request_that_is_answered_as_expected_captures_and_shows_no_body():
    login = read_suite(SUITE, "s").requests[0]
    result, values = answered(login, 201, {}, '{"id": "s-1"}', 12.4)
    assert (result["status"], result["duration_ms"], "body_start" in result) == ("passed", 12, False)
    assert values == {"session": "s-1"}


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (500, '{"id": "s-1"}' + "x" * 900, "the status should be 201, and is 500"),
        (201, '{"id": null}', "session cannot be captured"),
    ],
)
def test_request_that_is_not_answered_as_expected_captures_nothing(status, body, problem):
    result, values = answered(read_suite(SUITE, "s").requests[0], status, {}, body, 5)
    assert (result["status"], values, result["body_start"]) == ("failed", {}, body[:300])
    assert result["problems"][0].startswith(problem)


def test_verdict_counts_and_repeats_no_secret():
    read = read_suite(SUITE, "s")
    token = "t0p-of-the-suite"
    passed = answered(read.requests[0], 201, {}, '{"id": "s-1"}', 5)[0]
    assert verdict(read, "place", [passed, {**passed, "name": "who am I"}], [token])["findings"] == [
        "2 of 2 requests passed"
    ]
    failed = answered(read.requests[0], 500, {}, f"{token} anna@example.com", 5)[0]
    with pytest.raises(UnmetError, match="0 of 2 requests passed; log in: the status should be 201") as unmet:
        verdict(read, "place", [failed], [token])
    details = unmet.value.details
    assert (details["passed"], details["failed"], details["not_run"]) == (0, 1, 1)
    assert details["steps"][0]["body_start"] == "*** [EMAIL_1]"
    assert details["steps"][1] == {"name": "who am I", "status": "not run"}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, "x" * 285 + "t0p-of-the-suite"),
        (201, "x" * 105 + "t0p-of-the-suite"),
        (201, json.dumps({"id": {"a": 't0p-"of-the-suite'}})),
        (201, json.dumps({"id": {"a": "t0p-ö-of-the-suite"}})),
    ],
    ids=["body cut within it", "problem cut within it", "quoted", "not ASCII"],
)
def test_verdict_repeats_no_secret_cut_in_two_or_escaped(status, body):
    read = read_suite(SUITE, "s")
    failed = answered(read.requests[0], status, {}, body, 5)[0]
    with pytest.raises(UnmetError) as unmet:
        verdict(read, "place", [failed], ["t0p-of-the-suite", 't0p-"of-the-suite', "t0p-ö-of-the-suite"])
    told = str(unmet.value) + json.dumps(unmet.value.details)
    assert "t0p-" not in told
    assert "***" in told


def test_request_without_an_answer_failed():
    result = unanswered(read_suite(SUITE, "s").requests[1], "nobody answers")
    assert (result["request"], result["status"]) == ("GET /sessions/${session}", "failed")
    assert result["problems"] == ["nobody answers"]


def test_secret_of_another_name_is_refused():
    reference = read_suite(SUITE, "s").secrets["token"]
    check_secret(reference, "watchfloor/tests/")
    with pytest.raises(AccessDeniedError, match="begin with shop/"):
        check_secret(reference, "shop/")
