"""The documentation against what it describes: templates, Makefile, state machines, code."""

import argparse
import ast
import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.cli import parser
from local.triage_commands import with_default
from watchfloor.layout import IncidentLayout, RunLayout

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("models/*.md")])
# The scripts' permissions are in their own pages.
GROUPS = ("pipeline", "triage", "scripts")
TEMPLATES = (*(f"functions/{group}/template.yaml" for group in GROUPS), "models/template.yaml", "models/build.yaml")
MACHINES = sorted(ROOT.glob("statemachines/*.asl.yaml"))
CODE_FOLDERS = ("bench", "functions", "layers", "local", "models", "statemachines", "tests", "events", "docs")
# Which code reads a secret, by the parameter that names it.
SECRET_READERS = {
    "SlackSecretArn": ("layers/watchfloor/watchfloor/clients/slack.py", "settings"),
    "JiraSecretArn": ("layers/watchfloor/watchfloor/clients/jira_issues.py", "settings"),
    "KibanaSecretArn": ("layers/watchfloor/watchfloor/clients/kibana_cases.py", "settings"),
    "OpenSearchSecretArn": ("functions/pipeline/create_case.py", "secret"),
    "OpenAiSecretArn": ("layers/watchfloor/watchfloor/clients/chat_model.py", "settings"),
    "StackExchangeSecretArn": ("functions/triage/search_stack_overflow.py", "secret"),
}


def text(name: str) -> str:
    return (ROOT / name).read_text()


class Loader(yaml.SafeLoader):
    """CloudFormation's short forms as its long ones."""


def _long_form(loader: Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


Loader.add_multi_constructor("!", _long_form)  # type: ignore[no-untyped-call]


@cache
def template(name: str) -> dict[str, Any]:
    return yaml.load(text(name), Loader)


def section(document: str, heading: str) -> str:
    """A section's text, up to the next heading of its level or above."""
    found = re.search(rf"^(#+) {re.escape(heading)}\n", document, re.MULTILINE)
    assert found, f"there is no section {heading!r}"
    rest = document[found.end() :]
    following = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


def rows(markdown: str) -> list[list[str]]:
    """Cells of all table rows, heads and rules left out."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    rules = {number for number, line in enumerate(lines) if re.fullmatch(r"[|:\- ]+", line)}
    kept = [line for number, line in enumerate(lines) if number not in rules and number + 1 not in rules]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in kept]


def prose(document: str) -> str:
    """Without fenced blocks."""
    return re.sub(r"^```.*?^```", "", document, flags=re.MULTILINE | re.DOTALL)


def code_words(markdown: str) -> list[str]:
    return re.findall(r"`([^`]+)`", prose(markdown))


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    heading = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", prose(path.read_text()), re.MULTILINE)}


# --- Links, files, commands -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{path.name} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_named_exist(path):
    for word in code_words(path.read_text()):
        if re.fullmatch(rf"(?:{'|'.join(CODE_FOLDERS)})/[\w./-]+\.\w+", word):
            assert (ROOT / word).exists(), f"{path.name} names {word}"


def test_documents_that_code_names_exist():
    for folder in CODE_FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".md", ".toml") and "__pycache__" not in path.parts:
                for name in re.findall(r"\bdocs/[\w-]+\.md\b", path.read_text()):
                    assert (ROOT / name).exists(), f"{path.relative_to(ROOT)} names {name}"


def test_readme_lists_every_document():
    readme = text("README.md")
    for path in ROOT.glob("docs/*.md"):
        assert f"(docs/{path.name})" in readme, path.name


def test_parts_of_the_local_cloud_are_documented():
    named = {Path(word).name for word in code_words(text("docs/local-cloud.md"))}
    assert {path.name for path in ROOT.glob("local/cloud/overlay/[a-z]*.py")} <= named


def test_make_targets_named_exist_and_all_are_documented():
    targets = set(re.findall(r"^([a-z-]+):.*## ", text("Makefile"), re.MULTILINE))
    for path in DOCS:
        for name in re.findall(r"(?:`|^|\$ )make ([a-z-]+)", path.read_text(), re.MULTILINE):
            assert name in targets, f"{path.name} names make {name}"
    assert targets <= set(re.findall(r"`make ([a-z-]+)", text("CONTRIBUTING.md")))


def command_of(words: list[str]) -> argparse.ArgumentParser:
    """The command's parser that reads these words; KeyError where there is none."""
    found, remaining = parser(), with_default(words)
    while choices := next((a.choices for a in found._actions if isinstance(a, argparse._SubParsersAction)), None):
        if not remaining or remaining[0].startswith(("-", "`")):
            break
        found = choices[remaining.pop(0)]
    return found


def test_commands_named_exist_with_their_flags():
    for path in [*DOCS, *ROOT.glob("functions/scripts/*.md")]:
        for line in re.findall(r"(?:`|^ +|\.venv/bin/|\| )watchfloor ([a-z][^`\n|#]*)", path.read_text(), re.MULTILINE):
            command = command_of(line.rstrip(",.").split())
            flags = {flag for action in command._actions for flag in action.option_strings}
            assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", line)) <= flags, f"{path.name}: watchfloor {line}"


def test_metrics_are_documented():
    code = "".join(path.read_text() for group in GROUPS for path in ROOT.glob(f"functions/{group}/*.py"))
    calls = re.findall(r"add_metric\((.*?), MetricUnit", code)
    metrics = {name for call in calls for name in re.findall(r'"(\w+)"', call)}
    assert metrics == {word for word in code_words(section(text("docs/operations.md"), "Alarms")) if word in metrics}


def test_changelog_knows_the_version():
    version = tomllib.loads(text("pyproject.toml"))["project"]["version"]
    assert f"## [{version}]" in text("CHANGELOG.md")


# --- Parameters, secrets, outputs -------------------------------------------------------------------------------------


def test_parameters_are_documented_with_their_defaults():
    documented = {code_words(row[0])[0]: row[1] for row in rows(section(text("docs/parameters.md"), "Parameters"))}
    parameters = template("template.yaml")["Parameters"]
    assert documented.keys() == parameters.keys()
    for name, parameter in parameters.items():
        default = parameter.get("Default")
        shown = "none: must be given" if default is None else f"`{default}`" if default != "" else "empty"
        assert documented[name] == shown, name


def test_outputs_are_documented():
    documented = {code_words(row[0])[0] for row in rows(section(text("docs/parameters.md"), "Outputs"))}
    assert documented == template("template.yaml")["Outputs"].keys()


def test_secrets_are_documented_as_their_readers_read_them():
    parameters = {name for name in template("template.yaml")["Parameters"] if name.endswith("SecretArn")}
    assert parameters == SECRET_READERS.keys()
    for name, (path, variable) in SECRET_READERS.items():
        examples = re.findall(
            r"^```json\n(.*?)^```", section(text("docs/parameters.md"), name), re.MULTILINE | re.DOTALL
        )
        assert examples, name
        shown = {key for example in examples for key in json.loads(example)}
        literals = {node.value for node in ast.walk(ast.parse(text(path))) if isinstance(node, ast.Constant)}
        assert shown <= literals, f"{path} reads no {shown - literals}"
        read = set(re.findall(rf"\b{variable}(?:\[|\.get\()[\"'](\w+)", text(path)))
        assert read and read <= shown, f"{name}: {read - shown} is not documented"


# --- Machines, keys, tables -------------------------------------------------------------------------------------------


def states(machine: dict[str, Any]) -> Iterator[str]:
    for name, state in machine["States"].items():
        yield name
        for branch in state.get("Branches", []):
            yield from states(branch)


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.name)
def test_every_state_is_in_architecture(path):
    named = set(code_words(text("docs/architecture.md")))
    assert set(states(yaml.safe_load(path.read_text()))) <= named


def test_every_key_of_an_incident_is_in_architecture():
    layout = IncidentLayout("<fingerprint>", "<generation>")  # type: ignore[arg-type]
    keys = {getattr(layout, name) for name, value in vars(IncidentLayout).items() if isinstance(value, property)}
    named = set(code_words(text("docs/architecture.md")))
    assert keys <= named, keys - named


def test_every_key_of_a_run_is_in_architecture():
    layout = RunLayout("<run_id>")
    properties = [name for name, value in vars(RunLayout).items() if isinstance(value, property)]
    keys = [getattr(layout, name) for name in properties if not name.endswith("_prefix")]
    batches = [layout.alerts, layout.id_map, layout.cluster_input, layout.cluster_output, layout.batch_clusters]
    keys += [method(0).replace("000000", "<batch>") for method in batches]
    named = set(code_words(text("docs/architecture.md")))
    assert set(keys) <= named, set(keys) - named


def test_tables_are_in_architecture_with_their_keys_and_indexes():
    documented = {code_words(row[0])[0]: row[1] for row in rows(section(text("docs/architecture.md"), "The tables"))}
    resources = template("template.yaml")["Resources"]
    tables = {name: item for name, item in resources.items() if item["Type"] == "AWS::DynamoDB::Table"}
    assert documented.keys() == tables.keys()
    for name, item in tables.items():
        keys = [key["AttributeName"] for key in item["Properties"]["KeySchema"]]
        indexes = [index["IndexName"] for index in item["Properties"].get("GlobalSecondaryIndexes", [])]
        assert code_words(documented[name])[: len(keys)] == keys, name
        assert set(indexes) <= set(code_words(documented[name])), name


def test_retained_resources_are_named_where_removal_is_explained():
    removal = section(text("docs/deploying.md"), "Remove it")
    retained = {
        name for name, item in template("template.yaml")["Resources"].items() if item.get("DeletionPolicy") == "Retain"
    }
    assert retained == {word for word in code_words(removal) if word in template("template.yaml")["Resources"]}


def is_script(properties: dict[str, Any]) -> bool:
    """An ops script is named by a parameter, and has a document of its own, which `local.scripts.check` looks at."""
    return "${ScriptPrefix}" in str(properties.get("FunctionName"))


def functions() -> list[tuple[str, str]]:
    return [
        (group, name)
        for group in GROUPS
        for name, item in template(f"functions/{group}/template.yaml")["Resources"].items()
        if "Fn::" not in name and item["Type"] == "AWS::Serverless::Function"
    ]


@pytest.mark.parametrize(("group", "name"), functions())
def test_one_stem_for_one_thing(group, name):
    stem = re.sub(r"(?<!^)(?=[A-Z])", "_", name.removesuffix("Function")).lower()
    properties = template(f"functions/{group}/template.yaml")["Resources"][name]["Properties"]
    assert properties["Handler"] == f"{stem}.lambda_handler"
    assert (ROOT / f"functions/{group}/{stem}.py").exists()
    assert (ROOT / f"events/{group}/{stem}.json").exists()
    assert f"`{stem}`" in text("docs/architecture.md") or is_script(properties)


# --- Permissions ------------------------------------------------------------------------------------------------------


def grants(policies: Any) -> Iterator[tuple[str, str]]:
    """Every (action, resource) that statements anywhere below allow; of SpareWatchfloorPolicy, that they deny."""
    if isinstance(policies, list):
        for item in policies:
            yield from grants(item)
    elif isinstance(policies, dict) and "Effect" in policies and "Resource" in policies:
        actions, resources = (
            value if isinstance(value, list) else [value] for value in (policies["Action"], policies["Resource"])
        )
        for action in actions:
            for resource in resources:
                yield action, label(resource)
    elif isinstance(policies, dict):
        for item in policies.values():
            yield from grants(item)


def label(resource: Any) -> str:
    """A resource as docs/permissions.md names it."""
    if isinstance(resource, str):
        return resource
    (kind, value), *_ = resource.items()
    if kind == "Fn::GetAtt":
        return str(value[0] if isinstance(value, list) else value).partition(".")[0]
    if kind == "Ref":
        return value
    name = re.sub(r"^arn:\$\{AWS::Partition\}:\w+:(?:\$\{AWS::Region\})?:(?:\$\{AWS::AccountId\})?:", "", value)
    name = re.sub(r"^\$\{DataBucketName\}$", "data bucket", name).removeprefix("${DataBucketName}/")
    name = re.sub(r"\$\{(\w+Table)Name\}", r"\1", name).removeprefix("table/")
    return re.sub(r"\$\{([\w:.]+)\}", r"<\1>", name)


def roles() -> Iterator[tuple[str, set[tuple[str, str]]]]:
    for name in TEMPLATES:
        for logical_id, item in template(name)["Resources"].items():
            properties = item.get("Properties", {}) if isinstance(item, dict) else {}
            if "PolicyDocument" in properties and item["Type"] == "AWS::IAM::ManagedPolicy":
                yield logical_id, set(grants(properties["PolicyDocument"]))
            elif "Policies" in properties and not is_script(properties):
                yield logical_id, set(grants(properties["Policies"]))


@pytest.mark.parametrize(("name", "allowed"), list(roles()), ids=lambda value: value if isinstance(value, str) else "")
def test_permissions_are_documented(name, allowed):
    documented = {
        (action, resource)
        for may, on, why in rows(section(text("docs/permissions.md"), name))
        for action in code_words(may)
        for resource in code_words(on)
        if why
    }
    assert documented == allowed


# --- Dependencies -----------------------------------------------------------------------------------------------------

REQUIREMENTS = sorted([*ROOT.glob("[a-z]*/*requirements.txt"), *ROOT.glob("layers/*/requirements.txt")])


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_pin_says_why_it_is_there(path):
    pins = set(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", path.read_text(), re.MULTILINE))
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith(("#", "-"))]
    assert len(lines) == len(pins), "every requirement is pinned"
    document = section(text("docs/dependencies.md"), str(path.relative_to(ROOT)))
    documented = {code_words(row[0])[0]: row[1] for row in rows(document)}
    assert documented.keys() == pins
    assert all(documented.values())


# --- Costs ------------------------------------------------------------------------------------------------------------


def test_costs_count_the_alarms_that_are_there():
    alarms = 0
    for group in GROUPS:
        resources = template(f"functions/{group}/template.yaml")["Resources"]
        # Each script has two alarms, which the text says, so that another one needs no new table.
        alarms += len(resources["Fn::ForEach::Watched"][1]) - len(resources.get("Fn::ForEach::Scripts", [0, []])[1])
        alarms += sum(
            item["Type"] == "AWS::CloudWatch::Alarm" for name, item in resources.items() if "Fn::" not in name
        )
    (row,) = (row for row in rows(section(text("docs/deploying.md"), "Idle, a month")) if row[0].startswith("alarms"))
    assert row[1] == f"{alarms} alarms"


@pytest.mark.parametrize("heading", ["Idle, a month", "A million alerts", "A thousand incidents"])
def test_costs_add_up(heading):
    """Quantity times price is the cost of a row, and the rows come to the total."""
    table = rows(section(text("docs/deploying.md"), heading))
    costs = []
    for what, quantity, price, cost in table[:-1]:
        number = float(re.sub(r"[^\d.]", "", quantity.split()[0]))
        product = number * float(price.strip("$").split()[0])
        costs.append(product)
        assert float(cost.strip("$")) == pytest.approx(product, abs=0.0051), what
    assert table[-1][0] == "**total**"
    assert float(table[-1][3].strip("*$")) == pytest.approx(sum(costs), abs=0.0051)
