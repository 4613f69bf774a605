"""create_campaign: keep the run's flows as campaigns, and export them as Attack Flow and Navigator layer.

Works until its time is nearly up, then says where to go on: `{"status": "more", "next": <index of the next flow>}`.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor import attack_flow, campaigns, navigator
from watchfloor.clients.aws import client, table
from watchfloor.clients.campaign_table import CampaignTable
from watchfloor.clients.documents import Documents
from watchfloor.layout import RunLayout

# Enough for the largest campaign and the layer.
RESERVE_MILLISECONDS = 45_000

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
campaign_table = CampaignTable(table(os.environ["CAMPAIGN_TABLE"]))


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{run_id, next?, ...}` -> `{run_id, status, next, created, updated, merged}`; called again while "more"."""
    logger.append_keys(run_id=event["run_id"])
    layout = RunLayout(event["run_id"])
    run = campaigns.read_run(documents.read_json(layout.enrich_alert_input))
    concerned = [flow["flow_id"] for flow in run.flows] + [other for many in run.absorbed.values() for other in many]
    names = campaign_table.names(concerned)
    first = event.get("next", 0)
    done = {"run_id": event["run_id"], **{name: event.get(name, 0) for name in ("created", "updated", "merged")}}
    for index, flow in enumerate(run.flows[first:], first):
        if index > first and context.get_remaining_time_in_millis() < RESERVE_MILLISECONDS:
            return {**done, "status": "more", "next": index}
        campaign, is_new, merged = keep_campaign(run, flow, layout, known=names.keys())
        names[campaign["campaign_id"]] = campaign["name"]
        done["created" if is_new else "updated"] += 1
        done["merged"] += merged
    documents.write_json(layout.output("navigator_layer.json"), navigator.layer_of(run, names))
    logger.info("campaigns kept", extra={"campaigns": done})
    return {**done, "status": "done", "next": len(run.flows)}


@tracer.capture_method(capture_response=False)
def keep_campaign(
    run: campaigns.Run, flow: dict[str, Any], layout: RunLayout, known: Collection[str]
) -> tuple[dict[str, Any], bool, int]:
    """Write one campaign's document, row and Attack Flow; also says whether it is new, and how many it absorbed."""
    campaign_id = flow["flow_id"]
    previous = documents.read_json(document_key(campaign_id)) if campaign_id in known else None
    absorbed = [other for other in run.absorbed.get(campaign_id, []) if other in known]
    campaign = campaigns.campaign_of(run, flow, previous, [documents.read_json(document_key(key)) for key in absorbed])
    documents.write_json(document_key(campaign_id), campaign)
    documents.write_json(layout.output(f"attack_flow/{campaign_id}.json"), attack_flow.bundle_of(campaign))
    is_new = campaign_table.upsert(campaigns.row_of(campaign), documents.uri(document_key(campaign_id)))
    metrics.add_metric("CampaignsCreated" if is_new else "CampaignsUpdated", MetricUnit.Count, 1)
    return campaign, is_new, sum(campaign_table.mark_merged(other, campaign_id) for other in absorbed)


def document_key(campaign_id: str) -> str:
    return f"campaigns/{campaign_id}.json"
