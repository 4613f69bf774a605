"""The deployed pipeline, as a test drives it: upload a file, wait for its execution, read back what came out."""

from __future__ import annotations

import json
import time
import urllib.request
from contextlib import closing
from typing import Any

from local.cloud import LocalCloud
from local.sandbox import STACK, Deployment
from local.twins import JiraTwin

ENDED = {"SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"}


class Pipeline:
    """One deployment on a local cloud, and what is mailed from it."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.s3 = deployment.client("s3")
        self.sfn = deployment.client("stepfunctions")
        self.sqs = deployment.client("sqs")
        self.bucket = deployment.bucket
        self.arn = deployment.outputs["AlertPipelineArn"]
        assert isinstance(deployment.cloud, LocalCloud)
        self.jira: JiraTwin = deployment.cloud._twins.jira
        self._executions: dict[str, dict[str, Any]] = {}
        self._queue = self._subscribe(deployment.outputs["AlertTopicArn"])
        self._functions = self._functions_by_stem()

    def _subscribe(self, topic_arn: str) -> str:
        url = self.sqs.create_queue(QueueName="mail")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
        policy = {"Version": "2012-10-17", "Statement": [{**allow, "Resource": arn}]}
        self.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
        self.deployment.client("sns").subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn)
        return url

    def _functions_by_stem(self) -> dict[str, str]:
        cloudformation = self.deployment.client("cloudformation")
        nested = cloudformation.describe_stack_resource(StackName=STACK, LogicalResourceId="Pipeline")
        stack = nested["StackResourceDetail"]["PhysicalResourceId"]
        resources = cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
        return {
            resource["LogicalResourceId"].removesuffix("Function"): resource["PhysicalResourceId"]
            for resource in resources
            if resource["ResourceType"] == "AWS::Lambda::Function"
        }

    def upload(self, key: str, body: bytes | dict[str, Any]) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.s3.put_object(Bucket=self.bucket, Key=f"input/{key}", Body=data)

    def executions_of(self, key: str) -> list[dict[str, Any]]:
        """Executions that the file's events started, oldest first."""
        pages = self.sfn.get_paginator("list_executions").paginate(stateMachineArn=self.arn)
        found = []
        for row in (row for page in pages for row in page["executions"]):
            known = self._executions.get(row["executionArn"])
            if known is None or known["status"] not in ENDED:
                known = self.sfn.describe_execution(executionArn=row["executionArn"])
                self._executions[row["executionArn"]] = known
            if json.loads(known["input"]).get("detail", {}).get("object", {}).get("key") == f"input/{key}":
                found.append(known)
        return sorted(found, key=lambda execution: execution["startDate"])

    def ended(self, key: str, count: int = 1, seconds: float = 120) -> dict[str, Any]:
        """The file's newest execution, once `count` of them have ended."""

        def done() -> dict[str, Any] | None:
            executions = [execution for execution in self.executions_of(key) if execution["status"] in ENDED]
            return executions[-1] if len(executions) >= count else None

        return self.wait(done, f"end of {key}", seconds)

    def run(self, key: str, body: bytes | dict[str, Any], seconds: float = 120) -> Run:
        """Upload the file and wait for the end of its run, which has to succeed."""
        self.upload(key, body)
        execution = self.ended(key, seconds=seconds)
        assert execution["status"] == "SUCCEEDED", execution.get("cause")
        return Run(self, json.loads(execution["output"]))

    def read(self, key: str) -> Any:
        with closing(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"]) as body:
            return json.loads(body.read())

    def keys(self, prefix: str) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def row(self, run_id: str) -> dict[str, Any]:
        return self.deployment.table("RunTableName").get_item(Key={"run_id": run_id})["Item"]

    def queue_of(self, stream: str) -> list[dict[str, Any]]:
        items = self.deployment.table("StreamTableName").scan()["Items"]
        return [item for item in items if item["stream"] == stream and item["item"].startswith("ticket#")]

    def entered(self, execution_arn: str) -> list[str]:
        """States the execution went through, in order."""
        pages = self.sfn.get_paginator("get_execution_history").paginate(executionArn=execution_arn)
        events = (event for page in pages for event in page["events"])
        return [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]

    def mails(self, about: str, seconds: float = 15) -> list[dict[str, str]]:
        """Mails whose text has `about` in it; waits for the first, then a moment for a second one too many."""
        found: list[dict[str, str]] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = self.sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in answer.get("Messages", []):
                self.sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
                mail = json.loads(message["Body"])
                if about in mail["Message"]:
                    found.append(mail)
                    end = min(end, time.monotonic() + 2)
        return found

    def break_transforms(self, *faults: dict[str, Any]) -> None:
        """The next transform jobs go wrong in this way; none clears."""
        request = urllib.request.Request(
            f"{self.deployment.cloud.endpoint_url}/_watchfloor/faults", json.dumps({"transform": faults}).encode()
        )
        with urllib.request.urlopen(request, timeout=10):
            pass

    def invoke(self, stem: str, event: dict[str, Any]) -> Any:
        """Call a function of the pipeline by its stem, as EventBridge would."""
        name = self._functions["".join(word.capitalize() for word in stem.split("_"))]
        functions = self.deployment.client("lambda")
        answer = functions.invoke(FunctionName=name, Payload=json.dumps(event).encode())
        assert "FunctionError" not in answer, answer["Payload"].read()
        return json.loads(answer["Payload"].read())

    @staticmethod
    def wait(condition: Any, what: str, seconds: float = 60) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.2)
        raise AssertionError(f"waited {seconds} s in vain for {what}")


class Run:
    """A run that succeeded."""

    def __init__(self, pipeline: Pipeline, summary: dict[str, Any]) -> None:
        self.pipeline = pipeline
        self.summary = summary
        self.run_id = summary["run_id"]

    def output(self, name: str) -> Any:
        return self.pipeline.read(f"output/{self.run_id}/{name}")

    def clusters(self) -> dict[str, dict[str, Any]]:
        return {row["cluster_id"]: row for row in self.output("cluster.json")}

    def rejected(self) -> list[dict[str, Any]]:
        if f"rejected/{self.run_id}.jsonl" not in self.pipeline.keys("rejected/"):
            return []
        body = self.pipeline.s3.get_object(Bucket=self.pipeline.bucket, Key=f"rejected/{self.run_id}.jsonl")["Body"]
        return [json.loads(line) for line in body.read().splitlines()]

    def grouping(self) -> set[frozenset[str]]:
        """The clusters as sets of alerts, whatever they are called."""
        return {frozenset(row["alert_ids"]) for row in self.output("cluster.json")}
