"""The run of one input file: where it comes from, what is said when it fails, what is said when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from watchfloor.errors import InvalidInputError
from watchfloor.layout import INPUT_PREFIX, run_id_of, stream_of

# Files over this size are refused; so much fits a Lambda function's time.
FILE_BYTES = 5_000_000_000
# With more, putting the batches together would need more memory than its function has.
FILE_ALERTS = 10_000_000
_SUBJECT_CHARACTERS = 100  # SNS's limit
_CAUSE_CHARACTERS = 2_000

_ADVICE = {
    "InvalidInputError": "Mend the file and upload it again; nothing of it was kept back but what rejected/ shows.",
    "CapacityError": "SageMaker had no instance of any listed type. Ask for a higher quota, or add types to the "
    "parameter TransformInstanceTypes; then start a new execution with the same input.",
    "ModelError": "The model refused its input or answered outside its contract. Its log is in the log group "
    "/aws/sagemaker/TransformJobs.",
    "AccessDeniedError": "A role or a key's policy was changed, or a file of the run is gone, which S3 does not tell apart: "
    "deploy the template unchanged, or see docs/permissions.md.",
    "Timedout": "A function took longer than it may, so the file is too large for one run: split it into several files of "
    "one folder. They run in order, and clusters continue from file to file.",
    "ExitError": "A function ran out of memory, most likely: split the file into several files of one folder. They run in "
    "order, and clusters continue from file to file.",
}
_OTHER_ADVICE = (
    "Start a new execution with the same input: it goes on after the last finished batch. "
    "Uploading the file again would be another run, from the beginning."
)

_AFTER_BRANCH_FAILURE = (
    "What was raised already stays, and is not raised twice. Invoke the branch's function with the run's id; "
    "docs/operations.md shows how."
)


@dataclass(frozen=True)
class RunSource:
    """The S3 object that a run reads."""

    run_id: str
    stream: str
    bucket: str
    key: str
    version_id: str | None
    size: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def object_created(event: Mapping[str, Any]) -> RunSource:
    """The run that an EventBridge event "Object Created" of S3 asks for."""
    try:
        bucket, item = event["detail"]["bucket"]["name"], event["detail"]["object"]
        key, version_id = item["key"], item.get("version-id")
        version = version_id or item["sequencer"]
    except (KeyError, TypeError) as error:
        raise InvalidInputError(
            "start this state machine with S3's event as EventBridge delivers it: "
            '{"detail": {"bucket": {"name": ...}, "object": {"key": ..., "sequencer": ...}}}'
        ) from error
    if not key.startswith(INPUT_PREFIX):
        raise InvalidInputError(f"{key} is not below {INPUT_PREFIX}")
    return RunSource(run_id_of(bucket, key, version), stream_of(key), bucket, key, version_id, int(item.get("size", 0)))


def is_folder_marker(source: RunSource) -> bool:
    return source.key.endswith("/")


def check_size(source: RunSource) -> None:
    if source.size > FILE_BYTES:
        raise InvalidInputError(
            f"s3://{source.bucket}/{source.key} has {source.size / 1e9:.1f} GB; the limit is {FILE_BYTES / 1e9:.0f} GB. "
            "Split it into several files of one folder: they run in order, and clusters continue from file to file"
        )


def check_alert_count(count: int) -> None:
    if count > FILE_ALERTS:
        raise InvalidInputError(
            f"the file has {count:,} alerts; the limit is {FILE_ALERTS:,}. "
            "Split it into several files of one folder: they run in order, and clusters continue from file to file"
        )


def first_batch(row: Mapping[str, Any], version: int, moved_by: str | None) -> tuple[int, int]:
    """Batch to go on with, and the version of the stream's state that the run builds on.

    Finished batches count only if the stream's state is still the one they were clustered on: unmoved since, or
    moved by this very run.
    """
    base = version - 1 if moved_by == row["run_id"] else version
    return (row["next_batch"], base) if row.get("base_version") == base else (0, base)


def failed_source(execution_input: str) -> RunSource | None:
    """The file that an execution worked on; None where its input was none of S3's events."""
    try:
        return object_created(orjson.loads(execution_input))
    except (InvalidInputError, orjson.JSONDecodeError):
        return None


def root_failure(error: str, cause: str) -> tuple[str, str]:
    """Error and cause without their wrapping: a child execution's, a Lambda function's."""
    try:
        inner = orjson.loads(cause)
    except orjson.JSONDecodeError:
        return error, cause
    if not isinstance(inner, dict):
        return error, cause
    if "ExecutionArn" in inner and "Error" in inner:
        return root_failure(inner["Error"], inner.get("Cause", ""))
    if "errorMessage" in inner:
        return inner.get("errorType", error), inner["errorMessage"]
    return error, cause


def failure_message(
    *, execution_arn: str, status: str, state: str | None, error: str, cause: str, source: RunSource | None
) -> tuple[str, str]:
    """Subject and text of the mail about a run that failed; cause is foreign text and cut."""
    error, cause = root_failure(error, cause)
    run = source.run_id if source else execution_arn.rpartition(":")[2]
    subject = f"Watchfloor: run {run} {status.lower().replace('_', ' ')}" + (f" in {state}" if state else "")
    lines = [
        f"Run:      {run}",
        f"File:     s3://{source.bucket}/{source.key}" if source else "",
        f"Stream:   {source.stream}" if source else "",
        f"Status:   {status}",
        f"State:    {state or 'unknown'}",
        f"Error:    {error or 'none given'}",
        f"Cause:    {cause[:_CAUSE_CHARACTERS] or 'none given'}",
        "",
        f"What now: {_ADVICE.get(_short_name(error), _OTHER_ADVICE)}",
        "",
        f"Console:  {console_link(execution_arn)}",
    ]
    return subject[:_SUBJECT_CHARACTERS].encode("ascii", "replace").decode(), "\n".join(lines)


def _short_name(error: str) -> str:
    """An error of Lambda or of Step Functions (`Sandbox.Timedout`, `Lambda.AccessDeniedException`) as our classes are named."""
    return error.rpartition(".")[2].replace("Exception", "Error")


def console_link(execution_arn: str) -> str:
    region = execution_arn.split(":")[3]
    return f"https://{region}.console.aws.amazon.com/states/home?region={region}#/v2/executions/details/{execution_arn}"


def branch_failures(branches: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What failed of campaign, Jira and case: branch -> error and cause."""
    failures = {}
    for name, outcome in branches.items():
        if outcome.get("status") == "failed":
            error, cause = root_failure(outcome["error"].get("Error", ""), outcome["error"].get("Cause", ""))
            failures[name] = f"{error}: {cause[:_CAUSE_CHARACTERS]}"
    return failures


def branch_summary(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """A branch's outcome for the run's summary."""
    if outcome.get("status") == "failed":
        return {"status": "failed", "error": next(iter(branch_failures({"branch": outcome}).values()))}
    return {key: value for key, value in outcome.items() if key not in ("run_id", "bucket", "next")}


def branch_message(run: Mapping[str, Any], failures: Mapping[str, str]) -> tuple[str, str]:
    """Subject and text of the mail about a run that is done but for some branches."""
    names = ", ".join(sorted(failures))
    lines = [
        f"Run {run['run_id']} of s3://{run['bucket']}/{run['key']} is done: clusters, flows and events are in output/.",
        "These branches failed after their retries, the others did not:",
        "",
        *(f"{name}: {failure}" for name, failure in sorted(failures.items())),
        "",
        _AFTER_BRANCH_FAILURE,
    ]
    return f"Watchfloor: run {run['run_id']}: {names} failed", "\n".join(lines)


def run_summary(run: Mapping[str, Any], row: Mapping[str, Any], seconds: int) -> dict[str, Any]:
    """What became of a run, in numbers; `row` is the run's in the run table."""
    return {
        "run_id": run["run_id"],
        "stream": run["stream"],
        "source": f"s3://{run['bucket']}/{run['key']}",
        "alerts": row.get("alert_count", 0),
        "rejected": row.get("rejected_count", 0),
        "ignored": row.get("ignored_count", 0),
        "batches": row.get("batch_count", 0),
        "clusters": row.get("cluster_count", 0),
        "flows": row.get("flow_count", 0),
        "campaigns": branch_summary(run["branches"]["campaign"]),
        "jira": branch_summary(run["branches"]["jira"]),
        "case": branch_summary(run["branches"]["case"]),
        "seconds": seconds,
    }
