import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError

from local.cloud import STOP_TIMEOUT_SECONDS, LocalCloud
from tests.integration.sandbox import Sandbox, until

# Starts a cloud with a busy function and a warm model server, tells where, and waits.
PARENT = """
import sys, time
from local.cloud import LocalCloud
from tests.integration.test_local_cloud_sagemaker import Lab
from tests.integration.sandbox import Sandbox
with LocalCloud(model_server="tests.integration.model_server") as cloud:
    sandbox = Sandbox(cloud)
    lab = Lab(sandbox)
    lab.run(lab.put("in/data", b"x"))
    sandbox.invoke(sandbox.function("return 1"))
    busy = sandbox.function("time.sleep(60)", Timeout=100)
    sandbox.client("lambda").invoke(FunctionName=busy, InvocationType="Event", Payload=b"{}")
    time.sleep(0.5)
    print(cloud.log_path.parent, flush=True)
    time.sleep(60)
"""


def processes_of(folder: str) -> list[int]:
    """Processes whose environment names the cloud's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if folder.encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


def parent() -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_behind(number):
    process, folder = parent()
    assert folder.startswith("/")
    assert len(processes_of(folder)) >= 4
    process.send_signal(number)
    process.wait(15)
    until(lambda: not processes_of(folder), 10)
    until(lambda: not Path(folder).exists(), 5)


def test_server_killed_outright_leaves_no_workers(tmp_path: Path):
    process, folder = parent()
    server = min(pid for pid in processes_of(folder) if pid != process.pid)
    os.kill(server, signal.SIGKILL)
    until(lambda: not processes_of(folder), 10)
    process.kill()
    process.wait()


def test_port_taken_is_replaced_with_a_warning(caplog: pytest.LogCaptureFixture):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with LocalCloud(port=taken) as cloud:
            assert cloud.port != taken
            assert f"port {taken} is taken" in caplog.text
            assert cloud.session().client("sts").get_caller_identity()["Account"] == "000000000000"


def test_listens_on_loopback_only_and_asks_for_credentials(local_cloud: LocalCloud):
    listening = subprocess.run(["ss", "-ltn"], capture_output=True, text=True, check=False).stdout
    for line in listening.splitlines():
        if f":{local_cloud.port} " in line:
            assert f"127.0.0.1:{local_cloud.port}" in line
    request = urllib.request.Request(
        local_cloud.endpoint_url, data=b"{}", headers={"X-Amz-Target": "DynamoDB_20120810.ListTables"}
    )
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(request)


def test_environment_carries_nothing_of_the_user_s(local_cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    environment = local_cloud.environment()
    assert environment["AWS_ENDPOINT_URL"] == local_cloud.endpoint_url
    assert "AWS_PROFILE" not in environment
    assert "AWS_SESSION_TOKEN" not in environment
    assert environment["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull


def test_log_is_kept_where_asked(tmp_path: Path):
    log = tmp_path / "logs" / "cloud.log"
    with LocalCloud(log_path=log) as cloud:
        assert cloud.running
        assert set(cloud.twins) == {"jira", "kibana", "openai", "opensearch", "slack", "stack_exchange"}
    assert not cloud.running
    assert "Ready" in log.read_text()


def test_start_is_quick_and_an_exception_ends_all():
    started = time.monotonic()
    with pytest.raises(ValueError, match="on purpose"), LocalCloud() as cloud:
        assert time.monotonic() - started < 10
        assert cloud.log_path is not None
        folder = cloud.log_path.parent
        raise ValueError("on purpose")
    assert not cloud.running
    assert not folder.exists()
    assert not processes_of(str(folder))


def test_stop_does_not_wait_for_what_is_at_work():
    with LocalCloud() as cloud:
        sandbox = Sandbox(cloud)
        busy = sandbox.function("time.sleep(60)", Timeout=100)
        client = cloud.session().client("lambda", config=Config(retries={"total_max_attempts": 1}))
        asked = threading.Thread(target=lambda: pytest.raises(HTTPClientError, client.invoke, FunctionName=busy))
        asked.start()
        until(lambda: cloud.log_path is not None and "environment started" in cloud.log_path.read_text())
        began = time.monotonic()
    asked.join()
    assert time.monotonic() - began < STOP_TIMEOUT_SECONDS


def test_a_proxy_of_the_user_s_is_passed_by(monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with LocalCloud() as cloud:
        assert cloud.session().client("s3").list_buckets()["Buckets"] == []
        assert "127.0.0.1" in cloud.environment()["NO_PROXY"]
        cloud.inject_faults(transform=[])


@pytest.mark.parametrize(("kind", "code"), [("429", "ThrottlingException"), ("500", "InternalFailure")])
def test_requests_go_wrong_on_request(sandbox: Sandbox, kind: str, code: str):
    config = Config(retries={"total_max_attempts": 1})
    sns = sandbox.session.client("sns", config=config)
    logs = sandbox.session.client("logs", config=config)
    topic, group = sns.create_topic(Name=sandbox.name("topic"))["TopicArn"], sandbox.name("/group")
    matches = [{"match": "Action=Publish.*unlucky word", "kind": kind}, {"match": group, "kind": kind}]
    sandbox.cloud.inject_faults(request=matches)
    sns.publish(TopicArn=topic, Message="another word")
    for call in (lambda: sns.publish(TopicArn=topic, Message="unlucky word"), lambda: create(logs, group)):
        with pytest.raises(ClientError) as refused:
            call()
        assert refused.value.response["Error"]["Code"] == code
        call()


def create(logs: Any, group: str) -> None:
    logs.create_log_group(logGroupName=group)


def test_slow_request_comes_through(sandbox: Sandbox):
    sandbox.cloud.inject_faults(request=[{"match": "slowly", "kind": "slow", "seconds": 0.5}])
    began = time.monotonic()
    create(sandbox.client("logs"), "/slowly")
    assert time.monotonic() - began > 0.5
    assert sandbox.client("logs").describe_log_groups(logGroupNamePrefix="/slowly")["logGroups"]
