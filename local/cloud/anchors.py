"""The functions of MiniStack that the overlay replaces or calls, and the digest of each one's source.

``python -m local.cloud.anchors`` prints the table anew, after a change of the pinned version and a look at every
difference.
"""

import hashlib
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable
from typing import Any

PINNED_VERSION = "1.5.33"

ANCHORS: dict[str, str] = {
    "core.iam_actions:_lambda_action": "19fa24ebca40",
    "core.iam_actions:extract_resource_arn": "82f51700695c",
    "core.iam_evaluator:_resolve_condition_key": "15e26964cd38",
    "core.iam_evaluator:enforce": "cf64b1ee5b09",
    "core.lambda_runtime:_worker_class_for": "b5a23849280a",
    "services.alb:_describe_target_health": "d848e8a26fcb",
    "services.cloudformation.changesets:_evaluate_conditions": "e7f9e29b6c01",
    "services.cloudformation.engine:_evaluate_conditions": "e7f9e29b6c01",
    "services.cloudformation.engine:_parse_template": "3accea2c0e11",
    "services.cloudformation.handlers:_evaluate_conditions": "e7f9e29b6c01",
    "services.cloudformation.provisioners:_cfn_nested_stack_deploy": "66d29efafd8a",
    "services.cloudformation.provisioners:_cwlogs_subfilter_create": "473b6f2926aa",
    "services.cloudformation.provisioners:_lambda_create": "8b2cf80e961d",
    "services.cloudformation.provisioners:_lambda_update": "4855410e37d7",
    "services.cloudformation.provisioners:_sfn_definition": "e29ae22959e7",
    "services.cloudformation.provisioners:_update_resource": "21b9b1207f59",
    "services.cloudformation.stacks:_evaluate_conditions": "e7f9e29b6c01",
    "services.cloudwatch:_evaluate_alarm": "a0b0acd3d432",
    "services.cloudwatch:record_metric": "7f777bfbe523",
    "services.cloudwatch_logs:_compile_filter_pattern": "2568f38b5614",
    "services.cloudwatch_logs:_fanout_to_subscription_filters": "cb898244bb9f",
    "services.cloudwatch_logs:_get_query_results": "3c43e39315f5",
    "services.cloudwatch_logs:_put_subscription_filter": "69fdaa27a61e",
    "services.cloudwatch_logs:_start_query": "41514449fa97",
    "services.cloudwatch_logs:_stop_query": "44e64c7ccb8d",
    "services.cloudwatch_logs:_subscription_pattern_matches": "e29009b58150",
    "services.ecs:_complete_service_deployment": "4472ae6823d0",
    "services.ecs:_run_task": "6e96d8f5a5b8",
    "services.eventbridge:_dispatch_to_lambda": "1f95adbaed3a",
    "services.eventbridge:_dispatch_to_sns": "72c921fe20b6",
    "services.eventbridge:_dispatch_to_sqs": "eb75981283a2",
    "services.eventbridge:_dispatch_to_stepfunctions": "d36195e1c480",
    "services.eventbridge:_invoke_target": "550e304af080",
    "services.iam:_simulate_principal_policy": "8dbfeffbf145",
    "services.lambda_svc:_emit_lambda_logs": "111efbf06968",
    "services.lambda_svc:_emit_lambda_metrics": "3b6689d77cf6",
    "services.lambda_svc:_execute_function_dispatch": "f62cd259213e",
    "services.lambda_svc:_execute_function_warm": "62b9218bef5b",
    "services.lambda_svc:_put_function_concurrency": "172358f9cb82",
    "services.lambda_svc:_put_provisioned_concurrency": "c9f084246ab9",
    "services.lambda_svc:_route_async_failure": "c023331e333f",
    "services.lambda_svc:_update_alias": "0017f6b94b06",
    "services.rds:_describe_pending_maintenance_actions": "5fc6eb9ac7df",
    "services.scheduler:_create_schedule": "5b205607c15c",
    "services.scheduler:_tick_schedules": "0ece514e9120",
    "services.scheduler:_update_schedule": "93f7fec4f7d8",
    "services.stepfunctions:_create_state_machine": "4bc1231dda69",
    "services.stepfunctions:_describe_execution": "c3ad294ad8b5",
    "services.stepfunctions:_exec_intrinsic": "4ecd0aea2f6e",
    "services.stepfunctions:_fail_execution": "e6da895fa0b7",
    "services.stepfunctions:_resolve_ctx_path": "9d99cf3416f9",
    "services.stepfunctions:_resolve_path": "4ca0c5fe9f70",
    "services.stepfunctions:_run_execution": "996dff84e0e0",
    "services.stepfunctions:_run_sub_machine": "f8d844168b14",
    "services.stepfunctions:_send_task_failure": "c2a489b4ed33",
    "services.stepfunctions:_send_task_heartbeat": "56879a4655d1",
    "services.stepfunctions:_send_task_success": "12eff48bce57",
    "services.stepfunctions:_start_execution": "9923282fc76c",
    "services.stepfunctions:_stop_execution": "44d2d84ccd5c",
    "services.stepfunctions:_update_state_machine": "476e0deee6a3",
}


class AnchorError(RuntimeError):
    """MiniStack is not what the overlay was written for."""


def check() -> None:
    """Compare MiniStack with the pinned version and every anchor with its digest.

    Raises
    ------
    AnchorError
        With the names of all anchors that differ.
    """
    try:
        installed = importlib.metadata.version("ministack")
    except importlib.metadata.PackageNotFoundError:
        raise AnchorError(f"MiniStack is not installed: pip install ministack=={PINNED_VERSION}") from None
    changed = [name for name, digest in ANCHORS.items() if _digest(name) != digest]
    if installed != PINNED_VERSION or changed:
        raise AnchorError(
            f"MiniStack {installed} is installed, the overlay is written for {PINNED_VERSION}"
            + (f"; changed or missing: {', '.join(changed)}" if changed else "")
            + f". Install it with: pip install ministack=={PINNED_VERSION}"
        )


def replace(anchor: str, replacement: Callable[..., Any]) -> Callable[..., Any]:
    """Put ``replacement`` in the place of ``module:function`` and return what stood there."""
    if anchor not in ANCHORS:
        raise AnchorError(f"{anchor} is replaced without a digest")
    owner, name = _locate(anchor)
    original = getattr(owner, name)
    setattr(owner, name, replacement)
    return original


def _locate(anchor: str) -> tuple[Any, str]:
    module, _, path = anchor.partition(":")
    owner: Any = importlib.import_module(f"ministack.{module}")
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name


def _digest(anchor: str) -> str | None:
    try:
        owner, name = _locate(anchor)
        value = getattr(owner, name)
    except (ImportError, AttributeError):
        return None
    source = value if isinstance(value, str) else inspect.getsource(value)
    return hashlib.sha256(source.encode()).hexdigest()[:12]


if __name__ == "__main__":
    for known in sorted(ANCHORS):
        print(f'    "{known}": "{_digest(known)}",')
