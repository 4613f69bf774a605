"""Who may let a dangerous script run, and what for."""

import dataclasses
import json
import time

import pytest
from moto import mock_aws

from tests.unit.tables import table
from watchfloor.approvals import (
    Approval,
    Ask,
    Person,
    approval_id_of,
    check_approver,
    checked_plan,
    decide,
    doubted,
    outcome_of,
    parse_ask,
    parse_decision,
    person_of_arn,
    person_of_slack,
    shown,
    still_to_come,
)
from watchfloor.clients.approval_table import ApprovalTable
from watchfloor.errors import AccessDeniedError, ConflictError, InvalidInputError, NotFoundError
from watchfloor.messages import approval_message, decided_message

ASK = Ask("oncall-rollback-lambda", {"function_name": "checkout"}, "alice", "5xx since the release")
ALICE = Person(("alice", "arn:aws:iam::123456789012:user/alice"), is_proven=True)
BOB, CAROL = Person(("U0BOB", "bob"), True, "slack"), Person(("U0CAROL", "carol"), True, "slack")
CALLS = [{"service": "lambda", "operation": "UpdateAlias", "parameters": {"FunctionVersion": "6"}}]


def asked(requester=ALICE, **changes):
    approval = Approval("0f3a5c7e9b1d2f46", ASK, requester, CALLS, ends_at=1_000)
    return dataclasses.replace(approval, **changes)


# --- people


ACCOUNT = "123456789012"
SSO = "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Ops_0123456789abcdef/alice@example.org"


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        ("arn:aws:iam::123456789012:user/ops/alice", "alice"),
        (SSO, "alice@example.org"),
        ("arn:aws-us-gov:sts::123456789012:assumed-role/on-call/alice", "alice"),
    ],
)
def test_person_is_known_by_user_or_session(arn, name):
    person = person_of_arn(arn, ACCOUNT, ["on-call"])
    assert (person.shown, person.is_proven, person.provider) == (name, True, "aws")


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::123456789012:root",
        "arn:aws:sts::123456789012:federated-user/alice",
        "arn:aws:sts::123456789012:assumed-role/deploy/alice",
        "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_mine/alice",
        "arn:aws:sts::123456789012:assumed-role/not-on-call/alice",
        "arn:aws:sts::123456789012:assumed-role/on-call-not/alice",
    ],
)
def test_name_that_its_bearer_chose_proves_nothing(arn):
    assert not person_of_arn(arn, ACCOUNT, ["on-call"]).is_proven


@pytest.mark.parametrize("arn", ["arn:aws:iam::999999999999:user/alice", SSO.replace(ACCOUNT, "9" * 12), "alice", ""])
def test_other_accounts_prove_nothing_here(arn):
    with pytest.raises(AccessDeniedError, match="not of the account 123456789012"):
        person_of_arn(arn, ACCOUNT)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (("alice",), ("U1", "Alice"), True),
        (("alice@example.org",), ("alice",), True),
        (("alice@example.org",), ("ALICE@other.example",), True),
        (("@alice",), ("alice",), True),
        (("alice", "arn:aws:iam::1:user/alice"), ("bob", "arn:aws:iam::1:user/bob"), False),
        (("unknown",), ("unknown",), False),
        (("",), ("",), False),
    ],
)
def test_same_person_by_any_name(one, other, is_same):
    assert Person(one).is_same(Person(other)) == is_same
    assert Person(other).is_same(Person(one)) == is_same


# --- decisions


def test_person_of_slack_is_known_by_all_that_slack_says():
    person = person_of_slack("U0BOB", "bob", "bob@example.com")
    assert person == Person(("bob", "U0BOB", "bob@example.com"), is_proven=True, provider="slack")
    # A mail address takes a scope that the app may not have.
    assert person_of_slack("U0BOB", "bob", "").names == ("bob", "U0BOB")


@pytest.mark.parametrize(("verdict", "chosen"), [("approved", None), ("approved", ["U0BOB"]), ("refused", [])])
def test_who_may_decide_is_let_through(verdict, chosen):
    check_approver("U0BOB", verdict, chosen)


@pytest.mark.parametrize("chosen", [[], ["U0CAROL"]])
def test_only_those_chosen_approve(chosen):
    with pytest.raises(AccessDeniedError, match="not among the approvers"):
        check_approver("U0BOB", "approved", chosen)


def test_whose_word_does_not_decide_is_told_what_is_still_to_come():
    approval = asked(Person(("alice",)))
    first = decide(approval, BOB, "approved", 10)
    assert "1 of 2" in still_to_come(first)
    assert still_to_come(decide(first, CAROL, "approved", 20)) == ""
    assert still_to_come(decide(approval, BOB, "refused", 10)) == ""


def test_one_other_person_is_enough_where_the_requester_is_proven():
    decided = decide(asked(), BOB, "approved", 500)
    assert (decided.status, decided.decided_by) == ("approved", "U0BOB")


def test_two_people_are_needed_where_the_requester_is_not_proven():
    """Whoever gives a false name to approve their own request is one of the two at most."""
    first = decide(asked(Person(("mallory",))), BOB, "approved", 500)
    assert (first.status, first.given, first.needed) == ("pending", 1, 2)
    assert decide(first, BOB, "approved", 501) == first
    assert decide(first, CAROL, "approved", 502).status == "approved"


def test_one_person_is_not_two_for_being_in_slack_and_in_aws():
    """`al` in Slack may well be `alice` in AWS."""
    asked_for = asked(Person(("mallory",)))
    mixed = decide(decide(asked_for, BOB, "approved", 500), Person(("robert",), True, "aws"), "approved", 501)
    assert (mixed.status, mixed.given) == ("pending", 1)
    assert decide(mixed, CAROL, "approved", 502).status == "approved"


def test_who_asks_does_not_approve():
    with pytest.raises(AccessDeniedError, match="somebody else"):
        decide(asked(), Person(("U0ALICE", "Alice"), is_proven=True), "approved", 500)


def test_who_asks_may_take_it_back():
    assert decide(asked(), ALICE, "refused", 500).status == "refused"


def test_refusal_ends_it():
    refused = decide(asked(), BOB, "refused", 500)
    assert refused.status == "refused"
    with pytest.raises(ConflictError, match="was refused by U0BOB"):
        decide(refused, CAROL, "approved", 501)


def test_nobody_decides_after_the_time():
    with pytest.raises(ConflictError, match="is over"):
        decide(asked(), BOB, "approved", 1_000)


# --- input


def test_request_that_is_wrong_says_all_that_is_wrong():
    with pytest.raises(InvalidInputError) as caught:
        parse_ask({"script": "rm -rf", "parameters": [], "requested_by": " ", "reason": 5})
    assert all(name in str(caught.value) for name in ("script", "parameters", "requested_by", "reason"))


def test_proof_is_bound_to_all_that_is_asked_for():
    digests = {
        ask.digest for ask in (ASK, dataclasses.replace(ASK, reason=""), dataclasses.replace(ASK, parameters={}))
    }
    assert len(digests) == 3
    decisions = [
        parse_decision({"approval_id": "0" * 16, "verdict": verdict})[2] for verdict in ("approved", "refused")
    ]
    assert decisions[0] != decisions[1]


@pytest.mark.parametrize("event", [{}, {"approval_id": "x", "verdict": "approved"}, {"approval_id": "0" * 16}])
def test_decision_that_is_wrong_is_refused(event):
    with pytest.raises(InvalidInputError):
        parse_decision(event)


def test_plan_that_nobody_can_look_at_is_not_asked_about():
    calls = [
        {"service": "s3", "operation": "DeleteObject", "parameters": {"Key": f"{number:050}"}} for number in range(999)
    ]
    with pytest.raises(InvalidInputError, match="999 write calls"):
        checked_plan({"result": {"planned_calls": calls}})


# --- how it ended


PLAN = {"status_code": 202, "body": {"status": "planned"}}
REQUEST = {"approval_id": "a", "script": "oncall-x"}


@pytest.mark.parametrize(
    ("state", "decision"),
    [
        ({"script": "oncall-x", "error": {"Error": "InvalidInputError", "Cause": "no"}}, "failed"),
        ({"request": REQUEST, "plan": {"status_code": 404, "body": {"status": "failed"}}}, "not_planned"),
        ({"request": REQUEST, "plan": PLAN, "error": {"Error": "TransientError", "Cause": "no"}}, "failed"),
        ({"request": REQUEST, "plan": PLAN, "asked": {"Error": "States.HeartbeatTimeout", "Cause": ""}}, "expired"),
        ({"request": REQUEST, "plan": PLAN, "asked": {"verdict": "refused", "by": "bob"}}, "refused"),
        (
            {
                "request": REQUEST,
                "plan": PLAN,
                "asked": {"verdict": "approved", "by": "bob"},
                "run": {"status_code": 200, "body": {"status": "ok"}},
            },
            "approved",
        ),
    ],
)
def test_outcome_says_how_it_ended(state, decision):
    outcome = outcome_of(state)
    assert (outcome["script"], outcome["decision"]) == ("oncall-x", decision)
    assert ("answer" in outcome) == (decision in ("approved", "not_planned"))
    assert outcome.get("status_code") == {"approved": 200, "not_planned": 404}.get(decision)


ANSWER = {"decision": "approved", "status_code": 200, "answer": {"status": "ok"}}


@pytest.mark.parametrize(
    ("outcome", "status", "is_doubted"),
    [
        (ANSWER, "used", False),
        ({**ANSWER, "status_code": 409}, "used", False),
        # Somebody else used it up, or the answer of the call that did got lost.
        ({**ANSWER, "status_code": 403}, "used", True),
        ({"decision": "approved", "error": "States.Timeout: None"}, "used", True),
        ({"decision": "approved", "error": "Lambda.Unknown: None"}, "expired", False),
        ({"decision": "refused"}, "refused", False),
    ],
)
def test_outcome_says_that_the_script_may_have_run(outcome, status, is_doubted):
    told = doubted(outcome, asked(status=status))
    assert ("may have run" in told.get("error", "")) == is_doubted
    assert {**outcome, "error": None} == {**told, "error": None}


def test_people_see_plan_parameters_reason_and_that_the_name_is_not_proven():
    for requester, warns in ((ALICE, False), (Person(("mallory",)), True)):
        text = json.dumps(approval_message(shown(asked(requester))))
        assert all(part in text for part in ("UpdateAlias", "checkout", "5xx since", "0f3a5c7e9b1d2f46"))
        assert ("two people" in text) == warns
    told = {**shown(asked()), "decision": "approved", "by": "bob", "result": {"status": "ok"}}
    assert "ok" in json.dumps(decided_message(told))


# --- the table


class Machine:
    """Step Functions, as far as it waits."""

    def __init__(self, is_waiting=True):
        self.is_waiting, self.answers = is_waiting, []

    def succeed(self, token, output):
        self.answers.append((token, output))
        return self.is_waiting


@pytest.fixture
def approvals():
    with mock_aws(), table("ApprovalTable") as found:
        yield ApprovalTable(found)


def opened(approvals, **changes):
    return approvals.open(Machine(), asked(ends_at=int(time.time()) + 600, **changes), "token")


def test_approval_goes_to_the_task_that_waits(approvals):
    approval, machine = opened(approvals), Machine()
    assert approvals.decide(machine, approval.approval_id, BOB, "approved").status == "approved"
    assert machine.answers == [("token", {"verdict": "approved", "by": "U0BOB"})]


def test_first_of_two_approvals_answers_nobody_yet(approvals):
    approval, machine = opened(approvals, requester=Person(("mallory",))), Machine()
    approvals.decide(machine, approval.approval_id, BOB, "approved")
    assert machine.answers == []
    approvals.decide(machine, approval.approval_id, CAROL, "approved")
    assert machine.answers == [("token", {"verdict": "approved", "by": "U0BOB, U0CAROL"})]


def test_lost_answer_is_sent_again_by_saying_it_again(approvals):
    approval = opened(approvals)
    approvals.decide(Machine(), approval.approval_id, BOB, "approved")
    machine = Machine()
    approvals.decide(machine, approval.approval_id, BOB, "approved")
    assert machine.answers


def test_decision_that_nobody_waits_for_is_a_conflict(approvals):
    approval = opened(approvals)
    with pytest.raises(ConflictError, match="nobody waits"):
        approvals.decide(Machine(is_waiting=False), approval.approval_id, BOB, "approved")
    with pytest.raises(AccessDeniedError, match="is expired"):
        approvals.use(approval.approval_id, ASK.script, approval.parameters_digest)


def test_second_try_of_asking_does_not_wait_for_what_is_over(approvals):
    approval = opened(approvals)
    with pytest.raises(ConflictError, match="nobody waits"):
        approvals.decide(Machine(is_waiting=False), approval.approval_id, BOB, "approved")
    with pytest.raises(ConflictError, match="ask for it again"):
        approvals.open(Machine(), approval, "another token")


def test_approval_that_was_not_used_ends_with_the_machine(approvals):
    approval = opened(approvals)
    approvals.decide(Machine(), approval.approval_id, BOB, "approved")
    approvals.expire(approval.approval_id)
    with pytest.raises(AccessDeniedError, match="is expired"):
        approvals.use(approval.approval_id, ASK.script, approval.parameters_digest)


def test_second_try_of_asking_keeps_what_was_decided_and_takes_the_new_token(approvals):
    approval = opened(approvals, requester=Person(("mallory",)))
    approvals.decide(Machine(), approval.approval_id, BOB, "approved")
    again = approvals.open(Machine(), approval, "another token")
    assert again.given == 1
    machine = Machine()
    approvals.decide(machine, approval.approval_id, CAROL, "approved")
    assert "another token" in [token for token, _ in machine.answers]


def test_nobody_takes_the_place_of_the_task_that_waits(approvals):
    approval = opened(approvals)
    approvals.open(Machine(), approval, "somebody else's token")
    machine = Machine()
    approvals.decide(machine, approval.approval_id, BOB, "approved")
    assert "token" in [token for token, _ in machine.answers]


@pytest.mark.parametrize("changes", [{"calls": []}, {"requester": Person(("bob",), True)}])
def test_question_that_is_open_is_not_replaced_by_another(approvals, changes):
    approval = opened(approvals)
    with pytest.raises(ConflictError, match="asked for already"):
        opened(approvals, **changes)
    assert approvals.get(approval.approval_id)[0] == approval


def test_question_is_not_asked_without_end(approvals):
    approval = opened(approvals)
    with pytest.raises(ConflictError, match="too often"):
        for number in range(20):
            approvals.open(Machine(), approval, f"token {number}")


def test_decision_on_the_first_try_is_told_to_the_second(approvals):
    approval = opened(approvals)
    approvals.decide(Machine(), approval.approval_id, BOB, "approved")
    machine = Machine()
    approvals.open(machine, approval, "another token")
    assert machine.answers == [("another token", {"verdict": "approved", "by": "U0BOB"})]


def test_approval_is_good_for_one_run(approvals):
    approval = opened(approvals)
    approvals.decide(Machine(), approval.approval_id, BOB, "approved")
    assert approvals.use(approval.approval_id, ASK.script, approval.parameters_digest) == CALLS
    with pytest.raises(AccessDeniedError, match="good for one run"):
        approvals.use(approval.approval_id, ASK.script, approval.parameters_digest)


def test_approval_is_good_for_what_was_approved_only(approvals):
    approval = opened(approvals)
    with pytest.raises(AccessDeniedError, match="is pending"):
        approvals.use(approval.approval_id, ASK.script, approval.parameters_digest)
    approvals.decide(Machine(), approval.approval_id, BOB, "approved")
    for script, digest in (("oncall-other", approval.parameters_digest), (ASK.script, "other")):
        with pytest.raises(AccessDeniedError, match="for another script"):
            approvals.use(approval.approval_id, script, digest)
    with pytest.raises(AccessDeniedError, match="there is no approval"):
        approvals.use("0" * 16, ASK.script, approval.parameters_digest)
    assert approvals.use(approval.approval_id, ASK.script, approval.parameters_digest)


def test_approval_does_not_keep(approvals):
    approval = opened(approvals)
    approvals.decide(Machine(), approval.approval_id, BOB, "approved", now=int(time.time()) - 901)
    with pytest.raises(AccessDeniedError, match="too old"):
        approvals.use(approval.approval_id, ASK.script, approval.parameters_digest)


def test_expired_approval_is_not_given_any_more(approvals):
    approval = opened(approvals)
    assert approvals.expire(approval.approval_id).status == "expired"
    with pytest.raises(ConflictError, match="was expired"):
        approvals.decide(Machine(), approval.approval_id, BOB, "approved")


def test_approval_that_is_not_there(approvals):
    with pytest.raises(NotFoundError):
        approvals.get("0" * 16)


def test_message_is_noted_before_it_is_posted_and_found_after(approvals):
    approval = opened(approvals)
    assert [approvals.note_post(approval.approval_id, "question") for _ in range(2)] == [False, True]
    assert approvals.message(approval.approval_id) is None
    approvals.remember_message(approval.approval_id, "C1", "1.2")
    assert approvals.message(approval.approval_id) == ("C1", "1.2")


def test_approval_id_is_the_same_for_every_try():
    assert approval_id_of("arn:1") == approval_id_of("arn:1") != approval_id_of("arn:2")
