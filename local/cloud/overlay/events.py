"""EventBridge: permissions of targets, dead-letter queues, Lambda's asynchronous retries."""

from __future__ import annotations

import contextvars
import json
import logging
from typing import Any

from ministack.services import lambda_svc, sns, sqs, stepfunctions

from local.cloud import anchors
from local.cloud.overlay import roles

PRINCIPAL = "events.amazonaws.com"

logger = logging.getLogger("events")
# The target being served and the ARN of its rule; the functions that deliver know neither.
_delivery: contextvars.ContextVar[tuple[dict[str, Any], str]] = contextvars.ContextVar("delivery")


class _Undelivered(Exception):
    """A target that did not take the event, with EventBridge's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def install() -> None:
    invoke = anchors.replace(
        "services.eventbridge:_invoke_target",
        lambda target, event, rule, view=None: _invoke(invoke, target, event, rule, view),
    )
    to_sqs = anchors.replace(
        "services.eventbridge:_dispatch_to_sqs",
        lambda spec, payload, parameters=None: _deliver(payload, lambda: _to_queue(to_sqs, spec, payload, parameters)),
    )
    anchors.replace(
        "services.eventbridge:_dispatch_to_lambda",
        lambda arn, payload: _deliver(payload, lambda: _to_function(arn, payload)),
    )
    anchors.replace(
        "services.eventbridge:_dispatch_to_sns",
        lambda arn, payload: _deliver(payload, lambda: _to_topic(arn, payload)),
    )
    anchors.replace(
        "services.eventbridge:_dispatch_to_stepfunctions",
        lambda arn, payload: _deliver(payload, lambda: _to_machine(arn, payload)),
    )
    fail = anchors.replace(
        "services.lambda_svc:_route_async_failure",
        lambda arn, name, event, result: _to_destination(fail, arn, name, event, result),
    )


def _invoke(invoke: Any, target: dict[str, Any], event: Any, rule: dict[str, Any], view: Any) -> None:
    token = _delivery.set((target, rule.get("Arn", "")))
    try:
        invoke(target, event, rule, view)
    finally:
        _delivery.reset(token)


def _deliver(payload: str, deliver: Any) -> None:
    """Deliver an event, or put it into the target's dead-letter queue. Nothing is retried: nothing here recovers."""
    target, rule_arn = _delivery.get()
    try:
        deliver()
    except _Undelivered as problem:
        logger.warning("%s did not take an event of %s: %s", target["Arn"], rule_arn, problem)
        dead_letters = (target.get("DeadLetterConfig") or {}).get("Arn", "")
        queue = sqs._queue_by_arn(dead_letters)
        if queue is None:
            return
        if not roles.service_may(
            PRINCIPAL, queue["attributes"].get("Policy"), "sqs:SendMessage", dead_letters, rule_arn
        ):
            logger.warning("the policy of %s does not let EventBridge send to it", dead_letters)
            return
        attributes = {
            "RULE_ARN": rule_arn,
            "TARGET_ARN": target["Arn"],
            "ERROR_CODE": problem.code,
            "ERROR_MESSAGE": str(problem),
        }
        sqs._act_send_message(
            {
                "QueueUrl": queue["url"],
                "MessageBody": payload,
                "MessageAttributes": {
                    name: {"DataType": "String", "StringValue": value or "-"} for name, value in attributes.items()
                },
            },
            queue["url"],
        )


def _require(action: str, resource_arn: str, policy: Any) -> None:
    """A rule needs the permission of its target; a schedule has a role of its own."""
    target, rule_arn = _delivery.get()
    if ":scheduler:" in rule_arn:
        refusal = roles.denied(target.get("RoleArn", ""), action, resource_arn)
    elif roles.service_may(PRINCIPAL, policy, action, resource_arn, rule_arn):
        refusal = None
    else:
        refusal = f"The policy of {resource_arn} does not let EventBridge do {action}"
    if refusal:
        raise _Undelivered("NO_PERMISSIONS", refusal)


def _to_function(arn: str, payload: str) -> None:
    function, config, name = lambda_svc._get_func_record_for_ref(arn)
    if not function or not config:
        raise _Undelivered("RESOURCE_NOT_FOUND", f"Function not found: {name}")
    _require("lambda:InvokeFunction", config["FunctionArn"], function.get("policy"))
    lambda_svc.invoke_async_with_retry(lambda_svc._execution_record_for_config(function, config), json.loads(payload))


def _to_queue(send: Any, spec: Any, payload: str, parameters: Any) -> None:
    queue = sqs._queue_by_arn(str(spec))
    if queue is None:
        raise _Undelivered("RESOURCE_NOT_FOUND", f"Queue not found: {spec}")
    _require("sqs:SendMessage", str(spec), queue["attributes"].get("Policy"))
    send(spec, payload, parameters)


def _to_topic(arn: str, payload: str) -> None:
    found = sns.topic_policy_for_arn(arn)
    if found is None:
        raise _Undelivered("RESOURCE_NOT_FOUND", f"Topic not found: {arn}")
    _require("sns:Publish", arn, found[0])
    sns.publish_internal(arn, payload, "")


def _to_machine(arn: str, payload: str) -> None:
    target, _ = _delivery.get()
    refusal = roles.denied(target.get("RoleArn", ""), "states:StartExecution", arn)
    if refusal:
        raise _Undelivered("NO_PERMISSIONS", refusal)
    status, _, body = stepfunctions._start_execution({"stateMachineArn": arn, "input": payload})
    if status >= 400:
        raise _Undelivered("SDK_CLIENT_ERROR", body.decode() if isinstance(body, bytes) else str(body))


def _to_destination(send: Any, arn: str, function_name: str, event: Any, result: Any) -> None:
    """An event that a function failed on, to where its role may send it."""
    action = {"sqs": "sqs:SendMessage", "sns": "sns:Publish"}.get(arn.split(":")[2])
    role = lambda_svc._functions[function_name]["config"]["Role"]
    refusal = roles.denied(role, action, arn) if action else None
    if refusal:
        logger.warning("an event that %s failed on is lost: %s", function_name, refusal)
        return
    send(arn, function_name, event, result)
