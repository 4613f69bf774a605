"""test-endpoint: what an endpoint answers is compared with what it should, and nothing inside is reached."""

import socket
from collections.abc import Iterator

import pytest

from tests.unit.scripts import World, scripts
from tests.unit.web_server import LOOPBACK, Server, web_server

NAME = "test-endpoint"


@pytest.fixture
def server() -> Iterator[Server]:
    with web_server() as started:
        started.answers["/health"] = (200, {"Content-Type": "application/json"}, b'{"ok": true, "version": "1.4"}')
        started.answers["/old"] = (302, {"Location": "/health"}, b"")
        yield started


@pytest.fixture
def world() -> Iterator[World]:
    with scripts(ScriptAllowedNetworks=LOOPBACK) as made:
        yield made


def test_endpoint_as_expected(world, server):
    answer = world.call(
        NAME,
        {
            "url": f"{server.url}/old",
            "status": [200],
            "max_ms": 20_000,
            "body_contains": "version",
            "json_checks": [{"path": "$.ok", "equals": True}],
            "expected_headers": {"content-type": "json"},
            "headers": {"X-Key": "k3y-that-is-secret"},
        },
        requested_by="anna",
    )
    assert answer.status_code == 200
    assert not answer.body["changed"]
    result = answer.result
    assert "answered 200" in result["findings"][0]
    assert result["timing"]["total_ms"] >= result["timing"]["first_byte_ms"] > 0
    assert result["redirects"] == [{"url": f"{server.url}/old", "status": 302, "location": f"{server.url}/health"}]
    assert result["certificate"] is None
    assert server.asked[0].headers["x-key"] == "k3y-that-is-secret"
    # The header's value is in no record.
    assert "k3y-that-is-secret" not in str(world.records(NAME))


def test_endpoint_that_falls_short_is_a_conflict_with_everything_named(world, server):
    event = {"url": f"{server.url}/gone", "body_contains": "version", "json_checks": [{"path": "$.ok", "equals": True}]}
    answer = world.call(NAME, event)
    assert answer.status_code == 409
    assert answer.body["status"] == "failed"
    details = answer.error["details"]
    assert details["status"] == 404
    assert [finding.split(",")[0] for finding in details["findings"]] == [
        "the status should be 200",
        'the body should contain "version"',
        "the body should be JSON",
    ]
    assert "the status should be 200, and is 404" in answer.error["message"]


def test_endpoint_that_falls_short_has_its_secrets_kept(world, server):
    server.answers["/user"] = (200, {}, b'{"mail": "anna@example.com", "password": "hunter2"}')
    answer = world.call(NAME, {"url": f"{server.url}/user", "body_contains": "version"})
    assert 'begins with "{' in answer.error["message"].replace("\\", "")
    for secret in ("anna@example.com", "hunter2"):
        assert secret not in str(answer.body)
        assert secret not in str(world.records(NAME))


def test_endpoint_that_does_not_answer_says_how_far_it_came(world):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    answer = world.call(NAME, {"url": f"http://127.0.0.1:{port}/", "timeout_seconds": 2})
    assert answer.status_code == 409
    assert answer.error["details"]["failed_at"] == "connect"


def test_endpoint_shows_no_secret_of_the_answer(world, server):
    server.answers["/me"] = (200, {"Set-Cookie": "session=abcdef0123456789abcdef"}, b"mail anna@example.com")
    text = str(world.call(NAME, {"url": f"{server.url}/me"}).body)
    assert "anna@example.com" not in text
    assert "abcdef0123456789" not in text


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://[::1]/"])
def test_endpoint_inside_is_refused(world, url):
    answer = world.call(NAME, {"url": url, "timeout_seconds": 2})
    assert answer.status_code == 403
    assert answer.error["type"] == "AccessDeniedError"


def test_endpoint_on_this_machine_is_refused_unless_its_network_is_allowed(server):
    with scripts() as world:
        assert world.call(NAME, {"url": f"{server.url}/health"}).status_code == 403
    assert server.asked == []


@pytest.mark.parametrize(
    ("event", "parameters"),
    [
        ({}, {"url"}),
        ({"url": "ftp://example.com"}, {"url"}),
        ({"url": "https://example.com", "method": "POST"}, {"method"}),
        (
            {"url": "https://example.com", "status": ["200"], "max_ms": 0, "surprise": 1},
            {"status.0", "max_ms", "surprise"},
        ),
        ({"url": "https://example.com", "json_checks": [{"path": "ok"}]}, {"json_checks.0.path"}),
    ],
)
def test_endpoint_invalid_input_names_every_violation(world, event, parameters):
    answer = world.call(NAME, event)
    assert answer.status_code == 400
    assert {violation["parameter"] for violation in answer.error["violations"]} == parameters
