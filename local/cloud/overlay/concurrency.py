"""Lambda: what is refused when concurrency is reserved or provisioned, and provisioning that takes a moment."""

from __future__ import annotations

import contextvars
import threading
import time
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import lambda_svc
from ministack.services.cloudformation import provisioners

from local.cloud import anchors

ACCOUNT_LIMIT = 1000
UNRESERVED_MINIMUM = 100
READY_SECONDS = 0.5


def install() -> None:
    reserve = anchors.replace(
        "services.lambda_svc:_put_function_concurrency",
        lambda name, request: _unreservable(name, request) or reserve(name, request),
    )
    provision = anchors.replace(
        "services.lambda_svc:_put_provisioned_concurrency",
        lambda name, qualifier, request: (
            _unprovisionable(name, qualifier, request) or _provision(provision, name, qualifier, request)
        ),
    )
    update_alias = anchors.replace(
        "services.lambda_svc:_update_alias",
        lambda name, alias, request: _no_such_version(name, request) or update_alias(name, alias, request),
    )
    kind = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    create = anchors.replace(
        "services.cloudformation.provisioners:_lambda_create",
        lambda logical_id, props, stack: _reserved(create(logical_id, props, stack), {}, props),
    )
    change = anchors.replace(
        "services.cloudformation.provisioners:_lambda_update",
        lambda physical_id, before, props, stack, logical_id=None: _reserved(
            change(physical_id, before, props, stack, logical_id), before, props
        ),
    )
    kind["create"], kind["update"] = provisioners._lambda_create, provisioners._lambda_update


def _reserved(
    made: tuple[str, dict[str, Any]], before: dict[str, Any], props: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """A function that a stack made or changed, with the concurrency that its template reserves."""
    name, wanted = made[0], props.get("ReservedConcurrentExecutions")
    if wanted == before.get("ReservedConcurrentExecutions"):
        return made
    if wanted is None:
        lambda_svc._delete_function_concurrency(name)
        return made
    answer = lambda_svc._put_function_concurrency(name, {"ReservedConcurrentExecutions": int(wanted)})
    if answer[0] >= 400:
        raise ValueError(f"AWS::Lambda::Function ReservedConcurrentExecutions failed: {answer[2]!r}")
    return made


def _unreservable(name: str, request: dict[str, Any]) -> Any:
    wanted = request.get("ReservedConcurrentExecutions", 0)
    others = sum(
        function.get("concurrency") or 0 for key, function in list(lambda_svc._functions.items()) if key != name
    )
    if ACCOUNT_LIMIT - others - wanted < UNRESERVED_MINIMUM:
        return _invalid(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
            f"below its minimum value of [{UNRESERVED_MINIMUM}]."
        )
    provisioned = sum(
        config["RequestedProvisionedConcurrentExecutions"]
        for config in (lambda_svc._functions.get(name) or {}).get("provisioned_concurrency", {}).values()
    )
    if provisioned > wanted:
        return _invalid("ReservedConcurrentExecutions is below the function's provisioned concurrency")
    return None


def _unprovisionable(name: str, qualifier: str, request: dict[str, Any]) -> Any:
    if qualifier in ("", "$LATEST"):
        return _invalid("Provisioned Concurrency Configs cannot be applied to unpublished function versions.")
    reserved = (lambda_svc._functions.get(name) or {}).get("concurrency")
    wanted = request.get("ProvisionedConcurrentExecutions", 0)
    if reserved is not None and wanted > reserved:
        return _invalid(
            "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
        )
    return None


def _provision(provision: Any, name: str, qualifier: str, request: dict[str, Any]) -> Any:
    answer = provision(name, qualifier, request)
    config = (lambda_svc._functions.get(name) or {}).get("provisioned_concurrency", {}).get(qualifier)
    if answer[0] >= 300 or config is None:
        return answer
    config.update(
        Status="IN_PROGRESS",
        AvailableProvisionedConcurrentExecutions=0,
        AllocatedProvisionedConcurrentExecutions=0,
    )

    def ready() -> None:
        time.sleep(READY_SECONDS)
        count = config["RequestedProvisionedConcurrentExecutions"]
        config.update(
            Status="READY",
            AvailableProvisionedConcurrentExecutions=count,
            AllocatedProvisionedConcurrentExecutions=count,
        )

    threading.Thread(target=contextvars.copy_context().run, args=(ready,), daemon=True).start()
    return lambda_svc.json_response(config, 202)


def _no_such_version(name: str, request: dict[str, Any]) -> Any:
    function = lambda_svc._functions.get(name)
    weights = (request.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    for version in [request["FunctionVersion"], *weights] if "FunctionVersion" in request else weights:
        if function and version != "$LATEST" and version not in function["versions"]:
            arn = f"{function['config']['FunctionArn']}:{version}"
            return error_response_json("ResourceNotFoundException", f"Function not found: {arn}", 404)
    return None


def _invalid(message: str) -> Any:
    return error_response_json("InvalidParameterValueException", message, 400)
