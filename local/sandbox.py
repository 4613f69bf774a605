"""The application on a cloud of this machine: a fresh one for one command, or the one that `watchfloor up` keeps."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import boto3

from local import deploy
from local.cloud import REGION, LocalCloud
from local.cloud.session import LocalSession
from local.twins import jira, kibana, openai, opensearch, slack, stack_exchange
from watchfloor.clients.opensearch_cases import INDEX

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / deploy.WORK_FOLDER
KEPT = WORK / "cloud.json"
STACK = "watchfloor"


class Cloud(Protocol):
    """What commands need of a cloud, whoever started it."""

    endpoint_url: str
    twins: dict[str, str]

    @property
    def running(self) -> bool: ...

    def session(self) -> boto3.Session: ...


@dataclass
class KeptCloud:
    """The cloud of a `watchfloor up` in another process."""

    endpoint_url: str
    twins: dict[str, str]
    pid: int
    outputs: dict[str, str]
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Whether it answers."""
        try:
            os.kill(self.pid, 0)
            with urllib.request.urlopen(f"{self.endpoint_url}/_ministack/health", timeout=5):
                return True
        except OSError:
            return False

    def session(self) -> boto3.Session:
        return LocalSession(self.endpoint_url, REGION)

    def environment(self) -> dict[str, str]:
        cloud = LocalCloud()
        cloud.endpoint_url = self.endpoint_url
        return cloud.environment()


@dataclass
class Deployment:
    """The application, deployed."""

    cloud: Cloud
    outputs: dict[str, str]
    is_kept: bool = False

    def client(self, service: str) -> Any:
        return self.cloud.session().client(service)  # type: ignore[call-overload]

    def table(self, output: str) -> Any:
        return self.cloud.session().resource("dynamodb").Table(self.outputs[output])

    @property
    def is_running(self) -> bool:
        return self.cloud.running

    @property
    def bucket(self) -> str:
        return self.outputs["DataBucketName"]


def connect_twins(cloud: Cloud) -> dict[str, str]:
    """Give the cloud's Secrets Manager what the sandbox twins ask for.

    Returns
    -------
    dict
        Template parameters that switch these integrations on.
    """
    urls = cloud.twins
    secrets = {
        "JiraSecretArn": {"url": urls["jira"], "user": jira.USER, "token": jira.TOKEN, "project": jira.PROJECT},
        "KibanaSecretArn": {"url": urls["kibana"], "api_key": kibana.API_KEY},
        "OpenSearchSecretArn": {"user": opensearch.USER, "password": opensearch.PASSWORD},
        "SlackSecretArn": {
            "bot_token": slack.BOT_TOKEN,
            "channel": slack.CHANNEL,
            "signing_secret": slack.SIGNING_SECRET,
            "api_url": f"{urls['slack']}/api/",
        },
        "OpenAiSecretArn": {"api_key": openai.API_KEY},
        "StackExchangeSecretArn": {"key": stack_exchange.KEY},
    }
    manager = cloud.session().client("secretsmanager")
    arns = {parameter: _keep_secret(manager, f"sandbox/{parameter}", secret) for parameter, secret in secrets.items()}
    return {
        **arns,
        "OpenSearchUrl": urls["opensearch"],
        "OpenAiBaseUrl": f"{urls['openai']}/v1",
        "StackExchangeUrl": f"{urls['stack_exchange']}/2.3",
        "ScriptAllowedNetworks": "127.0.0.0/8",
    }


def _keep_secret(manager: Any, name: str, value: dict[str, str]) -> str:
    text = json.dumps(value)
    try:
        return manager.create_secret(Name=name, SecretString=text)["ARN"]
    except manager.exceptions.ResourceExistsException:
        return manager.put_secret_value(SecretId=name, SecretString=text)["ARN"]


@dataclass
class Account:
    """An AWS account, by the credentials that the `aws` command would use."""

    endpoint_url: str = ""
    twins: dict[str, str] = field(default_factory=dict)
    running: bool = True

    def session(self) -> boto3.Session:
        return boto3.Session()


def on_aws(stack: str) -> Deployment:
    """The application in an AWS account; boto3's errors where it cannot be reached."""
    account = Account()
    found = account.session().client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return Deployment(account, {item["OutputKey"]: item["OutputValue"] for item in found.get("Outputs", [])})


@contextmanager
def fresh(
    parameters: Mapping[str, str], say: Callable[[str], None], *, port: int | None = None, log: Path | None = None
) -> Iterator[Deployment]:
    """A cloud of its own with the application deployed, gone at the end.

    Parameters
    ----------
    parameters
        Template parameters besides those of the twins.
    say
        Told what is being done, in a few words.
    port
        Wanted port; any free one when None.
    log
        Where the cloud's log goes.
    """
    built = deploy.build(ROOT, say=say)
    say("starting the local cloud")
    with LocalCloud(port=port, log_path=log or WORK / "cloud.log") as cloud:
        say(f"deploying to {cloud.endpoint_url}, which takes half a minute")
        deployment = Deployment(cloud, deploy.deploy(cloud, built, STACK, {**connect_twins(cloud), **parameters}))
        connect_buttons(deployment)
        yield deployment


@contextmanager
def at_hand(parameters: Mapping[str, str], say: Callable[[str], None]) -> Iterator[Deployment]:
    """The application on the cloud that `watchfloor up` keeps where there is one, else on a fresh one."""
    running = kept()
    if running:
        say(f"using the local cloud at {running.endpoint_url}")
        yield deployment_of(running, parameters, say)
    else:
        with fresh(parameters, say) as deployment:
            yield deployment


def keep(deployment: Deployment, parameters: Mapping[str, str]) -> None:
    """Write down the cloud of this process for other commands."""
    WORK.mkdir(exist_ok=True)
    about = {
        "endpoint_url": deployment.cloud.endpoint_url,
        "twins": deployment.cloud.twins,
        "pid": os.getpid(),
        "outputs": deployment.outputs,
        "parameters": dict(parameters),
    }
    partial = KEPT.with_suffix(".part")
    partial.write_text(json.dumps(about, indent=2))
    partial.replace(KEPT)


def kept() -> KeptCloud | None:
    """The cloud that `watchfloor up` keeps, if it still answers."""
    try:
        cloud = KeptCloud(**json.loads(KEPT.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return cloud if cloud.running else None


def deployment_of(cloud: KeptCloud, parameters: Mapping[str, str], say: Callable[[str], None]) -> Deployment:
    """The application on a kept cloud, deployed again where other parameters are asked for than it has."""
    wanted = {**cloud.parameters, **parameters}
    if wanted != cloud.parameters:
        say(f"deploying again to {cloud.endpoint_url} with {', '.join(f'{k}={v}' for k, v in parameters.items())}")
        built = deploy.build(ROOT, say=say)
        cloud.outputs = deploy.deploy(cloud, built, STACK, {**connect_twins(cloud), **wanted})  # type: ignore[arg-type]
        about = json.loads(KEPT.read_text())
        KEPT.write_text(json.dumps({**about, "outputs": cloud.outputs, "parameters": wanted}, indent=2))
    return Deployment(cloud, cloud.outputs, is_kept=True)


def action_url(deployment: Deployment) -> str:
    """Where Slack's buttons lead, as a URL that this machine can open: a local API's name cannot be resolved."""
    url = urlsplit(deployment.outputs["TriageActionUrl"])
    if not deployment.cloud.endpoint_url:
        return url.geturl()
    api_id = url.netloc.partition(".")[0]
    return f"{deployment.cloud.endpoint_url}/_aws/execute-api/{api_id}/$default{url.path}"


def connect_buttons(deployment: Deployment) -> None:
    """Tell the twin of Slack where its buttons lead, as one tells Slack in the app's settings."""
    body = json.dumps({"url": action_url(deployment)}).encode()
    url = f"{deployment.cloud.twins['slack']}/_twin/interactivity"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10):
        pass


def tickets(cloud: Cloud) -> dict[str, dict[str, dict[str, str]]]:
    """What the twins hold, read back from them: integration -> id -> title, status, url."""
    issues, cases = _state(cloud, "jira")["issues"], _state(cloud, "kibana")["cases"]
    documents = _state(cloud, "opensearch")["indices"].get(INDEX, {"documents": {}})["documents"]
    return {
        "jira": {
            key: {
                "title": issue["summary"],
                "status": jira.STATUSES[issue["status"]][0],
                "url": f"{cloud.twins['jira']}/browse/{key}",
            }
            for key, issue in issues.items()
        },
        "opensearch": {
            case_id: {
                "title": document["source"]["title"],
                "status": document["source"]["status"],
                "url": f"{cloud.twins['opensearch']}/_twin_page",
            }
            for case_id, document in documents.items()
        },
        "kibana": {
            case_id: {"title": case["title"], "status": case["status"], "url": cloud.twins["kibana"]}
            for case_id, case in cases.items()
        },
    }


def _state(cloud: Cloud, twin: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{cloud.twins[twin]}/_twin/state", timeout=10) as answer:
        return json.load(answer)
