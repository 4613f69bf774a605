"""The run of one input file, and what is said of it."""

import json
from typing import Any

import pytest

from watchfloor.errors import CapacityError, InvalidInputError, ModelError, TransientError
from watchfloor.failures import failure_class
from watchfloor.layout import RunLayout, run_id_of, stream_of
from watchfloor.runs import (
    branch_failures,
    branch_message,
    check_alert_count,
    check_size,
    failed_source,
    failure_message,
    first_batch,
    is_folder_marker,
    object_created,
    root_failure,
    run_summary,
)

ARN = "arn:aws:states:eu-central-1:123456789012:execution:watchfloor-alert-pipeline:one"


def created(key: str, **item: object) -> dict:
    return {"detail": {"bucket": {"name": "b"}, "object": {"key": key, "sequencer": "1", **item}}}


def test_object_created_names_the_run_by_its_version():
    first = object_created(created("input/a.json", **{"version-id": "v1", "size": 3}))
    assert first.run_id == run_id_of("b", "input/a.json", "v1")
    assert first.run_id != object_created(created("input/a.json", **{"version-id": "v2"})).run_id
    assert first.size == 3


def test_object_created_falls_back_to_the_sequencer():
    assert object_created(created("input/a.json")).run_id == run_id_of("b", "input/a.json", "1")


@pytest.mark.parametrize(
    "event", [{}, {"detail": None}, {"detail": {"bucket": {"name": "b"}, "object": {"key": "input/a"}}}]
)
def test_object_created_says_what_event_it_wants(event):
    with pytest.raises(InvalidInputError, match="sequencer"):
        object_created(event)


def test_object_created_refuses_other_folders():
    with pytest.raises(InvalidInputError, match="input/"):
        object_created(created("output/a.json"))


@pytest.mark.parametrize(
    ("key", "stream"),
    [
        ("input/a.json", "default"),
        ("input/edr/a.json", "edr"),
        ("input/edr/x/a.json", "edr"),
        ("input//a.json", "default"),
    ],
)
def test_stream_is_the_first_folder(key, stream):
    assert stream_of(key) == stream


def test_folder_marker_and_size():
    assert is_folder_marker(object_created(created("input/edr/")))
    check_size(object_created(created("input/a.json", size=5_000_000_000)))
    with pytest.raises(InvalidInputError, match="Split it"):
        check_size(object_created(created("input/a.json", size=5_000_000_001)))


def test_too_many_alerts_are_refused_with_advice():
    check_alert_count(10_000_000)
    with pytest.raises(InvalidInputError, match="10,000,001 alerts.*Split it"):
        check_alert_count(10_000_001)


def test_state_key_keeps_streams_apart():
    layout = RunLayout("r")
    assert layout.state("a/b", "cluster") != layout.state("a", "b/cluster")


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("CapacityError: Unable to provision requested ML compute capacity", CapacityError),
        ("ResourceLimitExceeded: ml.m5.large", CapacityError),
        ("InternalServerError: We encountered an internal error. Please try again.", TransientError),
        ("ClientError: See job logs for more information", ModelError),
        ("AlgorithmError: exit code 1", ModelError),
        ("", ModelError),
    ],
)
def test_failure_class_tells_what_to_retry(reason, error):
    assert failure_class(reason) is error


def test_root_failure_unwraps_child_execution_and_function():
    inner = json.dumps({"errorType": "ModelError", "errorMessage": "no such cluster"})
    outer = json.dumps({"ExecutionArn": ARN, "Error": "ModelError", "Cause": inner})
    assert root_failure("States.TaskFailed", outer) == ("ModelError", "no such cluster")
    assert root_failure("States.Timeout", "") == ("States.Timeout", "")
    assert root_failure("E", "[1]") == ("E", "[1]")


def test_failure_message_names_run_state_error_fix_and_console():
    source = object_created(created("input/ü.json"))
    subject, text = failure_message(
        execution_arn=ARN,
        status="TIMED_OUT",
        state="CreateFlow",
        error="States.Timeout",
        cause="x" * 9_000,
        source=source,
    )
    assert subject == f"Watchfloor: run {source.run_id} timed out in CreateFlow"
    assert subject.isascii()
    assert len(subject) <= 100
    assert "input/ü.json" in text
    assert "What now: Start a new execution with the same input" in text
    assert f"region=eu-central-1#/v2/executions/details/{ARN}" in text
    assert len(text) < 4_000


def test_failure_message_without_a_file():
    subject, text = failure_message(
        execution_arn=ARN, status="FAILED", state=None, error="InvalidInputError", cause="bad", source=None
    )
    assert subject == "Watchfloor: run one failed"
    assert "Mend the file" in text


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("AccessDeniedError", "permissions.md"),
        ("Lambda.AccessDeniedException", "permissions.md"),
        ("Sandbox.Timedout", "split it"),
        ("Runtime.ExitError", "split the file"),
        ("", "Start a new execution"),
    ],
)
def test_failure_message_advises_what_helps(error, advice):
    _, text = failure_message(execution_arn=ARN, status="FAILED", state=None, error=error, cause="", source=None)
    assert advice in text


def test_failed_source_of_foreign_input_is_none():
    assert failed_source("{}") is None
    assert failed_source("nonsense") is None
    assert failed_source(json.dumps(created("input/a.json"))) is not None


@pytest.mark.parametrize(
    ("row", "version", "moved_by", "expected"),
    [
        ({"next_batch": 0}, 0, None, (0, 0)),
        ({"next_batch": 2, "base_version": 3}, 3, "other", (2, 3)),  # unmoved since: go on
        ({"next_batch": 2, "base_version": 3}, 4, "other", (0, 4)),  # another run came between: from the start
        ({"next_batch": 4, "base_version": 3}, 4, "me", (4, 3)),  # moved by this very run
    ],
)
def test_first_batch_trusts_finished_batches_only_on_the_same_state(row, version, moved_by, expected):
    assert first_batch({"run_id": "me", **row}, version, moved_by) == expected


def test_branches_that_failed_are_told_and_summed_up():
    run: dict[str, Any] = {"run_id": "r", "stream": "s", "bucket": "b", "key": "input/a.json"}
    cause = json.dumps({"errorType": "TransientError", "errorMessage": "no answer"})
    run["branches"] = {
        "campaign": {"status": "done", "run_id": "r", "bucket": "b", "next": 3, "created": 3},
        "jira": {"status": "failed", "error": {"Error": "TransientError", "Cause": cause}},
        "case": {"status": "skipped", "reason": "not configured"},
    }
    failures = branch_failures(run["branches"])
    assert failures == {"jira": "TransientError: no answer"}
    subject, text = branch_message(run, failures)
    assert subject == "Watchfloor: run r: jira failed"
    assert "no answer" in text
    summary = run_summary(run, {"alert_count": 5, "batch_count": 1}, seconds=9)
    assert summary["campaigns"] == {"status": "done", "created": 3}
    assert summary["jira"] == {"status": "failed", "error": "TransientError: no answer"}
    assert summary["case"] == {"status": "skipped", "reason": "not configured"}
    assert (summary["alerts"], summary["batches"], summary["seconds"]) == (5, 1, 9)
