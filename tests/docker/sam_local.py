"""The functions of the built application in containers, by `sam local invoke`, against the local cloud.

A container knows the functions' deployed environment, reaches the local cloud at the address of Docker's bridge, and
has the credentials of the function's own role, so IAM holds here too.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from samcli.yamlhelper import yaml_parse

from tests.scenarios import Floor

ROOT = Path(__file__).resolve().parents[2]
EVENTS = ROOT / "events"


class SamLocal:
    """One deployment's functions, called in containers.

    Parameters
    ----------
    floor
        The deployed application; what its functions write lands there.
    built
        The built root template.
    stand_in
        Whether the base image is ours, and must not be pulled.
    """

    def __init__(self, floor: Floor, built: Path, stand_in: bool) -> None:
        self._floor = floor
        self._stand_in = stand_in
        self._bridge = _bridge_address()
        self._stop = contextlib.ExitStack()
        self._template = built.with_name("sam-local.yaml")
        self._stop.callback(self._template.unlink, missing_ok=True)
        # SAM lets variables of its own environment win over the template's, but not over this file's.
        self._variables = built.with_name("sam-local.json")
        self._stop.callback(self._variables.unlink, missing_ok=True)
        endpoint = self.within_reach(floor.cloud.endpoint_url)
        self._variables.write_text(json.dumps({"Parameters": {"AWS_ENDPOINT_URL": endpoint}}))
        root = yaml_parse(built.read_text())
        for stack in sorted({floor.stack_of[name] for name in floor.functions}):
            root["Resources"][stack]["Properties"]["Location"] = f"{stack}/sam-local.yaml"
            self._write_child(built.parent / stack, stack, endpoint)
        self._template.write_text(json.dumps(root))
        self._give_reachable_secrets()

    def _write_child(self, folder: Path, stack: str, endpoint: str) -> None:
        """The child's template with the variables that its functions have as deployed."""
        template = yaml_parse((folder / "template.yaml").read_text())
        for name, physical in self._floor.functions.items():
            if self._floor.stack_of[name] == stack:
                deployed = self._floor.lambda_.get_function_configuration(FunctionName=physical)
                variables = deployed.get("Environment", {}).get("Variables", {})
                reachable = {key: self.within_reach(value) for key, value in variables.items()}
                properties = template["Resources"][f"{name}Function"]["Properties"]
                properties["Environment"] = {"Variables": reachable | {"AWS_ENDPOINT_URL": endpoint}}
        child = folder / "sam-local.yaml"
        self._stop.callback(child.unlink, missing_ok=True)
        child.write_text(json.dumps(template))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()

    def invoke(self, stem: str, values: dict[str, Any]) -> Any:
        """Call a function with its sample event; `values` replace the sample's by name, see `replaced`.

        Raises
        ------
        AssertionError
            When the function raises: SAM's own exit status does not tell.
        """
        name = "".join(word.capitalize() for word in stem.split("_"))
        stack = self._floor.stack_of[name]
        event = replaced(json.loads((EVENTS / stack.lower() / f"{stem}.json").read_text()), values)
        command = [str(Path(sys.executable).with_name("sam")), "local", "invoke", f"{stack}/{name}Function"]
        command += ["--template", str(self._template), "--event", "-", "--language-extensions", "--region", "us-east-1"]
        command += ["--env-vars", str(self._variables), *(["--skip-pull-image"] if self._stand_in else [])]
        outcome = subprocess.run(
            command,
            input=json.dumps(event),
            # SAM itself asks the local cloud too: about the account.
            env=self._floor.cloud.environment() | self._credentials(name),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert outcome.returncode == 0, outcome.stderr[-3000:]
        lines = [line for line in outcome.stdout.splitlines() if line.strip()]
        answer = json.loads(lines[-1]) if lines else None
        if isinstance(answer, dict) and "errorType" in answer:
            raise AssertionError(f"{answer['errorType']}: {answer.get('errorMessage')}\n{outcome.stderr[-3000:]}")
        return answer

    def _credentials(self, name: str) -> dict[str, str]:
        """The function's role, taken on by us as Lambda does it."""
        session = self._floor.cloud.session()
        role = self._floor.iam.get_role(RoleName=self._floor.roles[name])["Role"]
        trust = role["AssumeRolePolicyDocument"]
        ours = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "sts:AssumeRole"}
        if ours not in trust["Statement"]:
            trust["Statement"].append(ours)
            self._floor.iam.update_assume_role_policy(RoleName=role["RoleName"], PolicyDocument=json.dumps(trust))
        given = session.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="sam-local")["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
            "AWS_SESSION_TOKEN": given["SessionToken"],
        }

    def _give_reachable_secrets(self) -> None:
        secrets = self._floor.cloud.session().client("secretsmanager")
        for row in secrets.list_secrets()["SecretList"]:
            value = json.loads(secrets.get_secret_value(SecretId=row["ARN"])["SecretString"])
            urls = {key: self.within_reach(value[key]) for key in ("url", "api_url", "webhook_url") if key in value}
            if urls:
                value |= urls
                secrets.put_secret_value(SecretId=row["ARN"], SecretString=json.dumps(value))

    def within_reach(self, value: str) -> str:
        """A URL of this machine's loopback interface as a container can reach it."""
        url = urlsplit(value)
        if url.hostname != "127.0.0.1" or url.port is None:
            return value
        port = self._stop.enter_context(forwarded(self._bridge, url.port))
        return url._replace(netloc=f"{self._bridge}:{port}").geturl()


def replaced(value: Any, values: dict[str, Any]) -> Any:
    """The event with the values of these names, wherever they stand; `bucket.name` is a name within a bucket only."""

    def walk(node: Any, parent: str) -> Any:
        if isinstance(node, dict):
            return {
                key: values.get(f"{parent}.{key}", values.get(key, walk(inner, key))) for key, inner in node.items()
            }
        return [walk(inner, parent) for inner in node] if isinstance(node, list) else node

    return walk(value, "")


def _bridge_address() -> str:
    shown = subprocess.run(["docker", "network", "inspect", "bridge"], capture_output=True, text=True, check=True)
    settings = json.loads(shown.stdout)[0]["IPAM"]["Config"][0]
    return settings.get("Gateway") or str(next(ip_network(settings["Subnet"]).hosts()))


@contextlib.contextmanager
def forwarded(address: str, port: int) -> Iterator[int]:
    """While it lasts, connections to the address given go on to the port on 127.0.0.1; yields the port there."""
    listener = socket.create_server((address, 0))
    threading.Thread(target=_accept, args=(listener, port), daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _accept(listener: socket.socket, port: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            outer, _ = listener.accept()
            try:
                inner = socket.create_connection(("127.0.0.1", port))
            except OSError:
                outer.close()
                continue
            for source, target in ((outer, inner), (inner, outer)):
                threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
