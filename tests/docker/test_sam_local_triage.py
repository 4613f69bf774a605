"""Every function of error triage by `sam local invoke` with its event from events/, its answer and its effects judged."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from slack_sdk.signature import SignatureVerifier

from local.triage import Desk
from local.twins.slack import SIGNING_SECRET
from tests import triage_scenarios
from tests.docker.sam_local import EVENTS
from watchfloor.incidents import Incident
from watchfloor.layout import IncidentLayout

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def incident(floor) -> Incident:
    """One that was explained; its documents are there to be worked on again."""
    return triage_scenarios.explained(floor)


@pytest.fixture
def values(incident) -> dict[str, Any]:
    return {"fingerprint": incident.fingerprint, "generation": 1}


def removed(floor, key: str) -> Any:
    body = floor.s3.get_object(Bucket=floor.bucket, Key=key)["Body"].read()
    floor.s3.delete_object(Bucket=floor.bucket, Key=key)
    return json.loads(body)


def read(floor, key: str) -> Any:
    return json.loads(floor.s3.get_object(Bucket=floor.bucket, Key=key)["Body"].read())


def test_every_function_is_called_here(floor):
    stems = {event.stem for event in (EVENTS / "triage").glob("*.json")}
    ours = {name for name in floor.functions if floor.stack_of[name] == "Triage"}
    assert {"".join(word.capitalize() for word in stem.split("_")) for stem in stems} == ours
    source = Path(__file__).read_text()
    assert [stem for stem in sorted(stems) if f'"{stem}"' not in source] == []


def test_receive_logs(sam, floor):
    told = sam.invoke("receive_logs", {})
    assert (told["status"], len(told["started"])) == ("counted", told["errors"])
    fingerprint = told["started"][0].partition("-")[0]
    assert Desk(floor.deployment).table.get(fingerprint).count == 1


def test_gather_context(sam, floor, incident, values):
    before = removed(floor, IncidentLayout(incident.fingerprint, 1).context)
    told = sam.invoke("gather_context", values)
    assert (told["lines"], told["missing"]) == (3, [])
    assert read(floor, IncidentLayout(incident.fingerprint, 1).context)["lines"] == before["lines"]


@pytest.mark.parametrize("stem", ["search_stack_overflow", "find_earlier_incidents"])
def test_evidence(sam, floor, incident, values, stem):
    key = getattr(
        IncidentLayout(incident.fingerprint, 1),
        {"search_stack_overflow": "evidence_stack_overflow"}.get(stem, "evidence_earlier_incidents"),
    )
    before = removed(floor, key)
    assert sam.invoke(stem, values)["missing"] == []
    assert read(floor, key) == before


def test_ask_model(sam, floor, incident, values):
    before = removed(floor, IncidentLayout(incident.fingerprint, 1).answer)
    assert sam.invoke("ask_model", values)["verdict"] == before["verdict"]
    assert read(floor, IncidentLayout(incident.fingerprint, 1).answer)["answer"] == before["answer"]


def test_write_report(sam, floor, incident, values):
    before = removed(floor, IncidentLayout(incident.fingerprint, 1).report)
    told = sam.invoke("write_report", values)
    assert told["report_uri"].endswith(IncidentLayout(incident.fingerprint, 1).report)
    assert read(floor, IncidentLayout(incident.fingerprint, 1).report)["answer"] == before["answer"]


def test_send_slack_and_send_mail_tell_once(sam, floor, incident, values):
    slack = floor.cloud._twins.slack
    before = len(slack.threads())
    assert sam.invoke("send_slack", values)["status"] == "sent"
    for _ in range(2):
        assert sam.invoke("send_mail", values) == {"status": "sent"}
    assert len(slack.threads()) == before
    # Once by the deployed function and once from here: what was sent is remembered by the function's name.
    assert triage_scenarios.mails(floor, incident.title) == 2


def test_refresh_messages(sam, floor, incident):
    table = Desk(floor.deployment).table
    table.change(incident.fingerprint, lambda one: replace(one, count=41, to_do="refresh", due_at=time.time() - 1))
    # The deployed function does the same each minute, and may have come first.
    assert set(sam.invoke("refresh_messages", {})) == {"started", "refreshed", "held"}
    assert any("Seen 41 times" in json.dumps(message) for message in floor.cloud._twins.slack.threads())


def test_receive_action(sam, floor, incident):
    assert sam.invoke("receive_action", {}) == {"statusCode": 401}
    event = json.loads((EVENTS / "triage" / "receive_action.json").read_text())
    body = event["body"].replace("1f3647916e63339c", incident.fingerprint)
    now = str(int(time.time()))
    signature = SignatureVerifier(SIGNING_SECRET).generate_signature(timestamp=now, body=body)
    signed = {"body": body, "x-slack-request-timestamp": now, "x-slack-signature": signature}
    assert sam.invoke("receive_action", signed) == {"statusCode": 200}
    assert Desk(floor.deployment).table.get(incident.fingerprint).status == "acknowledged"


def test_report_triage_failure(sam, floor, incident):
    arn = f"{floor.outputs['ErrorTriageArn'].replace(':stateMachine:', ':execution:')}:{incident.fingerprint}-1"
    floor.begin()
    for _ in range(2):  # once is told, however often it is reported
        sam.invoke("report_triage_failure", {"executionArn": arn})
    assert [mail["Subject"] for mail in floor.mails() if "not explained" in mail["Subject"]] == [
        f"Watchfloor: not explained (failed): {incident.title}"
    ]
