"""What a service may do in a role's name: the checks that AWS makes when one service calls another."""

from __future__ import annotations

import hashlib
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.services import sts


def denied(role_arn: str, action: str, resource_arn: str, **context: Any) -> str | None:
    """Why the role may not do this, in IAM's words, or ``None`` when it may."""
    name = role_arn.rpartition("/")[2]
    principal = f"arn:aws:sts::{get_account_id()}:assumed-role/{name}/local-cloud"
    result = iam_evaluator.evaluate(
        iam_evaluator.EvalContext(
            principal_arn=principal,
            principal_type="AssumedRole",
            principal_account=get_account_id(),
            action=action,
            resource_arn=resource_arn,
            region=get_region(),
            service_context={key.lower(): value for key, value in context.items()},
            principal_keys={},
        ),
        iam_evaluator._gather_role_policies(name, get_account_id()),
    )
    if result.decision == "Allow":
        return None
    because = (
        "with an explicit deny in an identity-based policy"
        if result.decision == "Deny"
        else f"because no identity-based policy allows the {action} action"
    )
    return f"User: {principal} is not authorized to perform: {action} on resource: {resource_arn} {because}"


def caller_denied(action: str, resource_arn: str, **context: Any) -> str | None:
    """Why whoever made the request being served may not do this as well, or ``None`` when they may."""
    caller = iam_evaluator.caller_arn()
    if ":assumed-role/" not in caller:
        return None
    return denied(f"role/{caller.split('/')[1]}", action, resource_arn, **context)


def client(role_arn: str, service: str, endpoint_url: str) -> Any:
    """A boto3 client of this cloud that has the role's permissions and no other."""
    import boto3
    from botocore.config import Config

    digest = hashlib.sha256(role_arn.encode()).hexdigest()
    key, secret, token = f"ASIA{digest[:16].upper()}", f"secret{digest}", f"token{digest}"
    name = role_arn.rpartition("/")[2]
    sts.register_session(
        key,
        {
            "Arn": f"arn:aws:sts::{get_account_id()}:assumed-role/{name}/local-cloud",
            "UserId": f"{name}:local-cloud",
            "SecretAccessKey": secret,
            "SessionToken": token,
        },
    )
    return boto3.Session().client(
        service,  # type: ignore[call-overload]
        endpoint_url=endpoint_url,
        region_name=get_region(),
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"max_attempts": 1}, read_timeout=120, s3={"addressing_style": "path"}),
    )


def service_may(principal: str, policy: Any, action: str, resource_arn: str, source_arn: str) -> bool:
    """Whether a resource's own policy lets a service act on it for this source."""
    result = iam_evaluator.evaluate_resource_policy(
        policy or {},
        iam_evaluator.EvalContext(
            principal_arn=f"arn:aws:iam::{get_account_id()}:service/{principal}",
            principal_type="Service",
            principal_account="",
            action=action,
            resource_arn=resource_arn,
            region=get_region(),
            secure_transport=True,
            service_context={"aws:sourcearn": source_arn, "aws:sourceaccount": get_account_id()},
        ),
        service=principal,
    )
    return result.decision == "Allow"
