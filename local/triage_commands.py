"""`watchfloor triage`: a log through the machine, log groups attached, incidents looked at and judged."""

from __future__ import annotations

import argparse
import getpass
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local import report, sandbox, triage_demo, triage_report
from local.pipeline import UserError, check_folder
from local.progress import error_console
from local.sandbox import Deployment
from local.triage import Desk
from local.triage_events import event_of
from watchfloor import incidents
from watchfloor.errors import ConflictError, InvalidInputError
from watchfloor.fingerprints import SPLITS
from watchfloor.incidents import Incident

SUCCESS = 0
LAST_TRIAGE = sandbox.WORK / "last-triage"
STATUSES = ("open", "acknowledged", "silenced", "resolved", "reopened", "merged")
COMMANDS = (
    *("run", "attach", "detach", "list", "show", "merge", "unmerge", "split"),
    *("acknowledge", "silence", "resolve", "reopen", "demo"),
)
_DURATION = re.compile(r"(\d{1,4})([mhd])")
_SECONDS = {"m": 60, "h": 3_600, "d": 86_400}
_MAX_SILENCE_SECONDS = 366 * 86_400


def with_default(arguments: Sequence[str]) -> list[str]:
    """`triage EVENT.json` as `triage run EVENT.json`."""
    if arguments[:1] == ["triage"] and len(arguments) > 1 and arguments[1] not in (*COMMANDS, "-h", "--help"):
        return ["triage", "run", *arguments[1:]]
    return list(arguments)


def add_to(commands: Any) -> None:
    """Add it to the commands of `watchfloor`."""
    triage = commands.add_parser(
        "triage",
        help="errors in logs: explain them, look at incidents",
        description="Error triage. `watchfloor triage EVENT.json` is `watchfloor triage run EVENT.json`.",
    )
    kinds = triage.add_subparsers(required=True, metavar="EVENT.json | COMMAND")

    run = kinds.add_parser(
        "run",
        help="one event, or any log, through the machine",
        description="Runs error triage on a subscription event, on what is inside of one, on the answer of `aws logs "
        "get-log-events`, or on any log, in a fresh local cloud or the one that `watchfloor up` keeps.",
    )
    run.add_argument("event", type=_log, metavar="EVENT.json", help="a file, or - for what is piped in")
    run.add_argument("--out", type=Path, metavar="DIR", help="where the reports go (.watchfloor/last-triage)")
    run.add_argument("--json", action="store_true", help="as JSON")
    run.set_defaults(command=_run)

    attach = _command(kinds, "attach", _attach, "have the errors of a log group explained")
    attach.add_argument("log_group", metavar="LOG_GROUP")
    attach.add_argument("--pattern", help="filter pattern (the stack's TriageFilterPattern); '' takes every line")
    detach = _command(kinds, "detach", _detach, "no more")
    detach.add_argument("log_group", metavar="LOG_GROUP")

    listing = _command(kinds, "list", _list, "incidents, the one seen last first")
    listing.add_argument("--status", choices=STATUSES, help="only those of this status")
    listing.add_argument(
        "--log-groups",
        nargs="?",
        const="",
        metavar="PREFIX",
        help="the log groups attached instead, of those whose name begins so",
    )
    show = _command(kinds, "show", _show, "one incident in full")
    show.add_argument("fingerprint", metavar="FINGERPRINT", help="or the beginning of it")

    merge = _command(kinds, "merge", _merge, "from now on, errors of A count for B")
    merge.add_argument("fingerprint", metavar="A")
    merge.add_argument("into", metavar="B")
    _of_one(kinds, "unmerge", _unmerge, "take a merge back")
    split = _of_one(kinds, "split", _split, "from now on, tell its errors apart by more")
    split.add_argument("--by", action="append", required=True, choices=[*SPLITS, "nothing"], help="again for both")
    _of_one(kinds, "acknowledge", _acknowledge, "somebody is at it")
    silence = _of_one(kinds, "silence", _silence, "count its errors, and tell nobody for a time")
    silence.add_argument("--for", dest="duration", type=_duration, required=True, metavar="4h", help="30m, 4h, 7d")
    resolve = _of_one(kinds, "resolve", _resolve, "what resolved it; shown when it comes back")
    resolve.add_argument("--note", default="", metavar="TEXT", help="what resolved it")
    _of_one(kinds, "reopen", _reopen, "take back that it is acknowledged, silenced or resolved")

    demo = kinds.add_parser(
        "demo", help="what make demo-triage shows", description="A broken function, and its errors."
    )
    demo.set_defaults(command=_demo)


def _command(kinds: Any, name: str, command: Callable[..., int], about: str) -> argparse.ArgumentParser:
    parser = kinds.add_parser(name, help=about)
    parser.add_argument("--stack", metavar="NAME", help="of this stack in your AWS account (the cloud that `up` keeps)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(command=command)
    return parser


def _of_one(kinds: Any, name: str, command: Callable[..., int], about: str) -> argparse.ArgumentParser:
    parser = _command(kinds, name, command, about)
    parser.add_argument("fingerprint", metavar="FINGERPRINT", help="or the beginning of it")
    return parser


# --- commands -----------------------------------------------------------------------------------------------------


def _run(args: argparse.Namespace) -> int:
    event, console, folder = event_of(args.event), error_console(), check_folder(args.out or LAST_TRIAGE)
    with sandbox.at_hand({}, console.print) as deployment:
        done = Desk(deployment).triage(event, console)
    kept = [_keep(found, folder) for found in done.reports]
    if args.json:
        _print_json({"received": done.received, "seconds": round(done.seconds, 1), "reports": done.reports})
    else:
        triage_report.triaged(report.results(), done, kept)
    return SUCCESS


def _attach(args: argparse.Namespace) -> int:
    with _desk(args.stack) as desk:
        made = desk.log_groups.attach(args.log_group, args.pattern)
    if args.json:
        _print_json(asdict(made))
    else:
        triage_report.attached(report.results(), made)
    return SUCCESS


def _detach(args: argparse.Namespace) -> int:
    with _desk(args.stack) as desk:
        desk.log_groups.detach(args.log_group)
    _done(args, {"log_group": args.log_group, "attached": False}, f"{args.log_group} is detached.")
    return SUCCESS


def _list(args: argparse.Namespace) -> int:
    with _desk(args.stack) as desk:
        if args.log_groups is not None:
            groups = list(desk.log_groups.attached(args.log_groups))
            _print_json([asdict(row) for row in groups]) if args.json else triage_report.log_groups(
                report.results(), groups
            )
            return SUCCESS
        found = [one for one in desk.incidents() if args.status in (None, triage_report.status(one))]
    if args.json:
        _print_json([one.to_json() for one in found])
    else:
        triage_report.incident_list(report.results(), found)
    return SUCCESS


def _show(args: argparse.Namespace) -> int:
    with _desk(args.stack) as desk:
        incident = desk.find(args.fingerprint)
        found, state = desk.report(incident), desk.state(incident)
        earlier = desk.table.ended(incident.fingerprint)
        merged = [one.fingerprint for one in desk.incidents() if one.merged_into == incident.fingerprint]
    if args.json:
        about = {"incident": incident.to_json(), "state": state, "earlier": earlier, "merged": merged}
        _print_json({**about, "report": found})
    else:
        triage_report.incident(report.results(), incident, found, state, earlier, merged)
    return SUCCESS


def _merge(args: argparse.Namespace) -> int:
    with _desk(args.stack) as desk:
        one, other = desk.find(args.fingerprint), desk.find(args.into)
        who, now = _who(desk), time.time()
        after = desk.table.merge(
            one.fingerprint,
            other.fingerprint,
            lambda before, target: incidents.merge(before, target, by=who, now=now),
        )
    _done(args, after.to_json(), f"From now on, errors of {one.fingerprint} count for {after.merged_into}.")
    return SUCCESS


def _unmerge(args: argparse.Namespace) -> int:
    return _change(args, incidents.unmerge, "From now on, errors of {fingerprint} count for itself.")


def _split(args: argparse.Namespace) -> int:
    by_what = () if "nothing" in args.by else tuple(args.by)
    told = f"by {' and '.join(by_what)} too" if by_what else "as they were before"
    edit = partial(incidents.split, split_by=by_what)
    return _change(args, edit, "From now on, errors of {fingerprint} are told apart " + told + ".")


def _acknowledge(args: argparse.Namespace) -> int:
    return _change(args, incidents.acknowledge, "{fingerprint} is acknowledged by {by}.")


def _silence(args: argparse.Namespace) -> int:
    def edit(before: Incident, *, by: str, now: float) -> Incident:
        return incidents.silence(before, by=by, until=now + args.duration, now=now)

    return _change(args, edit, "{fingerprint} is silenced until {until}.")


def _resolve(args: argparse.Namespace) -> int:
    edit = partial(incidents.resolve, note=args.note)
    return _change(args, edit, "{fingerprint} is resolved. If it comes back, the note comes with it.")


def _reopen(args: argparse.Namespace) -> int:
    return _change(args, incidents.reopen, "{fingerprint} is open again.")


def _demo(_: argparse.Namespace) -> int:
    triage_demo.show(error_console(), report.results(), LAST_TRIAGE)
    return SUCCESS


# --- helpers ------------------------------------------------------------------------------------------------------


@contextmanager
def _desk(stack: str | None) -> Iterator[Desk]:
    """The incidents of a stack on AWS, or of the kept cloud; what AWS or the domain refuses is told in a sentence."""
    try:
        if stack:
            deployment, name = sandbox.on_aws(stack), stack
            if "IncidentTableName" not in deployment.outputs:
                raise UserError(f"the stack {stack} has no error triage", "Deploy this version to it first.")
        else:
            running = sandbox.kept()
            if running is None:
                raise UserError(
                    "no local cloud is kept, so there are no incidents to look at",
                    "watchfloor up keeps one; --stack NAME looks at a stack in your AWS account.",
                )
            deployment, name = Deployment(running, running.outputs, is_kept=True), sandbox.STACK
        yield Desk(deployment, name)
    except (BotoCoreError, ClientError) as error:
        raise UserError(
            str(error), "Check AWS_PROFILE and AWS_REGION, and what your role may do (docs/triage.md)."
        ) from error
    except (InvalidInputError, ConflictError) as error:
        raise UserError(str(error), "watchfloor triage list shows the incidents.") from error


def _change(args: argparse.Namespace, edit: Callable[..., Incident], told: str) -> int:
    """Change one incident by `edit(incident, by=, now=)`; `told` says what it is then."""
    with _desk(args.stack) as desk:
        fingerprint, who, now = desk.find(args.fingerprint).fingerprint, _who(desk), time.time()
        after = desk.table.change(fingerprint, lambda before: edit(before, by=who, now=now))
    about = {"fingerprint": after.fingerprint, "by": after.by, "until": triage_report.moment(after.until)}
    _done(args, after.to_json(), told.format(**about))
    return SUCCESS


def _who(desk: Desk) -> str:
    """Who is to be named for a change: the session's name on AWS, the user's on the local cloud."""
    if desk.deployment.is_kept:
        return getpass.getuser()
    return desk.deployment.client("sts").get_caller_identity()["Arn"].rpartition("/")[2]


def _log(text: str) -> str:
    if text != "-" and not Path(text).exists():
        raise argparse.ArgumentTypeError(f"there is no file {text}, and no command; watchfloor triage --help has those")
    if Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; name a file, or - for what is piped in")
    return text


def _duration(text: str) -> int:
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 0 < seconds <= _MAX_SILENCE_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is no duration; say 30m, 4h or 7d")
    return seconds


def _keep(found: dict[str, Any], folder: Path) -> Path:
    """Write a report: `report.json` is the last one, and each has a name of its own besides."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1, ensure_ascii=False)
    own = folder / f"{found['fingerprint']}-{found['generation']}.json"
    for path in (own, folder / "report.json"):
        path.write_text(text, encoding="utf-8")
    return own


def _done(args: argparse.Namespace, value: Any, text: str) -> None:
    if args.json:
        _print_json(value)
    else:
        report.results().print(report.say(text))


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
