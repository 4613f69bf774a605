"""Whether and how an execution is run again."""

import pytest

from watchfloor.errors import ConflictError
from watchfloor.reruns import MAX_RERUNS, check_rerun, is_redriven, next_rerun, outcome

ARN = "arn:aws:states:eu-west-1:1:execution:orders:4711"


@pytest.mark.parametrize("status", ["RUNNING", "SUCCEEDED"])
def test_execution_that_need_not_run_again_is_refused_unless_forced(status):
    with pytest.raises(ConflictError, match="force"):
        check_rerun({"status": status}, force=False)
    check_rerun({"status": status}, force=True)
    check_rerun({"status": "FAILED"}, force=False)


@pytest.mark.parametrize(
    ("mode", "status", "redriven"),
    [
        ("auto", "REDRIVABLE", True),
        ("auto", "NOT_REDRIVABLE", False),
        ("redrive", "REDRIVABLE", True),
        ("restart", "REDRIVABLE", False),
    ],
)
def test_execution_is_redriven_where_it_can_be_and_nothing_else_is_wanted(mode, status, redriven):
    assert is_redriven({"redriveStatus": status}, mode) is redriven


def test_execution_that_can_be_neither_redriven_nor_begun_anew_is_refused():
    with pytest.raises(ConflictError, match="cannot be redriven: too old"):
        is_redriven({"redriveStatus": "NOT_REDRIVABLE", "redriveStatusReason": "too old"}, "redrive")
    with pytest.raises(ConflictError, match="does not give the execution's input"):
        is_redriven({"inputDetails": {"included": False}}, "restart")


def test_next_rerun_follows_those_that_failed():
    known = {f"{ARN}-rerun-1": {"status": "FAILED"}, f"{ARN}-rerun-2": {"status": "ABORTED"}}
    assert next_rerun(ARN, lambda _: None, force=False) == f"{ARN}-rerun-1"
    assert next_rerun(ARN, lambda arn: known.get(arn), force=False) == f"{ARN}-rerun-3"


def test_next_rerun_keeps_to_the_length_of_a_name():
    name = next_rerun(ARN.replace("4711", "n" * 80), lambda _: None, force=False).rpartition(":")[2]
    assert (len(name), name.endswith("nn-rerun-1")) == (80, True)


def test_next_rerun_is_refused_while_an_earlier_one_runs_unless_forced():
    known = {f"{ARN}-rerun-1": {"status": "RUNNING"}}
    with pytest.raises(ConflictError, match="4711-rerun-1 running"):
        next_rerun(ARN, lambda arn: known.get(arn), force=False)
    assert next_rerun(ARN, known.get, force=True) == f"{ARN}-rerun-2"


def test_next_rerun_comes_to_an_end():
    with pytest.raises(ConflictError, match=f"{MAX_RERUNS} times"):
        next_rerun(ARN, lambda _: {"status": "FAILED"}, force=False)


def test_outcome_repeats_no_secret_of_a_cause_not_even_one_that_is_cut_in_two():
    told = outcome({"status": "FAILED", "error": "Broken", "cause": f"{'no ' * 328}password=hunter2-of-the-shop"})
    assert (told["status"], told["error"], told["cause"][:12]) == ("FAILED", "Broken", "no no no no ")
    assert "password=" in told["cause"]
    assert "hu" not in told["cause"]
    assert len(told["cause"]) <= 1_000
    assert outcome({"status": "RUNNING"}) == {"status": "RUNNING", "error": None, "cause": ""}
