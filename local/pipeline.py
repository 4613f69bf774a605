"""One alert file through the deployed pipeline: upload, watch, collect."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from local.progress import Follower, watch
from local.sandbox import Deployment, tickets
from watchfloor import campaigns
from watchfloor.clients.campaign_table import CampaignTable
from watchfloor.runs import root_failure

START_SECONDS = 60
_STREAM = re.compile(r"[A-Za-z0-9._-]{1,100}")
_FIXES = {
    "InvalidInputError": "Mend the file and run it again; docs/input-formats.md shows what is accepted.",
    "ModelError": "The model could not work with its input; .watchfloor/cloud.log has its words.",
    "CapacityError": "A local cloud never lacks capacity unless faults are injected; run the file again.",
    "States.Timeout": "A state took longer than it may; .watchfloor/cloud.log shows what it was doing.",
}
_OTHER_FIX = "Run the file again. If it fails the same way, .watchfloor/cloud.log has the details; please report it."


class UserError(Exception):
    """Something that the user can mend: what is wrong, and the fix."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


@dataclass
class Run:
    """What became of one file.

    Attributes
    ----------
    summary
        The run's `output/<run_id>/summary.json`.
    state_seconds
        Seconds spent in each state, children included.
    tickets
        Jira issues and cases that this run created or updated: integration, id, outcome, title, status, url.
    seconds
        From upload to end, as seen from here.
    transitions
        State transitions of the execution and its children.
    """

    file: Path
    run_id: str
    summary: dict[str, Any]
    state_seconds: dict[str, float]
    seconds: float
    transitions: int = 0
    tickets: list[dict[str, str]] = field(default_factory=list)
    campaigns: list[dict[str, Any]] = field(default_factory=list)


def check_file(path: Path) -> None:
    """Refuse what cannot be alerts before a cloud is started for it.

    Raises
    ------
    UserError
        When the file is empty or its first character cannot begin JSON; the pipeline judges the rest.
    """
    try:
        with path.open("rb") as raw:
            is_gzip = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if is_gzip else path.open("rb") as file:
            head = file.read(65_536).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or error}", "Check the path and its permissions."
        ) from error
    except (EOFError, zlib.error) as error:
        raise UserError(f"{path} is a broken gzip file", "Compress it again.") from error
    if not head:
        raise UserError(f"{path} is empty", "It must hold a JSON document, a JSON array, or one JSON object a line.")
    if head[:1] not in (b"{", b"["):
        shown = head[:40].decode("utf-8", "replace").splitlines()[0]
        raise UserError(
            f"{path} is not JSON: it begins with {shown!r}", "docs/input-formats.md shows the accepted formats."
        )


def check_folder(folder: Path) -> Path:
    """Make the folder that results go to, or refuse it, before a cloud is started for them."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}", "Name another folder with --out.") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder} may not be written to", "Name another folder with --out.")
    return folder


def check_stream(stream: str) -> str:
    if not _STREAM.fullmatch(stream):
        raise UserError(f"{stream!r} cannot be a stream's name", "Use letters, digits, dot, dash and underscore.")
    return stream


def run_file(
    deployment: Deployment,
    path: Path,
    console: Console,
    *,
    stream: str | None = None,
    on_poll: Callable[[], None] = lambda: None,
) -> Run:
    """Send a file through the pipeline and wait for its end.

    Raises
    ------
    UserError
        When the run does not succeed: the cause and the fix.
    """
    began = time.monotonic()
    follower = Follower(
        deployment.client("stepfunctions"), _start(deployment, path, stream), deployment.outputs["ClusterBatchesArn"]
    )
    watch(follower, console, f"{path.name} ({path.stat().st_size / 1e6:.1f} MB)", on_poll)
    seconds = time.monotonic() - began
    if follower.status != "SUCCEEDED":
        error, cause = root_failure(follower.error, follower.cause)
        where = f" in {follower.failed_state}" if follower.failed_state else ""
        raise UserError(
            f"{path.name}: the run {follower.status.lower().replace('_', ' ')}{where}: {error or 'no error given'}: {cause}",
            _FIXES.get(error, _OTHER_FIX),
        )
    run = Run(
        file=path,
        run_id=follower.output["run_id"],
        summary=follower.output,
        state_seconds={state.name: state.seconds(0) for state in follower.rows()},
        seconds=seconds,
        transitions=follower.transitions,
    )
    run.tickets = _tickets_of(deployment, run.run_id)
    run.campaigns = campaigns_of(deployment)
    return run


def _start(deployment: Deployment, path: Path, stream: str | None) -> str:
    """Upload the file and return the execution that S3's event started."""
    s3, sfn = deployment.client("s3"), deployment.client("stepfunctions")
    key = f"input/{stream}/{path.name}" if stream else f"input/{path.name}"
    machine = deployment.outputs["AlertPipelineArn"]
    known = set(_executions(sfn, machine))
    s3.upload_file(str(path), deployment.bucket, key)
    version = s3.head_object(Bucket=deployment.bucket, Key=key).get("VersionId")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for arn in _executions(sfn, machine):
            if arn in known:
                continue
            known.add(arn)
            item = json.loads(sfn.describe_execution(executionArn=arn)["input"])["detail"]["object"]
            if item["key"] == key and item.get("version-id") in (None, version):
                return arn
        time.sleep(0.1)
    raise UserError(
        f"the upload of {path.name} did not start the pipeline within {START_SECONDS} s",
        "See .watchfloor/cloud.log; watchfloor up and run again starts from a clean cloud.",
    )


def _executions(sfn: Any, machine: str) -> Iterable[str]:
    for page in sfn.get_paginator("list_executions").paginate(stateMachineArn=machine):
        for execution in page["executions"]:
            yield execution["executionArn"]


def _tickets_of(deployment: Deployment, run_id: str) -> list[dict[str, str]]:
    """The run's link rows, each with what the twin itself says of the ticket."""
    held = tickets(deployment.cloud)
    rows = [
        row for row in _scan(deployment.table("LinkTableName")) if row.get("run_id") == run_id and row.get("outcome")
    ]
    return [
        {
            "integration": row["integration"],
            "cluster_id": row["cluster_id"],
            "id": row["external_id"],
            "outcome": row["outcome"],
            **held[row["integration"]][row["external_id"]],
        }
        for row in sorted(rows, key=lambda row: (row["integration"], row["external_id"]))
        if row.get("external_id") in held[row["integration"]]
    ]


def campaigns_of(deployment: Deployment) -> list[dict[str, Any]]:
    """All campaigns, worst first, as readers are shown them."""
    s3 = deployment.client("s3")
    found = []
    for row in CampaignTable(deployment.table("CampaignTableName")).everything():
        body = s3.get_object(Bucket=deployment.bucket, Key=f"campaigns/{row['campaign_id']}.json")["Body"]
        found.append(campaigns.shown(json.load(body), row))
    return found


def _scan(table: Any) -> Iterable[dict[str, Any]]:
    arguments: dict[str, Any] = {}
    while True:
        page = table.scan(**arguments)
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        arguments["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def collect(deployment: Deployment, run: Run, folder: Path) -> None:
    """Copy what the run wrote into a folder; files of an earlier run there are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("attack_flow", "campaigns"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "rejected.jsonl").unlink(missing_ok=True)
    s3 = deployment.client("s3")
    wanted = {f"output/{run.run_id}/": folder, f"rejected/{run.run_id}.jsonl": folder / "rejected.jsonl"}
    for prefix, target in wanted.items():
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=deployment.bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                path = target / item["Key"].removeprefix(prefix) if prefix.endswith("/") else target
                path.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(deployment.bucket, item["Key"], str(path))
    keep_campaigns(run.campaigns, folder)


def keep_campaigns(found: list[dict[str, Any]], folder: Path) -> None:
    """Write the campaigns to `folder/campaigns`, one file each."""
    target = folder / "campaigns"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for campaign in found:
        (target / f"{campaign['campaign_id']}.json").write_text(json.dumps(campaign, indent=1))
