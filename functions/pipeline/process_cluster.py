"""Reads the clustering model's answer; writes the next batch, or after the last one the run's clusters."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.batches import cluster_request, read_cluster_answer, stream_prefix
from watchfloor.clients.aws import client, table
from watchfloor.clients.cluster_table import ClusterTable
from watchfloor.clients.documents import Documents
from watchfloor.clients.run_table import RunTable
from watchfloor.clients.stream_table import StreamTable
from watchfloor.clusters import batch_clusters, combine, touched
from watchfloor.flows import flow_request
from watchfloor.layout import RunLayout

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
runs = RunTable(table(os.environ["RUN_TABLE"]))
streams = StreamTable(table(os.environ["STREAM_TABLE"]))
cluster_table = ClusterTable(table(os.environ["CLUSTER_TABLE"]))
batches_per_execution = int(os.environ["BATCHES_PER_EXECUTION"])


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The run's state -> the same with `batch`, the next one, and whether this execution goes on with it."""
    run_id, batch = event["run_id"], event["batch"]
    logger.append_keys(run_id=run_id, batch=batch)
    layout = RunLayout(run_id)
    techniques = documents.read_json(layout.techniques)["techniques"]
    alerts = list(documents.read_lines(layout.alerts(batch)))
    answer = read_cluster_answer(documents.read_json(layout.cluster_output(batch)), alerts)
    part = batch_clusters(alerts, techniques, answer, stream_prefix(event["stream"]))
    documents.write_json(layout.batch_clusters(batch), part)

    following = batch + 1
    if following < event["batch_count"]:
        alerts = list(documents.read_lines(layout.alerts(following)))
        node_feature = documents.read_json(layout.node_feature)
        final = following == event["batch_count"] - 1
        request = cluster_request(alerts, techniques, node_feature, answer.state, final=final)
        documents.write_json(layout.cluster_input(following), request)
    else:
        write_clusters(layout, event)
    runs.advance(run_id, next_batch=following)
    metrics.add_metric("BatchesClustered", MetricUnit.Count, 1)
    logger.info("batch clustered", extra={"clusters": len(part["clusters"])})
    goes_on = following < event["batch_count"] and following % batches_per_execution != 0
    return {**event, "batch": following, "another_batch_here": goes_on}


def write_clusters(layout: RunLayout, event: dict[str, Any]) -> None:
    """Put the batches together, with what earlier runs know of their clusters, and ask for their flows."""
    parts = [documents.read_json(layout.batch_clusters(batch)) for batch in range(event["batch_count"])]
    before = cluster_table.totals_before(touched(parts), layout.run_id)
    clusters, agg_alert = combine(parts, before, layout.run_id)
    flow_key = streams.state(event["stream"]).flow_key
    flow_state = documents.read_json(flow_key) if flow_key else None
    documents.write_json(layout.agg_alert, agg_alert)
    documents.write_json(layout.scratch_cluster, clusters.to_json())
    documents.write_json(layout.flow_input, flow_request(clusters, flow_state))
