"""CloudWatch's embedded metric format: metrics inside log lines."""

from __future__ import annotations

import json
from typing import Any

from ministack.services import cloudwatch


def extract(line: str) -> None:
    """Record the metrics of a log line, if it holds any."""
    if '"_aws"' not in line:
        return
    try:
        document = json.loads(line)
        directives = document["_aws"]["CloudWatchMetrics"]
    except (ValueError, KeyError, TypeError):
        return
    for directive in directives:
        for dimensions in directive.get("Dimensions") or [[]]:
            named = {name: str(document[name]) for name in dimensions if name in document}
            for metric in directive.get("Metrics", []):
                for value in _values(document.get(metric["Name"])):
                    cloudwatch.record_metric(
                        directive["Namespace"], metric["Name"], value, metric.get("Unit", "None"), named
                    )


def _values(value: Any) -> list[float]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, int | float) and not isinstance(item, bool)]
