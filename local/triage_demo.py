"""What `make demo-triage` shows: a broken function, its errors explained, a button pressed."""

from __future__ import annotations

import io
import json
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from local import sandbox, slack_text
from local.pipeline import UserError
from local.report import program, say, short
from local.sandbox import Deployment
from local.triage import Desk
from local.triage_events import batch_of
from watchfloor.incidents import Incident
from watchfloor.messages import ACKNOWLEDGE

FUNCTION, LOG_GROUP, OTHERS = "checkout", "/aws/lambda/checkout", "/demo/other-languages"
ORDERS, WORKERS = 2_000, 4
TIMEOUT_SECONDS = 3
PATIENCE_SECONDS, TOLD_SECONDS = 300, 5
SOURCES = Path(__file__).parent / "demo_errors" / "checkout"
SAMPLES = sandbox.ROOT / "events" / "triage" / "errors"
_LOGS_POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "logs:*", "Resource": "*"}]}
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}


@dataclass
class Shown:
    """What the demo read back.

    Attributes
    ----------
    worst
        The incident with the most errors.
    messages
        Slack's message of each incident, by fingerprint.
    """

    worst: Incident
    messages: dict[str, dict[str, Any]]
    incidents: list[Incident] = field(default_factory=list)
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)


def show(progress: Console, results: Console, folder: Path) -> None:
    """Run the demo and print what it shows.

    Parameters
    ----------
    progress, results
        Consoles for what is being done, and for what came of it.
    folder
        Where reports and Slack's page go.
    """
    with sandbox.at_hand({}, progress.print) as deployment:
        began = time.monotonic()
        demo = Demo(deployment, progress.print)
        demo.prepare()
        demo.break_things()
        shown = demo.explained()
        seconds = time.monotonic() - began
        _results(results, shown, seconds)
        _press(results, demo, shown)
        _mail(results, demo.mails())
        _files(results, demo, shown, folder)
        _next_steps(results, deployment)


class Demo:
    """A broken application on a deployment of Watchfloor."""

    def __init__(self, deployment: Deployment, tell: Callable[[str], None]) -> None:
        self._deployment = deployment
        self._tell = tell
        self._functions, self._logs = deployment.client("lambda"), deployment.client("logs")
        self.desk = Desk(deployment)
        self._known: dict[str, int] = {}
        self._expected = 0
        self._mailbox = ""

    def prepare(self) -> None:
        """Deploy the application, attach its log groups, and have the mails in a queue too."""
        self._tell(f"deploying the function {FUNCTION}, which is broken")
        self._deploy_function()
        for group in (LOG_GROUP, OTHERS):
            try:
                self._logs.create_log_group(logGroupName=group)
            except self._logs.exceptions.ResourceAlreadyExistsException:
                pass
            # Traces of Go and Rust that come line by line are whole only where every line is taken.
            pattern = "" if group == OTHERS else None
            self.desk.log_groups.attach(group, pattern)
            self._tell(f"watchfloor triage attach {group}" + ("" if pattern is None else " --pattern ''"))
        self._mailbox = self._subscribe()
        self._known = {one.fingerprint: one.generation for one in self.desk.incidents()}

    def break_things(self) -> None:
        """Have it fail in three ways, and other applications in other languages beside it."""
        self._tell(f"{ORDERS:,} orders from the new sign-up form, a settlement, and a slow warehouse")
        each = ORDERS // WORKERS
        batches = [[_order(n) for n in range(worker * each, (worker + 1) * each)] for worker in range(WORKERS)]
        events: list[dict[str, Any]] = [{"orders": batch} for batch in batches]
        events += [{"orders": [], "settle": "127.0.0.1"}, {"orders": [], "wait_for_warehouse": True}]
        with ThreadPoolExecutor(len(events)) as pool:
            list(pool.map(self._invoke, events))
        samples = sorted(SAMPLES.glob("*.json"))
        for path in samples:
            self._write(path.stem, batch_of(json.loads(path.read_text()))["logEvents"])
        # Each order fails, the settlement too, and the slow warehouse makes the function run out of time.
        self._expected = ORDERS + 2 + len(samples)

    def explained(self) -> Shown:
        """Wait until every incident has its message in Slack."""
        self._tell("waiting for the messages, which takes a minute or so")
        deadline, told = time.monotonic() + PATIENCE_SECONDS, time.monotonic()
        while True:
            found = [one for one in self.desk.incidents() if one.generation > self._known.get(one.fingerprint, 0)]
            messages = {one.fingerprint: self.message(one.fingerprint) for one in found}
            counted, written = sum(one.count for one in found), sum(map(bool, messages.values()))
            if counted >= self._expected and written == len(found):
                break
            if time.monotonic() - told > TOLD_SECONDS:
                told = time.monotonic()
                self._tell(f"{counted:,} of {self._expected:,} errors, {written} of {len(found)} messages")
            if time.monotonic() > deadline:
                raise UserError(
                    f"of {len(found)} incidents, {written} have a message after {PATIENCE_SECONDS} s",
                    ".watchfloor/cloud.log says what the functions did.",
                )
            time.sleep(0.3)
        reports = {one.fingerprint: self.desk.report(one) or {} for one in found}
        return Shown(max(found, key=lambda one: one.count), messages, found, reports)  # type: ignore[arg-type]

    def message(self, fingerprint: str) -> dict[str, Any] | None:
        """An incident's message, as Slack has it now."""
        for message in reversed(self._slack_threads()):
            if fingerprint in json.dumps(message.get("blocks", [])):
                return message
        return None

    def press(self, action_id: str, ts: str) -> dict[str, Any]:
        """Press a button in Slack, as a person does there."""
        url = f"{self._deployment.cloud.twins['slack']}/_twin/press"
        body = json.dumps({"action_id": action_id, "ts": ts}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def slack_page(self) -> str:
        return f"{self._deployment.cloud.twins['slack']}/_twin_page"

    def mails(self) -> list[dict[str, str]]:
        sqs = self._deployment.client("sqs")
        found = []
        while some := sqs.receive_message(QueueUrl=self._mailbox, MaxNumberOfMessages=10).get("Messages"):
            for message in some:
                sqs.delete_message(QueueUrl=self._mailbox, ReceiptHandle=message["ReceiptHandle"])
                found.append(json.loads(message["Body"]))
        return found

    @property
    def is_kept(self) -> bool:
        return self._deployment.is_kept

    def _slack_threads(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self._deployment.cloud.twins['slack']}/_twin/state", timeout=10) as answer:
            channels = json.load(answer)["channels"].values()
        messages = [message for channel in channels for message in channel["messages"]]
        return [message for message in messages if message.get("thread_ts") in (None, message["ts"])]

    def _deploy_function(self) -> None:
        iam = self._deployment.client("iam")
        try:
            role = iam.create_role(RoleName="demo-checkout", AssumeRolePolicyDocument=json.dumps(_TRUST))["Role"]
            iam.put_role_policy(RoleName="demo-checkout", PolicyName="logs", PolicyDocument=json.dumps(_LOGS_POLICY))
            self._functions.create_function(
                FunctionName=FUNCTION,
                Runtime=f"python{sys.version_info.major}.{sys.version_info.minor}",
                Role=role["Arn"],
                Handler="app.lambda_handler",
                Code={"ZipFile": _zipped(SOURCES)},
                Timeout=TIMEOUT_SECONDS,
                MemorySize=256,
            )
        except iam.exceptions.EntityAlreadyExistsException:
            self._functions.update_function_code(FunctionName=FUNCTION, ZipFile=_zipped(SOURCES))

    def _invoke(self, event: dict[str, Any]) -> None:
        self._functions.invoke(FunctionName=FUNCTION, Payload=json.dumps(event).encode())

    def _write(self, stream: str, events: list[dict[str, Any]]) -> None:
        stream = f"{stream}-{int(time.time())}"
        self._logs.create_log_stream(logGroupName=OTHERS, logStreamName=stream)
        now = int(time.time() * 1000)
        # There is no empty event.
        texts = [row["message"] for row in events if row["message"]]
        rows = [{"timestamp": now + number, "message": text} for number, text in enumerate(texts)]
        self._logs.put_log_events(logGroupName=OTHERS, logStreamName=stream, logEvents=rows)

    def _subscribe(self) -> str:
        sqs = self._deployment.client("sqs")
        url = sqs.create_queue(QueueName="demo-triage-mail")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
        policy = {"Version": "2012-10-17", "Statement": [{**allow, "Resource": arn}]}
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
        topic = self._deployment.outputs["TriageTopicArn"]
        self._deployment.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        return url


def _order(number: int) -> dict[str, Any]:
    # What the new form sends: no country.
    customer = {"name": f"customer {number % 97}"}
    return {"id": f"A-{100_000 + number}", "customer": customer, "items": [{"price": 9.9, "count": 1 + number % 3}]}


def _zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.glob("*.py")):
            archive.write(path, path.name)
    return buffer.getvalue()


# --- what is printed ----------------------------------------------------------------------------------------------


def _results(console: Console, shown: Shown, seconds: float) -> None:
    console.print()
    console.print(Rule(Text("the message in Slack"), align="left"))
    for line in slack_text.lines(shown.messages[shown.worst.fingerprint]["blocks"]):
        console.print(line)
    console.print(Rule(Text("all incidents"), align="left"))
    table = Table(box=None, pad_edge=False)
    for name in ("errors", "language", "verdict", "grouped by", "what"):
        table.add_column(name, justify="right" if name == "errors" else "left")
    for one in sorted(shown.incidents, key=lambda one: (-one.count, one.title)):
        found = shown.reports[one.fingerprint]
        table.add_row(
            f"{one.count:,}",
            say((found.get("error") or {}).get("language") or ""),
            say(found.get("verdict", "")),
            say((found.get("grouped_by") or {}).get("rule", "")),
            say(one.title[:90]),
        )
    console.print(table)
    errors = sum(one.count for one in shown.incidents)
    console.print(
        say(f"{errors:,} errors became {len(shown.incidents)} messages, {seconds:.1f} s after the demo began", "bold")
    )


def _press(console: Console, demo: Demo, shown: Shown) -> None:
    console.print(Rule(Text("somebody presses Acknowledge"), align="left"))
    fingerprint = shown.worst.fingerprint
    answer = demo.press(ACKNOWLEDGE, shown.messages[fingerprint]["ts"])
    deadline = time.monotonic() + 30
    while not any("Acknowledged" in line.plain for line in _lines(demo, fingerprint)):
        if time.monotonic() > deadline:
            raise UserError(f"the button had no effect: {answer}", ".watchfloor/cloud.log says why.")
        time.sleep(0.2)
    # Its title and what was said of it, and the count as it is by now.
    for line in _lines(demo, fingerprint):
        if line.plain.startswith(("👀", "Seen")):
            console.print(line)


def _lines(demo: Demo, fingerprint: str) -> Iterator[Text]:
    message = demo.message(fingerprint)
    return slack_text.lines(message["blocks"] if message else [])


def _mail(console: Console, mails: list[dict[str, str]]) -> None:
    console.print(Rule(Text(f"by mail too: {len(mails)}"), align="left"))
    for mail in mails[:3]:
        console.print(say(f"Subject: {mail['Subject']}"))


def _files(console: Console, demo: Demo, shown: Shown, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for fingerprint, found in shown.reports.items():
        (folder / f"{fingerprint}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
    with urllib.request.urlopen(demo.slack_page(), timeout=10) as answer:
        (folder / "slack.html").write_bytes(answer.read())
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row(say(short(folder / f"{shown.worst.fingerprint}.json")), say("the report of the message above", "dim"))
    table.add_row(
        say(short(folder / "slack.html")),
        say("Slack's channel, for a browser; its links lead into the AWS console", "dim"),
    )
    if demo.is_kept:
        table.add_row(say(demo.slack_page()), say("the same, with buttons that work", "dim"))
    console.print(Rule(Text("to look at"), align="left"))
    console.print(table)


def _next_steps(console: Console, deployment: Deployment) -> None:
    steps = {f"{program()} triage my.log": "explain an error of your own, here (docs/triage.md)"}
    if deployment.is_kept:
        steps[f"{program()} triage list"] = "these incidents"
    else:
        steps[f"{program()} up"] = "keep a cloud with its sandbox Slack, and press the buttons yourself"
    steps[f"{program()} triage attach LOG_GROUP --stack NAME"] = "errors of a log group in your AWS account"
    table = Table(box=None, show_header=False, pad_edge=False)
    for command, text in steps.items():
        table.add_row(say(command, "bold"), say(text, "dim"))
    console.print(Rule(Text("how to go on"), align="left"))
    console.print(table)


__all__ = ["Demo", "Shown", "show"]
