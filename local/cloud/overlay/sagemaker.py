"""SageMaker: models and batch transform jobs, with IAM, CloudFormation and state-change events."""

from __future__ import annotations

import contextvars
import json
import re
import threading
import time
import uuid
from typing import Any

from ministack import app
from ministack.core import iam_actions, router
from ministack.core.responses import AccountRegionScopedDict, get_account_id, get_region
from ministack.services import eventbridge, stepfunctions
from ministack.services.cloudformation import provisioners

from local.cloud import anchors
from local.cloud.overlay import faults, transform_jobs

NAME_PATTERN = "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
_DEFAULTS = {"MaxPayloadInMB": 6, "BatchStrategy": "MultiRecord"}
_EVENT_FIELDS = (
    "TransformJobName",
    "TransformJobArn",
    "TransformJobStatus",
    "ModelName",
    "TransformInput",
    "TransformOutput",
    "TransformResources",
    "CreationTime",
    "TransformStartTime",
    "TransformEndTime",
)

_models: Any = AccountRegionScopedDict()
_jobs: Any = AccountRegionScopedDict()
_lock = threading.RLock()


class ApiError(Exception):
    """An error that SageMaker answers with: its code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def install() -> None:
    app.SERVICE_HANDLERS["sagemaker"] = _handle
    router.SERVICE_PATTERNS["sagemaker"] = {
        "target_prefixes": ["SageMaker."],
        "host_patterns": [],
        "credential_scope": "sagemaker",
    }
    iam_actions.SERVICE_TO_IAM_NAMESPACE["sagemaker"] = "sagemaker"
    resource_arn = anchors.replace(
        "core.iam_actions:extract_resource_arn",
        lambda service, method, path, headers, body, *rest: (
            _resource_arn(headers, body)
            if service == "sagemaker"
            else resource_arn(service, method, path, headers, body, *rest)
        ),
    )
    stepfunctions._AWS_SDK_SERVICE_MAP["sagemaker"] = {"target_prefix": "SageMaker", "protocol": "json"}
    stepfunctions._AWS_SDK_ERROR_PREFIX["sagemaker"] = "SageMaker"
    provisioners._RESOURCE_HANDLERS["AWS::SageMaker::Model"] = {
        "create": _create_model_resource,
        "delete": lambda physical_id, _props: delete_model({"ModelName": physical_id}),
    }


def create_model(request: dict[str, Any]) -> dict[str, Any]:
    name = _valid_name(request, "ModelName")
    if name in _models:
        raise ApiError("ValidationException", f'Cannot create already existing model "{_arn("model", name)}".')
    if not request.get("PrimaryContainer") and not request.get("Containers"):
        raise ApiError("ValidationException", "Exactly one of PrimaryContainer and Containers must be provided.")
    _models[name] = request | {"ModelArn": _arn("model", name), "CreationTime": time.time()}
    return {"ModelArn": _models[name]["ModelArn"]}


def describe_model(request: dict[str, Any]) -> dict[str, Any]:
    return _model(request["ModelName"])


def delete_model(request: dict[str, Any]) -> dict[str, Any]:
    _model(request["ModelName"])
    del _models[request["ModelName"]]
    return {}


def create_transform_job(request: dict[str, Any]) -> dict[str, Any]:
    name = _valid_name(request, "TransformJobName")
    model = _model(request.get("ModelName", ""))
    if request.get("MaxConcurrentTransforms", 1) * request.get("MaxPayloadInMB", 6) > 100:
        raise ApiError(
            "ValidationException", "The product of MaxConcurrentTransforms and MaxPayloadInMB cannot exceed 100 MB."
        )
    if faults.take(name, "quota"):
        instance_type = request["TransformResources"]["InstanceType"]
        raise ApiError(
            "ResourceLimitExceeded",
            f"The account-level service limit '{instance_type} for transform job usage' is 0 Instances, with current "
            "utilization of 0 Instances and a request delta of 1 Instances. Please use AWS Service Quotas to request "
            "an increase for this quota.",
        )
    with _lock:
        if name in _jobs:
            raise ApiError(
                "ResourceInUse",
                "Job name must be unique within an AWS account and region, and a job with this name already exists "
                f"({_arn('transform-job', name)})",
            )
        now = time.time()
        job = _DEFAULTS | request
        job |= {
            "TransformJobArn": _arn("transform-job", name),
            "TransformJobStatus": "InProgress",
            "CreationTime": now,
            "TransformStartTime": now,
        }
        _jobs[name] = job
    _publish(job)
    threading.Thread(
        target=contextvars.copy_context().run, args=(_run, job, dict(model)), daemon=True, name=f"transform-{name}"
    ).start()
    return {"TransformJobArn": job["TransformJobArn"]}


def describe_transform_job(request: dict[str, Any]) -> dict[str, Any]:
    return _job(request["TransformJobName"])


def stop_transform_job(request: dict[str, Any]) -> dict[str, Any]:
    job = _job(request["TransformJobName"])
    with _lock:
        if job["TransformJobStatus"] == "InProgress":
            _set_status(job, "Stopping")
        elif job["TransformJobStatus"] != "Stopping":
            raise ApiError(
                "ValidationException",
                f"The request was rejected because the transform job is in status {job['TransformJobStatus']}.",
            )
    return {}


def list_transform_jobs(request: dict[str, Any]) -> dict[str, Any]:
    wanted_status, fragment = request.get("StatusEquals"), request.get("NameContains", "")
    fields = ("TransformJobName", "TransformJobArn", "CreationTime", "TransformEndTime", "TransformJobStatus")
    found = [
        {field: job[field] for field in (*fields, "FailureReason") if field in job}
        for job in list(_jobs.values())
        if fragment in job["TransformJobName"] and wanted_status in (None, job["TransformJobStatus"])
    ]
    found.sort(key=lambda job: job["CreationTime"], reverse=request.get("SortOrder", "Descending") == "Descending")
    start = int(request.get("NextToken", 0))
    end = start + request.get("MaxResults", 10)
    page: dict[str, Any] = {"TransformJobSummaries": found[start:end]}
    return page | {"NextToken": str(end)} if end < len(found) else page


_OPERATIONS = {
    "CreateModel": create_model,
    "DescribeModel": describe_model,
    "DeleteModel": delete_model,
    "CreateTransformJob": create_transform_job,
    "DescribeTransformJob": describe_transform_job,
    "StopTransformJob": stop_transform_job,
    "ListTransformJobs": list_transform_jobs,
}


async def _handle(_method: str, _path: str, headers: dict[str, str], body: bytes, _query: Any) -> Any:
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    content_type = {"Content-Type": "application/x-amz-json-1.1"}
    try:
        if operation not in _OPERATIONS:
            raise ApiError("ValidationException", f"The local cloud does not offer SageMaker's {operation}.")
        return 200, content_type, json.dumps(_OPERATIONS[operation](json.loads(body or b"{}"))).encode()
    except ApiError as error:
        return 400, content_type, json.dumps({"__type": error.code, "message": str(error)}).encode()


def _run(job: dict[str, Any], model: dict[str, Any]) -> None:
    failure = None
    try:
        transform_jobs.run(job, model, stopped=lambda: job["TransformJobStatus"] == "Stopping")
    except transform_jobs.JobFailure as reason:
        failure = str(reason)[:1024]
    with _lock:
        if failure is not None:
            job["FailureReason"] = failure
        job["TransformEndTime"] = time.time()
        stopping = job["TransformJobStatus"] == "Stopping"
        _set_status(job, "Failed" if failure is not None else "Stopped" if stopping else "Completed")


def _set_status(job: dict[str, Any], status: str) -> None:
    job["TransformJobStatus"] = status
    if status == "Stopping" or not faults.take(job["TransformJobName"], "lost-event"):
        _publish(job)
        if status != "Stopping" and faults.take(job["TransformJobName"], "duplicate-event"):
            _publish(job)


def _publish(job: dict[str, Any]) -> None:
    """The state-change event; like SageMaker's, it does not carry the failure reason."""
    detail = {field: job[field] for field in _EVENT_FIELDS if field in job}
    for field, value in detail.items():
        if field.endswith("Time"):
            detail[field] = int(value * 1000)
    entry = {
        "Source": "aws.sagemaker",
        "DetailType": "SageMaker Transform Job State Change",
        "Detail": json.dumps(detail | {"Tags": {tag["Key"]: tag["Value"] for tag in job.get("Tags", [])}}),
        "Resources": [job["TransformJobArn"]],
    }
    eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)


def _create_model_resource(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
    name = props.get("ModelName") or f"{stack_name[:40]}-{logical_id[:12]}-{uuid.uuid4().hex[:8]}".replace("_", "-")
    container = props.get("PrimaryContainer", {})
    try:
        arn = create_model(props | {"ModelName": name, "PrimaryContainer": container})["ModelArn"]
    except ApiError as error:
        raise ValueError(f"{error} (Service: SageMaker, Status Code: 400, Error Code: {error.code})") from None
    return name, {"ModelName": name, "Arn": arn, "ModelArn": arn}


def _resource_arn(headers: dict[str, str], body: bytes) -> str:
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return "*"
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    if operation.startswith("List"):
        return "*"
    for field, kind in (("TransformJobName", "transform-job"), ("ModelName", "model")):
        if field in request:
            return _arn(kind, str(request[field]))
    return "*"


def _valid_name(request: dict[str, Any], field: str) -> str:
    name = request.get(field, "")
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > 63:
        member = field[0].lower() + field[1:]
        raise ApiError(
            "ValidationException",
            f"1 validation error detected: Value '{name}' at '{member}' failed to satisfy constraint: "
            f"Member must satisfy regular expression pattern: {NAME_PATTERN}",
        )
    return name


def _model(name: str) -> dict[str, Any]:
    if name not in _models:
        raise ApiError("ValidationException", f'Could not find model "{_arn("model", name)}".')
    return _models[name]


def _job(name: str) -> dict[str, Any]:
    if name not in _jobs:
        raise ApiError("ValidationException", f"Could not find requested job with name: {name}")
    return _jobs[name]


def _arn(kind: str, name: str) -> str:
    # SageMaker's ARNs are in lower case, whatever the name is.
    return f"arn:aws:sagemaker:{get_region()}:{get_account_id()}:{kind}/{name.lower()}"
