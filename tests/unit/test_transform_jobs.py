"""Transform jobs: made once, adopted, answered for."""

from dataclasses import dataclass, field

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from tests.unit.tables import table
from watchfloor.clients.callback_table import CallbackTable
from watchfloor.clients.transform_jobs import Transform, TransformJobs
from watchfloor.errors import AccessDeniedError, CapacityError, TransientError

LINES = Transform("technique-r1-000000", "technique-model", "s3://data/in.jsonl", "s3://data/out/", by_line=True)
WHOLE = Transform("cluster-r1-000003", "cluster-model", "s3://data/000003.json", "s3://data/out/")
TYPES = ["ml.m5.large", "ml.m5.xlarge"]


@dataclass
class SageMaker:
    """Jobs by name; `refuse` is an error code of the next call, `broken` a job that cannot be described."""

    jobs: dict[str, dict] = field(default_factory=dict)
    asked: list[dict] = field(default_factory=list)
    refuse: str = ""
    broken: str = ""

    def create_transform_job(self, **request):
        code, self.refuse = self.refuse, ""
        name = request["TransformJobName"]
        if code or name in self.jobs:
            raise ClientError({"Error": {"Code": code or "ResourceInUse"}}, "CreateTransformJob")
        self.asked.append(request)
        self.jobs[name] = {"TransformJobStatus": "InProgress"}

    def describe_transform_job(self, TransformJobName):
        if TransformJobName == self.broken:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "DescribeTransformJob")
        if TransformJobName not in self.jobs:
            raise ClientError({"Error": {"Code": "ValidationException"}}, "DescribeTransformJob")
        return self.jobs[TransformJobName]

    def end(self, name, status="Completed", reason=None):
        self.jobs[name] = {"TransformJobStatus": status} | ({"FailureReason": reason} if reason else {})


@dataclass
class Tasks:
    """What waiting tasks were told."""

    told: list[tuple] = field(default_factory=list)
    gone: bool = False

    def succeed(self, token, output):
        self.told.append(("success", token, output["job_name"]))
        return not self.gone

    def fail(self, token, error, cause):
        self.told.append((error, token, cause))
        return not self.gone

    def heartbeat(self, token):
        self.told.append(("heartbeat", token))
        return not self.gone


@pytest.fixture
def callbacks():
    with table("CallbackTable") as raw:
        yield CallbackTable(raw)


@pytest.fixture
def sagemaker():
    return SageMaker()


@pytest.fixture
def tasks():
    return Tasks()


@pytest.fixture
def jobs(sagemaker, callbacks, tasks):
    return TransformJobs(sagemaker, callbacks, tasks, "1a2b3c4d")


def test_job_is_named_by_stack_run_batch_and_attempt(jobs, sagemaker):
    assert jobs.start(WHOLE, "token", "etag", TYPES) == "1a2b3c4d-cluster-r1-000003-0"
    assert list(sagemaker.jobs) == ["1a2b3c4d-cluster-r1-000003-0"]


def test_names_stay_within_the_limit(jobs):
    transform = Transform(f"technique-{'f' * 16}-999999", "m", "s3://data/in", "s3://data/out/")
    assert len(jobs.start(transform, "token", "etag", TYPES)) + len("99") <= 63


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (LINES, ("Line", "MultiRecord", "application/jsonlines", "Line")),
        (WHOLE, ("None", "SingleRecord", "application/json", None)),
    ],
)
def test_technique_model_is_asked_by_line_and_the_others_at_once(jobs, sagemaker, transform, expected):
    jobs.start(transform, "token", "etag", TYPES)
    (request,) = sagemaker.asked
    source, output = request["TransformInput"], request["TransformOutput"]
    assert (
        source["SplitType"],
        request["BatchStrategy"],
        source["ContentType"],
        output.get("AssembleWith"),
    ) == expected
    assert output["Accept"] == source["ContentType"]
    assert source["DataSource"]["S3DataSource"]["S3Uri"] == transform.input_uri
    assert output["S3OutputPath"] == "s3://data/out"
    assert (request["MaxConcurrentTransforms"], request["MaxPayloadInMB"]) == (1, 100)
    assert request["ModelClientConfig"]["InvocationsTimeoutInSeconds"] == 3600


@pytest.mark.parametrize("transform", [LINES, WHOLE])
@pytest.mark.parametrize("kms_key", ["", "arn:aws:kms:us-east-1:123456789012:key/1"])
def test_request_is_one_that_sagemaker_understands(callbacks, tasks, transform, kms_key):
    client = boto3.client("sagemaker", "us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    with Stubber(client) as stub:
        stub.add_response("create_transform_job", {"TransformJobArn": "arn:aws:sagemaker:us-east-1:123456789012:x"})
        TransformJobs(client, callbacks, tasks, "1a2b3c4d").start(transform, "token", "etag", TYPES, kms_key)


def test_key_encrypts_output_and_volume(jobs, sagemaker):
    jobs.start(WHOLE, "token", "etag", TYPES, "arn:key")
    (request,) = sagemaker.asked
    assert request["TransformOutput"]["KmsKeyId"] == request["TransformResources"]["VolumeKmsKeyId"] == "arn:key"


def test_token_is_stored_before_the_job_is_made(jobs, sagemaker, callbacks):
    sagemaker.refuse = "AccessDeniedException"
    with pytest.raises(AccessDeniedError):
        jobs.start(WHOLE, "token", "etag", TYPES)
    assert callbacks.get(WHOLE.job_key).token == "token"


def test_throttling_is_a_passing_error(jobs, sagemaker):
    sagemaker.refuse = "ThrottlingException"
    with pytest.raises(TransientError):
        jobs.start(WHOLE, "token", "etag", TYPES)
    assert jobs.start(WHOLE, "token", "etag", TYPES).endswith("-0")


def test_quota_is_a_capacity_error_and_the_next_try_takes_the_next_type(jobs, sagemaker):
    for expected in ("ml.m5.large", "ml.m5.xlarge", "ml.m5.large"):
        sagemaker.refuse = "ResourceLimitExceeded"
        with pytest.raises(CapacityError, match=expected):
            jobs.start(WHOLE, "token", "etag", TYPES)
    assert jobs.start(WHOLE, "token", "etag", TYPES).endswith("-3")
    assert sagemaker.asked[-1]["TransformResources"]["InstanceType"] == "ml.m5.xlarge"


def test_running_job_is_adopted(jobs, sagemaker, tasks):
    name = jobs.start(WHOLE, "first", "etag", TYPES)
    assert jobs.start(WHOLE, "second", "etag", TYPES) == name
    assert tasks.told == [("heartbeat", "second")]
    sagemaker.end(name)
    jobs.resume(name)
    assert tasks.told[1:] == [("success", "second", name)]


def test_job_that_ended_meanwhile_is_adopted_and_answered_at_once(jobs, sagemaker, tasks, callbacks):
    name = jobs.start(WHOLE, "first", "etag", TYPES)
    sagemaker.end(name)
    jobs.start(WHOLE, "second", "etag", TYPES)
    assert tasks.told == [("success", "second", name)]
    assert callbacks.still_open() == []


def test_job_that_failed_meanwhile_fails_the_new_wait_too(jobs, sagemaker, tasks):
    name = jobs.start(WHOLE, "first", "etag", TYPES)
    sagemaker.end(name, "Failed", "InternalServerError: try again")
    jobs.start(WHOLE, "second", "etag", TYPES)
    assert tasks.told == [("TransientError", "second", f"transform job {name}: InternalServerError: try again")]
    assert jobs.start(WHOLE, "third", "etag", TYPES).endswith("-1")


def test_other_input_is_another_job(jobs):
    assert jobs.start(WHOLE, "first", "etag", TYPES).endswith("-0")
    assert jobs.start(WHOLE, "second", "other", TYPES).endswith("-1")


def test_end_is_told_once(jobs, sagemaker, tasks):
    name = jobs.start(WHOLE, "token", "etag", TYPES)
    sagemaker.end(name)
    assert [jobs.resume(name), jobs.resume(name)] == ["Completed", "Unknown"]
    assert tasks.told == [("success", "token", name)]


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        ("Failed", "CapacityError: Unable to provision requested ML compute capacity.", "CapacityError"),
        ("Failed", "InternalServerError: We encountered an internal error.", "TransientError"),
        ("Failed", "ClientError: See job logs for more information", "ModelError"),
        ("Failed", None, "ModelError"),
        ("Stopped", None, "ModelError"),
    ],
)
def test_failure_is_told_by_its_class(jobs, sagemaker, tasks, callbacks, status, reason, error):
    name = jobs.start(WHOLE, "token", "etag", TYPES)
    sagemaker.end(name, status, reason)
    assert jobs.resume(name) == status
    assert tasks.told == [(error, "token", f"transform job {name}: {reason or f'the job was {status.lower()}'}")]
    assert callbacks.still_open() == []
    assert callbacks.get(WHOLE.job_key).attempt == 1


@pytest.mark.parametrize("name", ["1a2b3c4d-flow-r9-000000-0", "somebody-elses-job"])
def test_job_that_nobody_waits_for_is_left_alone(jobs, tasks, name):
    assert jobs.resume(name) == "Unknown"
    assert tasks.told == []


def test_late_event_of_an_earlier_attempt_is_left_alone(jobs, sagemaker, tasks):
    first = jobs.start(WHOLE, "first", "etag", TYPES)
    sagemaker.end(first, "Failed", "CapacityError: none")
    jobs.resume(first)
    second = jobs.start(WHOLE, "second", "etag", TYPES)
    assert jobs.resume(first) == "Unknown"
    assert tasks.told[1:] == []
    assert jobs.resume(second) == "InProgress"


def test_wait_that_is_over_is_closed_though_nobody_hears(jobs, sagemaker, tasks, callbacks):
    tasks.gone = True
    name = jobs.start(WHOLE, "token", "etag", TYPES)
    sagemaker.end(name)
    jobs.resume(name)
    assert callbacks.still_open() == []


def test_sweep_looks_after_every_wait(jobs, sagemaker, tasks):
    running = jobs.start(WHOLE, "token-1", "etag", TYPES)
    ended = jobs.start(LINES, "token-2", "etag", TYPES)
    sagemaker.end(ended)
    assert jobs.sweep() == {"InProgress": 1, "Completed": 1}
    assert sorted(tasks.told) == [("heartbeat", "token-1"), ("success", "token-2", ended)]
    assert jobs.sweep() == {"InProgress": 1}
    sagemaker.end(running)
    assert jobs.sweep() == {"Completed": 1}
    assert jobs.sweep() == {}


def test_sweep_that_fails_for_one_looks_after_the_others_first(jobs, sagemaker, tasks):
    names = [jobs.start(transform, "token", "etag", TYPES) for transform in (WHOLE, LINES)]
    for name in names:
        sagemaker.end(name)
    sagemaker.broken = names[1]
    with pytest.raises(TransientError):
        jobs.sweep()
    assert tasks.told == [("success", "token", names[0])]


def test_sweep_lets_a_wait_without_a_job_run_out(jobs, sagemaker, tasks):
    """Its function died before it made the job: no heartbeat, so the task is retried."""
    sagemaker.refuse = "AccessDeniedException"
    with pytest.raises(AccessDeniedError):
        jobs.start(WHOLE, "token", "etag", TYPES)
    jobs.start(LINES, "other", "etag", TYPES)
    assert jobs.sweep() == {"Missing": 1, "InProgress": 1}
    assert tasks.told == [("heartbeat", "other")]
