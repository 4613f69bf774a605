"""The deployed error triage, as a test drives it: write logs, wait for what comes of them, read it back where people do."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from local import sandbox
from local.triage import Desk
from local.triage_events import packed
from tests.e2e.pipeline import Pipeline
from watchfloor.clients.items import plain
from watchfloor.incidents import Incident

Json = dict[str, Any]
GROUP = "/e2e/shop"
PATIENCE_SECONDS = 60.0


class Triage:
    """Error triage of one deployment on a local cloud."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.deployment = deployment = pipeline.deployment
        self.twins: Any = deployment.cloud._twins  # type: ignore[attr-defined]
        self.slack, self.openai, self.stack_exchange = self.twins.slack, self.twins.openai, self.twins.stack_exchange
        self.desk = Desk(deployment)
        self.logs, self.sfn, self.sqs = deployment.client("logs"), deployment.client("stepfunctions"), pipeline.sqs
        self.functions = deployment.client("lambda")
        self.machine = deployment.outputs["ErrorTriageArn"]
        self.action_url = sandbox.action_url(deployment)
        self.attach(GROUP)
        self._function_names: dict[str, str] = {}
        self._mail_lock = threading.Lock()
        self._mails: list[Json] = []
        self._queue = self._subscribe(deployment.outputs["TriageTopicArn"])

    # --- logs

    def attach(self, group: str) -> None:
        self.logs.create_log_group(logGroupName=group)
        self.desk.log_groups.attach(group)

    def log(self, *messages: str, group: str = GROUP, stream: str = "") -> str:
        """Write log events, as an application does; the log stream."""
        stream = stream or f"stream-{uuid.uuid4().hex[:8]}"
        try:
            self.logs.create_log_stream(logGroupName=group, logStreamName=stream)
        except self.logs.exceptions.ResourceAlreadyExistsException:
            pass
        now = int(time.time() * 1000)
        for start in range(0, len(messages), 10_000):
            part = messages[start : start + 10_000]
            events = [{"timestamp": now, "message": message} for message in part]
            self.logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
        return stream

    def receive(self, event: Json) -> Json:
        """Call the function that receives logs, as CloudWatch Logs would."""
        answer = self.functions.invoke(
            FunctionName=self.deployment.outputs["TriageFunctionArn"], Payload=json.dumps(event).encode()
        )
        told = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, told
        return told

    @staticmethod
    def delivery(messages: Iterable[str], group: str = GROUP, stream: str = "delivered") -> Json:
        """A subscription event with these messages; the same ones make the same event."""
        messages = list(messages)
        now = int(time.time() * 1000)
        digest = hashlib.sha256("".join(messages).encode()).hexdigest()
        rows = [{"id": f"{digest[:40]}{n:08d}", "timestamp": now, "message": text} for n, text in enumerate(messages)]
        return packed({"messageType": "DATA_MESSAGE", "logGroup": group, "logStream": stream, "logEvents": rows})

    # --- incidents

    def incident(self, marker: str, seconds: float = PATIENCE_SECONDS) -> Incident:
        """The one incident whose title has the marker in it, once it is there."""
        return self.wait(lambda: self.find(marker), f"incident {marker}", seconds)

    def find(self, marker: str) -> Incident | None:
        """The one incident with the marker, if it is there."""
        found = [one for one in self.desk.incidents() if marker in one.title]
        assert len(found) < 2, [one.title for one in found]
        return found[0] if found else None

    def again(self, incident: Incident) -> Incident:
        return self.desk.table.get(incident.fingerprint)

    def ended(self, marker: str, generation: int = 1, seconds: float = PATIENCE_SECONDS) -> Json:
        """The execution that explained an incident, once it has ended."""
        end = time.monotonic() + seconds
        incident = self.incident(marker, seconds)
        arn = f"{self.machine.replace(':stateMachine:', ':execution:')}:{incident.fingerprint}-{generation}"

        def done() -> Json | None:
            try:
                execution = self.sfn.describe_execution(executionArn=arn)
            except self.sfn.exceptions.ExecutionDoesNotExist:
                return None
            return execution if execution["status"] != "RUNNING" else None

        return self.wait(done, f"the end of {incident.fingerprint}-{generation}", max(1.0, end - time.monotonic()))

    def explained(self, marker: str, generation: int = 1, seconds: float = PATIENCE_SECONDS) -> Json:
        """The report about an incident, whose execution has to succeed."""
        execution = self.ended(marker, generation, seconds)
        assert execution["status"] == "SUCCEEDED", (execution.get("error"), execution.get("cause"))
        found = self.desk.report(self.incident(marker))
        assert found, marker
        return found

    def executions(self, incident: Incident) -> list[str]:
        pages = self.sfn.get_paginator("list_executions").paginate(stateMachineArn=self.machine)
        names = [row["name"] for page in pages for row in page["executions"]]
        return sorted(name for name in names if name.startswith(incident.fingerprint))

    def running(self) -> int:
        """How many errors are being explained now."""
        found = self.sfn.list_executions(stateMachineArn=self.machine, statusFilter="RUNNING", maxResults=100)
        return len(found["executions"])

    def row(self, fingerprint: str, item: str) -> Json:
        found = self.deployment.table("IncidentTableName").get_item(Key={"fingerprint": fingerprint, "item": item})
        return plain(found.get("Item", {}))

    # --- what people see

    def threads(self, marker: str) -> list[Json]:
        """Messages in Slack, replies left out, that have the marker in them."""
        return [message for message in self.slack.threads() if marker in json.dumps(message)]

    def thread(self, marker: str) -> Json:
        """The one message about an incident."""
        found = self.threads(marker)
        assert len(found) == 1, [message["text"] for message in found]
        return found[0]

    def asked(self, marker: str) -> list[Json]:
        """What the model was asked about an incident."""
        return [row for row in self.openai.completions() if marker in json.dumps(row["messages"])]

    def refresh(self) -> None:
        """What the schedule does every minute."""
        answer = self.functions.invoke(FunctionName=self.function("RefreshMessages"), Payload=b"{}")
        assert "FunctionError" not in answer, answer["Payload"].read()

    def function(self, name: str) -> str:
        """The deployed name of a function of ours."""
        if not self._function_names:
            cloudformation = self.deployment.client("cloudformation")
            nested = cloudformation.describe_stack_resource(StackName=sandbox.STACK, LogicalResourceId="Triage")
            stack = nested["StackResourceDetail"]["PhysicalResourceId"]
            rows = cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
            self._function_names = {row["LogicalResourceId"]: row["PhysicalResourceId"] for row in rows}
        return self._function_names[f"{name}Function"]

    def last_error(self, name: str) -> str:
        """What a function of ours said when it failed last."""
        group = f"/aws/lambda/{self.function(name)}"
        found = self.logs.filter_log_events(logGroupName=group, filterPattern='"[ERROR]"')["events"]
        return found[-1]["message"] if found else ""

    def invocations(self, group: str) -> int:
        """How often the function with this log group was called."""
        pages = self.logs.get_paginator("filter_log_events").paginate(
            logGroupName=group, filterPattern='"START RequestId"'
        )
        return sum(len(page["events"]) for page in pages)

    def press(self, action_id: str, marker: str, **more: Any) -> Json:
        """Press a button of an incident's message."""
        return self.slack.press(action_id, self.thread(marker)["ts"], url=self.action_url, **more)

    def submit(self, values: dict[str, str], view_id: str) -> Json:
        return self.slack.submit(values, view_id, url=self.action_url)

    def mails(self, marker: str, seconds: float = 10) -> list[Json]:
        """Mails that have the marker in them; waits for the first one."""
        end = time.monotonic() + seconds
        while True:
            with self._mail_lock:
                while some := self.sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages"):
                    for message in some:
                        self.sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
                    self._mails += [json.loads(message["Body"]) for message in some]
                found = [mail for mail in self._mails if marker in mail["Message"] or marker in mail["Subject"]]
            if found or time.monotonic() > end:
                return found
            time.sleep(0.2)

    def all_mails(self) -> list[Json]:
        self.mails("", seconds=0)
        return list(self._mails)

    @contextmanager
    def secret(self, parameter: str, value: Json) -> Iterator[None]:
        """Another secret for a while."""
        manager = self.deployment.client("secretsmanager")
        (arn,) = [row["ARN"] for row in manager.list_secrets()["SecretList"] if row["Name"] == f"sandbox/{parameter}"]
        before = manager.get_secret_value(SecretId=arn)["SecretString"]
        try:
            self._keep_secret(manager, arn, json.dumps(value))
            yield
        finally:
            self._keep_secret(manager, arn, before)

    def _keep_secret(self, manager: Any, arn: str, text: str) -> None:
        manager.put_secret_value(SecretId=arn, SecretString=text)
        # Functions keep a secret for a minute; those whose configuration was touched read it again.
        for name in ("SendSlack", "RefreshMessages", "ReceiveAction"):
            self._start_anew(self.function(name))

    @contextmanager
    def variables(self, name: str, **values: str) -> Iterator[None]:
        """Other values for variables of a function's environment, for a while."""
        function = self.function(name)
        before = self.functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        self.functions.update_function_configuration(FunctionName=function, Environment={"Variables": before | values})
        try:
            yield
        finally:
            self.functions.update_function_configuration(FunctionName=function, Environment={"Variables": before})

    def _start_anew(self, function: str) -> None:
        timeout = self.functions.get_function_configuration(FunctionName=function)["Timeout"]
        self.functions.update_function_configuration(FunctionName=function, Timeout=timeout)

    def _subscribe(self, topic_arn: str) -> str:
        url = self.sqs.create_queue(QueueName="triage-mail")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
        policy = {"Version": "2012-10-17", "Statement": [{**allow, "Resource": arn}]}
        self.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
        self.deployment.client("sns").subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn)
        return url

    def own_logs(self) -> str:
        """All that our functions have logged."""
        found = []
        pages = self.logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix="/aws/lambda/watchfloor-")
        for group in (row["logGroupName"] for page in pages for row in page["logGroups"]):
            for events in self.logs.get_paginator("filter_log_events").paginate(logGroupName=group):
                found += [event["message"] for event in events["events"]]
        return "\n".join(found)

    @staticmethod
    def wait(condition: Any, what: str, seconds: float = PATIENCE_SECONDS) -> Any:
        end = time.monotonic() + seconds
        while True:
            if found := condition():
                return found
            assert time.monotonic() < end, f"waited {seconds:.0f} s in vain for {what}"
            time.sleep(0.2)


def trace(error_type: str, message: str, function: str = "") -> str:
    """A Python trace of an application of the customer's, as one log event; each type has a place of its own."""
    function = function or f"handle_{error_type.lower()}"
    return (
        f"[ERROR] {error_type}: {message}\n"
        "Traceback (most recent call last):\n"
        '  File "/var/task/app.py", line 20, in lambda_handler\n'
        f"    {function}(event)\n"
        f'  File "/var/task/shop/{function}.py", line 7, in {function}\n'
        f"    raise {error_type}(...)"
    )
