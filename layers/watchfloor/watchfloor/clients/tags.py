"""What carries a tag, of whatever service."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Tags:
    """`tagging` is a boto3 client of the Resource Groups Tagging API; its errors are named by who runs the script."""

    def __init__(self, tagging: Any) -> None:
        self._tagging = tagging

    def arns(self, key: str, value: str, kinds: Iterable[str]) -> list[str]:
        """ARNs of what is tagged so; `kinds` such as ecs:service."""
        pages = self._tagging.get_paginator("get_resources").paginate(
            TagFilters=[{"Key": key, "Values": [value]}], ResourceTypeFilters=list(kinds)
        )
        return [row["ResourceARN"] for page in pages for row in page["ResourceTagMappingList"]]
