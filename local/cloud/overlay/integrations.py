"""The calls of other services that a Task makes, with the permissions of the state machine's role."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ministack.core import iam_actions
from ministack.core.responses import get_account_id, get_region
from ministack.services import lambda_svc, stepfunctions

from local.cloud.overlay import data_flow, roles

_ExecutionError = stepfunctions._ExecutionError
_INTEGRATION = "arn:aws:states:::"


@dataclass(frozen=True)
class Follow:
    """How to see whether what a .sync task started has ended, and how to stop it."""

    look: Callable[[Any], tuple[bool, Any]]
    stop: Callable[[Any], None]


@dataclass(frozen=True)
class Call:
    """One call of a service, ready to be made."""

    resource: str
    run: Callable[[], Any]
    submits: bool = False
    follow: Follow | None = None

    @property
    def integration(self) -> bool:
        """Whether it is a service integration, and not a Lambda function named by its ARN."""
        return self.resource.startswith(_INTEGRATION)

    def event(self, kind: str) -> str:
        return f"{'Task' if self.integration else 'LambdaFunction'}{kind}"

    def details(self, kind: str) -> str:
        return f"{'task' if self.integration else 'lambdaFunction'}{kind}EventDetails"

    def named(self) -> dict[str, Any]:
        """The service and the action, as the events of a task name them."""
        if not self.integration:
            return {}
        service, _, action = self.resource.removeprefix(_INTEGRATION).rpartition(":")
        return {"resourceType": service, "resource": action}

    def scheduled(self, parameters: str, region: str, timeout: float | None) -> dict[str, Any]:
        limit = {} if timeout is None else {"timeoutInSeconds": timeout}
        if self.integration:
            return {**self.named(), "region": region, "parameters": parameters, **limit}
        return {"resource": self.resource, "input": parameters, **limit}


def call_for(resource: str, parameters: Any, execution: dict[str, Any]) -> Call:
    """The call that a Task's Resource and Parameters stand for."""
    machine_arn = execution["stateMachineArn"].partition("/")[0]
    role_arn = stepfunctions._state_machines[machine_arn]["roleArn"]
    plain, waits = resource.removesuffix(".waitForTaskToken"), resource.endswith(".waitForTaskToken")
    if ":function:" in resource and not resource.startswith(_INTEGRATION):
        return Call(resource, lambda: _invoke_lambda(resource, parameters, role_arn))
    if plain == f"{_INTEGRATION}lambda:invoke":
        return Call(resource, lambda: _lambda_invoke(parameters, role_arn), submits=waits)
    if plain.startswith(f"{_INTEGRATION}states:startExecution"):
        suffix = plain.partition("startExecution")[2]
        return Call(
            resource,
            lambda: _start_execution(parameters, role_arn, follow=bool(suffix)),
            submits=waits or bool(suffix),
            follow=_nested(decode=suffix == ".sync:2") if suffix else None,
        )

    def run() -> Any:
        action, arn = _permission(plain, parameters)
        refusal = roles.denied(role_arn, action, arn)
        if refusal:
            service = action.partition(":")[0].title()
            raise _ExecutionError(f"{service}.AccessDeniedException", refusal)
        return stepfunctions._invoke_resource(plain, parameters)

    return Call(resource, run, submits=waits)


def _lambda_invoke(parameters: Any, role_arn: str) -> dict[str, Any]:
    if not isinstance(parameters, dict) or not parameters.get("FunctionName"):
        raise _ExecutionError("States.Runtime", "The Parameters of lambda:invoke have no FunctionName")
    result = _invoke_lambda(parameters["FunctionName"], parameters.get("Payload", {}), role_arn)
    return {"ExecutedVersion": "$LATEST", "Payload": result, "StatusCode": 200}


def _invoke_lambda(reference: str, payload: Any, role_arn: str) -> Any:
    function, config, name = lambda_svc._get_func_record_for_ref(reference)
    arn = config["FunctionArn"] if config else f"arn:aws:lambda:{get_region()}:{get_account_id()}:function:{name}"
    refusal = roles.denied(role_arn, "lambda:InvokeFunction", arn)
    if refusal:
        raise _ExecutionError("Lambda.AWSLambdaException", f"{refusal} (Service: Lambda, Status Code: 403)")
    if not function or not config:
        raise _ExecutionError("Lambda.ResourceNotFoundException", f"Function not found: {arn}")
    record = lambda_svc._execution_record_for_config(function, config)
    result = lambda_svc._execute_function_with_config_scope(record, payload)
    body = result.get("body")
    if result.get("throttle"):
        raise _ExecutionError("Lambda.TooManyRequestsException", data_flow.dumps(body))
    if result.get("error"):
        error = body.get("errorType", "Lambda.Unknown") if isinstance(body, dict) else "Lambda.Unknown"
        raise _ExecutionError(error, data_flow.dumps(body))
    return body


def _start_execution(parameters: Any, role_arn: str, *, follow: bool) -> dict[str, Any]:
    machine_arn = parameters.get("StateMachineArn", "")
    needed = [("states:StartExecution", machine_arn)]
    if follow:
        executions = machine_arn.replace(":stateMachine:", ":execution:") + ":*"
        needed.append(("states:DescribeExecution", executions))
    for action, arn in needed:
        refusal = roles.denied(role_arn, action, arn)
        if refusal:
            raise _ExecutionError("StepFunctions.AccessDeniedException", refusal)
    text = parameters.get("Input", {})
    request = {"stateMachineArn": machine_arn, "input": text if isinstance(text, str) else data_flow.dumps(text)}
    if "Name" in parameters:
        request["name"] = parameters["Name"]
    status, _, body = stepfunctions._start_execution(request)
    answer = json.loads(body)
    if status >= 400:
        error = answer.get("__type", "AWSStepFunctionsException").rpartition("#")[2]
        raise _ExecutionError(f"StepFunctions.{error}", f"{answer.get('message', '')} (Service: AWSStepFunctions)")
    return {"ExecutionArn": answer["executionArn"], "StartDate": answer["startDate"]}


def _nested(*, decode: bool) -> Follow:
    def look(started: dict[str, Any]) -> tuple[bool, Any]:
        child = stepfunctions._executions[started["ExecutionArn"]]
        if child["status"] == "RUNNING":
            return False, None
        ended = {
            "ExecutionArn": child["executionArn"],
            "Input": child["input"],
            "InputDetails": {"Included": True},
            "Name": child["name"],
            "StartDate": stepfunctions._iso_to_epoch_ms(child["startDate"]),
            "StateMachineArn": child["stateMachineArn"],
            "Status": child["status"],
            "StopDate": stepfunctions._iso_to_epoch_ms(child["stopDate"]),
        }
        if child["status"] == "SUCCEEDED":
            output = json.loads(child["output"]) if decode else child["output"]
            if decode:
                ended["Input"] = json.loads(child["input"])
            return True, ended | {"Output": output, "OutputDetails": {"Included": True}}
        failure = {"Error": child.get("error"), "Cause": child.get("cause")}
        ended |= {key: value for key, value in failure.items() if value}
        raise _ExecutionError("States.TaskFailed", data_flow.dumps(ended))

    def stop(started: dict[str, Any]) -> None:
        child = stepfunctions._executions.get(started["ExecutionArn"])
        if child is not None and child["status"] == "RUNNING":
            cause = "The execution that waits for this one has ended"
            stepfunctions._stop_execution({"executionArn": child["executionArn"], "cause": cause})

    return Follow(look, stop)


def _permission(resource: str, parameters: Any) -> tuple[str, str]:
    """The IAM action of an integration and the resource it acts on."""
    service, _, operation = resource.removeprefix(_INTEGRATION).removeprefix("aws-sdk:").partition(":")
    operation = operation.removesuffix(".sync")
    action_name = operation[:1].upper() + operation[1:]
    info = stepfunctions._AWS_SDK_SERVICE_MAP.get(service, {})
    key = info.get("service_key", service)
    action = f"{iam_actions.SERVICE_TO_IAM_NAMESPACE.get(key, key)}:{action_name}"
    values = parameters if isinstance(parameters, dict) else {}
    prefix = f"arn:aws:{key}:{get_region()}:{get_account_id()}:"
    if key == "sqs":
        return action, prefix + values.get("QueueUrl", "").rpartition("/")[2]
    if key == "sns":
        return action, values.get("TopicArn", "*")
    if key == "s3" and "Bucket" in values:
        return action, "arn:aws:s3:::" + "/".join(values[part] for part in ("Bucket", "Key") if part in values)
    # MiniStack reads the resource from the request, which a JSON service's parameters are.
    headers = {"x-amz-target": f"{info.get('target_prefix', '')}.{action_name}"}
    body = json.dumps(values).encode()
    return action, iam_actions.extract_resource_arn(key, "POST", "/", headers, body, {}, get_region(), get_account_id())
