"""Turns the input file into sorted batches, and looks up the techniques of its alert names."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from watchfloor.batches import ALERT_BYTES, id_map
from watchfloor.clients.aws import client, table
from watchfloor.clients.documents import Documents
from watchfloor.clients.run_table import ENRICHED, RunTable
from watchfloor.clients.technique_table import TechniqueTable
from watchfloor.formats import builtin_mappings, load_mapping
from watchfloor.intake import take_in
from watchfloor.layout import MAPPING_PREFIX, RunLayout
from watchfloor.names import DistinctNames
from watchfloor.runs import check_alert_count

logger, tracer, metrics = Logger(), Tracer(), Metrics()
documents = Documents(client("s3"), os.environ["DATA_BUCKET"])
runs = RunTable(table(os.environ["RUN_TABLE"]))
technique_table = TechniqueTable(table(os.environ["TECHNIQUE_TABLE"]))
chunk_size = int(os.environ["CHUNK_SIZE"])


@logger.inject_lambda_context(clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The run's state -> the same with `batch_count` and `unknown_name_count`."""
    logger.append_keys(run_id=event["run_id"])
    layout = RunLayout(event["run_id"])
    with tempfile.TemporaryDirectory() as name, closing(DistinctNames(Path(name))) as names:
        folder = Path(name)
        try:
            counts = store_batches(event, layout, folder, names)
        finally:
            keep_rejected(layout, folder / "rejected.jsonl")
        documents.write_lines(layout.known_techniques, look_up(names))
        unknown_name_count = documents.write_lines(layout.technique_input, ({"name": name} for name in names.unknown()))

    counts["unknown_name_count"] = unknown_name_count
    runs.advance(event["run_id"], stage=ENRICHED, **counts)
    metrics.add_metric("Alerts", MetricUnit.Count, counts["alert_count"])
    metrics.add_metric("RejectedAlerts", MetricUnit.Count, counts["rejected_count"])
    logger.info("enriched", extra=counts)
    return {**event, **counts, "stage": ENRICHED}


def store_batches(event: dict[str, Any], layout: RunLayout, folder: Path, names: DistinctNames) -> dict[str, int]:
    """Read the file, store its batches, collect the names of alerts without technique."""
    batch_count = 0
    mappings = [*map(load_mapping, documents.texts(MAPPING_PREFIX)), *builtin_mappings()]
    with (
        closing(documents.open(event["key"], event["version_id"])) as source,
        take_in(
            source,
            file_name=event["key"],
            work_dir=folder,
            mappings=mappings,
            chunk_size=chunk_size,
            chunk_bytes=ALERT_BYTES,
        ) as intake,
    ):
        check_alert_count(intake.alert_count)
        for batch_count, alerts in enumerate(intake.batches(), start=1):
            documents.write_lines(layout.alerts(batch_count - 1), alerts)
            documents.write_json(layout.id_map(batch_count - 1), id_map(alerts))
            names.add({alert["name"] for alert in alerts if not alert["tech"]})
        documents.write_json(layout.node_feature, intake.node_feature)
    if intake.warnings:
        logger.warning("input has oddities", extra={"count": len(intake.warnings), "first": intake.warnings[0][:200]})
    return {
        "batch_count": batch_count,
        "alert_count": intake.alert_count,
        "rejected_count": intake.rejected_count,
        "ignored_count": intake.ignored_count,
        "dropped_technique_count": intake.dropped_technique_count,
    }


def keep_rejected(layout: RunLayout, path: Path) -> None:
    """Store what was rejected, also of a file that is of no use as a whole."""
    if path.exists() and path.stat().st_size:
        with path.open("rb") as rejected:
            documents.upload(layout.rejected, rejected, "application/jsonlines")


def look_up(names: DistinctNames) -> Iterator[dict[str, Any]]:
    """Rows of the names that the table knows; they are marked as known."""
    for group in names.groups():
        known = technique_table.look_up(group)
        names.mark_known(known)
        for name, techniques in known.items():
            yield {"name": name, "techniques": techniques}
