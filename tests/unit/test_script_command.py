"""`watchfloor script`: what is listed, what is sent, what the exit code says. The cloud is left out."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from local import script_commands
from local.cli import main
from local.scripts.calling import Outcome
from watchfloor.errors import NotFoundError

OK = Outcome(
    200,
    {"script": "x", "status": "ok", "changed": True, "result": {"rows": [{"a": 1, "b": []}]}, "duration_ms": 1_200},
)
FAILED = Outcome(
    504,
    {
        "script": "x",
        "status": "failed",
        "changed": True,
        "error": {
            "type": "DeadlineError",
            "message": "too late",
            "calls": [
                {"service": "ecs", "operation": "UpdateService", "parameters": {"service": "a"}, "outcome": "made"}
            ],
        },
        "duration_ms": 9,
    },
)


class Recorder:
    """In the place of a deployed stack."""

    def __init__(self):
        self.calls, self.outcome = [], OK

    def call(self, script, event):
        self.calls.append((script, event))
        return self.outcome


@pytest.fixture
def stack(monkeypatch):
    recorder = Recorder()

    @contextmanager
    def stack(*_, **__):
        yield recorder

    monkeypatch.setattr(script_commands, "_stack", stack)
    monkeypatch.setattr(script_commands, "_myself", lambda *_: "me")
    return recorder


def run(*arguments):
    return main(["script", "run", "oncall-restart-service", *arguments])


def test_list_is_a_table_for_people_and_json_for_machines(capsys):
    assert main(["script", "list"]) == 0
    assert "oncall-restart-service" in capsys.readouterr().out
    assert main(["script", "list", "--group", "oncall", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {script["group"] for script in listed} == {"oncall"}
    assert set(listed[0]) == {
        *("name", "group", "owner", "description", "parameters", "permissions", "risk", "writes"),
    }


def test_describe_says_what_there_is_to_know(capsys):
    assert main(["script", "describe", "oncall-restart-service"]) == 0
    out = capsys.readouterr().out
    assert all(part in out for part in ("service_name", "ecs:UpdateService", "platform-team", "medium"))


def test_parameters_have_the_types_of_the_schema(stack):
    assert run("--param", "service_name=12", "--param", "wait_seconds=12", "--dry-run") == 0
    ((script, event),) = stack.calls
    assert script == "oncall-restart-service"
    assert event == {
        "parameters": {"service_name": "12", "wait_seconds": 12},
        "dry_run": True,
        "requested_by": "me",
    }


def test_value_that_does_not_fit_is_left_for_the_script_to_refuse(stack):
    run("--param", "service_name=a=b", "--param", "wait_seconds=soon")
    assert stack.calls[0][1]["parameters"] == {"service_name": "a=b", "wait_seconds": "soon"}


def test_input_of_either_form_is_read_and_parameters_go_before_it(stack, tmp_path):
    for given in ({"service_name": "a", "requested_by": "ana"}, {"parameters": {"service_name": "a"}, "dry_run": True}):
        path = tmp_path / "input.json"
        path.write_text(json.dumps(given))
        assert run("--input", str(path), "--param", "cluster=b") == 0
    (_, first), (_, second) = stack.calls
    assert first == {"parameters": {"service_name": "a", "cluster": "b"}, "dry_run": False, "requested_by": "ana"}
    assert second == {"parameters": {"service_name": "a", "cluster": "b"}, "dry_run": True, "requested_by": "me"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "oncall-restrat-service"], "did you mean oncall-restart-service"),
        (["run", "oncall-restart-service", "--param", "service=x"], "did you mean service_name?"),
        (["run", "oncall-restart-service", "--param", "service_name"], "must be NAME=VALUE"),
        (["run", "oncall-restart-service", "--input", "/nowhere"], "cannot be read"),
        (["describe", "zzz"], "watchfloor script list shows all"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_right(stack, capsys, arguments, told):
    with pytest.raises(SystemExit) as ended:
        main(["script", *arguments])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
    assert stack.calls == []


@pytest.mark.parametrize(("flags", "is_told"), [([], True), (["--stack", "prod"], False)])
def test_what_is_not_on_a_local_cloud_may_never_have_been_made(stack, capsys, flags, is_told):
    stack.outcome = Outcome(404, FAILED.body)
    assert run("--param", "service_name=checkout", *flags) == 1
    assert ("begins empty" in " ".join(capsys.readouterr().err.split())) == is_told


def test_approval_that_is_not_there_is_told_where_to_find_one(stack, capsys):
    def get(approval_id):
        raise NotFoundError(f"there is no approval {approval_id}")

    stack.approvals = lambda: SimpleNamespace(get=get)
    assert main(["script", "approve", "0123456789abcdef"]) == 1
    assert "watchfloor script run shows an approval's id" in capsys.readouterr().err


def test_answer_is_shown_as_an_outline(stack, capsys):
    assert run("--param", "service_name=a") == 0
    out = capsys.readouterr().out
    assert "ok (200), changed something, 1.2 s" in out
    assert "- a: 1" in out


def test_failure_ends_with_1_and_says_what_was_done(stack, capsys):
    stack.outcome = FAILED
    assert run("--param", "service_name=a") == 1
    out = capsys.readouterr().out
    assert "DeadlineError: too late" in out
    assert 'ecs:UpdateService(service="a"): made' in out
    assert run("--param", "service_name=a", "--json") == 1
    assert json.loads(capsys.readouterr().out) == FAILED.to_dict()
