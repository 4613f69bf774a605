"""Rolls a Lambda function back: its alias leads to an earlier published version, with all of the traffic."""

from __future__ import annotations

import os
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.errors import ConflictError, NotFoundError
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
    versions = {row["Version"]: row for row in listed_versions(run, name)}
    target = chosen(parameters, alias, set(versions) - {"$LATEST"})
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
    result = {
        "function_name": name,
        "alias": parameters.alias,
        "from_version": alias["FunctionVersion"],
        "from_weights": weights(alias),
        "to_version": target,
        "to_description": versions[target].get("Description", ""),
        "to_published": versions[target].get("LastModified", ""),
        # The same code: then the versions differ in their configuration only.
        "is_same_code": code_of(versions, alias["FunctionVersion"]) == code_of(versions, target),
    }
    if run.dry_run:
        return result
    after = functions.get_alias(FunctionName=name, Name=parameters.alias)
    if after["FunctionVersion"] != target or weights(after):
        raise ConflictError(f"the alias was turned to version {target}, and by somebody else at once to {after}")
    return result


def chosen(parameters: RollbackLambda, alias: dict[str, Any], published: set[str]) -> str:
    """The version to lead to.

    AWS keeps no record of where an alias led before. Where traffic is split, it is the older of both versions;
    otherwise the highest published one below the current.
    """
    name, current, split = parameters.function_name, alias["FunctionVersion"], weights(alias)
    if parameters.version:
        if parameters.version not in published:
            raise NotFoundError(f"{name} has no version {parameters.version}; there are {shown(published)}")
        if parameters.version == current and not split:
            raise ConflictError(f"the alias {parameters.alias} of {name} leads to version {current} already")
        return parameters.version
    if split:
        return min({current, *split} - {"$LATEST"}, key=int)
    below = [version for version in published if current == "$LATEST" or int(version) < int(current)]
    if not below:
        raise NotFoundError(f"{name} has no version published before {current}; there are {shown(published)}")
    return max(below, key=int)


def listed_versions(run: ScriptRun, name: str) -> list[dict[str, Any]]:
    pages = run.read("lambda").get_paginator("list_versions_by_function").paginate(FunctionName=name)
    return [row for page in pages for row in page["Versions"]]


def weights(alias: dict[str, Any]) -> dict[str, float]:
    """The share of the traffic that goes to other versions."""
    return (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}


def code_of(versions: dict[str, dict[str, Any]], version: str) -> str | None:
    return versions.get(version, {}).get("CodeSha256")


def shown(published: set[str]) -> str:
    return ", ".join(sorted(published, key=int)[-20:]) or "none at all"


# High: all callers get older code at once, which may not know data and settings of today.
script = Script("oncall-rollback-lambda", RollbackLambda, rollback_lambda, risk="high", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?, approval_id}`, or the parameters beside these."""
    return script.answer(event, context)
