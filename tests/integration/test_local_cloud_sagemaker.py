import json
import time

import pytest
from botocore.exceptions import ClientError

from local.cloud import ACCOUNT, REGION
from tests.integration.sandbox import ANYTHING, Sandbox, until

MEGABYTE = 1024 * 1024


class Lab:
    """A bucket, a model and a queue of state changes."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.sagemaker = sandbox.client("sagemaker")
        self.s3 = sandbox.client("s3")
        self.bucket = sandbox.name("bucket")
        self.s3.create_bucket(Bucket=self.bucket)
        self.model = self.new_model(ANYTHING)

    def new_model(self, statements, **environment) -> str:
        name = self.sandbox.name("model")
        self.sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=self.sandbox.role(statements, "sagemaker"),
            PrimaryContainer={"Image": "none", "Environment": environment},
        )
        return name

    def put(self, key: str, body: bytes) -> str:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)
        return f"s3://{self.bucket}/{key}"

    def get(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def create(
        self, uri: str, name: str | None = None, model: str | None = None, split="None", output=None, **settings
    ):
        name = name or self.sandbox.name("job")
        self.sagemaker.create_transform_job(
            TransformJobName=name,
            ModelName=model or self.model,
            TransformInput={
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}},
                "ContentType": "application/json",
                "SplitType": split,
            },
            TransformOutput={"S3OutputPath": f"s3://{self.bucket}/out/{name}", **(output or {})},
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
            **settings,
        )
        return name

    def ended(self, name: str):
        def look():
            job = self.sagemaker.describe_transform_job(TransformJobName=name)
            return job if job["TransformJobStatus"] not in ("InProgress", "Stopping") else None

        return until(look)

    def run(self, uri: str, **settings):
        return self.ended(self.create(uri, **settings))


@pytest.fixture(scope="module")
def lab(sandbox: Sandbox) -> Lab:
    return Lab(sandbox)


def test_every_object_below_the_prefix_is_answered(lab: Lab):
    lab.put("in/one/a.json", b"first")
    lab.put("in/one/deep/b.json", b"second")
    name = lab.create(f"s3://{lab.bucket}/in/one/")
    job = lab.ended(name)
    assert job["TransformJobStatus"] == "Completed"
    assert "FailureReason" not in job
    assert lab.get(f"out/{name}/a.json.out") == b"FIRST"
    assert lab.get(f"out/{name}/deep/b.json.out") == b"SECOND"


def test_one_object_lands_right_in_the_output_path(lab: Lab):
    name = lab.create(lab.put("in/two/000001.json", b"x"))
    lab.ended(name)
    assert lab.get(f"out/{name}/000001.json.out") == b"X"


@pytest.mark.parametrize(("strategy", "requests"), [("MultiRecord", 2), ("SingleRecord", 4)])
def test_lines_are_batched_up_to_the_payload(lab: Lab, strategy, requests):
    line = b"a" * (MEGABYTE // 3) + b"\n"
    name = lab.create(
        lab.put(f"in/{strategy}.jsonl", line * 4),
        split="Line",
        output={"AssembleWith": "Line", "Accept": "application/jsonlines"},
        BatchStrategy=strategy,
        MaxPayloadInMB=1,
        MaxConcurrentTransforms=1,
    )
    assert lab.ended(name)["TransformJobStatus"] == "Completed"
    assert lab.get(f"out/{name}/{strategy}.jsonl.out") == line.upper() * 4
    logs = lab.sandbox.client("logs").get_log_events(
        logGroupName="/aws/sagemaker/TransformJobs", logStreamName=f"{name}/local-cloud/container"
    )["events"]
    assert len([event for event in logs if "bytes of application/json" in event["message"]]) == requests


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"bad input", "ClientError: See job logs for more information"),
        (b"broken model", "AlgorithmError: See job logs for more information"),
        (b"crash", "AlgorithmError: See job logs for more information"),
        (b"x" * (2 * MEGABYTE), "ClientError: See job logs for more information"),
    ],
)
def test_failure_reasons(lab: Lab, body, reason):
    job = lab.run(lab.put("in/fails", body), MaxPayloadInMB=1)
    assert (job["TransformJobStatus"], job["FailureReason"]) == ("Failed", reason)


def test_failures_of_start_and_data(lab: Lab):
    uri = lab.put("in/data", b"x")
    nowhere = lab.run(f"s3://{lab.bucket}/nothing/here")
    assert nowhere["FailureReason"].startswith("ClientError: No S3 objects found under S3 URL")
    slow = lab.run(lab.put("in/slow", b"sleep"), ModelClientConfig={"InvocationsTimeoutInSeconds": 1})
    assert slow["FailureReason"].startswith("AlgorithmError")
    read_only = lab.new_model(
        [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": f"arn:aws:s3:::{lab.bucket}*"}]
    )
    refused = lab.run(uri, model=read_only)
    assert refused["FailureReason"].startswith("ClientError")
    assert "s3:PutObject" in refused["FailureReason"]


def test_a_server_error_is_tried_again(lab: Lab):
    model = lab.new_model(ANYTHING)
    assert lab.run(lab.put("in/hiccup", b"hiccup"), model=model)["TransformJobStatus"] == "Completed"


def test_names_models_and_sizes_are_checked(lab: Lab):
    uri = lab.put("in/data", b"x")
    for name in ("under_score", "a" * 64, "-first"):
        with pytest.raises(ClientError, match="ValidationException"):
            lab.create(uri, name=name)
    with pytest.raises(ClientError, match="Could not find model"):
        lab.create(uri, model="nobody")
    with pytest.raises(ClientError, match="100 MB"):
        lab.create(uri, MaxPayloadInMB=60, MaxConcurrentTransforms=2)
    name = lab.create(uri)
    with pytest.raises(ClientError, match="ResourceInUse"):
        lab.create(uri, name=name)
    lab.ended(name)
    with pytest.raises(ClientError, match="ResourceInUse"):
        lab.create(uri, name=name)
    with pytest.raises(ClientError, match="ValidationException"):
        lab.sagemaker.describe_transform_job(TransformJobName="nobody")


def test_state_changes_are_published_without_the_reason(lab: Lab):
    url, arn = lab.sandbox.queue()
    model = lab.new_model(ANYTHING)
    lab.sandbox.rule({"source": ["aws.sagemaker"], "detail": {"ModelName": [model]}}, arn)
    name = lab.create(lab.put("in/bad", b"bad"), model=model)
    started, failed = (json.loads(lab.sandbox.received(url)["Body"]) for _ in range(2))
    assert started["detail"]["TransformJobStatus"] == "InProgress"
    assert failed["detail-type"] == "SageMaker Transform Job State Change"
    assert failed["resources"] == [f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:transform-job/{name}"]
    detail = failed["detail"]
    assert (detail["TransformJobName"], detail["TransformJobStatus"]) == (name, "Failed")
    assert "FailureReason" not in detail
    assert detail["TransformEndTime"] > 1_600_000_000_000


def test_stop(lab: Lab):
    lab.sandbox.cloud.inject_faults(transform=[{"kind": "slow", "seconds": 30}])
    name = lab.create(lab.put("in/data", b"x"))
    lab.sagemaker.stop_transform_job(TransformJobName=name)
    assert lab.ended(name)["TransformJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="Stopped"):
        lab.sagemaker.stop_transform_job(TransformJobName=name)


def test_list(lab: Lab):
    names = [lab.create(lab.put("in/data", b"x"), name=f"listed-{number}") for number in range(3)]
    for name in names:
        lab.ended(name)
    pages = lab.sagemaker.get_paginator("list_transform_jobs").paginate(
        NameContains="listed-", StatusEquals="Completed", PaginationConfig={"PageSize": 2}
    )
    found = [job["TransformJobName"] for page in pages for job in page["TransformJobSummaries"]]
    assert found == names[::-1]


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [("capacity", "CapacityError:"), ("internal", "InternalServerError:"), ("model", "AlgorithmError:")],
)
def test_faults_fail_the_jobs_they_match(lab: Lab, kind, prefix):
    lab.sandbox.cloud.inject_faults(transform=[{"match": "-cluster-", "kind": kind}])
    uri = lab.put("in/data", b"x")
    assert lab.run(uri)["TransformJobStatus"] == "Completed"
    assert lab.run(uri, name=lab.sandbox.name("a-cluster-b"))["FailureReason"].startswith(prefix)
    assert lab.run(uri, name=lab.sandbox.name("a-cluster-b"))["TransformJobStatus"] == "Completed"


def test_fault_quota_refuses_and_lost_event_is_silent(lab: Lab):
    uri = lab.put("in/data", b"x")
    lab.sandbox.cloud.inject_faults(transform=[{"kind": "quota"}])
    with pytest.raises(ClientError, match="ResourceLimitExceeded"):
        lab.create(uri)
    url, arn = lab.sandbox.queue()
    lab.sandbox.rule({"source": ["aws.sagemaker"], "detail": {"TransformJobStatus": ["Completed"]}}, arn)
    lab.sandbox.cloud.inject_faults(transform=[{"kind": "lost-event"}])
    lost = lab.create(uri)
    lab.ended(lost)
    told = lab.create(uri)
    time.sleep(0.3)
    assert json.loads(lab.sandbox.received(url)["Body"])["detail"]["TransformJobName"] == told
    with pytest.raises(OSError, match="400"):
        lab.sandbox.cloud.inject_faults(transform=[{"kind": "unheard of"}])


def test_permissions_are_those_of_the_job(lab: Lab):
    uri = lab.put("in/data", b"x")
    job_arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:transform-job/mine-*"
    function = lab.sandbox.function(
        f"""
        import boto3
        boto3.client("sagemaker").create_transform_job(
            TransformJobName=event, ModelName={lab.model!r},
            TransformInput={{"DataSource": {{"S3DataSource": {{"S3DataType": "S3Prefix", "S3Uri": {uri!r}}}}}}},
            TransformOutput={{"S3OutputPath": "s3://{lab.bucket}/out"}},
            TransformResources={{"InstanceType": "ml.m5.large", "InstanceCount": 1}})
        """,
        [{"Effect": "Allow", "Action": "sagemaker:CreateTransformJob", "Resource": job_arn}],
    )
    assert lab.sandbox.invoke(function, "mine-1") == (None, None)
    assert "AccessDenied" in lab.sandbox.invoke(function, "yours-1")[0]["errorMessage"]


def test_model_server_that_does_not_get_ready(sandbox: Sandbox, lab: Lab):
    # The server answers, but not with 200: SageMaker waits, and so does the local cloud until the server is given up.
    model = lab.new_model(ANYTHING, WATCHFLOOR_MODEL="never-ready", LOCAL_CLOUD_START_SECONDS="1")
    job = lab.run(lab.put("in/data", b"x"), model=model)
    assert "failed to respond to ping" in job["FailureReason"]
