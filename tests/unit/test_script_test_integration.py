"""test-integration: a suite's requests in order, each with its expectations; a dry run sends none."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.machines.stack import ROOT, physical_id
from tests.unit.scripts import World, scripts
from tests.unit.web_server import LOOPBACK, Server, web_server
from watchfloor.suites import read_suite

NAME = "test-integration"
TOKEN = "t0p-secret-token-of-the-test"


@pytest.fixture
def server() -> Iterator[Server]:
    with web_server() as started:
        started.answers["/sessions"] = (201, {}, b'{"id": "s-1"}')
        started.answers["/sessions/s-1"] = (200, {}, json.dumps({"user": "test", "echo": TOKEN}).encode())
        yield started


@pytest.fixture
def world() -> Iterator[World]:
    with scripts(ScriptAllowedNetworks=LOOPBACK) as made:
        made.client("s3").create_bucket(Bucket=physical_id("DataBucket"))
        yield made


def suite(server: Server, **changes: object) -> dict[str, object]:
    return {
        "base_url": server.url,
        "secrets": {"token": {"secret": "watchfloor/tests/users", "key": "token"}},
        "headers": {"Authorization": "Bearer ${token}"},
        "requests": [
            {
                "name": "log in",
                "method": "POST",
                "path": "/sessions",
                "json": {"user": "test"},
                "expect": {"status": 201},
                "capture": {"session": "$.id"},
            },
            {
                "name": "who am I",
                "path": "/sessions/${session}",
                "expect": {"json": [{"path": "$.user", "equals": "test"}]},
            },
        ],
    } | changes


def put(world: World, document: object, name: str = "users/regression.json") -> None:
    text = document if isinstance(document, str) else json.dumps(document)
    world.client("s3").put_object(Bucket=physical_id("DataBucket"), Key=f"config/tests/{name}", Body=text.encode())


def secret(world: World, name: str) -> None:
    world.client("secretsmanager").create_secret(Name=name, SecretString=json.dumps({"token": TOKEN}))


@pytest.fixture
def prefix(world: World) -> str:
    """What the names of the suites' secrets begin with."""
    function = next(item for item in world._functions.values() if item["Handler"].startswith("test_integration"))
    return str(function["Environment"]["Variables"]["SECRET_PREFIX"])


def test_integration_passes_values_on_and_tells_each_request(world, server, prefix):
    secret(world, f"{prefix}users")
    put(world, suite(server, secrets={"token": {"secret": f"{prefix}users", "key": "token"}}))
    answer = world.call(NAME, {"service_name": "users", "test_suite": "regression"})
    assert answer.status_code == 200, answer.body
    assert answer.result["findings"] == ["2 of 2 requests passed"]
    assert [(step["name"], step["status"], step["answered"]) for step in answer.result["steps"]] == [
        ("log in", "passed", 201),
        ("who am I", "passed", 200),
    ]
    assert [(asked.method, asked.path) for asked in server.asked] == [("POST", "/sessions"), ("GET", "/sessions/s-1")]
    assert server.asked[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert json.loads(server.asked[0].body) == {"user": "test"}
    # A POST may have changed something over there.
    assert answer.body["changed"]
    record = str(world.records(NAME))
    assert TOKEN not in record
    assert "log in" in record


def test_integration_dry_run_sends_nothing_and_lists_what_may_change_something(world, server):
    put(world, suite(server))
    answer = world.call(NAME, {"service_name": "users", "test_suite": "regression"}, dry_run=True)
    assert answer.status_code == 202
    assert server.asked == []
    assert answer.planned_calls == [
        {"service": "http", "operation": "POST", "parameters": {"request": "log in", "url": f"{server.url}/sessions"}}
    ]
    assert [step["method"] for step in answer.result["plan"]["steps"]] == ["POST", "GET"]


def test_integration_stops_at_the_first_failure_and_repeats_no_secret(world, server, prefix):
    secret(world, f"{prefix}users")
    server.answers["/sessions"] = (500, {}, f"oops {TOKEN}".encode())
    put(world, suite(server, secrets={"token": {"secret": f"{prefix}users", "key": "token"}}))
    answer = world.call(NAME, {"service_name": "users", "test_suite": "regression"})
    assert answer.status_code == 409
    details = answer.error["details"]
    assert (details["passed"], details["failed"], details["not_run"]) == (0, 1, 1)
    assert details["findings"][1] == "log in: the status should be 201, and is 500"
    assert details["steps"][0]["body_start"] == "oops ***"
    assert TOKEN not in str(answer.body)
    assert len(server.asked) == 1


def test_integration_goes_on_where_the_suite_says_so(world, server):
    requests = [{"name": "gone", "path": "/gone"}, {"name": "there", "path": "/sessions/s-1"}]
    put(world, suite(server, secrets={}, headers={}, requests=requests, stop_at_failure=False))
    answer = world.call(NAME, {"service_name": "users", "test_suite": "regression"})
    assert answer.status_code == 409
    assert [step["status"] for step in answer.error["details"]["steps"]] == ["failed", "passed"]
    # GET requests only: nothing was changed.
    assert not answer.body["changed"]


def test_integration_reads_yaml_and_says_which_suites_there_are(world, server):
    put(world, f"base_url: {server.url}\nrequests:\n  - name: one\n    path: /sessions/s-1\n", "users/smoke.yaml")
    assert world.call(NAME, {"service_name": "users", "test_suite": "smoke"}).status_code == 200
    missing = world.call(NAME, {"service_name": "users", "test_suite": "smok"})
    assert missing.status_code == 404
    assert "smoke.yaml" in missing.error["message"]
    assert world.call(NAME, {"service_name": "nobody", "test_suite": "smoke"}).status_code == 404


def test_integration_secrets_of_other_names_are_not_read(world, server):
    secret(world, "production/database")
    put(world, suite(server, secrets={"token": {"secret": "production/database", "key": "token"}}))
    answer = world.call(NAME, {"service_name": "users", "test_suite": "regression"})
    assert answer.status_code == 403
    assert server.asked == []


def test_integration_suite_that_points_inside_is_refused(world, server):
    put(world, suite(server, base_url="http://169.254.169.254", secrets={}, headers={}))
    assert world.call(NAME, {"service_name": "users", "test_suite": "regression"}).status_code == 403


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"service_name": "users"},
        {"service_name": "../users", "test_suite": "a"},
        {"service_name": "users", "test_suite": "a/b"},
        {"service_name": "users", "test_suite": "a", "request_timeout_seconds": 0},
    ],
)
def test_integration_invalid_input(world, event):
    assert world.call(NAME, event).status_code == 400


def test_integration_broken_suite_says_where(world):
    put(world, '{"base_url": "https://a.example", "requests": [{"name": "a", "expects": {}}]}')
    answer = world.call(NAME, {"service_name": "users", "test_suite": "regression"})
    assert answer.status_code == 400
    assert "requests.0.expects" in answer.error["message"]


def test_integration_suite_of_the_document_is_one():
    text = (ROOT / "functions/scripts/test_integration.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    suite = read_suite(block.encode(), "document")
    assert [step.name for step in suite.requests] == ["log in", "read back"]
