"""Who may let a dangerous script run: somebody else than the one who asks for it.

Who asks says who they are, and could say anything. Where they prove it, by a signature of AWS, one other person's
approval is enough. Where they do not, two people have to approve: at least one of them is not the one who asks, whatever
name that one gave. Both of them by the same way, since nobody knows who in Slack is who in AWS.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from watchfloor.errors import AccessDeniedError, ConflictError, InvalidInputError
from watchfloor.scripts import NAME, digest

# An approved run starts at once; this covers retries.
RUN_SECONDS = 900
MAX_PLAN_CHARACTERS = 60_000
_MAX_REASON_CHARACTERS = 500

Verdict = Literal["approved", "refused"]
Status = Literal["pending", "approved", "refused", "expired", "used"]
Provider = Literal["", "aws", "slack"]

# What IAM Identity Center calls the roles that it makes; it names their sessions after its users.
_SSO_ROLE = re.compile(r"AWSReservedSSO_.+_[0-9a-f]{16}")


@dataclass(frozen=True)
class Person:
    """Somebody, by all the names they are known by here.

    Attributes
    ----------
    names
        Slack id, Slack name, mail address, IAM user or role session, what they called themselves.
    is_proven
        At least one of the names is vouched for: by Slack's signature, or by AWS's.
    provider
        Who vouches.
    """

    names: tuple[str, ...]
    is_proven: bool = False
    provider: Provider = ""

    @property
    def shown(self) -> str:
        return self.names[0] if self.names else "unknown"

    def is_same(self, other: Person) -> bool:
        """Whether any name of theirs is the same, case and mail domain left aside."""
        return bool(self._compared & other._compared)

    @property
    def _compared(self) -> set[str]:
        plain = {name.strip().casefold().removeprefix("@") for name in self.names}
        return {form for name in plain for form in (name, name.partition("@")[0]) if form} - {"unknown"}

    def to_dict(self) -> dict[str, Any]:
        return {"names": list(self.names), "is_proven": self.is_proven, "provider": self.provider}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Person:
        return cls(tuple(value["names"]), bool(value["is_proven"]), value.get("provider", ""))


def person_of_arn(arn: str, account: str, roles: Collection[str] = ()) -> Person:
    """Who has this ARN.

    Proven are IAM users, and sessions of roles whose sessions bear true names: those of IAM Identity Center, and
    `roles`. Whoever may begin a session of another role chooses its name, so that it stands for no one person.

    Raises
    ------
    AccessDeniedError
        It is of another account, where anybody can have any name.
    """
    found = re.fullmatch(r"arn:[\w-]+:(?:iam|sts)::(\d{12}):(.+)", arn)
    if not found or found[1] != account:
        raise AccessDeniedError(f"the proof of identity is not of the account {account}")
    if user := re.fullmatch(r"user/(?:.+/)?([^/]+)", found[2]):
        return Person((user[1], arn), is_proven=True, provider="aws")
    if session := re.fullmatch(r"assumed-role/([^/]+)/([^/]+)", found[2]):
        is_proven = session[1] in roles or _SSO_ROLE.fullmatch(session[1]) is not None
        return Person((session[2], arn), is_proven, "aws")
    return Person((arn,), provider="aws")


def person_of_slack(user_id: str, name: str, email: str) -> Person:
    """Who pressed a button; Slack vouches for the id and the mail address, the name is one's own to change."""
    return Person(tuple(filter(None, (name, user_id, email))), is_proven=True, provider="slack")


def check_approver(user_id: str, verdict: Verdict, chosen: Collection[str] | None) -> None:
    """AccessDeniedError for an approval by somebody else than those chosen in Slack; anybody may refuse."""
    if verdict == "approved" and chosen is not None and user_id not in chosen:
        raise AccessDeniedError(f"{user_id} is not among the approvers that Slack's secret names")


def account_of(arn: str) -> str:
    return arn.split(":")[4]


@dataclass(frozen=True)
class Ask:
    """What somebody wants to have run, as the state machine's input says it."""

    script: str
    parameters: dict[str, Any]
    requested_by: str
    reason: str = ""

    @property
    def digest(self) -> str:
        """What a proof of identity is bound to."""
        return digest({"script": self.script, "parameters": self.parameters, "reason": self.reason})


def parse_ask(event: Mapping[str, Any]) -> Ask:
    """`{script, parameters, requested_by, reason?}`; InvalidInputError says all that is wrong."""
    script, parameters = event.get("script"), event.get("parameters", {})
    requested_by, reason = event.get("requested_by"), event.get("reason") or ""
    wrong = []
    if not (isinstance(script, str) and NAME.fullmatch(script)):
        wrong.append("script must be the name of a script")
    if not isinstance(parameters, dict):
        wrong.append("parameters must be an object")
    if not (isinstance(requested_by, str) and requested_by.strip() and len(requested_by) <= 200):
        wrong.append("requested_by must say who asks, in at most 200 characters")
    if not (isinstance(reason, str) and len(reason) <= _MAX_REASON_CHARACTERS):
        wrong.append(f"reason must be a text of at most {_MAX_REASON_CHARACTERS} characters")
    if wrong:
        raise InvalidInputError("; ".join(wrong))
    return Ask(str(script), parameters, str(requested_by).strip(), str(reason))


@dataclass(frozen=True)
class Decision:
    person: Person
    verdict: Verdict
    at: int


@dataclass(frozen=True)
class Approval:
    """A question to people, and what they said.

    Attributes
    ----------
    calls
        The write calls of the plan: what is approved, and nothing else.
    needed
        How many people have to approve.
    ends_at
        When nobody can decide any more, epoch seconds.
    """

    approval_id: str
    ask: Ask
    requester: Person
    calls: list[dict[str, Any]]
    ends_at: int
    status: Status = "pending"
    decisions: tuple[Decision, ...] = field(default=())

    @property
    def needed(self) -> int:
        return 1 if self.requester.is_proven else 2

    @property
    def given(self) -> int:
        """Approvals that count. One human may be two to Slack and AWS, so these are not added up."""
        approved = [decision.person for decision in self.decisions if decision.verdict == "approved"]
        return max(Counter(person.provider for person in approved).values(), default=0)

    @property
    def parameters_digest(self) -> str:
        return digest(self.ask.parameters)

    @property
    def decided_by(self) -> str:
        return ", ".join(decision.person.shown for decision in self.decisions)


def approval_id_of(execution_arn: str) -> str:
    """The same for every try of one execution."""
    return hashlib.sha256(execution_arn.encode()).hexdigest()[:16]


def checked_plan(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The write calls of a dry run's answer; InvalidInputError where they are more than people can look at."""
    calls = answer["result"]["planned_calls"]
    if len(json.dumps(calls)) > MAX_PLAN_CHARACTERS:
        raise InvalidInputError(f"the plan has {len(calls)} write calls, too many to be looked at by people")
    return calls


def decide(approval: Approval, person: Person, verdict: Verdict, now: int) -> Approval:
    """The approval after somebody spoke.

    The same person saying the same again changes nothing, so that a lost answer can be asked for once more. Who asked
    may refuse, which takes the request back.

    Raises
    ------
    AccessDeniedError
        Who asks does not approve.
    ConflictError
        Too late, or decided already.
    """
    earlier = [decision for decision in approval.decisions if decision.person.is_same(person)]
    if any(decision.verdict == verdict for decision in earlier):
        return approval
    if approval.status != "pending":
        by = f" by {approval.decided_by}" if approval.decisions else ""
        raise ConflictError(f"{approval.ask.script} was {approval.status}{by} already")
    if now >= approval.ends_at:
        raise ConflictError(f"the time to decide on {approval.ask.script} is over; ask for it again")
    if verdict == "approved" and approval.requester.is_same(person):
        raise AccessDeniedError(f"{person.shown} asked for {approval.ask.script}; somebody else has to approve it")
    decided = replace(approval, decisions=(*approval.decisions, Decision(person, verdict, now)))
    if verdict == "refused":
        return replace(decided, status="refused")
    return replace(decided, status="approved" if decided.given >= decided.needed else "pending")


def parse_decision(event: Mapping[str, Any]) -> tuple[str, Verdict, str]:
    """`{approval_id, verdict}` -> these, and what a proof of identity is bound to."""
    approval_id, verdict = event.get("approval_id"), event.get("verdict")
    if not (isinstance(approval_id, str) and re.fullmatch(r"[0-9a-f]{16}", approval_id)):
        raise InvalidInputError("approval_id must be the 16 hex digits of an approval")
    if verdict not in ("approved", "refused"):
        raise InvalidInputError("verdict must be approved or refused")
    return approval_id, verdict, decision_digest(approval_id, verdict)


def decision_digest(approval_id: str, verdict: str) -> str:
    return digest({"approval_id": approval_id, "verdict": verdict})


def shown(approval: Approval) -> dict[str, Any]:
    """What people see of it (`messages.approval_message`)."""
    who = approval.requester.shown
    if not approval.requester.is_proven:
        who += " (not proven, so two people have to approve, both in Slack or both by command)"
    return {
        "id": approval.approval_id,
        "script": approval.ask.script,
        "requested_by": who,
        "reason": approval.ask.reason,
        "parameters": approval.ask.parameters,
        "plan": approval.calls,
        "risk": "high",
        "expires_at": approval.ends_at,
    }


def still_to_come(approval: Approval) -> str:
    """What somebody is told whose word does not decide yet; empty where it did, for the message shows that."""
    if approval.status != "pending":
        return ""
    return f"Your approval counts; {approval.given} of {approval.needed} are given."


def doubted(outcome: Mapping[str, Any], approval: Approval) -> dict[str, Any]:
    """The outcome, and where the script's own answer got lost, that it may have run all the same."""
    is_told = "status_code" in outcome and outcome["status_code"] != 403
    if approval.status != "used" or is_told:
        return dict(outcome)
    doubt = "the script ran or may have run, since its approval is used; its audit record says what was done"
    return {**outcome, "error": f"{doubt} ({outcome['error']})" if outcome.get("error") else doubt}


def outcome_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """How a request ended, by the state of the machine `script_approval`.

    `decision` is approved, refused, expired, not_planned (the dry run failed), or failed (nobody could be asked);
    `status_code` and `answer` are the script's, `error` is what went wrong besides.
    """
    request, asked = state.get("request") or {}, state.get("asked") or {}
    outcome: dict[str, Any] = {
        "script": request.get("script") or state.get("script"),
        "approval_id": request.get("approval_id"),
        "decision": "failed",
        "by": asked.get("by"),
    }
    if asked:
        outcome["decision"] = asked.get("verdict", "expired")
    elif state.get("plan") and state["plan"]["status_code"] != 202:
        outcome["decision"] = "not_planned"
    last = state.get("run") or (state.get("plan") if outcome["decision"] == "not_planned" else None)
    if last:
        outcome |= {"status_code": last["status_code"], "answer": last["body"]}
    if state.get("error"):
        outcome["error"] = f"{state['error'].get('Error')}: {state['error'].get('Cause')}"[:_MAX_REASON_CHARACTERS]
    return outcome
