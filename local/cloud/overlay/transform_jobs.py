"""What a batch transform job does: S3 objects through the model server and back to S3, as SageMaker does it.

Only the first container of a model is run, with the command of ``models_command`` in the place of its image.
"""

from __future__ import annotations

import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from ministack.services import cloudwatch_logs

from local.cloud.overlay import faults, model_servers, roles

LOG_GROUP = "/aws/sagemaker/TransformJobs"
# SageMaker counts a megabyte of payload as 1024 * 1024 bytes.
MEGABYTE = 1024 * 1024

_FAULT_REASONS = {
    "capacity": "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML "
    "instance type.",
    "internal": "InternalServerError: We encountered an internal error.  Please try again.",
    "model": "AlgorithmError: See job logs for more information",
}

logger = logging.getLogger("transform")


class JobFailure(Exception):
    """A job that failed; the message is its FailureReason."""


class _Stopped(Exception):
    pass


def run(job: dict[str, Any], model: dict[str, Any], stopped: Callable[[], bool]) -> None:
    """Run a job to its end or until ``stopped()``.

    Raises
    ------
    JobFailure
        With SageMaker's own wording of the reason.
    """
    name = job["TransformJobName"]
    slow = faults.take(name, "slow")
    if slow and _wait(slow.get("seconds", 5), stopped):
        return
    fault = faults.take(name, *_FAULT_REASONS)
    if fault:
        _log(name, "data-log", f"fault on request: {fault['kind']}")
        raise JobFailure(_FAULT_REASONS[fault["kind"]])
    try:
        _transform(job, model, stopped)
    except _Stopped:
        return
    except JobFailure as failure:
        logger.warning("transform job %s failed: %s", name, failure)
        raise
    except model_servers.NotReady as error:
        logger.warning("transform job %s: %s", name, error)
        _log(name, "container", str(error))
        raise JobFailure(
            "AlgorithmError: Model container failed to respond to ping. Please ensure /ping endpoint is implemented "
            "and responds with an HTTP 200 status code"
        ) from error
    except (ClientError, BotoCoreError) as error:
        logger.warning("transform job %s failed: %s", name, error)
        raise JobFailure(f"ClientError: {error}") from error
    except Exception as error:
        logger.exception("transform job %s failed", name)
        _log(name, "data-log", f"{type(error).__name__}: {error}")
        raise JobFailure(_FAULT_REASONS["internal"]) from error


def _transform(job: dict[str, Any], model: dict[str, Any], stopped: Callable[[], bool]) -> None:
    endpoint = f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"
    storage = roles.client(model["ExecutionRoleArn"], "s3", endpoint)
    source = job["TransformInput"]["DataSource"]["S3DataSource"]
    bucket, prefix = _split_uri(source["S3Uri"])
    keys = list(_input_keys(storage, bucket, prefix, source["S3Uri"], model["ExecutionRoleArn"]))
    out_bucket, out_prefix = _split_uri(job["TransformOutput"]["S3OutputPath"])
    folder = prefix[: prefix.rfind("/") + 1]

    with _server(job, model) as server:
        for key in keys:
            body = storage.get_object(Bucket=bucket, Key=key)["Body"].read()
            answer = _answer(job, key, body, server, stopped)
            target = "/".join(part for part in (out_prefix.rstrip("/"), key.removeprefix(folder) + ".out") if part)
            storage.put_object(Bucket=out_bucket, Key=target, Body=answer)


def _server(job: dict[str, Any], model: dict[str, Any]) -> AbstractContextManager[model_servers.Server]:
    container = model.get("PrimaryContainer") or model["Containers"][0]
    environment = {
        **container.get("Environment", {}),
        **job.get("Environment", {}),
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_BATCH_STRATEGY": _strategy(job),
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": str(job["MaxPayloadInMB"]),
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": str(job.get("MaxConcurrentTransforms", 1)),
    }

    def on_output(text: str) -> None:
        _log(job["TransformJobName"], "container", text)

    return model_servers.lease(job["ModelName"], environment, on_output)


def _answer(
    job: dict[str, Any], key: str, body: bytes, server: model_servers.Server, stopped: Callable[[], bool]
) -> bytes:
    """The model's answers to one object, put together."""
    requests = _requests(job, key, body)
    with ThreadPoolExecutor(job.get("MaxConcurrentTransforms") or 1) as pool:

        def invoke(payload: bytes) -> bytes:
            if stopped():
                raise _Stopped
            return _invoke(job, key, payload, server)

        answers = pool.map(invoke, requests)
        if job["TransformOutput"].get("AssembleWith", "None") == "Line":
            return b"".join(answer.rstrip(b"\n") + b"\n" for answer in answers)
        return b"".join(answers)


def _requests(job: dict[str, Any], key: str, body: bytes) -> Iterator[bytes]:
    """The payloads of one object: the whole of it, single lines, or as many lines as a payload holds."""
    limit = (job["MaxPayloadInMB"] or float("inf")) * MEGABYTE
    if job["TransformInput"].get("SplitType", "None") == "None":
        _check_size(job, key, body, limit)
        yield body
        return
    batch = bytearray()
    for line in body.splitlines(keepends=True):
        if not line.strip():
            continue
        _check_size(job, key, line, limit)
        if batch and (len(batch) + len(line) > limit or _strategy(job) == "SINGLE_RECORD"):
            yield bytes(batch)
            batch.clear()
        batch += line
    if batch:
        yield bytes(batch)


def _check_size(job: dict[str, Any], key: str, record: bytes, limit: float) -> None:
    if len(record) > limit:
        _log(
            job["TransformJobName"],
            "data-log",
            f"{key}: Too much data for max payload size: {len(record)} bytes, MaxPayloadInMB={job['MaxPayloadInMB']}",
        )
        raise JobFailure("ClientError: See job logs for more information")


def _invoke(job: dict[str, Any], key: str, payload: bytes, server: model_servers.Server) -> bytes:
    name, settings = job["TransformJobName"], job.get("ModelClientConfig", {})
    timeout = settings.get("InvocationsTimeoutInSeconds", 600)
    headers = {"Content-Type": job["TransformInput"].get("ContentType", "application/octet-stream")}
    if "Accept" in job["TransformOutput"]:
        headers["Accept"] = job["TransformOutput"]["Accept"]
    for attempt in range(settings.get("InvocationsMaxRetries", 3) + 1):
        try:
            request = urllib.request.Request(f"{server.url}/invocations", data=payload, headers=headers)
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            message = error.read(2000).decode(errors="replace")
            _log(name, "data-log", f"{key}: {error.code} from /invocations (attempt {attempt + 1}): {message}")
            if error.code < 500:
                raise JobFailure("ClientError: See job logs for more information") from error
        except TimeoutError as error:
            _log(
                name,
                "data-log",
                f"{key}: Model server did not respond to /invocations request within {timeout} seconds",
            )
            raise JobFailure("AlgorithmError: See job logs for more information") from error
        except OSError as error:
            _log(name, "data-log", f"{key}: Unable to get response from algorithm: {error}")
            if not server.alive:
                break
    raise JobFailure("AlgorithmError: See job logs for more information")


def _input_keys(storage: Any, bucket: str, prefix: str, uri: str, role_arn: str) -> Iterator[str]:
    found = False
    try:
        for page in storage.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                if not item["Key"].endswith("/"):
                    found = True
                    yield item["Key"]
    except ClientError as error:
        logger.warning("listing %s: %s", uri, error)
    if not found:
        raise JobFailure(
            f'ClientError: No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that '
            "the bucket exists in the selected region (us-east-1), that objects exist under that S3 prefix, and that "
            f'the role "{role_arn}" has "s3:ListBucket" permissions on bucket "{bucket}".'
        )


def _strategy(job: dict[str, Any]) -> str:
    return "SINGLE_RECORD" if job["BatchStrategy"] == "SingleRecord" else "MULTI_RECORD"


def _split_uri(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def _wait(seconds: float, stopped: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if stopped():
            return True
        time.sleep(0.05)
    return False


def _log(job_name: str, stream: str, text: str) -> None:
    """Write to the job's log streams, where SageMaker's failure reasons point to."""
    now = int(time.time() * 1000)
    names = {"logGroupName": LOG_GROUP, "logStreamName": f"{job_name}/local-cloud/{stream}"}
    cloudwatch_logs._create_log_group(names)
    cloudwatch_logs._create_log_stream(names)
    cloudwatch_logs._put_log_events(
        {**names, "logEvents": [{"timestamp": now, "message": line} for line in text.splitlines() or [""]]}
    )
