"""The `watchfloor` command."""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from local import deploy, measure, report, sandbox, script_commands, triage_commands
from local.cloud import DEFAULT_PORT, LocalCloudError, without_proxy
from local.pipeline import (
    Run,
    UserError,
    campaigns_of,
    check_file,
    check_folder,
    check_stream,
    collect,
    keep_campaigns,
    run_file,
)
from local.progress import error_console
from local.sandbox import Deployment

SUCCESS, FAILURE, USAGE = 0, 1, 2
LAST_RUN = sandbox.WORK / "last-run"
DEMO_ALERTS, DEMO_SEED = 3_000, 7
_MODEL_START_SECONDS, _MODEL_ANSWER_SECONDS = 60, 3_600
_BUILD_FIX = "It downloads libraries: see to the network, pip's index and proxy, and room on the disk; then try again."
# No room, or no right to write there: nothing that we could mend.
_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EISDIR)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit code: 0 success, 1 failure, 2 wrong usage."""
    args = parser().parse_args(triage_commands.with_default(sys.argv[1:] if arguments is None else arguments))
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    # A shell starts what runs in its background with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    os.environ.update(without_proxy())
    errors = error_console()
    try:
        return args.command(args)
    except UserError as error:
        _complain(errors, str(error), error.fix)
    except deploy.BuildError as error:
        _complain(errors, str(error), _BUILD_FIX)
    except deploy.DeployError as error:
        _complain(errors, f"the application could not be deployed:\n{error}", "The template may be edited wrongly.")
    except LocalCloudError as error:
        _complain(errors, str(error), "make setup installs the pinned versions that the local cloud needs.")
    except KeyboardInterrupt:
        _complain(errors, "interrupted", "")
    except BrokenPipeError:
        # Whoever read our output has enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # noqa: BLE001 - the user gets a sentence, the file the trace
        if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
            where = f"{error.filename}: " if error.filename else ""
            _complain(errors, f"{where}{error.strerror}", "Make room, or name a folder that may be written to.")
        else:
            _complain(errors, f"{type(error).__name__}: {error}", f"This is a bug; please report it{_traced()}.")
    return FAILURE


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="watchfloor",
        description="Alerts in, attack flows, campaigns, Jira issues and cases out; errors in logs explained.",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="run alert files through the pipeline",
        description="Runs the files in order through one fresh local cloud, or the one that `watchfloor up` keeps. "
        "Later files continue the clusters of earlier ones.",
    )
    run.add_argument("files", nargs="+", type=_file, metavar="ALERTS.json", help="alerts in any accepted format")
    run.add_argument("--out", type=Path, metavar="DIR", help="where the last run's output goes (.watchfloor/last-run)")
    run.add_argument("--chunk-size", type=_positive, metavar="N", help="alerts per clustering batch (50000)")
    run.add_argument("--stream", metavar="NAME", help="the stream that the files belong to (default)")
    run.add_argument("--json", action="store_true", help="the runs' summaries as JSON")
    run.set_defaults(command=_run)

    campaign = commands.add_parser("campaign", help="look at campaigns", description="Looks at campaigns.")
    kinds = campaign.add_subparsers(required=True, metavar="list | show")
    listing = kinds.add_parser("list", help="all campaigns, worst first")
    listing.add_argument("--status", help="only those of this status")
    listing.add_argument("--stack", metavar="NAME", help="those of this stack in your AWS account")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(command=_campaign_list)
    show = kinds.add_parser("show", help="one campaign in full")
    show.add_argument("id", metavar="ID", help="its id, or the beginning of it")
    show.add_argument("--stack", metavar="NAME", help="of this stack in your AWS account")
    show.add_argument("--json", action="store_true", help="the whole document as JSON")
    show.set_defaults(command=_campaign_show)

    triage_commands.add_to(commands)
    script_commands.add_to(commands)

    model = commands.add_parser(
        "model",
        help="ask one model, without the pipeline",
        description="Starts one model's server, sends it a file and writes its answer (docs/cli.md).",
    )
    model.add_argument("model", choices=["technique", "cluster", "flow"])
    model.add_argument("--in", dest="source", type=_file, required=True, metavar="FILE", help="the request")
    model.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the answer goes")
    model.set_defaults(command=_model)

    up = commands.add_parser("up", help="keep a local cloud", description="Keeps a local cloud until interrupted.")
    up.add_argument("--port", type=_port, default=DEFAULT_PORT, metavar="N", help=f"wanted port ({DEFAULT_PORT})")
    up.add_argument("--chunk-size", type=_positive, metavar="N", help="alerts per clustering batch (50000)")
    up.set_defaults(command=_up)

    bench = commands.add_parser(
        "bench",
        help="measure time, memory and cost",
        description="Measures the pipeline on each input, in a cloud of its own.",
    )
    bench.add_argument("files", nargs="*", type=_file, metavar="ALERTS.json", help="alert files")
    bench.add_argument("--alerts", type=_positive, metavar="N", help="simulated alerts (20000 where nothing is named)")
    bench.add_argument("--cptc", action="store_true", help="the CPTC 2017 teams, where the labelled data is at hand")
    bench.add_argument("--ait", action="append", default=[], metavar="SCENARIO", help="an AIT-ADS scenario, likewise")
    bench.add_argument("--chunk-size", type=_positive, metavar="N", help="alerts per clustering batch (50000)")
    bench.add_argument("--out", type=Path, metavar="DIR", help="keep each input's output here")
    bench.add_argument("--markdown", action="store_true", help="the table in Markdown")
    bench.add_argument("--json", action="store_true", help="the table as JSON")
    bench.set_defaults(command=_bench)

    demo = commands.add_parser("demo", help="what make demo shows", description="Runs simulated alerts, or your own.")
    demo.add_argument("alerts", nargs="?", type=_file, metavar="ALERTS.json", help="your own alerts")
    demo.set_defaults(command=_demo)
    return top


# --- commands -----------------------------------------------------------------------------------------------------


def _run(args: argparse.Namespace) -> int:
    for path in args.files:
        check_file(path)
    stream = check_stream(args.stream) if args.stream else None
    console, folder, done = error_console(), check_folder(args.out or LAST_RUN), []
    with sandbox.at_hand(_parameters(args), console.print) as deployment:
        try:
            for path in args.files:
                done.append(run_file(deployment, path, console, stream=stream))
        finally:
            # What succeeded before a failure is worth keeping.
            if done:
                collect(deployment, done[-1], folder)
                _remember(done[-1], folder)
                _show_runs(done, folder, as_json=args.json)
    return SUCCESS


def _campaign_list(args: argparse.Namespace) -> int:
    found = [campaign for campaign in _campaigns(args.stack) if args.status in (None, campaign["status"])]
    if args.json:
        left_out = {"events", "clusters", "iocs", "edges"}
        _print_json([{key: value for key, value in found_one.items() if key not in left_out} for found_one in found])
    else:
        report.campaign_list(report.results(), found)
    return SUCCESS


def _campaign_show(args: argparse.Namespace) -> int:
    found = [campaign for campaign in _campaigns(args.stack) if campaign["campaign_id"].startswith(args.id)]
    exact = [campaign for campaign in found if campaign["campaign_id"] == args.id]
    if len(exact or found) != 1:
        known = f"{len(found)} campaigns begin so" if found else "there is none"
        raise UserError(f"{args.id} names no single campaign: {known}", "watchfloor campaign list shows their ids.")
    campaign = (exact or found)[0]
    _print_json(campaign) if args.json else report.campaign(report.results(), campaign)
    return SUCCESS


def _model(args: argparse.Namespace) -> int:
    console, body = error_console(), args.source.read_bytes()
    check_folder(args.out.parent)
    content_type = "application/jsonlines" if args.model == "technique" else "application/json"
    with _model_server(args.model) as url:
        console.print(f"asking the {args.model} model")
        request = urllib.request.Request(f"{url}/invocations", data=body, headers={"Content-Type": content_type})
        try:
            with urllib.request.urlopen(request, timeout=_MODEL_ANSWER_SECONDS) as answer:
                args.out.write_bytes(answer.read())
        except urllib.error.HTTPError as error:
            told = error.read(2_000).decode("utf-8", "replace")
            raise UserError(f"the {args.model} model refused: {told}", "docs/cli.md shows its requests.") from error
    console.print(f"wrote {args.out}", highlight=False)
    return SUCCESS


def _up(args: argparse.Namespace) -> int:
    console = error_console()
    running = sandbox.kept()
    if running:
        raise UserError(
            f"a local cloud is already kept at {running.endpoint_url} (process {running.pid})",
            "Use it, or interrupt its `watchfloor up` first.",
        )
    parameters = _parameters(args)
    with sandbox.fresh(parameters, console.print, port=args.port) as deployment:
        sandbox.keep(deployment, parameters)
        try:
            report.cloud(console, deployment)
            while deployment.is_running:
                time.sleep(0.5)
        except KeyboardInterrupt:
            console.print("stopping")
            return SUCCESS
        finally:
            sandbox.KEPT.unlink(missing_ok=True)
    raise UserError("the local cloud ended by itself", ".watchfloor/cloud.log says why.")


def _bench(args: argparse.Namespace) -> int:
    console = error_console()
    for path in args.files:
        check_file(path)
    folder = sandbox.WORK / "bench"
    kinds = [["cptc", str(team)] for team in measure.CPTC_TEAMS] if args.cptc else []
    kinds += [["ait", scenario] for scenario in args.ait]
    inputs = [measure.Input(path.name, path) for path in args.files]
    if args.alerts or not (args.files or kinds):
        inputs.append(measure.simulated(args.alerts or 20_000, folder))
    inputs += measure.labelled(kinds, folder, console)
    done: list[measure.Measurement] = []
    for number, given in enumerate(inputs, start=1):
        console.rule(f"{number} of {len(inputs)}: {given.label}", align="left")
        out = (args.out or folder / "output") / given.label.replace(", ", "-").replace(" ", "-")
        try:
            done.append(measure.measure(given, _parameters(args), console, out))
        except UserError as error:
            _complain(console, str(error), error.fix)
    if args.json:
        _print_json(measure.as_json(done))
    elif args.markdown:
        print(measure.markdown(done))
    else:
        report.results().print(measure.table(done))
    return SUCCESS if len(done) == len(inputs) and all(row.is_complete for row in done) else FAILURE


def _demo(args: argparse.Namespace) -> int:
    console, began = error_console(), time.monotonic()
    if args.alerts:
        path = args.alerts
        check_file(path)
    else:
        (path,) = measure.write(measure.Simulation(DEMO_ALERTS, DEMO_SEED), sandbox.WORK / "demo")
        console.print(
            f"{DEMO_ALERTS:,} simulated alerts of three attackers among a company's noise: {path}", highlight=False
        )
    with sandbox.at_hand({}, console.print) as deployment:
        run = run_file(deployment, path, console)
        collect(deployment, run, LAST_RUN)
        is_kept = deployment.is_kept
    report.demo(report.results(), run, LAST_RUN, is_kept=is_kept, seconds=time.monotonic() - began)
    return SUCCESS


# --- helpers ------------------------------------------------------------------------------------------------------


def _campaigns(stack: str | None) -> list[dict[str, Any]]:
    """Campaigns of a stack on AWS, of the kept cloud, or of the last run; worst first."""
    if stack:
        try:
            return campaigns_of(sandbox.on_aws(stack))
        except (BotoCoreError, ClientError) as error:
            raise UserError(
                f"the campaigns of stack {stack} cannot be read: {error}",
                "Check AWS_PROFILE and AWS_REGION; `aws cloudformation describe-stacks` shows the stacks they reach.",
            ) from error
    running = sandbox.kept()
    if running:
        return campaigns_of(Deployment(running, running.outputs))
    files = sorted((LAST_RUN / "campaigns").glob("*.json"))
    if not files:
        raise UserError("there are no campaigns yet", "watchfloor run ALERTS.json makes some, make demo as well.")
    found = [json.loads(path.read_text()) for path in files]
    return sorted(found, key=lambda campaign: (-campaign["score"], campaign["campaign_id"]))


def _show_runs(done: list[Run], folder: Path, *, as_json: bool) -> None:
    if as_json:
        _print_json([{"file": str(run.file), **run.summary, "state_seconds": run.state_seconds} for run in done])
    else:
        report.runs(report.results(), done, folder)


def _remember(run: Run, folder: Path) -> None:
    """Keep the campaigns for `campaign list` after the cloud is gone."""
    if folder != LAST_RUN:
        LAST_RUN.mkdir(parents=True, exist_ok=True)
        keep_campaigns(run.campaigns, LAST_RUN)


@contextmanager
def _model_server(model: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "WATCHFLOOR_MODEL": model,
        "WATCHFLOOR_BIND_HOST": "127.0.0.1",
        "SAGEMAKER_BIND_TO_PORT": str(port),
    }
    process = subprocess.Popen([sys.executable, "-m", "models.serve"], env=environment, cwd=sandbox.ROOT)
    try:
        _wait_for_model(process, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _wait_for_model(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _MODEL_START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise UserError("the model's server ended while starting", "Its message is above.")
        try:
            with urllib.request.urlopen(f"{url}/ping", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise UserError(
        f"the model's server did not answer in {_MODEL_START_SECONDS} s", "The machine may be busy; try again."
    )


def _parameters(args: argparse.Namespace) -> dict[str, str]:
    return {"ChunkSize": str(args.chunk_size)} if args.chunk_size else {}


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def _complain(console: Console, message: str, fix: str) -> None:
    console.print(report.say("watchfloor: ", "bold red"), end="")
    for line in message.splitlines():
        console.print(report.say(line))
    if fix:
        console.print(report.say(f"What now: {fix}"))


def _traced() -> str:
    """Keep the trace of the exception at hand; how the message goes on."""
    trace = sandbox.WORK / "error.log"
    try:
        trace.parent.mkdir(exist_ok=True)
        trace.write_text(traceback.format_exc())
    except OSError:
        return ""
    return f" with {report.short(trace)}"


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise argparse.ArgumentTypeError(f"{text} {what}; name a file with alerts")
    return path


def _positive(text: str) -> int:
    return _between(text, 1, 10**9)


def _port(text: str) -> int:
    return _between(text, 1, 65_535)


def _between(text: str, low: int, high: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from {low:,} to {high:,}")
    return number


if __name__ == "__main__":
    sys.exit(main())
