"""Ops scripts, called as Lambda calls them, on moto.

with scripts(ScriptTargets="shop-*") as world:
    world.client("ecs").create_cluster(clusterName="shop")
    answer = world.call("oncall-restart-service", {"service_name": "checkout", "cluster": "shop"}, dry_run=True)
    assert answer.status_code == 202
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.machines.harness import Context
from tests.machines.stack import REGION, ROOT, Stack, physical_id
from watchfloor.clients import script_runtime

_TABLE_PROPERTIES = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")


@dataclass(frozen=True)
class Answered:
    """An answer, its body read."""

    status_code: int
    body: dict[str, Any]

    @property
    def result(self) -> dict[str, Any]:
        return self.body["result"]

    @property
    def error(self) -> dict[str, Any]:
        return self.body["error"]

    @property
    def planned_calls(self) -> list[dict[str, Any]]:
        return self.result["planned_calls"]


class World:
    """An AWS account of moto with the tables of the scripts; `parameters` are the root template's."""

    def __init__(self, patch: pytest.MonkeyPatch, **parameters: str) -> None:
        self._patch = patch
        root = Stack("template.yaml", ModelImage="models", **parameters)
        nested = root.resources("AWS::Serverless::Application")["Scripts"]["Parameters"]
        scripts = Stack("functions/scripts/template.yaml", **nested)
        self._functions = scripts.resources("AWS::Serverless::Function")
        self._shared = scripts.globals()["Function"]
        self.tables = {}
        for logical_id, properties in root.resources("AWS::DynamoDB::Table").items():
            if logical_id in ("ScriptAuditTable", "ApprovalTable"):
                arguments = {key: properties[key] for key in _TABLE_PROPERTIES if key in properties}
                self.tables[logical_id] = boto3.resource("dynamodb", region_name=REGION).create_table(
                    TableName=physical_id(logical_id), **arguments
                )

    def client(self, service: str) -> Any:
        return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]

    def call(self, name: str, event: Any, *, seconds: float = 60, **controls: Any) -> Answered:
        """Call a script; `controls` are dry_run, requested_by, approval_id. Steps of `wait_until` take no time."""
        function = next(item for item in self._functions.values() if item.get("FunctionName", "") == name)
        stem = function["Handler"].partition(".")[0]
        environment = {
            **self._shared["Environment"]["Variables"],
            **function.get("Environment", {}).get("Variables", {}),
        }
        for key, value in environment.items():
            self._patch.setenv(key, str(value))
        given = {**event, **controls} if isinstance(event, dict) else event
        answer = module(stem).lambda_handler(json.loads(json.dumps(given)), Context(name, round(seconds * 1000)))
        return Answered(answer["statusCode"], json.loads(answer["body"]))

    def records(self, name: str) -> list[dict[str, Any]]:
        """The script's audit records, the oldest first."""
        return self.tables["ScriptAuditTable"].query(
            KeyConditionExpression="#s = :s",
            ExpressionAttributeNames={"#s": "script"},
            ExpressionAttributeValues={":s": name},
        )["Items"]


def module(stem: str) -> ModuleType:
    return importlib.import_module(stem)


@contextmanager
def scripts(**parameters: str) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.syspath_prepend(str(ROOT / "functions/scripts"))
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
        patch.setattr(script_runtime.time, "sleep", lambda _: None)
        yield World(patch, **parameters)
