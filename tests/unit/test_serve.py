"""The model server keeps SageMaker's inference contract."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Server:
    def __init__(self, model: str) -> None:
        environment = {
            **os.environ, "WATCHFLOOR_MODEL": model, "SAGEMAKER_BIND_TO_PORT": "0", "WATCHFLOOR_BIND_HOST": "127.0.0.1",
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "models.serve", "serve"],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        self.port = json.loads(self.process.stderr.readline())["port"]

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()},
            encode_chunked="Transfer_Encoding" in headers,
        )  # fmt: skip
        answer = connection.getresponse()
        return answer.status, answer.read()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        assert self.process.stderr
        self.process.stderr.close()
        return code


@pytest.fixture(scope="module", params=["technique", "cluster", "flow"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, Server]]:
    running = Server(request.param)
    yield request.param, running
    assert running.stop() == 0


REQUESTS = {
    "technique": {"name": "Port scan"},
    "cluster": {"alerts": [{"i": 0, "time": 1, "src": "a", "dst": "b", "name": "x", "tech": [], "attributes": {}}]},
    "flow": {
        "clusters": [
            {"cluster_id": "c", "techniques": [], "tactics": [], "src": ["a"], "dst": ["b"], "start_time": 1,
             "end_time": 2, "alert_count": 1}
        ]
    },
}  # fmt: skip


def test_ping_answers_when_ready(server: tuple[str, Server]) -> None:
    assert server[1].request("GET", "/ping")[0] == 200


def test_execution_parameters_name_the_limits(server: tuple[str, Server]) -> None:
    status, body = server[1].request("GET", "/execution-parameters")
    assert status == 200
    assert json.loads(body)["MaxPayloadInMB"] == 100


@pytest.mark.parametrize("content_type", ["application/json", "application/jsonlines; charset=utf-8"])
def test_invocation_answers_one_object(server: tuple[str, Server], content_type: str) -> None:
    model, running = server
    status, body = running.request("POST", "/invocations", json.dumps(REQUESTS[model]), Content_Type=content_type)
    assert status == 200
    answer = json.loads(body)
    assert set(answer) == {"technique": {"name", "techniques"}, "cluster": {"clusters", "state"}}.get(
        model, {"flows", "state"}
    )


def test_invocation_takes_a_chunked_body(server: tuple[str, Server]) -> None:
    model, running = server
    body = json.dumps(REQUESTS[model]).encode()
    parts = iter([body[:5], body[5:]])
    status, _ = running.request("POST", "/invocations", parts, Transfer_Encoding="chunked")
    assert status == 200


@pytest.mark.parametrize(
    "body", ["", "  ", "{", "[1]", "null", '"text"', '{"alerts": 3}', '{"clusters": [1]}', '{"name": 1}']
)
def test_bad_request_says_what_is_wrong(server: tuple[str, Server], body: str) -> None:
    status, answer = server[1].request("POST", "/invocations", body)
    assert status == 400
    assert json.loads(answer)["error"]


def test_unknown_content_type_is_refused(server: tuple[str, Server]) -> None:
    assert server[1].request("POST", "/invocations", "a,b", Content_Type="text/csv")[0] == 415


def test_unknown_path_is_refused(server: tuple[str, Server]) -> None:
    assert server[1].request("GET", "/")[0] == 404
    assert server[1].request("POST", "/", "{}")[0] == 404


def test_large_body_is_refused_unread(server: tuple[str, Server]) -> None:
    assert server[1].request("POST", "/invocations", "{}", Content_Length=str(101 * 1024 * 1024))[0] == 413


@pytest.fixture(scope="module")
def technique() -> Iterator[Server]:
    running = Server("technique")
    yield running
    running.stop()


def test_technique_lines_keep_their_order(technique: Server) -> None:
    names = ["Port scan", "", "   ", "DNS tunnel", "Port scan", "ü" * 5000]
    body = "\n".join(json.dumps({"name": name}) for name in names) + "\n"
    status, answer = technique.request("POST", "/invocations", body, Content_Type="application/jsonlines")
    rows = [json.loads(line) for line in answer.splitlines()]
    assert status == 200
    assert [row["name"] for row in rows] == names
    for row in rows:
        scores = [best["score"] for best in row["techniques"]]
        assert scores == sorted(scores, reverse=True) and len(scores) <= 5
        assert all(0 <= score <= 1 for score in scores)


def test_technique_names_the_bad_line(technique: Server) -> None:
    body = '{"name": "a"}\n{"name": \n'
    status, answer = technique.request("POST", "/invocations", body, Content_Type="application/jsonlines")
    assert status == 400
    assert "line 2" in json.loads(answer)["error"]


@pytest.mark.parametrize(
    "change",
    [
        {"i": "1"},
        {"i": True},
        {"time": None},
        {"time": "1"},
        {"src": 1},
        {"name": None},
        {"tech": "T1"},
        {"attributes": 1},
    ],
)
def test_bad_alert_is_named(change: dict) -> None:
    from models.contract import BadRequestError, check_alerts

    good = {"i": 0, "time": 1.0, "src": "a", "dst": "b", "name": "x"}
    with pytest.raises(BadRequestError, match=r"alerts\[1\]"):
        check_alerts({"alerts": [good, {**good, "i": 1, **change}]})


def test_start_is_quick_and_stop_is_graceful() -> None:
    started = time.monotonic()
    running = Server("cluster")
    ready = time.monotonic() - started
    idle = http.client.HTTPConnection("127.0.0.1", running.port)
    idle.request("GET", "/ping")
    idle.getresponse().read()
    stopping = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - stopping < 3
    assert ready < 5


def test_unknown_model_is_a_usage_error() -> None:
    environment = {**os.environ, "WATCHFLOOR_MODEL": "other"}
    command = [sys.executable, "-m", "models.serve"]
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "technique, cluster, flow" in done.stderr
