"""What the deployed pipeline is put through to see whether a permission is there: ordinary runs, and runs gone wrong.

A scenario takes a :class:`Floor` and raises :class:`Missing` when something that its users rely on does not happen.
It names no permission: only what a user or an operator would see.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from local.sandbox import STACK, Deployment

# For what takes some seconds on an idle machine; most that goes wrong shows much sooner.
PATIENCE_SECONDS = 120
CHUNK_SIZE = 12
STREAM = "kept"
# Functions that nobody waits for: what goes wrong there shows in their logs (and rings their alarms).
UNATTENDED = ("ResumeTransform", "SweepCallbacks", "ReportFailure")
# A format of the user's own, so that config/mappings/ is read.
MAPPING = """
name: house-sensor
title: Alerts of our own sensor
match: {all: [{path: sensor, equals: house}]}
fields: {id: key, time: at, src: from, name: what}
"""


class Missing(Exception):
    """Something that should have happened did not."""


class Floor:
    """The application deployed on a local cloud, with hands to work it."""

    def __init__(self, deployment: Deployment) -> None:
        self.cloud: Any = deployment.cloud
        self.deployment = deployment
        self.outputs = outputs = deployment.outputs
        client: Any = deployment.client
        self.s3, self.sfn, self.iam = client("s3"), client("stepfunctions"), client("iam")
        self.lambda_, self.logs, self.sqs = client("lambda"), client("logs"), client("sqs")
        self.machine, self.bucket = outputs["AlertPipelineArn"], outputs["DataBucketName"]
        self.dead_letters = outputs["DeadLetterQueueUrl"]
        self._resources(client("cloudformation"))
        self.mailbox = self.sqs.create_queue(QueueName="mailbox")["QueueUrl"]
        self._subscribe(client("sns"))
        self.s3.put_object(Bucket=self.bucket, Key="config/mappings/house-sensor.yaml", Body=MAPPING)
        self._numbers = itertools.count(1)
        self._began_ms = 0

    def _resources(self, cloudformation: Any) -> None:
        """What the stacks are made of: physical names by logical id without "Function", "Role" and "Policy", and back."""
        self.functions: dict[str, str] = {}
        self.roles: dict[str, str] = {}
        self.policies: dict[str, str] = {}
        self.machines: dict[str, str] = {}
        self.names: dict[str, str] = {}
        # Which child stack of the template a function or a role is of.
        self.stack_of: dict[str, str] = {}
        stacks = [(STACK, "")]
        while stacks:
            stack, of = stacks.pop()
            for resource in cloudformation.describe_stack_resources(StackName=stack)["StackResources"]:
                name, physical = resource["LogicalResourceId"], resource["PhysicalResourceId"]
                kind = resource["ResourceType"].removeprefix("AWS::")
                self.stack_of[name.removesuffix("Role").removesuffix("Function")] = of
                if kind == "CloudFormation::Stack":
                    stacks.append((physical, name))
                elif kind == "Lambda::Function":
                    self.functions[name.removesuffix("Function")] = physical
                elif kind == "IAM::Role":
                    self.roles[name.removesuffix("Role").removesuffix("Function")] = physical
                elif kind == "IAM::ManagedPolicy":
                    self.policies[name.removesuffix("Policy")] = physical
                elif kind == "StepFunctions::StateMachine":
                    self.machines[name] = physical
                if kind in ("Lambda::Function", "DynamoDB::Table", "S3::Bucket", "SQS::Queue", "SNS::Topic"):
                    self.names[physical.rpartition("/")[2].rpartition(":")[2]] = name

    def _subscribe(self, sns: Any) -> None:
        """Have the mails of those on duty in a queue too."""
        topic_arn = self.outputs["AlertTopicArn"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.mailbox, AttributeNames=["QueueArn"])["Attributes"]
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": attributes["QueueArn"],
            "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.sqs.set_queue_attributes(QueueUrl=self.mailbox, Attributes={"Policy": policy})
        sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=attributes["QueueArn"])

    def number(self) -> int:
        """A number not given before."""
        return next(self._numbers)

    # --- runs

    def document(self, stream: str) -> dict[str, Any]:
        """Two batches of one attack that goes on from file to file, one name never seen, one bad alert."""
        number = self.number()
        # Ten minutes after the last file that was published: what failed before that is not to be continued.
        start = 1_790_000_000 + 600 * int(self.row("Stream", stream=stream, item="state").get("version", 0))
        attack = [
            ("Port sweep of the server net", ["T1595"], "203.0.113.7", "web-1"),
            ("Exploit of a public web application", ["T1190"], "203.0.113.7", "web-1"),
            ("Web shell answers", ["T1505.003"], "203.0.113.7", "web-1"),
            (f"Sensor finding {number} never seen before", [], "web-1", "db-1"),
            ("Remote service session from a web server", ["T1021"], "web-1", "db-1"),
            ("Database dumped to a file", ["T1005"], "web-1", "db-1"),
            ("Upload of an archive to a file hoster", ["T1567"], "db-1", "198.51.100.9"),
        ]
        alerts: list[dict[str, Any]] = [
            {"id": f"{number}-{i}", "time": start + 20 * i, "src": src, "dst": dst, "name": name, "tech": tech}
            for i, (name, tech, src, dst) in enumerate(2 * attack)
        ]
        alerts.append({"key": f"{number}-m", "sensor": "house", "at": start, "from": "web-1", "what": "House alert"})
        alerts.append({"id": f"{number}-bad", "time": "never", "src": "web-1", "name": "No time", "tech": []})
        return {"input": alerts, "node_feature": {"web-1": {"OS": "Linux"}}}

    def start(self, stream: str = "") -> str:
        """Upload another document, and return the execution that the upload started."""
        stream = stream or f"stream-{self.number()}"
        key = f"input/{stream}/alerts-{self.number()}.json"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=json.dumps(self.document(stream)))
        return self.until(lambda: self._started(key), f"no execution for {key}")

    def _started(self, key: str) -> str | None:
        for execution in self.sfn.list_executions(stateMachineArn=self.machine, maxResults=5)["executions"]:
            arn = execution["executionArn"]
            if json.loads(self.sfn.describe_execution(executionArn=arn)["input"])["detail"]["object"]["key"] == key:
                return arn
        return None

    def ended(self, arn: str, look: Callable[[], object] = lambda: None) -> dict[str, Any]:
        """Wait for an execution's end, calling `look` meanwhile, and describe it."""

        def describe() -> dict[str, Any] | None:
            look()
            execution = self.sfn.describe_execution(executionArn=arn)
            return execution if execution["status"] != "RUNNING" else None

        try:
            return self.until(describe, "the run does not end")
        except Missing as missing:
            raise Missing(f"{missing}; it waits in {self.state(arn)}") from missing

    def succeeded(self, arn: str, look: Callable[[], object] = lambda: None) -> dict[str, Any]:
        """The run's summary; Missing unless it succeeds."""
        execution = self.ended(arn, look)
        if execution["status"] != "SUCCEEDED":
            raise Missing(f"run {execution['status']} in {self.state(arn)}: {execution.get('error')}")
        return json.loads(execution["output"])

    def until(self, found: Callable[[], Any], complaint: str, during: str = "") -> Any:
        """Ask until there is an answer; Missing where it does not come, where a function nobody waits for fails, or
        where the execution `during` which it should come ends before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (answer := found()):
            self.check_unattended()
            if during and self.sfn.describe_execution(executionArn=during)["status"] != "RUNNING":
                self.succeeded(during)
                raise Missing(complaint)
            if time.monotonic() > deadline:
                raise Missing(complaint)
            time.sleep(0.1)
        return answer

    def state(self, arn: str) -> str:
        """The state entered last, before the failure was reported."""
        events = self.sfn.get_execution_history(executionArn=arn, maxResults=1000)["events"]
        names = [event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event]
        return next((name for name in reversed(names) if name not in ("ReportFailure", "RunFailed")), "no state")

    def invoke(self, function: str, event: Any, kind: str = "RequestResponse") -> Any:
        """A function's answer; Missing where it fails."""
        answer = self.lambda_.invoke(
            FunctionName=self.functions[function], Payload=json.dumps(event), InvocationType=kind
        )
        text = answer["Payload"].read()
        if "FunctionError" in answer:
            raise Missing(f"{function} failed: {_short(json.loads(text).get('errorMessage', ''))}")
        return json.loads(text) if text else None

    # --- what can be seen

    def begin(self) -> None:
        """Look from now on only."""
        self._began_ms = int(time.time() * 1000)
        for queue in (self.mailbox, self.dead_letters):
            self.messages(queue)

    def check_unattended(self) -> None:
        """Missing where a function that nobody waits for failed, or an event could not be delivered."""
        for function in UNATTENDED:
            self.check_log(function)
        count = "ApproximateNumberOfMessages"
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.dead_letters, AttributeNames=[count])["Attributes"]
        if int(attributes[count]):
            raise Missing("an event could not be delivered")

    def check_log(self, function: str) -> None:
        """Missing where the function failed."""
        group = f"/aws/lambda/{self.functions[function]}"
        with contextlib.suppress(self.logs.exceptions.ResourceNotFoundException):
            for event in self.logs.filter_log_events(logGroupName=group, startTime=self._began_ms)["events"]:
                if event["message"].startswith("[ERROR]"):
                    raise Missing(f"{function} failed: {_short(event['message'].removeprefix('[ERROR] '))}")

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """Take all messages out of a queue."""
        found: list[dict[str, Any]] = []
        while some := self.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            for message in some:
                self.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            found += [json.loads(message["Body"]) for message in some]
        return found

    def mails(self) -> list[dict[str, Any]]:
        """Take out what the pipeline has mailed; what alarms mail is not looked at."""
        return [mail for mail in self.messages(self.mailbox) if mail["Subject"].startswith("Watchfloor")]

    def rows(self, table: str) -> list[dict[str, Any]]:
        return self.deployment.table(f"{table}TableName").scan()["Items"]

    def row(self, table: str, **key: Any) -> dict[str, Any]:
        return self.deployment.table(f"{table}TableName").get_item(Key=key).get("Item", {})

    def variable(self, name: str) -> str:
        """A variable of ReportFailure's environment."""
        configuration = self.lambda_.get_function_configuration(FunctionName=self.functions["ReportFailure"])
        return configuration["Environment"]["Variables"][name]

    def exists(self, key: str) -> bool:
        return bool(self.s3.list_objects_v2(Bucket=self.bucket, Prefix=key).get("Contents"))

    def input_of(self, arn: str) -> dict[str, Any]:
        return json.loads(self.sfn.describe_execution(executionArn=arn)["input"])

    def tidy(self) -> None:
        """End what still runs, and forget who waits and what was to go wrong."""
        self.cloud.inject_faults()
        for arn in (self.machine, self.outputs["ClusterBatchesArn"]):
            for execution in self.sfn.list_executions(stateMachineArn=arn, statusFilter="RUNNING")["executions"]:
                self.sfn.stop_execution(executionArn=execution["executionArn"])
        callbacks, streams = (self.deployment.table(f"{name}TableName") for name in ("Callback", "Stream"))
        for row in self.rows("Callback"):
            if "is_open" in row:
                callbacks.delete_item(Key={"job_key": row["job_key"]})
        for row in self.rows("Stream"):
            if row["item"].startswith("ticket#"):
                streams.delete_item(Key={"stream": row["stream"], "item": row["item"]})

    @contextlib.contextmanager
    def faults(self, *faults: dict[str, Any]) -> Iterator[None]:
        self.cloud.inject_faults(transform=list(faults))
        try:
            yield
        finally:
            self.cloud.inject_faults()


def prepare(floor: Floor) -> None:
    """The first file of the stream that `whole_run` continues."""
    floor.begin()
    floor.succeeded(floor.start(STREAM))


def whole_run(floor: Floor) -> None:
    """A file that continues an attack: every output, every ticket, nothing left behind."""
    floor.begin()
    version = int(floor.row("Stream", stream=STREAM, item="state")["version"])
    known_names = len(floor.rows("Technique"))
    summary = floor.succeeded(floor.start(STREAM))
    for branch in ("campaigns", "jira", "case"):
        outcome = summary[branch]
        if outcome["status"] != "done" or not outcome["created"] + outcome["updated"]:
            raise Missing(f"{branch} {outcome['status']}: {_short(outcome.get('error', 'nothing written'))}")
    if not summary["campaigns"]["updated"]:
        raise Missing("the campaign did not go on")
    run_id = summary["run_id"]
    for key in (f"rejected/{run_id}.jsonl", f"output/{run_id}/summary.json", f"output/{run_id}/attack_flow/"):
        if not floor.exists(key):
            raise Missing(f"no {key}")
    if summary["rejected"] != 1:
        raise Missing(f"{summary['rejected']} rejected")
    if len(floor.rows("Technique")) <= known_names:
        raise Missing("the new name was not learned")
    if floor.row("Stream", stream=STREAM, item="state")["version"] != version + 1:
        raise Missing("the stream's state did not move on")
    if floor.row("Run", run_id=run_id)["status"] != "SUCCEEDED":
        raise Missing("the run's row does not say SUCCEEDED")
    if any(row["stream"] == STREAM and row["item"].startswith("ticket#") for row in floor.rows("Stream")):
        raise Missing("the lease was not released")
    floor.check_unattended()


def two_files_at_once(floor: Floor) -> None:
    """The second file of a stream waits for the first one's end, and is called then."""
    floor.begin()
    with floor.faults({"match": "cluster", "kind": "slow", "seconds": 2}):
        first = floor.start("busy")
        second = floor.start("busy")
        floor.succeeded(first)
        floor.succeeded(second)


def failing_run(floor: Floor) -> None:
    """A model that refuses its input: one mail, the row says so, the file that waits gets its turn."""
    floor.begin()
    with floor.faults(
        {"match": "cluster", "kind": "slow", "seconds": 1}, {"match": "cluster", "kind": "model", "times": 1}
    ):
        failing = floor.start("failing")
        waiting = floor.start("failing")
        _failed_by_model(floor, failing)
        mails = floor.until(floor.mails, "no mail about the failure")
        floor.succeeded(waiting)
    floor.check_unattended()
    mails += floor.mails()
    if len(mails) != 1 or "failed in ClusterBatches" not in mails[0]["Subject"]:
        raise Missing(f"mails: {[mail['Subject'] for mail in mails]}")
    rows = [row for row in floor.rows("Run") if row["execution_arn"] == failing]
    if [row["status"] for row in rows] != ["FAILED"]:
        raise Missing("the run's row does not say FAILED")


def taken_over(floor: Floor) -> None:
    """A run whose execution failed goes on in another one."""
    floor.begin()
    with floor.faults({"match": "flow", "kind": "model", "times": 1}):
        failed = floor.start()
        _failed_by_model(floor, failed)
    again = floor.sfn.start_execution(stateMachineArn=floor.machine, input=json.dumps(floor.input_of(failed)))
    floor.succeeded(again["executionArn"])


def failing_branch(floor: Floor) -> None:
    """A branch that fails is told by mail; the run succeeds all the same."""
    floor.begin()
    items = floor.s3.list_objects_v2(Bucket=floor.bucket, Prefix="campaigns/")["Contents"]
    keys = [item["Key"] for item in items]
    kept = {key: floor.s3.get_object(Bucket=floor.bucket, Key=key)["Body"].read() for key in keys}
    try:
        for key in keys:
            floor.s3.put_object(Bucket=floor.bucket, Key=key, Body=b"broken")
        summary = floor.succeeded(floor.start(STREAM))
    finally:
        for key, body in kept.items():
            floor.s3.put_object(Bucket=floor.bucket, Key=key, Body=body)
    if summary["campaigns"]["status"] != "failed":
        raise Missing("the branch did not fail")
    floor.until(floor.mails, "no mail about the branch")


def reported_again(floor: Floor) -> None:
    """A report that failed half-way is made up for by the next one."""
    floor.begin()
    event = {"executionArn": _some_failure(floor), "error": "ModelError", "cause": "again"}
    try:
        floor.invoke("ReportFailure", {**event, "status": None})
    except Missing:
        floor.begin()
    else:
        raise Missing("the first report did not fail")
    floor.invoke("ReportFailure", {**event, "status": "FAILED"})
    floor.until(floor.mails, "no mail after a report that failed")


def told_early(floor: Floor) -> None:
    """An event about a job that SageMaker still describes as running does no harm."""
    floor.begin()
    with floor.faults({"match": "technique", "kind": "slow", "seconds": 4}):
        arn, given = held(floor, "technique", "InProgress")
        job = job_of(floor, "technique", given["run"]["run_id"])
        floor.invoke("ResumeTransform", {"detail": {"TransformJobName": job["TransformJobName"]}})
        floor.succeeded(arn)


def lost_events(floor: Floor) -> None:
    """The sweeper finds jobs whose end nobody told, keeps waiting runs alive, and breaks leases of the dead."""
    floor.begin()
    streams = floor.deployment.table("StreamTableName")
    with floor.faults(*unheard("technique"), *unheard("cluster")):
        stream = f"swept-{floor.number()}"
        arn = floor.start(stream)
        holder = {"stream": stream, "item": "ticket#000000000000", "run_id": "other", "execution_arn": arn}
        streams.put_item(Item=holder)
        floor.until(lambda: _swept(floor) and waits_for_lease(floor, stream), "nobody asked for the lease", arn)
        streams.put_item(Item={**holder, "execution_arn": f"{arn}-gone"})
        floor.succeeded(arn, lambda: _swept(floor))


def abandoned_lease(floor: Floor) -> None:
    """A ticket of an execution that is gone does not keep the next file waiting."""
    floor.begin()
    stream = f"abandoned-{floor.number()}"
    ticket = {
        "stream": stream,
        "item": "ticket#000000000000",
        "run_id": "gone",
        "execution_arn": floor.machine.replace(":stateMachine:", ":execution:") + ":gone",
    }
    floor.deployment.table("StreamTableName").put_item(Item=ticket)
    floor.succeeded(floor.start(stream))


def lost_failure(floor: Floor) -> None:
    """The sweeper passes on that a job failed."""
    floor.begin()
    for model in ("technique", "cluster"):
        with floor.faults({"match": model, "kind": "model"}, *unheard(model)):
            _failed_by_model(floor, floor.start(), lambda: _swept(floor))


@cache
def adopted(model: str, ending: str) -> Callable[[Floor], None]:
    """A function that is called again after it made the job finds the job, whatever became of it meanwhile."""
    faults = {
        "completed": unheard(model),
        "failed": [{"match": model, "kind": "model"}, *unheard(model)],
        "running": [{"match": model, "kind": "slow", "seconds": 5}],
    }[ending]
    function = f"Create{model.title()}"

    def scenario(floor: Floor) -> None:
        floor.begin()
        with floor.faults(*faults):
            arn, payload = held(floor, model, {"completed": "Completed", "failed": "Failed"}.get(ending, "InProgress"))
            floor.invoke(function, payload)
            if ending == "failed":
                _failed_by_model(floor, arn)
            else:
                floor.succeeded(arn)

    scenario.__name__ = f"adopted_{model}_{ending}"
    return scenario


@cache
def dead_letter(function: str) -> Callable[[Floor], None]:
    """An event that the function cannot make use of ends in the dead-letter queue."""

    def scenario(floor: Floor) -> None:
        floor.begin()
        callbacks = floor.deployment.table("CallbackTableName")
        callbacks.put_item(Item={"job_key": "broken", "is_open": "yes", "attempt": "broken"})  # for the sweeper
        try:
            floor.invoke(function, {"no": "event"}, "Event")
            deadline = time.monotonic() + 10
            name = floor.functions[function]
            while not any(name in json.dumps(message) for message in floor.messages(floor.dead_letters)):
                if time.monotonic() > deadline:
                    raise Missing("nothing in the dead-letter queue")
                time.sleep(0.1)
        finally:
            callbacks.delete_item(Key={"job_key": "broken"})

    scenario.__name__ = f"dead_letter_of_{function}"
    return scenario


def deployed_again(floor: Floor) -> None:
    """Step Functions takes the machines with their roles and log group, as a deployment hands them over."""
    group = floor.logs.describe_log_groups(logGroupNamePrefix="/aws/vendedlogs/states/")["logGroups"][0]["arn"]
    logging = {"level": "ERROR", "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": group}}]}
    for arn in floor.machines.values():
        machine = floor.sfn.describe_state_machine(stateMachineArn=arn)
        try:
            floor.sfn.update_state_machine(
                stateMachineArn=arn,
                definition=machine["definition"],
                roleArn=machine["roleArn"],
                loggingConfiguration=logging,
            )
        except floor.sfn.exceptions.ClientError as error:
            raise Missing(f"update refused: {_short(error.response['Error']['Message'])}") from error


def unheard(model: str) -> list[dict[str, Any]]:
    """The end of a job that nobody is told of; it comes after the event of its start has been dealt with."""
    return [{"match": model, "kind": "slow", "seconds": 1.5}, {"match": model, "kind": "lost-event"}]


def held(floor: Floor, model: str, status: str) -> tuple[str, Any]:
    """A new run that waits for the model's job while that has this status, and what its function was called with."""
    arn = floor.start()
    run_id = floor.until(lambda: _run_id(floor, arn), "no run", arn)
    floor.until(lambda: job_of(floor, model, run_id).get("TransformJobStatus") == status, f"no job is {status}", arn)
    machine = floor.outputs["ClusterBatchesArn"]
    children = floor.sfn.list_executions(stateMachineArn=machine, statusFilter="RUNNING")["executions"]
    return arn, payload(floor, children[0]["executionArn"] if model == "cluster" and children else arn)


def job_of(floor: Floor, model: str, run_id: str) -> dict[str, Any]:
    """The run's newest job of this model."""
    sagemaker = floor.deployment.client("sagemaker")
    jobs = sagemaker.list_transform_jobs(NameContains=f"{model}-{run_id}")["TransformJobSummaries"]
    return jobs[0] if jobs else {}


def payload(floor: Floor, arn: str) -> Any:
    """What the function of the task that waits was called with."""
    for event in floor.sfn.get_execution_history(executionArn=arn, maxResults=1000, reverseOrder=True)["events"]:
        if "taskScheduledEventDetails" in event:
            given = json.loads(event["taskScheduledEventDetails"]["parameters"]).get("Payload", {})
            if "token" in given:
                return given
    raise Missing("no task waits")


def _failed_by_model(floor: Floor, arn: str, look: Callable[[], object] = lambda: None) -> None:
    execution = floor.ended(arn, look)
    if execution["status"] != "FAILED" or "ModelError" not in f"{execution.get('error')} {execution.get('cause')}":
        raise Missing(f"run {execution['status']} in {floor.state(arn)}: {execution.get('error')}")


def _some_failure(floor: Floor) -> str:
    """An execution that failed, and that nobody reported yet as far as the function knows."""
    with floor.faults({"match": "technique", "kind": "model"}):
        arn = floor.start()
        _failed_by_model(floor, arn)
    floor.until(floor.mails, "no mail about the failure")
    time.sleep(1)  # the rule on the execution's status reports too
    reported = floor.cloud.session().resource("dynamodb").Table(floor.variable("IDEMPOTENCY_TABLE"))
    for item in reported.scan()["Items"]:
        reported.delete_item(Key={"id": item["id"]})
    return arn


def _swept(floor: Floor) -> bool:
    floor.invoke("SweepCallbacks", {"source": "aws.events"})
    return True


def waits_for_lease(floor: Floor, stream: str) -> bool:
    return any(row["stream"] == stream and "token" in row for row in floor.rows("Stream"))


def _run_id(floor: Floor, arn: str) -> str | None:
    return next((row["run_id"] for row in floor.rows("Run") if row["execution_arn"] == arn), None)


def _short(text: str) -> str:
    """The action an error speaks of, or its first words."""
    for words in ("not authorized to perform: ", "it lacks "):
        _, found, rest = text.partition(words)
        if found:
            return f"not authorized: {rest.split(' ', 1)[0]}"
    return text.strip()[:110].replace("\n", " ")
