"""The root template's tables, on moto."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from moto import mock_aws

from tests.machines.stack import REGION, Stack

_DEFINED = Stack("template.yaml", ModelImage="models").resources("AWS::DynamoDB::Table")


@contextmanager
def table(logical_id: str) -> Iterator[Any]:
    """One table, as a boto3 resource."""
    properties = _DEFINED[logical_id]
    keys = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    with mock_aws():
        yield boto3.resource("dynamodb", region_name=REGION).create_table(
            TableName=logical_id, **{key: properties[key] for key in keys if key in properties}
        )
