"""SageMaker batch transform jobs that a waiting task is called back for.

The token is stored under a name made from the run, before the job is made: a retry finds the job and adopts it, and
the job's end finds the token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code, passing_errors
from watchfloor.clients.callback_table import Callback, CallbackTable
from watchfloor.clients.executions import Executions
from watchfloor.errors import CapacityError
from watchfloor.failures import failure_class

_NAME_TAKEN = {"ResourceInUse", "ConflictException"}
_NO_CAPACITY = {"ResourceLimitExceeded"}


@dataclass(frozen=True)
class Transform:
    """One model over one S3 object; `job_key` names it within the stack."""

    job_key: str
    model_name: str
    input_uri: str
    output_uri: str
    by_line: bool = False


class TransformJobs:
    """Jobs of one stack.

    Parameters
    ----------
    sagemaker
        boto3 SageMaker client.
    callbacks, executions
        Where tokens are kept, and how they are answered.
    job_prefix
        First part of every job name; keeps stacks of one account apart.
    """

    def __init__(self, sagemaker: Any, callbacks: CallbackTable, executions: Executions, job_prefix: str) -> None:
        self._sagemaker = sagemaker
        self._callbacks = callbacks
        self._executions = executions
        self._job_prefix = job_prefix

    def start(
        self, transform: Transform, token: str, input_etag: str, instance_types: Sequence[str], kms_key: str = ""
    ) -> str:
        """Make the job, or adopt the one that an earlier try made; return its name.

        Raises
        ------
        CapacityError
            The account's quota for this instance type is used up. The next try takes the next type.
        """
        callback = self._callbacks.open(transform.job_key, token, input_etag)
        job_name = f"{self._job_prefix}-{transform.job_key}-{callback.attempt}"
        instance_type = instance_types[callback.capacity_failures % len(instance_types)]
        try:
            with passing_errors():
                self._sagemaker.create_transform_job(**_request(transform, job_name, instance_type, kms_key))
        except ClientError as error:
            if error_code(error) in _NO_CAPACITY:
                self._callbacks.count_failure(callback, capacity=True)
                raise CapacityError(f"{instance_type}: {error}") from error
            if error_code(error) not in _NAME_TAKEN:
                raise
            self.resume(job_name)
        return job_name

    def resume(self, job_name: str) -> str:
        """Answer whoever waits for the job, if it ended; return the job's status.

        A job that still runs gives a heartbeat instead. May be repeated; a job nobody waits for is left alone.
        """
        callback = self._callbacks.get(self._key_of(job_name))
        if callback is None or callback.token is None or not job_name.endswith(f"-{callback.attempt}"):
            return "Unknown"
        with passing_errors():
            job = self._sagemaker.describe_transform_job(TransformJobName=job_name)
        status = job["TransformJobStatus"]
        if status == "Completed":
            self._executions.succeed(callback.token, {"job_name": job_name})
            self._callbacks.close(callback)
        elif status in ("Failed", "Stopped"):
            self._fail(callback, job_name, job.get("FailureReason") or f"the job was {status.lower()}")
        else:
            self._executions.heartbeat(callback.token)
        return status

    def sweep(self) -> dict[str, int]:
        """Look after every open wait: heartbeat while its job runs, answer where the job's event was lost.

        One that fails does not keep the others from their heartbeat; the first failure is raised at the end.
        """
        seen: dict[str, int] = {}
        failures: list[Exception] = []
        for callback in self._callbacks.still_open():
            try:
                status = self.resume(f"{self._job_prefix}-{callback.job_key}-{callback.attempt}")
            except Exception as error:  # noqa: BLE001 - raised when the others are done
                # The token is stored before the job is made; a task that failed in between leaves no job behind.
                if isinstance(error, ClientError) and error_code(error) in ("ResourceNotFound", "ValidationException"):
                    status = "Missing"
                else:
                    failures.append(error)
                    continue
            seen[status] = seen.get(status, 0) + 1
        if failures:
            raise failures[0]
        return seen

    def _fail(self, callback: Callback, job_name: str, reason: str) -> None:
        error = failure_class(reason)
        self._callbacks.count_failure(callback, capacity=error is CapacityError)
        self._executions.fail(callback.token or "", error.__name__, f"transform job {job_name}: {reason}")
        self._callbacks.close(callback)

    def _key_of(self, job_name: str) -> str:
        return job_name.removeprefix(f"{self._job_prefix}-").rpartition("-")[0]


def _request(transform: Transform, job_name: str, instance_type: str, kms_key: str) -> dict[str, Any]:
    """CreateTransformJob's arguments: the technique model line by line, the others one object a request."""
    content_type = "application/jsonlines" if transform.by_line else "application/json"
    # SageMaker puts a slash between path and name itself.
    output = {"S3OutputPath": transform.output_uri.rstrip("/"), "Accept": content_type}
    resources = {"InstanceType": instance_type, "InstanceCount": 1}
    if transform.by_line:
        output["AssembleWith"] = "Line"
    if kms_key:
        output["KmsKeyId"] = kms_key
        resources["VolumeKmsKeyId"] = kms_key
    return {
        "TransformJobName": job_name,
        "ModelName": transform.model_name,
        "MaxConcurrentTransforms": 1,
        "MaxPayloadInMB": 100,
        "ModelClientConfig": {"InvocationsTimeoutInSeconds": 3600, "InvocationsMaxRetries": 1},
        "BatchStrategy": "MultiRecord" if transform.by_line else "SingleRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": transform.input_uri}},
            "ContentType": content_type,
            "SplitType": "Line" if transform.by_line else "None",
        },
        "TransformOutput": output,
        "TransformResources": resources,
    }
