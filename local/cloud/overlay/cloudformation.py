"""CloudFormation: transforms in nested stacks, lists joined in conditions, state machines written in YAML."""

from __future__ import annotations

import contextvars
from typing import Any

from ministack.services.cloudformation import _stacks, engine

from local.cloud import anchors
from local.cloud.overlay import step_functions

# The parameters of the nested stack whose template is about to be parsed: only there the transforms are missing.
_nested_parameters: contextvars.ContextVar[list[dict[str, str]] | None] = contextvars.ContextVar(
    "nested_parameters", default=None
)


def install() -> None:
    parse_template = anchors.replace(
        "services.cloudformation.engine:_parse_template", lambda body: _parse(parse_template, body)
    )
    evaluate = engine._evaluate_conditions
    # Each of these modules has its own name for it.
    for module in ("engine", "handlers", "stacks", "changesets"):
        anchors.replace(
            f"services.cloudformation.{module}:_evaluate_conditions",
            lambda template, parameters: evaluate(_with_joins(template, parameters), parameters),
        )
    deploy_nested = anchors.replace(
        "services.cloudformation.provisioners:_cfn_nested_stack_deploy",
        lambda *arguments, **keywords: _deploy_nested(deploy_nested, *arguments, **keywords),
    )
    update_resource = anchors.replace(
        "services.cloudformation.provisioners:_update_resource",
        lambda *arguments, **keywords: _update(update_resource, *arguments, **keywords),
    )
    definition = anchors.replace(
        "services.cloudformation.provisioners:_sfn_definition",
        lambda props: _definition(definition(props), props),
    )


def _deploy_nested(deploy: Any, logical_id: str, props: dict[str, Any], *arguments: Any, **keywords: Any) -> Any:
    """Have the child's template transformed, as CloudFormation does, before its resources are made."""
    parameters = [{"Key": key, "Value": str(value)} for key, value in (props.get("Parameters") or {}).items()]
    token = _nested_parameters.set(parameters)
    try:
        return deploy(logical_id, props, *arguments, **keywords)
    finally:
        _nested_parameters.reset(token)


def _update(
    update: Any,
    resource_type: str,
    physical_id: str,
    old_props: dict[str, Any],
    new_props: dict[str, Any],
    stack_name: str,
    logical_id: str | None = None,
    old_attrs: dict[str, Any] | None = None,
) -> Any:
    """Keep the attributes of a nested stack's resource that an update does not change; MiniStack forgets them."""
    if old_attrs is None:
        before = (_stacks.get(stack_name) or {}).get("_resources", {}).get(logical_id, {})
        old_attrs = before.get("Attributes")
    return update(resource_type, physical_id, old_props, new_props, stack_name, logical_id, old_attrs)


def _with_joins(template: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """The template with a text in the place of every `Fn::Join` of its conditions."""
    return {**template, "Conditions": _joined(template.get("Conditions", {}), parameters)}


def _joined(node: Any, parameters: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_joined(item, parameters) for item in node]
    if not isinstance(node, dict):
        return node
    if set(node) == {"Fn::Join"}:
        delimiter, items = node["Fn::Join"]
        return delimiter.join(_listed(items, parameters))
    return {key: _joined(value, parameters) for key, value in node.items()}


def _listed(items: Any, parameters: dict[str, Any]) -> list[str]:
    if isinstance(items, dict):
        # A list's value is kept as it was given.
        return [item.strip() for item in str(parameters[items["Ref"]]["Value"]).split(",")]
    return [str(parameters[item["Ref"]]["Value"]) if isinstance(item, dict) else item for item in items]


def _parse(parse: Any, body: str) -> dict[str, Any]:
    template = parse(body)
    parameters = _nested_parameters.get()
    if parameters is None:
        return template
    _nested_parameters.set(None)
    transformed = engine._apply_transforms(template, parameters)
    if isinstance(transformed, engine._TransformFailed):
        raise ValueError(f"Transform failed: {transformed.error}")  # noqa: TRY004
    return transformed


def _definition(text: str, props: dict[str, Any]) -> str:
    """The definition as JSON, if Step Functions would take it."""
    try:
        return step_functions.checked_definition(text, props.get("RoleArn"), props.get("LoggingConfiguration"))
    except step_functions.Refused as refusal:
        raise ValueError(f"{refusal} (Service: Sfn, Status Code: 400, Error Code: {refusal.code})") from None
