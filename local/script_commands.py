"""`watchfloor script`: the ops scripts listed, described, called and approved."""

from __future__ import annotations

import argparse
import difflib
import getpass
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

from local import sandbox
from local.pipeline import UserError
from local.progress import error_console, watch
from local.report import results, say
from local.sandbox import Deployment
from local.scripts.calling import Outcome, Stack, outcome_of
from local.scripts.catalog import Entry, ScriptError, entries
from local.scripts.pages import kind_of, parameter_lines, permission_lines
from watchfloor.approvals import Approval, Ask
from watchfloor.errors import NotFoundError, WatchfloorError
from watchfloor.scripts import CONTROLS

SUCCESS, FAILURE = 0, 1
_RISK_COLORS = {"low": "green", "medium": "yellow", "high": "red"}
_SHOWN_LINES = 200
_NOT_FOUND = 404


def add_to(commands: Any) -> None:
    """Add it to the commands of `watchfloor`."""
    script = commands.add_parser("script", help="the team's ops scripts", description="Ops scripts (docs/scripts.md).")
    kinds = script.add_subparsers(required=True, metavar="list | describe | run | approve | refuse")

    listing = kinds.add_parser("list", help="all scripts")
    listing.add_argument("--group", choices=["test", "debug", "oncall"], help="only those of this group")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(command=_list)

    describe = kinds.add_parser("describe", help="one script: parameters, permissions, risk")
    describe.add_argument("name", metavar="NAME")
    describe.add_argument("--json", action="store_true", help="as JSON, parameters as JSON Schema")
    describe.set_defaults(command=_describe, fail=describe.error)

    run = kinds.add_parser(
        "run",
        help="call a script",
        description="Calls a script in a fresh local cloud, the one that `watchfloor up` keeps, or a stack on AWS. One of "
        "high risk runs once somebody else approved its plan.",
    )
    run.add_argument("name", metavar="NAME")
    run.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter; repeat it for a list"
    )
    run.add_argument("--input", metavar="FILE", help="parameters as JSON; - for what is piped in")
    run.add_argument("--dry-run", action="store_true", help="say what it would change, and change nothing")
    run.add_argument("--requested-by", metavar="WHO", help="who wants it, for the record (you)")
    run.add_argument("--reason", default="", metavar="TEXT", help="shown to those who are asked to approve it")
    run.add_argument("--stack", metavar="NAME", help="in this stack of your AWS account")
    run.add_argument("--json", action="store_true", help="the answer as JSON")
    run.set_defaults(command=_run, fail=run.error)

    for verb, verdict, about in (
        ("approve", "approved", "let a script of high risk run; shows its plan, and in a terminal asks"),
        ("refuse", "refused", "do not let it run"),
    ):
        decide = kinds.add_parser(verb, help=about)
        decide.add_argument("id", metavar="ID", help="the approval's")
        decide.add_argument(
            "--by", metavar="WHO", help="who you are on the local cloud (you); on AWS your role says it"
        )
        decide.add_argument("--stack", metavar="NAME", help="in this stack of your AWS account")
        decide.add_argument("--json", action="store_true", help="as JSON")
        decide.set_defaults(command=_decide, verdict=verdict)


# --- commands -----------------------------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> int:
    found = [entry for entry in _entries() if args.group in (None, entry.group)]
    if args.json:
        _print_json([entry.to_dict() for entry in found])
        return SUCCESS
    table = Table(box=None, pad_edge=False)
    for title in ("script", "risk", "writes", "owner", "what it does"):
        table.add_column(title, no_wrap=title != "what it does")
    for entry in found:
        risk = entry.script.risk
        writes = "yes" if entry.calls.writes else "no"
        table.add_row(
            say(entry.name), say(risk, _RISK_COLORS[risk]), writes, say(entry.document.owner), say(entry.description)
        )
    results().print(table)
    return SUCCESS


def _describe(args: argparse.Namespace) -> int:
    entry = _named(args)
    if args.json:
        _print_json(entry.to_dict())
        return SUCCESS
    console, document = results(), entry.document
    console.print(say(entry.name, "bold"))
    console.print(say(entry.description))
    writes = "changes something" if entry.calls.writes else "only reads"
    approval = ", runs only with an approval" if entry.script.is_dangerous else ""
    about = f"owner {document.owner}, reviewed {document.reviewed}, risk {entry.script.risk}, {writes}{approval}"
    console.print(say(about, "dim"))
    for title, lines in (
        ("Parameters", parameter_lines(entry.schema)),
        ("Output", document.sections.get("Output", "").splitlines()),
        ("Permissions", permission_lines(entry)),
        ("Risk", document.sections.get("Risk", "").splitlines()),
        ("Usage", document.sections.get("Usage", "").splitlines()),
    ):
        console.print()
        console.print(say(title, "bold"))
        for line in lines:
            if not line.startswith("```"):
                console.print(say(line.replace("`", "")))
    return SUCCESS


def _run(args: argparse.Namespace) -> int:
    entry = _named(args)
    event, parameters = _input(args, entry)
    console = error_console()
    with _stack(args.stack, console) as stack:
        event["requested_by"] = who = args.requested_by or event.get("requested_by") or _myself(stack, args.stack)
        if entry.script.is_dangerous and not event["dry_run"] and not event.get("approval_id"):
            outcome = _asked(stack, Ask(entry.name, parameters, who, args.reason), args.stack, console)
        else:
            console.print(say(f"{'planning' if event['dry_run'] else 'running'} {entry.name}"))
            outcome = stack.call(entry.name, {"parameters": parameters, **event})
    if args.json:
        _print_json(outcome.to_dict())
    else:
        _show(results(), entry.name, outcome)
    if not args.stack and outcome.status_code == _NOT_FOUND:
        console.print("A local cloud begins empty; CONTRIBUTING.md says how to put there what a script works on.")
    return SUCCESS if outcome.is_done else FAILURE


def _asked(stack: Stack, ask: Ask, name: str | None, console: Console) -> Outcome:
    where = f" --stack {name}" if name else " --by WHO"
    with stack.ask(ask) as (approval_id, execution):
        told: set[str] = set()

        def tell() -> None:
            if "AskApproval" in execution.states and not told:
                told.add(approval_id)
                console.print(say(f"waits for approval: watchfloor script approve {approval_id}{where}, or in Slack"))

        watch(execution, console, f"{ask.script}, approval {approval_id}", tell)
    return outcome_of(execution)


def _decide(args: argparse.Namespace) -> int:
    console = error_console()
    with _stack(args.stack, console, is_kept=True) as stack:
        if not re.fullmatch(r"[0-9a-f]{16}", args.id):
            raise UserError(f"{args.id} is no approval's id", "watchfloor script run shows it while it waits.")
        try:
            _show_approval(console, stack.approvals().get(args.id)[0])
        except NotFoundError as error:
            raise UserError(str(error), "watchfloor script run shows an approval's id while it waits.") from error
        if args.verdict == "approved" and not _agreed(console, args):
            return FAILURE
        answer = stack.decide(args.id, args.verdict, args.by or _myself(stack, args.stack))
    if args.json:
        _print_json(answer)
    elif answer["statusCode"] >= 300:
        raise UserError(answer["error"], "Whoever asks for a script, somebody else approves it.")
    else:
        more = f": {answer['given']} of {answer['needed']} approvals" if answer["status"] == "pending" else ""
        results().print(say(f"{args.id} is {answer['status']}{more}"))
    return SUCCESS if answer["statusCode"] < 300 else FAILURE


def _agreed(console: Console, args: argparse.Namespace) -> bool:
    """Whoever sits there has seen the plan and says yes; where nobody does, the command itself says it."""
    if args.json or not sys.stdin.isatty():
        return True
    return console.input("Let it run? [y/N] ", markup=False).strip().lower() in ("y", "yes")


# --- what is shown ------------------------------------------------------------------------------------------------


def _show(console: Console, name: str, outcome: Outcome) -> None:
    body, approval = outcome.body, outcome.approval
    if approval:
        by = f" by {approval['by']}" if approval.get("by") else ""
        console.print(say(f"{name}: {approval['decision']}{by} (approval {approval['approval_id']})"))
        if approval.get("error"):
            console.print(say(approval["error"], "red"))
    if not body:
        return
    is_bad = body["status"] == "failed"
    changed = ", changed something" if body["changed"] else ""
    seconds = body["duration_ms"] / 1000
    title = f"{name}: {body['status']} ({outcome.status_code}){changed}, {seconds:.1f} s"
    console.print(say(title, "bold red" if is_bad else "bold green"))
    if is_bad:
        error = body["error"]
        console.print(say(f"{error['type']}: {error['message']}"))
        for call in error.get("calls", []):
            console.print(say(f"  {_call(call)}: {call['outcome']}"))
        return
    result = body["result"]
    if body["status"] == "planned":
        calls = result["planned_calls"]
        console.print(
            say(
                f"It would make {len(calls)} write call{'' if len(calls) == 1 else 's'}:"
                if calls
                else "It would change nothing."
            )
        )
        for number, call in enumerate(calls, start=1):
            console.print(say(f"  {number}. {_call(call)}"))
        result = result["plan"]
    lines = list(_lines(result))
    for line in lines[:_SHOWN_LINES]:
        console.print(say(line))
    if len(lines) > _SHOWN_LINES:
        console.print(say(f"and {len(lines) - _SHOWN_LINES} lines more; --json shows all", "dim"))


def _show_approval(console: Console, approval: Approval) -> None:
    proven = "" if approval.requester.is_proven else " (not proven: two people have to approve)"
    console.print(say(f"{approval.ask.script}, asked for by {approval.requester.shown}{proven}", "bold"))
    if approval.ask.reason:
        console.print(say(approval.ask.reason))
    for name, value in approval.ask.parameters.items():
        console.print(say(f"  {name} = {json.dumps(value, ensure_ascii=False)}"))
    for number, call in enumerate(approval.calls, start=1):
        console.print(say(f"  {number}. {_call(call)}"))


def _call(call: dict[str, Any]) -> str:
    given = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in call["parameters"].items())
    return f"{call['service']}:{call['operation']}({given})"


def _lines(value: Any, level: int = 0) -> Iterator[str]:
    """JSON as an outline."""
    space = "  " * level
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, dict | list) and item:
                yield f"{space}{key}:"
                yield from _lines(item, level + 1)
            else:
                yield f"{space}{key}: {_scalar(item)}"
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict) and item:
                first, *rest = _lines(item, level + 1)
                yield f"{space}- {first.lstrip()}"
                yield from rest
            else:
                yield f"{space}- {_scalar(item)}"
    else:
        yield f"{space}{_scalar(value)}"


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# --- input --------------------------------------------------------------------------------------------------------


def _input(args: argparse.Namespace, entry: Entry) -> tuple[dict[str, Any], dict[str, Any]]:
    """What goes beside the parameters, and the parameters."""
    given: Any = {}
    if args.input:
        try:
            text = sys.stdin.read() if args.input == "-" else Path(args.input).read_text(encoding="utf-8")
            given = json.loads(text)
        except (OSError, ValueError) as error:
            args.fail(f"--input {args.input} cannot be read as JSON: {error}")
        if not isinstance(given, dict):
            args.fail(f"--input {args.input} must hold a JSON object")
    controls = {name: given.pop(name) for name in CONTROLS if name in given}
    parameters = given.pop("parameters") if isinstance(given.get("parameters"), dict) else given
    known = entry.schema.get("properties", {})
    lists: dict[str, list[Any]] = {}
    for text in args.param:
        name, equals, value = text.partition("=")
        if not equals:
            args.fail(f"--param {text} must be NAME=VALUE")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known) or 'none'}"
            args.fail(f"{entry.name} has no parameter {name}{hint}")
        kind = kind_of(known[name], entry.schema)
        if kind.startswith("list of ") and not value.startswith("["):
            lists.setdefault(name, []).append(_typed(value, kind.removeprefix("list of ")))
            parameters[name] = lists[name]
        else:
            parameters[name] = _typed(value, kind)
    return {**controls, "dry_run": args.dry_run or controls.get("dry_run", False)}, parameters


def _typed(text: str, kind: str) -> Any:
    """A parameter's value; what does not fit its type is left for the script to refuse."""
    if kind in ("string", "secret"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _named(args: argparse.Namespace) -> Entry:
    found = {entry.name: entry for entry in _entries()}
    if args.name not in found:
        close = difflib.get_close_matches(args.name, found, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else "watchfloor script list shows all"
        args.fail(f"there is no script {args.name}; {hint}")
    return found[args.name]


def _entries() -> list[Entry]:
    try:
        found = entries()
        for entry in found:
            assert entry.script and entry.document
    except ScriptError as error:
        raise UserError(str(error), "python -m local.scripts.check says more.") from error
    return found


def _myself(stack: Stack, name: str | None) -> str:
    return stack.caller() if name else getpass.getuser()


@contextmanager
def _stack(name: str | None, console: Console, *, is_kept: bool = False) -> Iterator[Stack]:
    """The scripts of a stack on AWS, of the kept cloud, or, unless it must be a kept one, of a fresh one."""
    try:
        if name:
            yield Stack(sandbox.on_aws(name), name)
        elif is_kept:
            running = sandbox.kept()
            if running is None:
                raise UserError("no local cloud is kept", "watchfloor up keeps one; --stack NAME takes one on AWS.")
            yield Stack(Deployment(running, running.outputs, is_kept=True), sandbox.STACK)
        else:
            with sandbox.at_hand({}, console.print) as deployment:
                yield Stack(deployment, sandbox.STACK)
    except (BotoCoreError, ClientError) as error:
        raise UserError(str(error), "Check AWS_PROFILE and AWS_REGION, and what your role may do.") from error
    except WatchfloorError as error:
        raise UserError(str(error), "watchfloor script list shows the scripts.") from error


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
