"""The scripts as they stand in the project: module, document, template and event of each."""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from samtranslator.yaml_helper import yaml_parse

from local.scripts.calls import Calls, calls_of
from watchfloor.clients.script_runtime import Script
from watchfloor.scripts import GROUPS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path("functions/scripts")
EVENTS = Path("events/scripts")
# The order in which a document's sections stand; those in WRITTEN are made from code, template and event.
SECTIONS = ("Purpose", "Input Parameters", "Output", "Permissions", "Risk", "Usage", "Changes")
WRITTEN = ("Input Parameters", "Permissions", "Usage")
SHARED_POLICIES = ("UseKeyPolicy", "RecordCallPolicy", "SpareWatchfloorPolicy", "UseApprovalPolicy")


class ScriptError(Exception):
    """A script cannot be read; the message says what is wrong with which file."""


@dataclass(frozen=True)
class Document:
    """A script's document: front matter, and the text of each section."""

    owner: str
    reviewed: dt.date | None
    title: str
    sections: dict[str, str]


@dataclass(frozen=True)
class Permission:
    action: str
    resource: str


@dataclass(frozen=True)
class Entry:
    """One script; `stem` names its files."""

    root: Path
    stem: str

    @property
    def name(self) -> str:
        return self.stem.replace("_", "-")

    @property
    def group(self) -> str:
        return self.stem.partition("_")[0]

    @property
    def logical_id(self) -> str:
        return "".join(word.capitalize() for word in self.stem.split("_"))

    @property
    def module_path(self) -> Path:
        return self.root / FOLDER / f"{self.stem}.py"

    @property
    def document_path(self) -> Path:
        return self.root / FOLDER / f"{self.stem}.md"

    @property
    def event_path(self) -> Path:
        return self.root / EVENTS / f"{self.stem}.json"

    @property
    def test_path(self) -> Path:
        """test_<stem>.py; a stem that begins with test itself may have test_script_ before it."""
        folder = self.root / "tests/unit"
        other = folder / f"test_script_{self.stem}.py"
        return other if other.exists() else folder / f"test_{self.stem}.py"

    @cached_property
    def script(self) -> Script[Any]:
        return _imported(self.module_path).script

    @cached_property
    def description(self) -> str:
        """The first paragraph of the module's docstring."""
        text = (_imported(self.module_path).__doc__ or "").strip().partition("\n\n")[0]
        return " ".join(text.split())

    @cached_property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the parameters."""
        return self.script.parameters.model_json_schema()

    @cached_property
    def calls(self) -> Calls:
        return calls_of(self.module_path, self.root / "layers/watchfloor")

    @cached_property
    def document(self) -> Document:
        return read_document(self.document_path)

    @cached_property
    def event(self) -> dict[str, Any]:
        return json.loads(self.event_path.read_text(encoding="utf-8"))

    @cached_property
    def function(self) -> dict[str, Any]:
        """Its properties in the template."""
        found = template(self.root)["Resources"].get(f"{self.logical_id}Function")
        if found is None:
            raise ScriptError(f"{FOLDER}/template.yaml has no {self.logical_id}Function")
        return found["Properties"]

    @cached_property
    def permissions(self) -> list[Permission]:
        """What its own statements allow; what all scripts share stands apart."""
        found = []
        for policy in self.function.get("Policies", []):
            for statement in _statements(policy):
                for action in _listed(statement["Action"]):
                    found += [Permission(action, label(item)) for item in _listed(statement["Resource"])]
        return sorted(found, key=lambda permission: (permission.action, permission.resource))

    def to_dict(self) -> dict[str, Any]:
        """The entry as `watchfloor script list --json` shows it."""
        return {
            "name": self.name,
            "group": self.group,
            "owner": self.document.owner,
            "description": self.description,
            "parameters": self.schema,
            "permissions": [
                {"action": permission.action, "resource": permission.resource} for permission in self.permissions
            ],
            "risk": self.script.risk,
            "writes": self.calls.writes,
        }


def entries(root: Path = ROOT) -> list[Entry]:
    """All scripts, those of a group together."""
    stems = [path.stem for path in (root / FOLDER).glob("*.py") if path.stem.partition("_")[0] in GROUPS]
    return [Entry(root, stem) for stem in sorted(stems, key=lambda stem: (GROUPS.index(stem.partition("_")[0]), stem))]


def template(root: Path) -> dict[str, Any]:
    """The scripts' template, its intrinsic functions in long form."""
    path = root / FOLDER / "template.yaml"
    return _parsed(path, path.stat().st_mtime_ns)


_templates: dict[tuple[Path, int], dict[str, Any]] = {}


def _parsed(path: Path, changed: int) -> dict[str, Any]:
    if (path, changed) not in _templates:
        _templates[path, changed] = yaml_parse(path.read_text(encoding="utf-8"))
    return _templates[path, changed]


def read_document(path: Path) -> Document:
    """ScriptError where it is not in the form of docs/scripts.md."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScriptError(f"there is no document {path.name}") from error
    found = re.match(r"---\n(.*?)^---\n\s*^## (.+?)\n(.*)", text, re.DOTALL | re.MULTILINE)
    if not found:
        raise ScriptError(f"{path.name} must begin with its front matter and `## Script Name: ...`")
    try:
        matter = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        raise ScriptError(f"{path.name}: the front matter is not YAML: {error}") from error
    matter = matter if isinstance(matter, dict) else {}
    parts = re.split(r"^### (.+)\n", found[3], flags=re.MULTILINE)
    sections = {title.strip(): body.strip() for title, body in zip(parts[1::2], parts[2::2], strict=True)}
    reviewed = matter.get("reviewed")
    return Document(
        owner=str(matter.get("owner") or ""),
        reviewed=reviewed if isinstance(reviewed, dt.date) else None,
        title=found[2],
        sections=sections,
    )


def label(resource: Any) -> str:
    """A resource as people read it: `service/*/<ScriptTargets>`."""
    if isinstance(resource, str):
        return resource
    (kind, value), *_ = resource.items()
    if kind == "Fn::GetAtt":
        return str(value[0] if isinstance(value, list) else value).partition(".")[0]
    if kind != "Fn::Sub" or not isinstance(value, str):
        return value if isinstance(value, str) else json.dumps(resource)
    name = re.sub(
        r"^arn:\$\{AWS::Partition\}:[\w-]+:(?:\$\{AWS::Region\}|\*)?:(?:\$\{AWS::AccountId\}|\*)?:", "", value
    )
    return re.sub(r"\$\{([\w:.]+)\}", r"<\1>", name)


def _statements(policy: Any) -> list[dict[str, Any]]:
    if not isinstance(policy, dict):
        return []
    if "Fn::If" in policy:
        return [statement for branch in policy["Fn::If"][1:] for statement in _statements(branch)]
    return [item for item in _listed(policy.get("Statement", [])) if isinstance(item, dict) and "Action" in item]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


_modules: dict[tuple[Path, int], ModuleType] = {}


def _imported(path: Path) -> ModuleType:
    """The module, under a name of its own so that it stands in nobody's way."""
    key = (path, path.stat().st_mtime_ns if path.exists() else 0)
    if key not in _modules:
        name = f"watchfloor_scripts_{abs(hash(path)):x}_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # pydantic looks annotations up here.
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise ScriptError(f"{path.name} cannot be imported: {type(error).__name__}: {error}") from error
        if not isinstance(getattr(module, "script", None), Script):
            raise ScriptError(f"{path.name} defines no `script = Script(...)`")
        _modules[key] = module
    return _modules[key]
