"""Whether a role or user may do something, and which statement says so."""

from __future__ import annotations

import os
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.iam_principals import IamPrincipals
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.policies import report
from watchfloor.scripts import Parameters

Action = Annotated[str, Field(pattern=r"^[a-z0-9-]+:[A-Za-z0-9]+$", max_length=128)]


class PermissionQuestion(Parameters):
    principal: str = Field(
        pattern=r"^(role|user)/[A-Za-z0-9_+=,.@-]{1,128}$", description="Who: role/<name> or user/<name>"
    )
    actions: list[Action] = Field(min_length=1, max_length=10, description="What: s3:GetObject")
    resource: str = Field("*", min_length=1, max_length=1_000, pattern=r"^(\*|arn:.+)$", description="On what: its ARN")
    context: dict[str, str | list[str]] = Field(
        {}, max_length=20, description="Values of condition keys, such as aws:SourceVpc"
    )


def simulate(parameters: PermissionQuestion, run: ScriptRun) -> dict[str, Any]:
    principals = IamPrincipals(run.read("iam"))
    principal = principals.find(parameters.principal)
    results = principals.simulated(principal, parameters.actions, parameters.resource, parameters.context)
    return report(principal["Arn"], parameters.resource, results, list(principals.policies(principal)))


script = Script("debug-permissions", PermissionQuestion, simulate, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
