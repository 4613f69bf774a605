"""Rolls a Lambda function back: its alias leads to an earlier published version, with all of the traffic."""

from __future__ import annotations

import os
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.errors import ConflictError
from watchfloor.releases import earlier_version, rollback, weights
from watchfloor.scripts import Parameters

FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
# A name of digits only would be a version.
Alias = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9_-]*[A-Za-z_-][A-Za-z0-9_-]*$")]
Version = Annotated[str, Field(pattern=r"^[1-9]\d{0,9}$")]


class RollbackLambda(Parameters):
    function_name: FunctionName = Field(description="The function whose alias is turned back")
    alias: Alias = Field(description="The alias that callers use")
    version: Version | None = Field(
        None, description="The published version to lead to; without it the highest below the current one"
    )


def rollback_lambda(parameters: RollbackLambda, run: ScriptRun) -> dict[str, Any]:
    functions, name = run.read("lambda"), parameters.function_name
    alias = functions.get_alias(FunctionName=name, Name=parameters.alias)
    pages = functions.get_paginator("list_versions_by_function").paginate(FunctionName=name)
    versions = {row["Version"]: row for page in pages for row in page["Versions"]}
    target = earlier_version(name, alias, versions, parameters.version)
    state = functions.get_function_configuration(FunctionName=name, Qualifier=target).get("State", "Active")
    if state not in ("Active", "Inactive"):
        raise ConflictError(f"version {target} of {name} is {state}; nobody could call it")
    run.write("lambda").update_alias(
        FunctionName=name,
        Name=parameters.alias,
        FunctionVersion=target,
        RoutingConfig={"AdditionalVersionWeights": {}},
        # Refused where the alias was changed since it was read.
        RevisionId=alias["RevisionId"],
    )
    result = {"function_name": name, "alias": parameters.alias, **rollback(alias, versions, target)}
    if run.dry_run:
        return result
    after = functions.get_alias(FunctionName=name, Name=parameters.alias)
    if after["FunctionVersion"] != target or weights(after):
        raise ConflictError(f"the alias was turned to version {target}, and by somebody else at once to {after}")
    return result


# High: all callers get older code at once, which may not know data and settings of today.
script = Script("oncall-rollback-lambda", RollbackLambda, rollback_lambda, risk="high", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?, approval_id}`, or the parameters beside these."""
    return script.answer(event, context)
