"""What stands around the scripts: the catalogue, its check, its pages, new scripts."""

import argparse
import datetime as dt
import io
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from local import script_commands
from local.scripts import pages, scaffold
from local.scripts.calls import Use, calls_of
from local.scripts.catalog import ROOT, Entry, entries
from local.scripts.check import findings
from local.scripts.scaffold import ScaffoldError
from watchfloor.iam_actions import actions, is_reading

NAME = "oncall-check-thing"
STEM = "oncall_check_thing"


@pytest.fixture
def project(tmp_path):
    """A project with one script of its own, which nothing is wrong with."""
    for folder in ("functions/scripts", "events/scripts", "docs", "tests/unit"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("layers", "local", "statemachines"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "functions/scripts/template.yaml").write_text(TEMPLATE)
    for name in ("tests/__init__.py", "tests/unit/__init__.py", "tests/unit/scripts.py"):
        (tmp_path / name).touch()
    scaffold.make(NAME, "team-x", root=tmp_path)
    pages.write(tmp_path)
    assert findings(tmp_path) == []
    return tmp_path


TEMPLATE = """\
Resources:
  UseKeyPolicy: {Type: 'AWS::IAM::ManagedPolicy'}
  # --- test- -----------

  # --- debug- ----------

  # --- oncall- ---------

  # --- Approval of dangerous scripts ---
  OpenApprovalFunction:
    Type: AWS::Serverless::Function

  ScriptApproval: {Type: 'AWS::Serverless::StateMachine'}

  # --- Logs and alarms ----
  Fn::ForEach::Watched:
    - Function
    - - OpenApproval
    - ${Function}Logs: {}

  Fn::ForEach::Scripts:
    - Script
    - - OpenApproval
    - ${Script}Faults: {}
"""


def texts(project: Path, **options) -> list[str]:
    return [str(finding) for finding in findings(project, **options)]


def edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


# --- what is there


def test_scripts_of_the_project_are_as_they_must_be():
    assert [str(finding) for finding in findings() if not finding.is_warning] == []


def test_catalogue_says_of_each_script_what_it_is():
    for entry in entries():
        about = entry.to_dict()
        assert list(about) == [
            *("name", "group", "owner", "description", "parameters"),
            *("permissions", "risk", "writes"),
        ]
        assert about["parameters"]["type"] == "object"
        assert all(set(permission) == {"action", "resource"} for permission in about["permissions"])


def test_wiki_page_is_well_formed_and_holds_every_script():
    found = entries()
    text = pages.wiki(found)
    tree = ElementTree.fromstring(text)
    assert {element.text for element in tree.iter("h2")} == {entry.name for entry in found}
    macros = {element.get("{http://atlassian.com/content}name") for element in tree.iter() if "macro" in element.tag}
    assert macros <= {"toc", "code"}


def test_storage_format_escapes_what_it_shows():
    shown = "".join(
        pages._storage("a < b & `<x>` **bold** [web](https://e.org/?a=1&b=2)\n\n```sh\nx ]]> y\n```\n- one\n- two")
    )
    tree = ElementTree.fromstring(f'<page xmlns:ac="urn:ac">{shown}</page>')
    assert "".join(tree.itertext()).startswith("a < b & <x> bold web")
    assert "x ]]> y" in "".join(tree.itertext())
    assert [element.text for element in tree.iter("li")] == ["one", "two"]


# --- what the check finds


def test_check_wants_an_owner_and_a_review(project):
    document = project / f"functions/scripts/{STEM}.md"
    edit(document, ("owner: team-x", "owner:"), ("reviewed: 2", "reviewed: x2"))
    found = texts(project)
    assert any("no owner" in text for text in found)
    assert any("reviewed: YYYY-MM-DD" in text for text in found)


def test_check_warns_of_an_old_review_and_goes_on(project):
    later = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=367)
    (finding,) = findings(project, today=later)
    assert finding.is_warning
    assert "team-x reviewed it 367 days ago" in str(finding)


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        (f"functions/scripts/{STEM}.md", "there is no document"),
        (f"events/scripts/{STEM}.json", "no sample event"),
        (f"tests/unit/test_{STEM}.py", "no tests"),
    ],
)
def test_check_wants_document_event_and_tests(project, missing, told):
    (project / missing).unlink()
    assert any(told in text for text in texts(project))


def test_check_wants_every_section_to_say_something(project):
    document = project / f"functions/scripts/{STEM}.md"
    edit(document, ("Low: it only reads.", ""))
    assert any("nothing under Risk" in text for text in texts(project))
    edit(document, ("### Risk", "### Danger"))
    assert any("has the sections" in text for text in texts(project))


def test_check_finds_what_is_not_made_anew(project):
    edit(project / f"functions/scripts/{STEM}.py", ("What it is done to", "What it is really done to"))
    assert sorted(text.partition(": ")[2] for text in texts(project)) == [
        f"{name} is not up to date; run `make docs`"
        for name in ("docs/scripts.confluence.xml", "docs/scripts.md", f"functions/scripts/{STEM}.md")
    ] or any(f"{STEM}.md is not up to date" in text for text in texts(project))
    pages.write(project)
    assert texts(project) == []


def test_check_wants_the_event_to_be_valid(project):
    (project / f"events/scripts/{STEM}.json").write_text('{"target": "not valid!"}')
    assert any("sample event is not valid: target" in text for text in texts(project))


@pytest.mark.parametrize(("said", "agrees"), [("y\n", True), ("Yes\n", True), ("\n", False), ("no\n", False)])
def test_approval_by_command_is_asked_for_once_the_plan_is_shown(monkeypatch, said, agrees):
    stdin, shown = io.StringIO(said), io.StringIO()
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", stdin)
    console = Console(file=shown)
    assert script_commands._agreed(console, argparse.Namespace(json=False)) == agrees
    assert "Let it run? [y/N]" in shown.getvalue()
    assert script_commands._agreed(console, argparse.Namespace(json=True))


CALL = ('run.read("sts").get_caller_identity()', 'run.read("sqs").get_queue_url(QueueName="x")')
USE = ('identity["Account"]', 'identity["QueueUrl"]')
STATEMENT = """\
        - !Ref RecordCallPolicy
        - Version: '2012-10-17'
          Statement:
            - Effect: Allow
              Action: sqs:GetQueueUrl
              Resource: !Sub 'arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:${ScriptTargets}'
"""


@pytest.fixture
def permitted(project):
    """The script calls SQS and may."""
    edit(project / f"functions/scripts/{STEM}.py", CALL, USE)
    edit(project / "functions/scripts/template.yaml", ("        - !Ref RecordCallPolicy\n", STATEMENT))
    pages.write(project)
    assert texts(project) == []
    return project


def test_check_finds_a_call_that_the_role_does_not_allow(permitted):
    edit(permitted / "functions/scripts/template.yaml", ("sqs:GetQueueUrl", "sqs:GetQueueAttributes"))
    found = texts(permitted)
    assert f"{NAME}: its role lacks sqs:GetQueueUrl, which sqs:GetQueueUrl needs" in found
    assert f"{NAME}: its role has sqs:GetQueueAttributes, which its code does not use" in found


def test_check_takes_a_reason_for_what_the_code_does_not_show(permitted):
    template = permitted / "functions/scripts/template.yaml"
    edit(template, ("Action: sqs:GetQueueUrl\n", "Action: [sqs:GetQueueUrl, kms:Decrypt]  # also needed: encrypted\n"))
    pages.write(permitted)
    assert texts(permitted) == []
    edit(template, ("  # also needed: encrypted", ""))
    assert any("has kms:Decrypt, which its code does not use" in text for text in texts(permitted))


def test_check_wants_a_reason_for_a_star(permitted):
    template = permitted / "functions/scripts/template.yaml"
    resource = "!Sub 'arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:${ScriptTargets}'"
    edit(template, (resource, "'*'"))
    assert any("gives no reason for its *" in text for text in texts(permitted))
    edit(template, ("'*'", "'*'  # queues are found by their names"))
    pages.write(permitted)
    assert texts(permitted) == []


def test_check_refuses_what_goes_around_dry_runs(project):
    module = project / f"functions/scripts/{STEM}.py"
    edit(module, ("import os\n", "import os\nimport boto3\n"))
    assert any("it imports boto3" in text for text in texts(project))
    edit(module, ("import boto3\n", ""), CALL, (".get_queue_url(QueueName", ".create_queue(QueueName"))
    assert any("sqs:CreateQueue may change something" in text for text in texts(project))
    edit(module, ('run.read("sqs").create_queue', 'run.write("sqs").get_queue_url'))
    assert any("sqs:GetQueueUrl only reads" in text for text in texts(project))


def test_check_wants_parameters_described_and_bounded(project):
    module = project / f"functions/scripts/{STEM}.py"
    declared = next(line for line in module.read_text().splitlines() if line.startswith("    target: "))
    edit(module, (declared, declared + "\n    count: int = 1\n    names: list[str] = Field([], description='x')"))
    found = texts(project)
    assert any("count has no description" in text for text in found)
    assert any("count is a number without bounds" in text for text in found)
    assert any("names is a list of any length" in text for text in found)


def test_check_wants_approval_for_high_risk_to_be_complete(project):
    edit(project / f"functions/scripts/{STEM}.py", ('risk="low"', 'risk="high"'))
    found = texts(project)
    assert any("lacks the policy UseApprovalPolicy" in text for text in found)
    assert any("ScriptApproval may not invoke it" in text for text in found)


def test_check_finds_what_belongs_to_nobody(project):
    (project / "functions/scripts/debug_gone.md").write_text("gone")
    assert any("debug_gone.md belongs to no script" in text for text in texts(project))


# --- calls in the code


def test_calls_are_found_however_the_client_is_named(tmp_path):
    path = tmp_path / "debug_x.py"
    path.write_text(
        """
from functools import partial

def work(parameters, run):
    sqs, name = run.read("sqs"), "x"
    sqs.get_queue_url(QueueName=name)
    partial(sqs.get_queue_attributes, QueueUrl=name)
    helper(run.read("ecs"), name)
    other(service=run.read("logs"))
    for page in run.read("logs").get_paginator("filter_log_events").paginate():
        run.write("ecs").update_service()
    run.read("ecs").get_waiter("services_stable").wait()
    run.step("https", "POST", {}, lambda: None)
    run.read("sqs").no_such_thing()

def helper(client, name):
    client.list_services()

def other(*, service=None):
    service.start_query()
"""
    )
    calls = calls_of(path, ROOT / "layers/watchfloor")
    assert calls.uses == {
        Use("read", "sqs", "GetQueueUrl"),
        Use("read", "sqs", "GetQueueAttributes"),
        Use("read", "ecs", "ListServices"),
        Use("read", "ecs", "DescribeServices"),
        Use("read", "logs", "StartQuery"),
        Use("read", "logs", "FilterLogEvents"),
        Use("write", "ecs", "UpdateService"),
    }
    assert (calls.writes, calls.has_steps, calls.unknown) == (True, True, {"sqs.no_such_thing"})


def test_calls_of_clients_that_a_script_imports_are_its_own(tmp_path):
    path = tmp_path / "debug_x.py"
    path.write_text(
        """
from watchfloor.clients.executions import Executions

def work(parameters, run):
    Executions(run.read("stepfunctions")).describe("arn")
"""
    )
    calls = calls_of(path, ROOT / "layers/watchfloor")
    assert Use("read", "stepfunctions", "DescribeExecution") in calls.uses
    assert not calls.unknown


@pytest.mark.parametrize(
    ("service", "operation", "needed"),
    [
        ("ecs", "UpdateService", ("ecs:UpdateService",)),
        ("s3", "ListObjectsV2", ("s3:ListBucket",)),
        ("lambda", "Invoke", ("lambda:InvokeFunction",)),
        ("stepfunctions", "StartExecution", ("states:StartExecution",)),
        ("elbv2", "DescribeTargetHealth", ("elasticloadbalancing:DescribeTargetHealth",)),
        ("sts", "GetCallerIdentity", ()),
    ],
)
def test_actions_that_a_call_needs(service, operation, needed):
    assert actions(service, operation) == needed


@pytest.mark.parametrize(
    ("service", "operation", "reads"),
    [
        ("ecs", "DescribeServices", True),
        ("logs", "StartQuery", True),
        ("iam", "SimulatePrincipalPolicy", True),
        ("sqs", "ReceiveMessage", False),
        ("stepfunctions", "GetActivityTask", False),
        ("ecs", "UpdateService", False),
        ("something", "Frobnicate", False),
    ],
)
def test_what_is_not_known_to_read_is_a_write(service, operation, reads):
    assert is_reading(service, operation) == reads


# --- new scripts


@pytest.mark.parametrize(
    "name",
    [
        "restart",
        "oncall-",
        "oncall-Big",
        "oncall_x",
        "prod-x",
        "oncall--x",
        "oncall-x;rm",
        "../x",
        "oncall-" + "x" * 60,
    ],
)
def test_scaffold_refuses_a_name_that_is_none(project, name):
    before = sorted(project.rglob("*"))
    with pytest.raises(ScaffoldError, match="is no name"):
        scaffold.make(name, "team-x", root=project)
    assert sorted(project.rglob("*")) == before


def test_scaffold_refuses_what_exists_and_who_owns_nothing(project):
    with pytest.raises(ScaffoldError, match="exists already"):
        scaffold.make(NAME, "team-x", root=project)
    with pytest.raises(ScaffoldError, match="OWNER"):
        scaffold.make("oncall-other", "", root=project)


def test_scaffold_puts_functions_and_lists_in_one_order(project):
    scaffold.make("test-first", "team-x", root=project)
    scaffold.make("debug-second", "team-x", root=project)
    text = (project / "functions/scripts/template.yaml").read_text()
    functions = [line.strip(" :").removesuffix("Function") for line in text.splitlines() if line.endswith("Function:")]
    assert functions == ["TestFirst", "DebugSecond", "OncallCheckThing", "OpenApproval"]
    listed = text[text.index("Fn::ForEach::Watched") :].split("- ${Function}")[0]
    assert [line.rpartition(" ")[2] for line in listed.splitlines()[2:] if line.strip()] == functions
    pages.write(project)
    assert texts(project) == []


def test_scaffold_makes_files_that_lint_accepts(project):
    (project / "s.sh").write_text('echo "it is $PARAM_TARGET"\n')
    made = scaffold.make("debug-wrapped", "team-x", source=project / "s.sh", root=project)
    files = [str(path) for path in made if path.suffix == ".py"]
    files += [str(Entry(project, STEM).module_path), str(Entry(project, STEM).test_path)]
    shutil.copy(ROOT / "pyproject.toml", project)
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *files], cwd=project, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
    pages.write(project)
    assert texts(project) == []
    assert Entry(project, "debug_wrapped").calls.writes


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [("s.rb", "puts 1", "neither"), ("s.py", "def (", "is not Python"), ("s.sh", "if then", "does not understand")],
)
def test_scaffold_refuses_a_snippet_that_cannot_run(project, name, text, told):
    (project / name).write_text(text)
    with pytest.raises(ScaffoldError, match=told):
        scaffold.make("debug-wrapped", "team-x", source=project / name, root=project)
