"""The alert pipeline on moto: real definitions, templates, handlers and models, with faults on demand.

    with Cloud(ChunkSize="2") as cloud:
        run = cloud.upload("input/alerts.json", [...])
        assert cloud.wait(run)["status"] == "SUCCEEDED"

Functions run one at a time, in this process, as their events arrive. A transform job runs the model that its name says
over S3, then tells of its end by an event. Events go where the template's rules send them.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import logging
import queue
import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from types import ModuleType
from typing import Any, Self

import boto3
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from moto import mock_aws
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.events.models import EventPattern
from moto.sagemaker.exceptions import ResourceInUseException, SagemakerClientError
from moto.sagemaker.models import FakeTransformJob, SageMakerModelBackend
from moto.sns import sns_backends
from moto.stepfunctions.parser.backend.execution import Execution

from models import serve
from tests.machines.interpreter import Interpreter, definition_json
from tests.machines.stack import ACCOUNT, REGION, ROOT, Stack, machine, physical_id
from watchfloor.layout import run_id_of

_TABLE_PROPERTIES = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
# moto tells each failed state's whole definition.
logging.getLogger("moto.stepfunctions").setLevel(logging.CRITICAL)

_TEST_ENVIRONMENT = {
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "MOTO_ACCOUNT_ID": ACCOUNT,
    "POWERTOOLS_LOG_LEVEL": "CRITICAL",
    "POWERTOOLS_METRICS_DISABLED": "true",
    "POWERTOOLS_TRACE_DISABLED": "true",
}
_ENDED = {"SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"}


@dataclass(frozen=True)
class Fate:
    """What becomes of a transform job.

    Attributes
    ----------
    failure
        FailureReason with which it fails.
    status
        In which it ends, where no failure is given; InProgress does not end before `Cloud.end_job`.
    refused
        Error code of CreateTransformJob.
    events
        How often its end is told.
    cut_short
        The task that made it misses its heartbeats.
    """

    failure: str = ""
    status: str = "Completed"
    refused: str = ""
    events: int = 1
    cut_short: bool = False


@dataclass(frozen=True)
class Run:
    """An execution that an upload started."""

    arn: str
    run_id: str
    event: dict[str, Any]


@dataclass
class Fault:
    """An error in place of a function, or after it did its work."""

    error: Exception
    times: int = 1_000
    after: bool = False


class Context(LambdaContext):
    """What Lambda hands to a function besides the event."""

    def __init__(self, function_name: str, remaining_milliseconds: int) -> None:
        self._function_name = function_name
        self._invoked_function_arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function_name}"
        self._memory_limit_in_mb = 512
        self._aws_request_id = str(uuid.uuid4())
        self._remaining_milliseconds = remaining_milliseconds

    def get_remaining_time_in_millis(self) -> int:  # type: ignore[override]  # ours differs from call to call
        return self._remaining_milliseconds


class Cloud:
    """A deployed child stack; `parameters` are the root template's.

    Attributes
    ----------
    child, group
        The root template's resource, and the folder of its functions.
    fates
        Model name -> what becomes of its next jobs; those that are not named complete.
    faults
        Function -> what goes wrong with it.
    stand_ins
        Function -> what runs in its place: event -> answer.
    requests
        `(job name, instance type)` of every CreateTransformJob, in order.
    lost
        Detail types of events that do not arrive.
    """

    child, group = "Pipeline", "pipeline"

    def __init__(self, **parameters: str) -> None:
        root = Stack("template.yaml", ModelImage="models", **parameters)
        nested = root.resources("AWS::Serverless::Application")[self.child]["Parameters"]
        self._root, self._pipeline = root, Stack(f"functions/{self.group}/template.yaml", **nested)
        self._functions = self._pipeline.resources("AWS::Serverless::Function")
        self._shared = self._pipeline.globals()["Function"]["Environment"]["Variables"]
        self._function_of = {physical_id(logical_id): logical_id for logical_id in self._functions}
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._broken: Exception | None = None
        self._events: queue.Queue[Callable[[], Any] | None] = queue.Queue()
        self._patch = pytest.MonkeyPatch()
        self._moto = mock_aws(
            config={"stepfunctions": {"execute_state_machine": True}, "lambda": {"use_docker": False}}
        )
        self.interpreter = Interpreter(self._execution_ended)
        self.fates: dict[str, deque[Fate]] = defaultdict(deque)
        self.faults: dict[str, Fault] = {}
        self.stand_ins: dict[str, Callable[[dict[str, Any]], Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.lost: set[str] = set()
        self.dead_letters: list[Any] = []
        self.remaining_milliseconds = 900_000

    # --- a cloud from beginning to end

    def __enter__(self) -> Self:
        for name, value in {**self._shared, **_TEST_ENVIRONMENT}.items():
            self._patch.setenv(name, value)
        self._moto.start()
        self.interpreter.apply(self._patch)
        cloud, create_job = self, SageMakerModelBackend.create_transform_job
        self._patch.setattr(LambdaSimpleBackend, "invoke", lambda _, *arguments: cloud._invoke_by_api(*arguments))
        self._patch.setattr(
            SageMakerModelBackend,
            "create_transform_job",
            lambda backend, **request: cloud._create_job(partial(create_job, backend), backend, **request),
        )
        self._deploy()
        self._courier = threading.Thread(target=self._deliver_queued, daemon=True)
        self._courier.start()
        return self

    def __exit__(self, *_: object) -> None:
        for arn in self.executions("RUNNING"):
            self.stop(arn)
        self._events.put(None)
        self._courier.join()
        self._patch.undo()
        self._moto.stop()

    def _deploy(self) -> None:
        self.s3, self.sfn = _client("s3"), _client("stepfunctions")
        self.bucket = physical_id("DataBucket")
        self.s3.create_bucket(Bucket=self.bucket)
        self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        self.tables = {}
        for logical_id, properties in self._root.resources("AWS::DynamoDB::Table").items():
            arguments = {key: properties[key] for key in _TABLE_PROPERTIES if key in properties}
            self.tables[logical_id] = _dynamodb().create_table(TableName=physical_id(logical_id), **arguments)
        for logical_id in self._root.resources("AWS::SNS::Topic"):
            _client("sns").create_topic(Name=physical_id(logical_id))
        for properties in self._pipeline.resources("AWS::Serverless::StateMachine").values():
            definition = machine(properties["DefinitionUri"].rpartition("/")[2].removesuffix(".asl.yaml"))
            self.sfn.create_state_machine(
                name=properties["Name"],
                definition=definition_json(definition, properties["DefinitionSubstitutions"]),
                roleArn=f"arn:aws:iam::{ACCOUNT}:role/{properties['Name']}",
            )

    # --- functions

    def invoke(self, function: str, event: dict[str, Any]) -> Any:
        """Run a handler, as Lambda would, on an event of its own."""
        with self._turn:
            fault = self.faults.get(function)
            if fault and fault.times and not fault.after:
                fault.times -= 1
                raise fault.error
            if function in self.stand_ins:
                answer = self.stand_ins[function](copy.deepcopy(event))
            else:
                answer = self._handle(self._functions[f"{function}Function"], copy.deepcopy(event))
            if fault and fault.times:
                fault.times -= 1
                raise fault.error
            return json.loads(json.dumps(answer))

    def _handle(self, function: dict[str, Any], event: dict[str, Any]) -> Any:
        environment = function.get("Environment", {}).get("Variables", {})
        stem = function["Handler"].partition(".")[0]
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            module = _module(self.group, stem, tuple(sorted(environment.items())))
            return module.lambda_handler(event, Context(stem, self.remaining_milliseconds))

    def _invoke_by_api(
        self, function_name: str, qualifier: str | None, body: Any, headers: Any, response_headers: dict[str, str]
    ) -> bytes:
        function = self._function_of[function_name.rpartition(":")[2]].removesuffix("Function")
        try:
            return json.dumps(self.invoke(function, json.loads(body))).encode()
        except Exception as error:  # noqa: BLE001 - as Lambda's runtime does
            response_headers["x-amz-function-error"] = "Unhandled"
            return json.dumps({"errorMessage": str(error), "errorType": type(error).__name__}).encode()

    # --- events

    def deliver(self, event: dict[str, Any]) -> list[str]:
        """Send an event where the template's rules want it; return the executions it started."""
        if event["detail-type"] in self.lost:
            return []
        started = []
        message: Any = event
        targets = self._functions | self._pipeline.resources("AWS::Serverless::StateMachine")
        for logical_id, target in targets.items():
            for source in target.get("Events", {}).values():
                rule = source["Properties"]
                if source["Type"] != "EventBridgeRule" or not EventPattern(None, rule["Pattern"]).matches_event(
                    message
                ):
                    continue
                body = event["detail"] if rule.get("InputPath") == "$.detail" else event
                if logical_id in self._functions:
                    self._invoke_by_event(logical_id.removesuffix("Function"), body)
                else:
                    arn = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{target['Name']}"
                    # EventBridge names executions so.
                    name = f"{uuid.uuid4()}_{uuid.uuid4()}"
                    answer = self.sfn.start_execution(stateMachineArn=arn, name=name, input=json.dumps(body))
                    started.append(answer["executionArn"])
        return started

    def _invoke_by_event(self, function: str, body: dict[str, Any]) -> None:
        for _ in range(3):
            try:
                self.invoke(function, body)
                return
            except Exception as error:  # noqa: BLE001 - as Lambda's runtime does
                last = error
        self.dead_letters.append((function, body, last))

    def _deliver_queued(self) -> None:
        while (task := self._events.get()) is not None:
            try:
                task()
            except Exception as error:  # noqa: BLE001 - raised where the test waits
                self._broken = error
            finally:
                self._events.task_done()
                self._notify()
        self._events.task_done()

    def settle(self) -> None:
        """Wait until every event so far has had its effect."""
        self._events.join()

    def sweep(self) -> dict[str, Any]:
        """What the schedule does every five minutes."""
        return self.invoke("SweepCallbacks", sample_event("sweep_callbacks"))

    # --- transform jobs

    def _create_job(
        self, create: Callable[..., FakeTransformJob], backend: SageMakerModelBackend, **request: Any
    ) -> FakeTransformJob:
        name = request["transform_job_name"]
        model = next(model for model in serve.LOADERS if request["model_name"] == physical_id(f"{model}ModelName"))
        if name in backend.transform_jobs:
            raise ResourceInUseException(f"Job name {name} is taken")
        self.requests.append((name, request["transform_resources"]["InstanceType"]))
        fate = self.fates[model].popleft() if self.fates[model] else Fate()
        if fate.refused:
            error = SagemakerClientError(f"{name} was refused")
            error.code = fate.refused
            raise error
        job = create(**request)
        job.transform_job_status = "InProgress"
        self.interpreter.cut_short += fate.cut_short
        if fate.status != "InProgress":
            self._events.put(partial(self._end_job, job, model, fate))
        return job

    def end_job(self, name: str, fate: Fate | None = None) -> None:
        """End a job that is in progress."""
        job = self._jobs()[name]
        model = next(model for model in serve.LOADERS if f"-{model}-" in name)
        self._events.put(partial(self._end_job, job, model, fate or Fate()))
        self.settle()

    def job_status(self, name: str) -> str:
        return self._jobs()[name].transform_job_status

    @staticmethod
    def _jobs() -> dict[str, FakeTransformJob]:
        from moto.sagemaker import sagemaker_backends

        return sagemaker_backends[ACCOUNT][REGION].transform_jobs

    def _end_job(self, job: FakeTransformJob, model: str, fate: Fate) -> None:
        if fate.failure:
            job.transform_job_status, job.failure_reason = "Failed", fate.failure
        else:
            if fate.status == "Completed":
                self._transform(job, model)
            job.transform_job_status = fate.status
        for _ in range(fate.events):
            self.deliver(self.job_event(job.transform_job_name))

    def job_event(self, name: str) -> dict[str, Any]:
        """The state change event of a job that ended; it carries no reason."""
        event = sample_event("resume_transform")
        event["detail"] |= {"TransformJobName": name, "TransformJobStatus": self.job_status(name)}
        return event

    def _transform(self, job: FakeTransformJob, model: str) -> None:
        source: Any = job.transform_input["DataSource"]
        bucket, _, prefix = source["S3DataSource"]["S3Uri"].removeprefix("s3://").partition("/")
        folder = job.transform_output["S3OutputPath"].removeprefix(f"s3://{bucket}/").rstrip("/")
        for item in self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
            body = bytearray(self.s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())
            content_type = str(job.transform_input["ContentType"])
            answer = serve.respond(model, _model(model), content_type, body)
            key = f"{folder}/{item['Key'].rpartition('/')[2]}.out"
            self.s3.put_object(Bucket=bucket, Key=key, Body=answer)

    # --- executions

    def upload(self, key: str, content: bytes | Iterable[dict[str, Any]]) -> Run:
        """Store a file of alerts and tell the rules of it."""
        run = self.stored(key, content)
        (arn,) = self.deliver(run.event)
        return Run(arn, run.run_id, run.event)

    def stored(self, key: str, content: bytes | Iterable[dict[str, Any]]) -> Run:
        """Store a file of alerts; its event is not sent yet."""
        body = content if isinstance(content, bytes) else json.dumps({"input": list(content)}).encode()
        version = self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)["VersionId"]
        event = sample_event("claim_run")["event"]
        event["detail"]["bucket"]["name"] = self.bucket
        event["detail"]["object"] |= {"key": key, "size": len(body), "version-id": version}
        return Run("", run_id_of(self.bucket, key, version), event)

    def again(self, run: Run) -> Run:
        """Deliver the event of an upload once more."""
        (arn,) = self.deliver(run.event)
        return Run(arn, run.run_id, run.event)

    def wait(self, run: Run, seconds: float = 60) -> dict[str, Any]:
        """DescribeExecution's answer after the execution's end and the events that followed it."""
        self.until(lambda: self.describe(run)["status"] in _ENDED, seconds)
        self.settle()
        return self.describe(run)

    def run(self, key: str, content: bytes | Iterable[dict[str, Any]]) -> Run:
        """Upload a file and see its run succeed."""
        run = self.upload(key, content)
        end = self.wait(run)
        assert end["status"] == "SUCCEEDED", (end, self.mails())
        return run

    def until(self, condition: Callable[[], Any], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if self._broken:
                raise self._broken
            assert time.monotonic() < deadline, "it did not come to that"
            with self._changed:
                self._changed.wait(0.05)

    def describe(self, run: Run) -> dict[str, Any]:
        return self.sfn.describe_execution(executionArn=run.arn)

    def stop(self, arn: str) -> None:
        self.sfn.stop_execution(executionArn=arn)

    def executions(self, status: str | None = None, machine_name: str = "") -> list[str]:
        """ARNs of executions, oldest first."""
        found = []
        for properties in self._pipeline.resources("AWS::Serverless::StateMachine").values():
            if properties["Name"].endswith(machine_name):
                arn = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{properties['Name']}"
                some = self.sfn.list_executions(stateMachineArn=arn, **({"statusFilter": status} if status else {}))
                found += [item["executionArn"] for item in reversed(some["executions"])]
        return found

    def states(self, arn: str) -> list[str]:
        """States that an execution entered, in order."""
        events = self.sfn.get_execution_history(executionArn=arn)["events"]
        return [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]

    def _execution_ended(self, execution: Execution) -> None:
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Step Functions Execution Status Change",
            "source": "aws.states",
            "detail": {
                "executionArn": execution.exec_arn,
                "stateMachineArn": execution.state_machine_arn,
                "name": execution.name,
                "status": execution.status,
                "input": execution.execution_input,
                # error and cause are not documented, so nothing may count on them.
            },
        }
        self._events.put(partial(self.deliver, event))
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # --- what came out

    def read(self, key: str) -> Any:
        return json.loads(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def read_lines(self, key: str) -> list[Any]:
        body = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return [json.loads(line) for line in body.splitlines()]

    def output(self, run: Run, name: str) -> Any:
        return self.read(f"output/{run.run_id}/{name}")

    def keys(self, prefix: str) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def row(self, run: Run) -> dict[str, Any]:
        return self.tables["RunTable"].get_item(Key={"run_id": run.run_id})["Item"]

    def items(self, table: str) -> list[dict[str, Any]]:
        return self.tables[table].scan()["Items"]

    def tickets(self) -> list[dict[str, Any]]:
        """Runs that hold or await the lease of their stream."""
        return [item for item in self.items("StreamTable") if item["item"].startswith("ticket#")]

    def mails(self, topic_id: str = "AlertTopic") -> list[tuple[str, str]]:
        """Subject and text of what SNS was given."""
        topic = sns_backends[ACCOUNT][REGION].topics[f"arn:aws:sns:{REGION}:{ACCOUNT}:{physical_id(topic_id)}"]
        return [(subject or "", text) for _, text, subject, *_ in topic.sent_notifications]


def sample_event(stem: str, group: str = "pipeline") -> dict[str, Any]:
    """A fresh copy of a function's sample event."""
    return json.loads((ROOT / f"events/{group}/{stem}.json").read_text())


# Clients take longer to make than to use, and know nothing of the cloud they talk to.
@cache
def _session() -> boto3.Session:
    return boto3.Session("test", "test", region_name=REGION)


@cache
def _client(service: Any) -> Any:
    return _session().client(service)


@cache
def _dynamodb() -> Any:
    return _session().resource("dynamodb")


@cache
def _model(name: str) -> Callable[[Any], Any]:
    return serve.LOADERS[name]()


@cache
def _module(group: str, stem: str, environment: tuple[tuple[str, str], ...]) -> ModuleType:
    """A handler's module, imported once for every environment; the environment is set."""
    spec = importlib.util.spec_from_file_location(f"handler_{stem}", ROOT / f"functions/{group}/{stem}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
