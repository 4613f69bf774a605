"""What error triage is put through on a deployed application to see whether a permission is there.

A scenario takes the :class:`Floor` and raises :class:`Missing` when something that those on call rely on does not happen.
`MISSED_BY` and `EXEMPT` are what :mod:`tests.permissions` wants to know of the roles.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from local import sandbox
from local.scripts.calling import Stack
from local.triage import Desk
from local.twins.slack import BEN
from tests import scenarios, script_scenarios
from tests.scenarios import Floor, Missing
from watchfloor.approvals import Ask
from watchfloor.incidents import Incident, hour_of
from watchfloor.messages import ACKNOWLEDGE, APPROVE, MERGE, RESOLVE

# The log group of a function, so that its configuration and alarms are looked up.
SHOP = "checkout-of-permissions"
GROUP = f"/aws/lambda/{SHOP}"
REQUEST = "3f1fa0f0-0000-4000-8000-{:012d}"
PATIENCE_SECONDS = 60
# Limits have tests of their own.
PARAMETERS = {"TriageIncidentsPerHour": "100000", "LlmDailyTokens": "1000000000"}


def prepare(floor: Floor) -> None:
    """A function with an alarm that rings, and its log group attached."""
    desk = Desk(floor.deployment)
    floor.logs.create_log_group(logGroupName=GROUP)
    desk.log_groups.attach(GROUP)
    role = next(iter(floor.roles.values()))
    floor.lambda_.create_function(
        FunctionName=SHOP,
        Runtime=floor.lambda_.get_function_configuration(FunctionName=floor.functions["ReceiveLogs"])["Runtime"],
        Role=floor.iam.get_role(RoleName=role)["Role"]["Arn"],
        Handler="app.handler",
        Code={"ZipFile": _archive()},
    )
    floor.sqs.create_queue(QueueName="explained")
    _subscribe(floor)


def explained(floor: Floor) -> Incident:
    """An error becomes one message and one mail, and nothing is missing from them."""
    floor.begin()
    return _explained(floor, _write(floor))


def counted(floor: Floor) -> None:
    """More of the same is counted, and the message says so."""
    floor.begin()
    name = _write(floor)
    incident = _explained(floor, name)
    _log(floor, _trace(name))
    table = Desk(floor.deployment).table
    _until(lambda: table.get(incident.fingerprint).count == 2, "the second error does not count")
    floor.invoke("RefreshMessages", {})
    _until(lambda: "Seen 2 times" in json.dumps(_threads(floor, name)), "the message has the old count")


def pressed(floor: Floor) -> None:
    """Buttons do what they say, windows open, and the message shows it."""
    floor.begin()
    one, other = _write(floor), _write(floor)
    incident, into = _explained(floor, one), _explained(floor, other)
    _press(floor, ACKNOWLEDGE, one)
    _until(lambda: "Acknowledged" in json.dumps(_threads(floor, one)), "the message does not say who acknowledged")
    window = _press(floor, MERGE, one)["view_id"]
    if not window:
        raise Missing("no window to merge by")
    _submit(floor, {"into": into.fingerprint}, window)
    if Desk(floor.deployment).table.get(incident.fingerprint).merged_into != into.fingerprint:
        raise Missing("not merged")
    if not _press(floor, RESOLVE, other)["view_id"]:
        raise Missing("no window to resolve by")


def approved_in_slack(floor: Floor) -> None:
    """A dangerous script that asks runs when somebody presses its button."""
    floor.begin()
    place = script_scenarios.shop(floor.deployment)
    place.released("3")
    asked = Ask(
        "oncall-rollback-lambda", {"function_name": script_scenarios.SHOP, "alias": "live"}, "alice", "it fails"
    )
    with Stack(floor.deployment, sandbox.STACK).ask(asked) as (approval_id, _):
        arn = place.last_execution(floor.outputs["ScriptApprovalArn"])
        place.until(lambda: place.is_asked(arn, approval_id), "nobody was asked")
        url = sandbox.action_url(floor.deployment)
        answer = floor.cloud._twins.slack.press(APPROVE, user=BEN, url=url)
        if answer["status"] != 200:
            floor.sfn.stop_execution(executionArn=arn)
            raise Missing(f"{APPROVE}: {answer['status']} {answer['body'][:100]}")
        execution = place.ended(arn)
    decision = json.loads(execution.get("output") or "{}").get("decision")
    if decision != "approved":
        raise Missing(f"approval {execution['status']}: {decision}")


def made_up_for(floor: Floor) -> None:
    """A start that was held back is made up for, and told of once."""
    floor.begin()
    name = _write(floor)
    incident = _explained(floor, name)
    table, rows = Desk(floor.deployment).table, floor.deployment.table("IncidentTableName")
    now = time.time()
    later = replace(incident, generation=2, is_held=True, to_do="start", due_at=now + 1_800)
    table.change(incident.fingerprint, lambda _: later)
    rows.delete_item(Key={"fingerprint": "limit#starts", "item": f"hour#{hour_of(now)}"})
    floor.invoke("RefreshMessages", {})
    _until(lambda: any("held back" in mail["Subject"] for mail in _mails(floor)), "no mail about what is held back")
    table.change(incident.fingerprint, lambda row: replace(row, due_at=now - 1))
    floor.invoke("RefreshMessages", {})
    _ended(floor, incident, 2)


def told_nobody(floor: Floor) -> None:
    """An error that could be told neither in Slack nor by mail is mailed once to those who get alarms."""
    floor.begin()
    with _nobody_listens(floor):
        name = _write(floor)
        execution = _ended(floor, _incident(floor, name), 1)
        if execution["status"] != "FAILED":
            raise Missing("the execution did not fail")

        def mailed() -> bool:
            floor.check_log("ReportTriageFailure")
            return _alarmed(floor, name)

        _until(mailed, "no mail to those who get alarms")
        # Whoever tells of the same end again is answered, as soon as the first report is noted as done.
        end = {"executionArn": execution["executionArn"], "status": "FAILED"}
        _until(lambda: _is_taken(floor, "ReportTriageFailure", end), "told again, it does not answer", seconds=10)
        if _alarmed(floor, name):
            raise Missing("a second mail about the same end")


def mailed_again(floor: Floor) -> None:
    """A mail that SNS did not take at first is sent by the next try."""
    floor.begin()
    name = f"Permission{floor.number()}Error"
    # The client itself tries six times.
    floor.cloud.inject_faults(request=[{"match": f"Action=Publish.*{name}", "kind": "500", "times": 6}])
    try:
        _log(floor, _trace(name))
        _explained(floor, name)
    finally:
        floor.cloud.inject_faults(request=[])


def reported_again(floor: Floor) -> None:
    """A report of a failed execution that SNS did not take at first is sent by the next try."""
    floor.begin()
    with _nobody_listens(floor):
        floor.cloud.inject_faults(request=[{"match": "Action=Publish.*not explained", "kind": "500", "times": 6}])
        name = _write(floor)
        _until(lambda: _alarmed(floor, name), "no mail to those who get alarms")


@cache
def dead_letter(function: str, event: str) -> Callable[[Floor], object]:
    """An event that the function cannot make use of ends in the dead-letter queue."""

    def scenario(floor: Floor) -> None:
        floor.begin()
        queue = floor.outputs["TriageDeadLetterQueueUrl"]
        floor.messages(queue)
        floor.invoke(function, json.loads(event), "Event")
        name = floor.functions[function]
        _until(
            lambda: any(name in json.dumps(row) for row in floor.messages(queue)),
            "nothing in the dead-letter queue",
            seconds=10,
        )

    scenario.__name__ = f"dead_letter_of_{function}"
    return scenario


# Role, action, scenarios; the first line that fits counts.
MISSED_BY: list[tuple[str, str, tuple[Callable[[Floor], object], ...]]] = [
    ("ReceiveLogs", "sqs:*", (dead_letter("ReceiveLogs", '{"awslogs": {}}'),)),
    ("RefreshMessages", "sqs:*", (dead_letter("RefreshMessages", '{"fingerprint": {}}'),)),
    ("ReportTriageFailure", "sqs:*", (dead_letter("ReportTriageFailure", "{}"),)),
    ("RefreshMessages", "states:*", (made_up_for,)),
    ("RefreshMessages", "sns:*", (made_up_for,)),
    ("RefreshMessages", "*", (counted, made_up_for)),
    ("ReceiveAction", "states:*", (approved_in_slack,)),
    ("ReceiveAction", "*", (pressed, approved_in_slack)),
    ("ReportTriageFailure", "dynamodb:*", (told_nobody, reported_again)),
    ("ReportTriageFailure", "*", (told_nobody,)),
    ("SendMail", "dynamodb:*", (explained, mailed_again)),
    ("ReceiveLogs", "*", (explained, counted)),
    ("ErrorTriage", "logs:*", (scenarios.deployed_again,)),
    ("*", "events:*", (scenarios.deployed_again,)),
    ("*", "*", (explained,)),
]

EXEMPT: list[tuple[str, str, str, str]] = []


# --- hands --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _nobody_listens(floor: Floor) -> Iterator[None]:
    """Slack takes no message and the topic no mail, both at once and for good."""
    sns, topic = floor.deployment.client("sns"), floor.outputs["TriageTopicArn"]
    slack = floor.cloud._twins.slack
    before = sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"]
    deny = {"Effect": "Deny", "Principal": "*", "Action": "sns:Publish", "Resource": topic}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    slack.scopes.discard("chat:write")
    try:
        yield
    finally:
        slack.scopes.add("chat:write")
        floor.cloud.inject_faults(request=[])
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=before)


def _write(floor: Floor) -> str:
    """An error of a kind that was never there before; its type."""
    name = f"Permission{floor.number()}Error"
    _log(floor, _trace(name))
    return name


def _trace(name: str) -> str:
    request = REQUEST.format(int("".join(filter(str.isdigit, name))))
    return (
        f"[ERROR]\t2026-11-20T10:00:00.000Z\t{request}\t{name}: it broke\nTraceback (most recent call last):\n"
        f'  File "/var/task/shop/{name.lower()}.py", line 7, in {name.lower()}\n    raise {name}("it broke")'
    )


def _log(floor: Floor, message: str) -> None:
    stream = f"stream-{floor.number()}"
    floor.logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
    now = int(time.time() * 1000)
    rows = [{"timestamp": now, "message": text} for text in ("INFO before", message, "INFO after")]
    floor.logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=rows)


def _incident(floor: Floor, name: str) -> Incident:
    desk = Desk(floor.deployment)

    def counted_one() -> Incident | None:
        floor.check_log("ReceiveLogs")
        return next((one for one in desk.incidents() if name in one.title), None)

    return _until(counted_one, "the error is not counted")


def _ended(floor: Floor, incident: Incident, generation: int) -> dict[str, Any]:
    machine = floor.outputs["ErrorTriageArn"]
    arn = f"{machine.replace(':stateMachine:', ':execution:')}:{incident.fingerprint}-{generation}"

    def done() -> dict[str, Any] | None:
        # The minute's schedule would make up for a start that failed.
        floor.check_log("ReceiveLogs")
        with contextlib.suppress(floor.sfn.exceptions.ExecutionDoesNotExist):
            execution = floor.sfn.describe_execution(executionArn=arn)
            return execution if execution["status"] != "RUNNING" else None
        return None

    return _until(done, "no execution, or none that ends")


def _explained(floor: Floor, name: str) -> Incident:
    incident = _incident(floor, name)
    execution = _ended(floor, incident, 1)
    if execution["status"] != "SUCCEEDED":
        raise Missing(f"execution {execution['status']}: {execution.get('error')}")
    found = Desk(floor.deployment).report(incident)
    if not found:
        raise Missing("no report")
    if found["missing"]:
        raise Missing("; ".join(f"{row['what']}: {row['why']}" for row in found["missing"]))
    kinds = {row["kind"] for row in found["evidence"]}
    if "configuration" not in kinds or len(found["context"]) != 3:
        raise Missing(f"evidence: {sorted(kinds)}, {len(found['context'])} lines")
    if len(_threads(floor, name)) != 1:
        raise Missing(f"{len(_threads(floor, name))} messages in Slack")
    sent = json.loads(execution["output"])["sent"]
    if sent["mail"]["status"] != "sent":
        raise Missing(f"mail {sent['mail']['status']}")
    return incident


def _threads(floor: Floor, name: str) -> list[dict[str, Any]]:
    return [message for message in floor.cloud._twins.slack.threads() if name in json.dumps(message)]


def _press(floor: Floor, action_id: str, name: str) -> dict[str, Any]:
    answer = floor.cloud._twins.slack.press(
        action_id, _threads(floor, name)[0]["ts"], url=sandbox.action_url(floor.deployment)
    )
    if answer["status"] != 200:
        raise Missing(f"{action_id}: {answer['status']} {answer['body'][:100]}")
    return answer


def _submit(floor: Floor, values: dict[str, str], view_id: str) -> None:
    answer = floor.cloud._twins.slack.submit(values, view_id, url=sandbox.action_url(floor.deployment))
    if answer["status"] != 200 or "errors" in answer["body"]:
        raise Missing(f"window: {answer['status']} {answer['body'][:100]}")


def mails(floor: Floor, text: str) -> int:
    """How many of the mails that came since they were looked at last have the text in them."""
    return sum(text in mail["Message"] for mail in _mails(floor))


def _mails(floor: Floor) -> list[dict[str, Any]]:
    return floor.messages(floor.sqs.get_queue_url(QueueName="explained")["QueueUrl"])


def _alarmed(floor: Floor, name: str) -> bool:
    return any("not explained" in mail["Subject"] and name in mail["Message"] for mail in floor.mails())


def _is_taken(floor: Floor, function: str, event: dict[str, Any]) -> bool:
    with contextlib.suppress(Missing):
        floor.invoke(function, event)
        return True
    return False


def _subscribe(floor: Floor) -> None:
    url = floor.sqs.get_queue_url(QueueName="explained")["QueueUrl"]
    arn = floor.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = {"Version": "2012-10-17", "Statement": [{**allow, "Resource": arn}]}
    floor.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    floor.deployment.client("sns").subscribe(TopicArn=floor.outputs["TriageTopicArn"], Protocol="sqs", Endpoint=arn)


def _archive() -> bytes:

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", "def handler(event, context):\n    return {}\n")
    return buffer.getvalue()


def _until(found: Callable[[], Any], complaint: str, seconds: float = PATIENCE_SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise Missing(complaint)
        time.sleep(0.1)
    return answer
