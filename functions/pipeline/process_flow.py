"""Reads the flow model's answer, writes the results for users, and moves the stream's state on."""

from __future__ import annotations

import os
from itertools import chain
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.batches import stream_prefix
from watchfloor.clients.aws import client, table
from watchfloor.clients.cluster_table import ClusterTable
from watchfloor.clients.documents import Documents
from watchfloor.clients.run_table import PUBLISHED, RunTable
from watchfloor.clients.stream_table import StreamTable
from watchfloor.clusters import RunClusters, Totals
from watchfloor.flows import (
    RunEvents,
    cluster_rows,
    clusters_named,
    enriched_clusters,
    enriched_input,
    flow_of_cluster,
    flow_rows,
    merged_flows,
    read_flow_answer,
)
from watchfloor.layout import RunLayout

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
runs = RunTable(table(os.environ["RUN_TABLE"]))
streams = StreamTable(table(os.environ["STREAM_TABLE"]))
cluster_table = ClusterTable(table(os.environ["CLUSTER_TABLE"]))
event_threshold = int(os.environ["EVENT_THRESHOLD"])


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The run's state -> the same with `cluster_count` and `flow_count`; the run counts as published."""
    run_id, prefix = event["run_id"], stream_prefix(event["stream"])
    logger.append_keys(run_id=run_id)
    layout = RunLayout(run_id)
    clusters = RunClusters.from_json(documents.read_json(layout.scratch_cluster))
    answer = read_flow_answer(documents.read_json(layout.flow_output))
    earlier = cluster_table.totals_before(clusters_named(answer) - clusters.total.keys(), run_id)
    totals = clusters.total | {key: Totals.from_json(value) for key, value in earlier.items()}
    flows = flow_rows(answer, totals, clusters.merged, prefix)
    flow_of = flow_of_cluster(flows)

    techniques = documents.read_json(layout.techniques)["techniques"]
    shown = {key for key in clusters.run if key in flow_of or clusters.total[key].count >= event_threshold}
    events = RunEvents(documents.read_json(layout.agg_alert), techniques, shown)
    alerts = chain.from_iterable(documents.read_lines(layout.alerts(n)) for n in range(event["batch_count"]))
    documents.write_array(layout.output("event.json"), events.rows(alerts, flow_of))
    documents.write_array(layout.output("cluster.json"), cluster_rows(clusters, events.alert_ids))
    documents.write_json(layout.output("flow.json"), flows)
    merged = merged_flows(answer, prefix)
    documents.write_json(layout.scratch_flow, {"flows": flows, "merged_flows": merged})
    about = enriched_input(event, clusters, flows, merged, documents.read_json(layout.node_feature))
    documents.write_object(layout.enrich_alert_input, about, "clusters", enriched_clusters(clusters, events, flow_of))

    last = documents.read_json(layout.cluster_output(event["batch_count"] - 1))
    cluster_key, flow_key = layout.state(event["stream"], "cluster"), layout.state(event["stream"], "flow")
    documents.write_json(cluster_key, last["state"])
    documents.write_json(flow_key, answer.state)
    # The pointer first: a run that was overtaken is refused there, and must not touch the ledger.
    streams.advance_state(event["stream"], event["base_version"], run_id, cluster_key, flow_key)
    cluster_table.record(run_id, clusters.total, clusters.before)
    counts = {"cluster_count": len(clusters.run), "flow_count": len(flows)}
    runs.advance(run_id, stage=PUBLISHED, **counts)
    metrics.add_metric("Clusters", MetricUnit.Count, len(clusters.run))
    metrics.add_metric("Flows", MetricUnit.Count, len(flows))
    logger.info("published", extra=counts)
    return {**event, **counts, "stage": PUBLISHED}
