"""Gives alert names their techniques, and writes the first batch for the clustering model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.batches import cluster_request, read_technique_answers, techniques_above
from watchfloor.clients.aws import client, table
from watchfloor.clients.documents import Documents
from watchfloor.clients.run_table import RunTable
from watchfloor.clients.stream_table import StreamTable
from watchfloor.layout import RunLayout
from watchfloor.runs import first_batch

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
runs = RunTable(table(os.environ["RUN_TABLE"]))
streams = StreamTable(table(os.environ["STREAM_TABLE"]))
threshold = float(os.environ["TECHNIQUE_THRESHOLD"])


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The run's state -> the same with `batch`, where clustering starts or goes on."""
    run_id = event["run_id"]
    logger.append_keys(run_id=run_id)
    layout = RunLayout(run_id)
    techniques = {
        row["name"]: techniques_above(row["techniques"], threshold)
        for row in documents.read_lines(layout.known_techniques)
    }
    documents.write_lines(layout.learned_techniques, learn(event, layout, techniques))
    documents.write_json(layout.techniques, {"techniques": techniques})

    state = streams.state(event["stream"])
    batch, base_version = first_batch(runs.get(run_id) or {}, state.version, state.run_id)
    if batch == 0:
        request = cluster_request(
            list(documents.read_lines(layout.alerts(0))),
            techniques,
            documents.read_json(layout.node_feature),
            documents.read_json(state.cluster_key) if state.cluster_key else None,
            final=event["batch_count"] == 1,
        )
        documents.write_json(layout.cluster_input(0), request)
    runs.advance(run_id, base_version=base_version, next_batch=batch)
    metrics.add_metric("NamesWithTechnique", MetricUnit.Count, sum(map(bool, techniques.values())))
    logger.info("techniques filled in", extra={"names": len(techniques), "batch": batch})
    return {**event, "batch": batch, "base_version": base_version}


def learn(event: dict[str, Any], layout: RunLayout, techniques: dict[str, list[str]]) -> Iterator[dict[str, Any]]:
    """Rows of what the technique model answered, one at a time; what is sure enough is added to `techniques`."""
    if event["unknown_name_count"]:
        asked = (line["name"] for line in documents.read_lines(layout.technique_input))
        for name, scored in read_technique_answers(asked, documents.read_lines(layout.technique_output)):
            techniques[name] = techniques_above(scored, threshold)
            yield {"name": name, "techniques": scored}
