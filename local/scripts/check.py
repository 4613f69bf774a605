"""Whether every script has what it must have: an owner, a document, a test, and just the permissions that it uses."""

from __future__ import annotations

import ast
import datetime as dt
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.scripts import pages
from local.scripts.catalog import (
    EVENTS,
    FOLDER,
    ROOT,
    SECTIONS,
    SHARED_POLICIES,
    WRITTEN,
    Entry,
    ScriptError,
    entries,
    template,
)
from watchfloor import iam_actions
from watchfloor.scripts import CONTROLS, GROUPS, MAX_NAME_CHARACTERS, NAME, ViolationsError, parse_request

REVIEW_DAYS = 365
# In a statement of the template: this action is needed, though the code does not show it.
ALSO_NEEDED = "# also needed:"
# How a script may reach AWS is `run.read` and `run.write`, which know what a dry run is.
_FORBIDDEN = {
    "boto3",
    "botocore",
    "botocore.session",
    "subprocess",
    "urllib.request",
    "requests",
    "http.client",
    "socket",
}
_RESERVED = {*CONTROLS, "parameters"}


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a script; a warning does not fail the check."""

    script: str
    text: str
    is_warning: bool = False

    def __str__(self) -> str:
        return f"{'warning: ' if self.is_warning else ''}{self.script}: {self.text}"


def findings(root: Path = ROOT, today: dt.date | None = None) -> list[Finding]:
    """All that is wrong with the scripts below `root`."""
    found = []
    day = today or dt.datetime.now(dt.UTC).date()
    scripts = entries(root)
    for entry in scripts:
        checks: list[Callable[[Entry], Iterator[Finding]]] = [
            _module,
            _parameters,
            lambda entry: _document(entry, day),
            _event,
            _test,
            _function,
            _permissions,
        ]
        for check in checks:
            try:
                found += list(check(entry))
            except (ScriptError, OSError, ValueError, KeyError) as error:
                text = f"there is no {error}" if isinstance(error, KeyError) else str(error)
                found.append(Finding(entry.name, text))
    found = list(dict.fromkeys(found))
    found += _together(root, scripts)
    if not any(not finding.is_warning for finding in found):
        found += [
            Finding(path.stem.replace("_", "-"), f"{path.relative_to(root)} is not up to date; run `make docs`")
            for path, _ in pages.stale(root)
        ]
    return found


def _module(entry: Entry) -> Iterator[Finding]:
    script = entry.script
    if not NAME.fullmatch(entry.name) or len(entry.name) > MAX_NAME_CHARACTERS:
        yield Finding(entry.name, f"a name is {', '.join(f'{group}-' for group in GROUPS)} and words with hyphens")
    if script.name != entry.name:
        yield Finding(entry.name, f"{entry.stem}.py calls its script {script.name}")
    if not entry.description:
        yield Finding(entry.name, f"{entry.stem}.py begins with no docstring that says what the script does")
    tree = ast.parse(entry.module_path.read_text(encoding="utf-8"))
    if "lambda_handler" not in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]:
        yield Finding(entry.name, f"{entry.stem}.py has no lambda_handler")
    for name in sorted(_imported(tree)):
        if name in _FORBIDDEN:
            yield Finding(
                entry.name, f"it imports {name}; a script reaches out by run.read, run.write and clients only"
            )
        if name.startswith("watchfloor.clients.aws.") and name != "watchfloor.clients.aws.error_code":
            yield Finding(entry.name, f"it imports {name}; run.read and run.write give it its clients")


def _imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _parameters(entry: Entry) -> Iterator[Finding]:
    schema = entry.schema
    for name, declared in schema.get("properties", {}).items():
        if name in _RESERVED:
            yield Finding(entry.name, f"no parameter can be called {name}")
        if not declared.get("description"):
            yield Finding(entry.name, f"the parameter {name} has no description")
        kind = pages.kind_of(declared, schema)
        if kind == "secret" and entry.script.is_dangerous:
            yield Finding(entry.name, f"{name} is a secret, and what is approved by people is shown to them")
        for open_end in _open_ends(declared, schema):
            yield Finding(entry.name, f"the parameter {name} {open_end}")


def _open_ends(declared: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    if "$ref" in declared:
        declared = {**schema["$defs"][declared["$ref"].rpartition("/")[2]], **declared}
    options = [option for option in declared.get("anyOf", []) if option.get("type") != "null"]
    if len(options) == 1:
        yield from _open_ends(options[0], schema)
    if "enum" in declared or "const" in declared:
        return
    kind = declared.get("type")
    if kind == "string" and not declared.keys() & {"maxLength", "pattern", "format"}:
        yield "is a text of any length; give it a pattern or max_length"
    upper, lower = {"maximum", "exclusiveMaximum"}, {"minimum", "exclusiveMinimum"}
    if kind in ("integer", "number") and not (declared.keys() & upper and declared.keys() & lower):
        yield "is a number without bounds; give it ge and le"
    if kind == "array" and "maxItems" not in declared:
        yield "is a list of any length; give it max_length"


def _document(entry: Entry, today: dt.date) -> Iterator[Finding]:
    document = entry.document
    if not document.owner:
        yield Finding(entry.name, "it has no owner; its document names one in the front matter")
    if document.reviewed is None:
        yield Finding(entry.name, "its document has no `reviewed: YYYY-MM-DD` in the front matter")
    elif document.reviewed > today + dt.timedelta(days=1):
        yield Finding(entry.name, f"its review lies in the future ({document.reviewed})")
    elif (today - document.reviewed).days > REVIEW_DAYS:
        days = (today - document.reviewed).days
        yield Finding(entry.name, f"{document.owner} reviewed it {days} days ago", is_warning=True)
    if document.title != f"Script Name: `{entry.name}`":
        yield Finding(entry.name, f"its document's title is not `## Script Name: \\`{entry.name}\\``")
    if tuple(document.sections) != SECTIONS:
        yield Finding(entry.name, f"its document has the sections {', '.join(SECTIONS)}, in this order")
    for title in SECTIONS:
        if title not in WRITTEN and not document.sections.get(title, "-"):
            yield Finding(entry.name, f"its document says nothing under {title}")


def _event(entry: Entry) -> Iterator[Finding]:
    if not entry.event_path.exists():
        yield Finding(entry.name, f"there is no sample event {EVENTS}/{entry.stem}.json")
        return
    try:
        parse_request(entry.event, entry.script.parameters)
    except ViolationsError as error:
        yield Finding(entry.name, f"its sample event is not valid: {error}")


def _test(entry: Entry) -> Iterator[Finding]:
    path = entry.test_path
    tests = []
    if path.exists():
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        tests = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    if not tests:
        yield Finding(entry.name, f"it has no tests; they are in {path.relative_to(entry.root)}")


def _function(entry: Entry) -> Iterator[Finding]:
    function = entry.function
    if function.get("FunctionName") != {"Fn::Sub": f"${{ScriptPrefix}}{entry.name}"}:
        yield Finding(entry.name, f"its function's name is !Sub '${{ScriptPrefix}}{entry.name}'")
    if function.get("Handler") != f"{entry.stem}.lambda_handler":
        yield Finding(entry.name, f"its function's handler is {entry.stem}.lambda_handler")
    resources = template(entry.root)["Resources"]
    for loop, what in (("Fn::ForEach::Watched", "log group and alarm"), ("Fn::ForEach::Scripts", "alarm for faults")):
        if entry.logical_id not in resources[loop][1]:
            yield Finding(entry.name, f"it has no {what}; add {entry.logical_id} to {loop} in {FOLDER}/template.yaml")
    shared = {name for name in SHARED_POLICIES if {"Ref": name} in _flat(function.get("Policies", []))}
    wanted = set(SHARED_POLICIES) if entry.script.is_dangerous else set(SHARED_POLICIES) - {"UseApprovalPolicy"}
    for name in sorted(wanted - shared):
        yield Finding(entry.name, f"its function lacks the policy {name}")
    for name in sorted(shared - wanted):
        yield Finding(entry.name, f"its function has the policy {name}, which only scripts of high risk need")


def _flat(policies: list[Any]) -> list[Any]:
    return [branch for policy in policies for branch in (policy.get("Fn::If", [policy]))]


def _permissions(entry: Entry) -> Iterator[Finding]:
    calls, reading = entry.calls, entry.script.reading
    for method in sorted(calls.unknown):
        yield Finding(entry.name, f"AWS has no operation {method}")
    needed: dict[str, set[str]] = {}
    for use in sorted(calls.uses):
        call = f"{use.service}:{use.operation}"
        is_reading = iam_actions.is_reading(use.service, use.operation)
        if use.kind == "read" and not is_reading and call not in reading:
            yield Finding(entry.name, f"{call} may change something; call it by run.write, or name it in `reading`")
        if use.kind == "write" and is_reading:
            yield Finding(entry.name, f"{call} only reads; call it by run.read, so that a dry run makes it as well")
        for action in iam_actions.actions(use.service, use.operation):
            needed.setdefault(action, set()).add(call)
    lines = _block(entry)
    excused = {
        action
        for line in lines
        if ALSO_NEEDED in line
        for action in re.findall(r"[a-z0-9-]+:[A-Za-z]+", line.partition(ALSO_NEEDED)[0])
    }
    granted = {permission.action for permission in entry.permissions}
    for action in sorted(needed.keys() - granted):
        yield Finding(entry.name, f"its role lacks {action}, which {', '.join(sorted(needed[action]))} needs")
    for action in sorted(granted - needed.keys() - excused):
        yield Finding(entry.name, f"its role has {action}, which its code does not use")
    for line in lines:
        said, _, reason = line.partition("  #")
        if re.search(r"""(["'])\*\1""", said) and not reason.strip():
            yield Finding(entry.name, f"`{said.strip()}` gives no reason for its *")
        if re.search(r"[a-z0-9-]+:\w*\*", said) and "Action" in said:
            yield Finding(entry.name, f"`{said.strip()}` allows more than one action")


def _block(entry: Entry) -> list[str]:
    """The lines of its function in the template."""
    text = (entry.root / FOLDER / "template.yaml").read_text(encoding="utf-8")
    found = re.search(rf"^  {entry.logical_id}Function:\n((?:    .*\n|\n)*)", text, re.MULTILINE)
    return found[1].splitlines() if found else []


def _together(root: Path, scripts: list[Entry]) -> Iterator[Finding]:
    """What concerns all of them."""
    stems = {entry.stem for entry in scripts}
    for folder, pattern in ((FOLDER, "*.md"), (EVENTS, "*.json")):
        for path in sorted((root / folder).glob(pattern)):
            if path.stem.partition("_")[0] in GROUPS and path.stem not in stems:
                yield Finding(path.stem.replace("_", "-"), f"{folder}/{path.name} belongs to no script")
    text = str(template(root)["Resources"]["ScriptApproval"])
    called = set(re.findall(r"function:\$\{ScriptPrefix\}([\w-]+)", text))
    dangerous = {entry.name for entry in scripts if _is_dangerous(entry)}
    for name in sorted(dangerous - called):
        yield Finding(name, "it is of high risk, but the state machine ScriptApproval may not invoke it")
    for name in sorted(called - dangerous):
        yield Finding(name, "the state machine ScriptApproval may invoke it, though it is no script of high risk")


def _is_dangerous(entry: Entry) -> bool:
    try:
        return entry.script.is_dangerous
    except ScriptError:
        return False


def main() -> int:
    found = findings()
    for finding in found:
        print(finding, file=sys.stderr)
    errors = sum(not finding.is_warning for finding in found)
    print(f"{len(entries())} scripts checked, {errors} things to mend, {len(found) - errors} warnings")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
