"""A new script, with all that a script must have: module, document, sample event, test, and its part of the template."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
import subprocess
import sys
from pathlib import Path

from local.scripts import pages
from local.scripts.catalog import FOLDER, ROOT, Entry, ScriptError
from watchfloor.scripts import GROUPS, MAX_NAME_CHARACTERS, NAME

SNIPPETS = FOLDER / "snippets"
_MAX_SNIPPET_BYTES = 100_000
_LOOPS = ("Fn::ForEach::Watched", "Fn::ForEach::Scripts")


class ScaffoldError(Exception):
    """The script cannot be made so; the message says why."""


def make(name: str, owner: str, *, source: Path | None = None, root: Path = ROOT) -> list[Path]:
    """Write a new script's files; which ones.

    Parameters
    ----------
    name
        Such as `oncall-restart-service`.
    owner
        The team that looks after it.
    source
        A shell or Python snippet for it to run; without one the script asks AWS who it is.

    Raises
    ------
    ScaffoldError
        Nothing is written then.
    """
    if not NAME.fullmatch(name) or len(name) > MAX_NAME_CHARACTERS:
        groups = ", ".join(f"{group}-" for group in GROUPS)
        raise ScaffoldError(
            f"{name} is no name for a script: it begins with {groups[: groups.rindex(',')]} or {GROUPS[-1]}-, goes on with "
            f"small letters, digits and hyphens, and has at most {MAX_NAME_CHARACTERS} characters"
        )
    if not re.fullmatch(r"[\w.@ -]{2,80}", owner):
        raise ScaffoldError("OWNER must name the team that looks after the script")
    entry = Entry(root, name.replace("-", "_"))
    if source:
        _check_snippet(source)
    snippet = root / SNIPPETS / f"{entry.stem}{source.suffix}" if source else None
    template_path = root / FOLDER / "template.yaml"
    texts = {
        entry.module_path: _module(entry, snippet),
        entry.document_path: _document(entry, owner, snippet),
        entry.event_path: json.dumps({"target": "example"}) + "\n",
        entry.test_path: _test(entry, snippet),
    }
    if snippet and source:
        texts[snippet] = source.read_text(encoding="utf-8")
    taken = [path for path in texts if path.exists()]
    text = template_path.read_text(encoding="utf-8")
    if taken or f"  {entry.logical_id}Function:" in text:
        there = ", ".join(str(path.relative_to(root)) for path in taken) or "its function in the template"
        raise ScaffoldError(f"{name} exists already: {there}")
    texts[template_path] = with_function(text, entry)
    for path, content in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    entry.document_path.write_text(pages.document_text(entry), encoding="utf-8")
    return list(texts)


def with_function(template: str, entry: Entry) -> str:
    """The template with the script's function at the end of its group, its logs and its alarms."""
    block = f"""\
  {entry.logical_id}Function:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Sub '${{ScriptPrefix}}{entry.name}'
      Handler: {entry.stem}.lambda_handler
      Policies:
        - !If [HasKmsKey, !Ref UseKeyPolicy, !Ref 'AWS::NoValue']
        - !Ref RecordCallPolicy
        - !Ref SpareWatchfloorPolicy

"""
    banner = re.search(rf"^  # --- {entry.group}- -+\n", template, re.MULTILINE)
    following = re.compile(r"^  # --- ", re.MULTILINE).search(template, banner.end()) if banner else None
    if banner is None or following is None:
        raise ScaffoldError(f"{FOLDER}/template.yaml has no section `# --- {entry.group}- ---`")
    text = template[: following.start()] + block + template[following.start() :]
    functions = re.findall(r"^  (\w+)Function:$", text, re.MULTILINE)
    for loop in _LOOPS:
        found = re.search(rf"^  {loop}:\n    - \w+\n(    - - \w+\n(?:      - \w+\n)*)", text, re.MULTILINE)
        if found is None:
            raise ScaffoldError(f"{FOLDER}/template.yaml has no {loop}")
        members = {*re.findall(r"- (\w+)$", found[1], re.MULTILINE), entry.logical_id}
        # In the order of the functions; a test compares them.
        first, *others = [name for name in functions if name in members]
        listed = f"    - - {first}\n" + "".join(f"      - {name}\n" for name in others)
        text = text[: found.start(1)] + listed + text[found.end(1) :]
    return text


def _check_snippet(source: Path) -> None:
    if source.suffix not in (".sh", ".py"):
        raise ScaffoldError(f"{source} is neither a shell (.sh) nor a Python (.py) snippet")
    try:
        data = source.read_bytes()
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ScaffoldError(f"{source} cannot be read as text: {error}") from error
    if len(data) > _MAX_SNIPPET_BYTES:
        raise ScaffoldError(f"{source} has more than {_MAX_SNIPPET_BYTES:,} bytes")
    if source.suffix == ".py":
        try:
            compile(text, str(source), "exec")
        except SyntaxError as error:
            raise ScaffoldError(f"{source} is not Python: {error}") from error
    else:
        parsed = subprocess.run(["bash", "-n", str(source)], capture_output=True, text=True, check=False, timeout=10)
        if parsed.returncode:
            raise ScaffoldError(f"bash does not understand {source}: {parsed.stderr.strip()}")


def _module(entry: Entry, snippet: Path | None) -> str:
    model = "".join(word.capitalize() for word in entry.stem.split("_")[1:])
    work = "_".join(entry.stem.split("_")[1:])
    if snippet:
        return f'''\
"""Say in one sentence what {entry.name} does. Runs the snippet {snippet.name}."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.clients.snippets import run_snippet
from watchfloor.scripts import Parameters

SNIPPET = Path(__file__).parent / "snippets/{snippet.name}"


class {model}(Parameters):
    target: str = Field(pattern=r"^[A-Za-z0-9_.-]{{1,200}}$", description="What it is done to")


def {work}_by_snippet(parameters: {model}, run: ScriptRun) -> dict[str, Any]:
    seconds = min(30.0, run.remaining_seconds)
    return run.step(
        "snippet",
        SNIPPET.name,
        parameters.model_dump(mode="json"),
        lambda: run_snippet(SNIPPET, parameters, timeout_seconds=seconds),
        planned={{"exit_code": None}},
    )


script = Script("{entry.name}", {model}, {work}_by_snippet, risk="medium", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{{parameters: {{...}}, dry_run?, requested_by?}}`, or the parameters alone -> `{{statusCode, body}}`."""
    return script.answer(event, context)
'''
    return f'''\
"""Say in one sentence what {entry.name} does."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.scripts import Parameters


class {model}(Parameters):
    target: str = Field(pattern=r"^[A-Za-z0-9_.-]{{1,200}}$", description="What it is done to")


def do_{work}(parameters: {model}, run: ScriptRun) -> dict[str, Any]:
    identity = run.read("sts").get_caller_identity()
    return {{"target": parameters.target, "account": identity["Account"]}}


script = Script("{entry.name}", {model}, do_{work}, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{{parameters: {{...}}, dry_run?, requested_by?}}`, or the parameters alone -> `{{statusCode, body}}`."""
    return script.answer(event, context)
'''


def _document(entry: Entry, owner: str, snippet: Path | None) -> str:
    today = dt.datetime.now(dt.UTC).date()
    output = (
        "`exit_code`, `output` (what the snippet printed), `is_cut` (whether that was more than is kept)"
        if snippet
        else "`target` and `account`"
    )
    risk = "Medium: nobody looked at the snippet yet." if snippet else "Low: it only reads."
    return f"""\
---
owner: {owner}
reviewed: {today}
---

## Script Name: `{entry.name}`

### Purpose

Say here what {entry.name} is for, and when one reaches for it.

### Input Parameters

### Output

- `statusCode`: 200 done, 202 planned.
- `body`: `result` holds {output}.

### Permissions

### Risk

{risk}

### Usage

### Changes

- {today}: first version.
"""


def _test(entry: Entry, snippet: Path | None) -> str:
    stem, name = entry.stem, entry.name
    valid = (
        """    assert (answer.status_code, answer.result["exit_code"]) == (200, 0)

"""
        if snippet
        else """    assert (answer.status_code, answer.result["target"]) == (200, "example")
    assert answer.body["changed"] is False


def test_{stem}_takes_the_longest_target(world):
    assert world.call("{name}", {{"target": "x" * 200}}).status_code == 200

"""
    )
    return (
        f"""\
import pytest

from tests.unit.scripts import scripts


@pytest.fixture
def world():
    with scripts() as found:
        yield found


def test_{stem}_does_what_it_is_for(world):
    answer = world.call("{name}", {{"target": "example"}})
"""
        + valid.replace("{stem}", stem).replace("{name}", name).replace("{{", "{").replace("}}", "}")
        + f"""
def test_{stem}_dry_run_changes_nothing(world):
    answer = world.call("{name}", {{"target": "example"}}, dry_run=True)
    assert (answer.status_code, answer.body["changed"]) == (202, False)


@pytest.mark.parametrize("event", [{{}}, {{"target": ""}}, {{"target": "a b"}}, {{"target": "x", "unknown": 1}}])
def test_{stem}_refuses_what_it_does_not_know(world, event):
    assert world.call("{name}", event).status_code == 400
"""
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make script", description="A new ops script (CONTRIBUTING.md).")
    parser.add_argument("name", help="such as oncall-restart-service")
    parser.add_argument("--owner", required=True, help="the team that looks after it")
    parser.add_argument("--from", dest="source", type=Path, help="a .sh or .py snippet for it to run")
    given = parser.parse_args(arguments)
    try:
        made = make(given.name, given.owner, source=given.source.expanduser() if given.source else None)
        made += pages.write()
    except (ScaffoldError, ScriptError) as error:
        print(f"make script: {error}", file=sys.stderr)
        return 2
    for path in made:
        print(f"wrote {path.relative_to(ROOT)}")
    print("Fill in the module and the document, then: make docs, make lint, and CONTRIBUTING.md says how to call it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
