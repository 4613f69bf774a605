"""The templates resolved as CloudFormation would, for a test account."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[2]
ACCOUNT, REGION, NAME = "123456789012", "us-east-1", "watchfloor"
_PSEUDO: dict[str, Any] = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::StackName": NAME,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{NAME}/1a2b3c4d-0000-0000-0000-000000000000",
    "AWS::NoValue": None,
}


@cache
def template(path: str) -> dict[str, Any]:
    """A template of the project, its intrinsic functions in long form."""
    return yaml_parse((ROOT / path).read_text())


@cache
def machine(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / f"statemachines/{name}.asl.yaml").read_text())


class Stack:
    """One template with its parameters; resources have the names that `physical_id` gives them."""

    def __init__(self, path: str, **parameters: str) -> None:
        self._template = template(path)
        self._parameters: dict[str, Any] = {}
        for name, declared in self._template["Parameters"].items():
            value = str(parameters[name] if name in parameters else declared["Default"])
            self._parameters[name] = value.split(",") if declared["Type"] == "CommaDelimitedList" else value

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """Logical id -> resolved properties of the resources of a type."""
        return {
            logical_id: self.resolve(resource.get("Properties", {}))
            for logical_id, resource in self._template["Resources"].items()
            if not logical_id.startswith("Fn::") and resource["Type"] == kind
        }

    def globals(self) -> dict[str, Any]:
        return self.resolve(self._template["Globals"])

    def resolve(self, value: Any) -> Any:
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not None]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (name, argument), *_ = value.items()
            if name == "Ref":
                return self._ref(argument)
            if name.startswith("Fn::"):
                return self._function(name, argument)
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not None}

    def _function(self, name: str, argument: Any) -> Any:
        if name == "Fn::GetAtt":
            logical_id, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
            return self._attribute(logical_id, attribute)
        if name == "Fn::If":
            condition, yes, no = argument
            return self.resolve(yes if self._holds(self._template["Conditions"][condition]) else no)
        if name == "Fn::Sub":
            text, own = argument if isinstance(argument, list) else (argument, {})
            return re.sub(r"\$\{([^}]+)}", lambda match: self._substitute(match[1], own), text)
        resolved = self.resolve(argument)
        if name == "Fn::Join":
            return resolved[0].join(resolved[1])
        if name == "Fn::Split":
            return resolved[1].split(resolved[0])
        if name == "Fn::Select":
            return resolved[1][int(resolved[0])]
        raise NotImplementedError(name)

    def _substitute(self, name: str, own: dict[str, Any]) -> str:
        if name in own:
            return str(self.resolve(own[name]))
        return str(self._function("Fn::GetAtt", name) if "." in name else self._ref(name))

    def _holds(self, condition: dict[str, Any]) -> bool:
        (name, argument), *_ = condition.items()
        if name == "Fn::Not":
            return not self._holds(argument[0])
        if name == "Fn::Equals":
            return self.resolve(argument[0]) == self.resolve(argument[1])
        raise NotImplementedError(name)

    def _ref(self, name: str) -> Any:
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name in self._parameters:
            return self._parameters[name]
        kind = self._template["Resources"][name]["Type"]
        if kind == "AWS::Serverless::StateMachine":
            return self._attribute(name, "Arn")
        if kind == "AWS::SNS::Topic":
            return f"arn:aws:sns:{REGION}:{ACCOUNT}:{physical_id(name)}"
        return physical_id(name)

    def _attribute(self, logical_id: str, attribute: str) -> str:
        if attribute.startswith("Outputs."):
            return physical_id(attribute.removeprefix("Outputs."))
        resource = self._template["Resources"][logical_id]
        if attribute == "Arn" and resource["Type"] == "AWS::IAM::Role":
            return f"arn:aws:iam::{ACCOUNT}:role/{physical_id(logical_id)}"
        if attribute == "Arn":
            service, what = {
                "AWS::Serverless::Function": ("lambda", "function:"),
                "AWS::Serverless::StateMachine": ("states", "stateMachine:"),
                "AWS::Logs::LogGroup": ("logs", "log-group:"),
                "AWS::SQS::Queue": ("sqs", ""),
            }[resource["Type"]]
            own_name = resource["Properties"].get("Name") if service == "states" else None
            return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{what}{self.resolve(own_name) or physical_id(logical_id)}"
        return f"{logical_id}.{attribute}"


def physical_id(logical_id: str) -> str:
    return f"{NAME}-{logical_id}".lower()
