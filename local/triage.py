"""The deployed error triage: an event through its machine, and the incidents that it keeps."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError
from rich.console import Console

from local import sandbox
from local.log_groups import LogGroups
from local.pipeline import UserError
from local.progress import Follower, watch
from local.sandbox import Deployment
from local.triage_events import batch_of
from watchfloor import incidents
from watchfloor.clients.incident_table import IncidentTable
from watchfloor.clients.items import plain
from watchfloor.incidents import Incident
from watchfloor.layout import IncidentLayout
from watchfloor.runs import root_failure


@dataclass
class Triaged:
    """What became of one event.

    Attributes
    ----------
    received
        What the function that receives logs answered.
    reports
        The reports written for it, in the order of the errors.
    seconds
        From handing over the event to the end of the last execution.
    """

    received: dict[str, Any]
    seconds: float
    reports: list[dict[str, Any]] = field(default_factory=list)


class Desk:
    """The incidents of a deployment, and what can be done with them.

    Parameters
    ----------
    deployment, stack
        The application, and its root stack's name.
    """

    def __init__(self, deployment: Deployment, stack: str = sandbox.STACK) -> None:
        self.deployment = deployment
        self.stack = stack
        self._rows = deployment.table("IncidentTableName")
        self.table = IncidentTable(self._rows)

    @property
    def log_groups(self) -> LogGroups:
        return LogGroups(self.deployment, self.stack)

    def incidents(self) -> list[Incident]:
        """All of them, the one seen last first."""
        found, arguments = [], {"FilterExpression": "#item = :incident"}
        names = {"ExpressionAttributeNames": {"#item": "item"}, "ExpressionAttributeValues": {":incident": "incident"}}
        while True:
            page = self._rows.scan(**arguments, **names)
            found += [Incident.from_json(plain(row)) for row in page["Items"]]
            if "LastEvaluatedKey" not in page:
                break
            arguments["ExclusiveStartKey"] = page["LastEvaluatedKey"]
        return sorted((one for one in found if one.generation), key=lambda one: (-one.last_seen, one.fingerprint))

    def find(self, beginning: str) -> Incident:
        """The incident whose fingerprint begins so.

        Raises
        ------
        UserError
            When there is none, or more than one.
        """
        if len(beginning) == 16 and (exact := self.table.get(beginning)).version:
            return exact
        found = [one for one in self.incidents() if one.fingerprint.startswith(beginning)]
        if len(found) != 1:
            known = f"{len(found)} fingerprints begin so" if found else "there is none"
            raise UserError(f"{beginning} names no single incident: {known}", "watchfloor triage list shows them.")
        return found[0]

    def report(self, incident: Incident) -> dict[str, Any] | None:
        """The last report written about an incident."""
        s3 = self.deployment.client("s3")
        for generation in range(incident.generation, 0, -1):
            key = IncidentLayout(incident.fingerprint, generation).report
            try:
                return json.load(s3.get_object(Bucket=self.deployment.bucket, Key=key)["Body"])
            except ClientError as error:
                if error.response["Error"]["Code"] not in ("NoSuchKey", "AccessDenied"):
                    raise
        return None

    def state(self, incident: Incident) -> dict[str, Any]:
        """What of its message has changed since the report."""
        return incidents.message_state(incident, self.table.per_day(incident.fingerprint), now=time.time())

    def triage(self, event: dict[str, Any], console: Console) -> Triaged:
        """Hand an event to the function that receives logs, and wait for what it starts."""
        batch = batch_of(event)
        self._write_lines(batch)
        began = time.monotonic()
        received = self._receive(event)
        done = Triaged(received, 0.0)
        for name in received.get("started", []):
            arn = self.deployment.outputs["ErrorTriageArn"].replace(":stateMachine:", ":execution:") + f":{name}"
            follower = Follower(self.deployment.client("stepfunctions"), arn)
            fingerprint, _, generation = name.partition("-")
            incident = self.table.get(fingerprint)
            watch(follower, console, f"{incident.title[:100]} ({fingerprint})")
            found = self.report(incident)
            if found is None:
                error, cause = root_failure(follower.error, follower.cause)
                raise UserError(
                    f"{incident.title[:100]}: no report came of it: {error}: {cause}",
                    f"{self.log_hint()} has the details.",
                )
            done.reports.append({**found, "generation": int(generation)})
        done.seconds = time.monotonic() - began
        return done

    def log_hint(self) -> str:
        return ".watchfloor/cloud.log" if self.deployment.cloud.endpoint_url else "The functions' log"

    def _receive(self, event: dict[str, Any]) -> dict[str, Any]:
        answer = self.deployment.client("lambda").invoke(
            FunctionName=self.deployment.outputs["TriageFunctionArn"], Payload=json.dumps(event).encode()
        )
        told = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise UserError(
                f"the event was refused: {told.get('errorType')}: {told.get('errorMessage')}",
                f"docs/triage.md shows what an event looks like; {self.log_hint()} has more.",
            )
        return told

    def _write_lines(self, batch: dict[str, Any]) -> None:
        """Have the lines in the log group they come from, where the lines around an error are looked up."""
        group, stream, events = batch.get("logGroup"), batch.get("logStream"), batch.get("logEvents")
        if batch.get("messageType") != "DATA_MESSAGE" or not (group and stream and events):
            return
        logs = self.deployment.client("logs")
        try:
            logs.create_log_group(logGroupName=group)
        except logs.exceptions.ResourceAlreadyExistsException:
            if logs.describe_subscription_filters(logGroupName=group)["subscriptionFilters"]:
                return  # they would come back as errors of their own
        try:
            logs.create_log_stream(logGroupName=group, logStreamName=stream)
        except logs.exceptions.ResourceAlreadyExistsException:
            pass
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, logStreamNames=[stream])
        there = {(row["timestamp"], row["message"]) for page in pages for row in page["events"]}
        rows = sorted(
            (
                {"timestamp": row["timestamp"], "message": row["message"]}
                for row in events
                if row["message"] and (row["timestamp"], row["message"]) not in there
            ),
            key=lambda row: row["timestamp"],
        )
        if rows:
            logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=rows)
