"""Small resources of the local cloud, made in a line."""

import itertools
import json
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any

from local.cloud import ACCOUNT, REGION, LocalCloud
from tests.resources import make_role, policy, zipped

RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
ANYTHING = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]


def until(look: Callable[[], Any], timeout: float = 15.0) -> Any:
    """The first true value of ``look``."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing came in {timeout} s")


class Sandbox:
    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.session = cloud.session()
        self.states = self.client("stepfunctions")
        self._numbers = itertools.count()

    def client(self, service: str) -> Any:
        return self.session.client(service)  # type: ignore[call-overload]

    def name(self, prefix: str = "it") -> str:
        return f"{prefix}-{next(self._numbers)}"

    def role(self, statements: list[dict[str, Any]], service: str = "lambda") -> str:
        name = self.name("role")
        iam = self.client("iam")
        arn = make_role(iam, name, service)
        if statements:
            iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=policy(*statements))
        return arn

    def function(
        self,
        body: str,
        statements: list[dict[str, Any]] | None = None,
        *,
        files: dict[str, str] | None = None,
        **settings: Any,
    ) -> str:
        """The ARN of a function whose handler has this body, with ``event`` and ``context``."""
        source = "import json, os, sys, time\ndef handler(event, context):\n" + textwrap.indent(
            textwrap.dedent(body).strip("\n"), "    "
        )
        return self.client("lambda").create_function(
            FunctionName=self.name("function"),
            Runtime=RUNTIME,
            Handler="app.handler",
            Role=self.role(ANYTHING if statements is None else statements),
            Code={"ZipFile": zipped({"app.py": source, **(files or {})})},
            Timeout=settings.pop("Timeout", 10),
            **settings,
        )["FunctionArn"]

    def invoke(self, function_arn: str, event: Any = None) -> tuple[Any, str | None]:
        """What a function answers, and the kind of its error."""
        response = self.client("lambda").invoke(FunctionName=function_arn, Payload=json.dumps(event))
        return json.loads(response["Payload"].read()), response.get("FunctionError")

    def machine(self, states: dict[str, Any], statements: list[dict[str, Any]] | None = None, **definition: Any) -> str:
        """The ARN of a machine with these states, the first of which it starts at."""
        return self.states.create_state_machine(
            name=self.name("machine"),
            definition=json.dumps({"StartAt": next(iter(states)), "States": states, **definition}),
            roleArn=self.role(ANYTHING if statements is None else statements, "states"),
        )["stateMachineArn"]

    def start(self, machine_arn: str, data: Any = None) -> str:
        return self.states.start_execution(stateMachineArn=machine_arn, input=json.dumps(data or {}))["executionArn"]

    def ended(self, execution_arn: str, timeout: float = 15.0) -> dict[str, Any]:
        """An execution that has ended, with its output decoded."""

        def look() -> dict[str, Any] | None:
            execution = self.states.describe_execution(executionArn=execution_arn)
            return execution if execution["status"] != "RUNNING" else None

        execution = until(look, timeout)
        if execution.get("output"):
            execution["output"] = json.loads(execution["output"])
        return execution

    def run(self, machine_arn: str, data: Any = None, timeout: float = 15.0) -> dict[str, Any]:
        return self.ended(self.start(machine_arn, data), timeout)

    def history(self, execution_arn: str) -> list[dict[str, Any]]:
        pages = self.states.get_paginator("get_execution_history").paginate(
            executionArn=execution_arn, PaginationConfig={"PageSize": 1000}
        )
        return [event for page in pages for event in page["events"]]

    def queue(self, **attributes: Any) -> tuple[str, str]:
        """URL and ARN of a queue that every service may send to."""
        name = self.name("queue")
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        statement = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
        url = self.client("sqs").create_queue(QueueName=name, Attributes={"Policy": policy(statement), **attributes})[
            "QueueUrl"
        ]
        return url, arn

    def received(self, queue_url: str, timeout: float = 15.0) -> dict[str, Any]:
        """The next message of a queue."""
        sqs = self.client("sqs")
        message = until(
            lambda: sqs.receive_message(QueueUrl=queue_url, MessageAttributeNames=["All"], WaitTimeSeconds=0).get(
                "Messages"
            ),
            timeout,
        )[0]
        sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        return message

    def rule(self, pattern: dict[str, Any], target_arn: str, **target: Any) -> str:
        name, events = self.name("rule"), self.client("events")
        arn = events.put_rule(Name=name, EventPattern=json.dumps(pattern))["RuleArn"]
        events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": target_arn, **target}])
        return arn
