"""The ops scripts' contract: input, answers, plans, masks."""

import datetime as dt
import json
from decimal import Decimal
from typing import Annotated

import pytest
from pydantic import Field, SecretStr

from watchfloor.errors import AccessDeniedError, ConflictError, DeadlineError, NotFoundError, TransientError
from watchfloor.scripts import (
    MAX_RESULT_CHARACTERS,
    Call,
    Mask,
    Parameters,
    PlanError,
    Planned,
    ViolationsError,
    digest,
    done,
    failed,
    parse_request,
    planned,
    same_plan,
)


class Example(Parameters):
    service_name: Annotated[str, Field(pattern=r"^[a-z-]+$")]
    count: int = Field(default=1, ge=0, le=10)
    password: SecretStr | None = None


def violations(event: object) -> dict[str, str]:
    with pytest.raises(ViolationsError) as caught:
        parse_request(event, Example)
    return {violation.parameter: violation.problem for violation in caught.value.violations}


# --- input


@pytest.mark.parametrize(
    "event",
    [
        {"service_name": "shop", "count": 3, "dry_run": True, "requested_by": "alice"},
        {"parameters": {"service_name": "shop", "count": 3}, "dry_run": True, "requested_by": "alice"},
    ],
)
def test_both_forms_of_the_input_say_the_same(event):
    request = parse_request(event, Example)
    assert (request.parameters.service_name, request.parameters.count) == ("shop", 3)
    assert (request.dry_run, request.requested_by) == (True, "alice")
    assert request.digest == digest({"count": 3, "service_name": "shop"})


def test_nothing_said_is_a_real_run_by_nobody_known():
    request = parse_request({"service_name": "shop", "dry_run": None}, Example)
    assert (request.dry_run, request.requested_by, request.approval_id) == (False, "unknown", "")


def test_every_violation_is_named():
    found = violations({"service_name": "No Name", "count": 11, "force": True, "dry_run": "yes", "requested_by": ""})
    assert set(found) == {"service_name", "count", "force", "dry_run", "requested_by"}
    assert found["force"] == "is no parameter of this script"


@pytest.mark.parametrize(
    ("event", "where"),
    [
        (None, ""),
        ([1], ""),
        ({"parameters": [1]}, "parameters"),
        ({"parameters": {"service_name": "shop"}, "count": 3}, "count"),
        ({}, "service_name"),
        ({"service_name": "shop", "count": "3"}, "count"),
        ({"service_name": "shop", "count": True}, "count"),
        ({"service_name": "shop", "count": float("nan")}, "count"),
    ],
)
def test_what_does_not_fit_is_refused_not_converted(event, where):
    assert where in violations(event)


def test_unknown_control_beside_the_parameters_is_not_dropped_silently():
    """`dry_rum` must not end in a real run."""
    assert "dry_rum" in violations({"parameters": {"service_name": "shop"}, "dry_rum": True})
    assert "dry_rum" in violations({"service_name": "shop", "dry_rum": True})


# --- answers


@pytest.mark.parametrize(
    ("error", "status_code", "kind"),
    [
        (ViolationsError([]), 400, "InvalidInputError"),
        (AccessDeniedError("no"), 403, "AccessDeniedError"),
        (NotFoundError("no"), 404, "NotFoundError"),
        (ConflictError("no"), 409, "ConflictError"),
        (DeadlineError("no"), 504, "DeadlineError"),
        (TransientError("no"), 500, "TransientError"),
        (ValueError("no"), 500, "ValueError"),
    ],
)
def test_error_has_its_status_code(error, status_code, kind):
    answer = failed("test-x", error, [], Mask(), changed=False)
    assert (answer.status_code, answer.body()["error"]["type"]) == (status_code, kind)
    assert answer.is_fault == (status_code >= 500)


def test_answer_has_one_form():
    for answer in (
        done("test-x", {"a": 1}, changed=True),
        planned("test-x", {"a": 1}, []),
        failed("test-x", ValueError("no"), [], Mask(), changed=False),
    ):
        body = json.loads(answer.to_lambda()["body"])
        assert list(body) == ["script", "status", "changed", "error" if "error" in body else "result", "duration_ms"]


def test_result_may_hold_what_aws_answers():
    result = {"at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "n": Decimal(2), "b": b"x", "s": {1}, "r": Planned("a:B")}
    assert done("test-x", result, changed=False).content == {
        "at": "2026-01-02T00:00:00+00:00",
        "n": 2,
        "b": "x",
        "s": [1],
        "r": "<answer of a:B>",
    }


def test_result_that_lambda_could_not_return_is_cut():
    answer = done("debug-x", {"lines": ["x" * 1_000] * 10_000}, changed=False)
    assert len(answer.to_lambda()["body"]) < 2 * MAX_RESULT_CHARACTERS
    assert "10," in answer.content["cut"]


# --- plans


def test_answer_of_a_planned_write_can_be_handed_on_but_not_decided_by():
    answer = Planned("sqs:StartMessageMoveTask")
    assert str(answer["TaskHandle"]) == "<TaskHandle of sqs:StartMessageMoveTask>"
    assert f"{answer['a'][0]}" == "<a.0 of sqs:StartMessageMoveTask>"
    for decide in (bool, len, list, int, lambda one: one == "x", lambda one: "x" in one):
        with pytest.raises(PlanError):
            decide(answer["TaskHandle"])


@pytest.mark.parametrize(
    ("made", "is_same"),
    [
        ({"cluster": "a", "service": "s-1"}, True),
        ({"cluster": "b", "service": "s-1"}, False),
        ({"cluster": "a", "service": 1}, False),
        ({"cluster": "a"}, False),
        ({"cluster": "a", "service": "s-1", "force": True}, False),
    ],
)
def test_call_is_the_planned_one_where_only_an_earlier_answer_is_open(made, is_same):
    plan = Call("ecs", "UpdateService", {"cluster": "a", "service": "<name of ecs:CreateService>"}).plan()
    assert same_plan(plan, Call("ecs", "UpdateService", made).plan()) == is_same


# --- secrets


def test_secrets_are_masked_wherever_they_stand():
    mask = Mask(Example(service_name="shop", password=SecretStr("hunter22")))
    shown = mask.value(
        {"Name": "x", "MasterUserPassword": "a", "Text": "it is hunter22", "Body": b"hunter22", "n": [1]}
    )
    assert shown == {"Name": "x", "MasterUserPassword": "***", "Text": "it is ***", "Body": "***", "n": [1]}
    assert mask.text("hunter22!") == "***!"


def test_names_of_secrets_are_no_secrets():
    names = {"SecretId": "db", "nextToken": "t", "KeyName": "k"}
    assert Mask().value(names) == names
