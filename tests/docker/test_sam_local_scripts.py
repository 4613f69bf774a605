"""Every ops script by `sam local invoke` with its event from events/, on a shop of the tests, its answer judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests import script_scenarios
from tests.docker.sam_local import EVENTS, SamLocal
from tests.script_scenarios import CLUSTER, SHOP, WORKER, Shop

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

Json = dict[str, Any]
ORDER = {"checks": [{"path": "$.total", "equals": 2}], "event": {"price": 1}}

# By script: what stands in its sample event's place, and the status that it answers with.
SCRIPTS: dict[str, tuple[Callable[[Shop, SamLocal], Json], int]] = {
    "test_endpoint": (lambda shop, sam: {"url": f"{sam.within_reach(shop.site)}/_twin/faults"}, 200),
    "test_integration": (lambda shop, sam: script_scenarios.suite(shop, sam.within_reach(shop.site)), 200),
    "test_lambda": (lambda shop, _: {"function_name": shop.function(), **ORDER}, 200),
    "test_queue_roundtrip": (lambda shop, _: {"queue_name": quiet(shop)}, 200),
    "debug_logs": (lambda shop, _: {"function_name": failed(shop)}, 200),
    "debug_errors": (lambda shop, _: {"function_name": failed(shop)}, 200),
    "debug_execution": (lambda shop, _: {"state_machine_name": shop.failed_execution().split(":")[6]}, 200),
    "debug_queue": (lambda shop, _: {"queue_name": dead_letters(shop)}, 200),
    "debug_permissions": (lambda shop, _: {"principal": script_scenarios.principals(shop)[0]}, 200),
    "debug_database": (lambda shop, _: {"database": shop.database()}, 200),
    "oncall_service_health": (lambda shop, _: shop.service(), 200),
    "oncall_restart_service": (lambda shop, _: shop.service(), 200),
    "oncall_scale_service": (lambda shop, _: {**shop.service(), "desired_count": 4, "dry_run": False}, 200),
    # It runs only with an approval.
    "oncall_rollback_lambda": (lambda shop, _: {"function_name": released(shop)}, 202),
    "oncall_redrive_queue": (lambda shop, _: {"queue_name": dead_letters(shop), "dry_run": False}, 200),
    "oncall_rerun_execution": (lambda shop, _: {"execution_arn": shop.failed_execution(), "dry_run": False}, 200),
    "oncall_silence_alarm": (lambda shop, _: {"alarm_name": shop.loud(), "dry_run": False}, 200),
}


@pytest.fixture(scope="module")
def shop(floor) -> Shop:
    return script_scenarios.shop(floor.deployment)


def quiet(shop: Shop) -> str:
    shop.sqs.create_queue(QueueName=f"{SHOP}-quiet")
    return f"{SHOP}-quiet"


def failed(shop: Shop) -> str:
    shop.lambda_.invoke(FunctionName=shop.worker(), Payload=b'{"fail": true}')
    return WORKER


def dead_letters(shop: Shop) -> str:
    shop.fill(2)
    return f"{SHOP}-failed"


def released(shop: Shop) -> str:
    shop.released("3")
    return SHOP


def test_every_function_is_called_here(floor):
    stems = {event.stem for event in (EVENTS / "scripts").glob("*.json")}
    ours = {name for name in floor.functions if floor.stack_of[name] == "Scripts"}
    assert {"".join(word.capitalize() for word in stem.split("_")) for stem in stems} == ours
    assert stems - set(SCRIPTS) == {"open_approval", "ask_approval", "decide_approval", "report_script"}


@pytest.mark.parametrize("stem", SCRIPTS)
def test_script(sam, shop, stem):
    values, status_code = SCRIPTS[stem]
    answer = sam.invoke(stem, values(shop, sam))
    body = json.loads(answer["body"])
    assert answer["statusCode"] == status_code, body
    assert body["script"] == stem.replace("_", "-")


def test_what_they_changed(shop):
    """By the scripts of the test before this one."""
    service = shop.ecs.describe_services(cluster=CLUSTER, services=[SHOP])["services"][0]
    assert service["desiredCount"] == 4
    assert not shop.rings()
    assert len(shop.schedules()) == 1
    shop.loud()


def test_open_approval(sam):
    opened = sam.invoke("open_approval", {})
    assert opened["function"] == "oncall-rollback-lambda"
    assert opened["requester"]["is_proven"] is False


def test_ask_approval(sam, floor):
    approval_id = json.loads((EVENTS / "scripts/ask_approval.json").read_text())["request"]["approval_id"]
    assert sam.invoke("ask_approval", {}) is None
    row = floor.deployment.table("ApprovalTableName").get_item(Key={"approval_id": approval_id})["Item"]
    assert (row["status"], bool(row["message_ts"])) == ("pending", True)


def test_decide_approval(sam):
    """Without a proof of who one is, nobody decides."""
    decided = sam.invoke("decide_approval", {})
    assert decided["statusCode"] in (400, 403)


def test_report_script(sam):
    event = json.loads((EVENTS / "scripts/report_script.json").read_text())
    assert sam.invoke("report_script", {})["approval_id"] == event["request"]["approval_id"]
