"""Error triage on moto: real definition, template and handlers; the outside services are their twins.

with TriageCloud(slack.secret) as cloud:
    cloud.log("ERROR boom")
    (name,) = cloud.receive()["started"]
    assert cloud.wait_for(name)["status"] == "SUCCEEDED"
"""

from __future__ import annotations

import json
import logging
import threading
import time
from functools import partial
from typing import Any, Self

from aws_lambda_powertools.utilities import parameters
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from local.twins.server import Json
from tests.machines.harness import Cloud, Run, _client
from tests.machines.stack import ACCOUNT, NAME, REGION
from watchfloor.log_events import encode

GROUP, STREAM = "/aws/lambda/orders", "2026/11/20/[$LATEST]4f2a9c1d"
TRACE = """[ERROR] KeyError: 'customer_id'
Traceback (most recent call last):
  File "/var/task/handler.py", line 31, in lambda_handler
    order = load_order(event)
  File "/var/task/orders.py", line 12, in load_order
    return table[event["customer_id"]]"""


class TriageCloud(Cloud):
    """
    Parameters
    ----------
    secrets
        Parameter of the root template -> what its secret holds.
    """

    child, group = "Triage", "triage"

    def __init__(self, secrets: dict[str, Json] | None = None, **parameters: str) -> None:
        self._secrets = secrets or {}
        # Secrets Manager adds six characters to a name; moto does so too, but the stack is resolved before.
        named = {name: f"sandbox/{name}" for name in self._secrets}
        defaults = {"TriageContextWaitSeconds": "0", "StackExchangeUrl": "", "AlarmEmail": "ops@example.com"}
        super().__init__(**{**defaults, **named, **parameters})
        self._number = 0

    def __enter__(self) -> Self:
        # Another cloud's secrets have the same names.
        parameters.clear_caches()
        super().__enter__()
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        super().__exit__(*error)

    def _deploy(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        super()._deploy()
        manager = _client("secretsmanager")
        for name, secret in self._secrets.items():
            manager.create_secret(Name=f"sandbox/{name}", SecretString=json.dumps(secret))
        self.logs = _client("logs")
        for subscription in self._root.resources("AWS::SNS::Subscription").values():
            if subscription["Endpoint"]:
                _client("sns").subscribe(**subscription)

    # --- logs

    def log(self, *messages: str, group: str = GROUP, stream: str = STREAM, at: float | None = None) -> list[Json]:
        """Write lines into a log group; as events of a subscription."""
        for create, arguments in (
            (self.logs.create_log_group, {"logGroupName": group}),
            (self.logs.create_log_stream, {"logGroupName": group, "logStreamName": stream}),
        ):
            try:
                create(**arguments)
            except self.logs.exceptions.ResourceAlreadyExistsException:
                pass
        start = round((time.time() if at is None else at) * 1_000)
        rows = [{"timestamp": start + number, "message": message} for number, message in enumerate(messages)]
        self.logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=rows)
        return [self.event(row["message"], row["timestamp"] / 1_000) for row in rows]  # type: ignore[arg-type, operator]

    def event(self, message: str, at: float | None = None) -> Json:
        self._number += 1
        now = time.time() if at is None else at
        return {"id": f"{self._number:056d}", "timestamp": round(now * 1_000), "message": message}

    def receive(self, *events: Json, group: str = GROUP, stream: str = STREAM) -> Json:
        """Have a subscription filter deliver events."""
        return self.invoke("ReceiveLogs", subscription(*events, group=group, stream=stream))

    def send(self, *messages: str, group: str = GROUP, at: float | None = None) -> Json:
        """Log lines and deliver all of them."""
        return self.receive(*self.log(*messages, group=group, at=at), group=group)

    # --- people

    @property
    def action_url(self) -> str:
        """Where the HTTP API takes what people press."""
        return f"http://127.0.0.1:{self._server.server_port}/slack/actions"

    def _answer(self, environ: Any, start_response: Any) -> Any:
        """What the HTTP API makes of a request, and of the function's answer (payload 2.0)."""
        request = Request(environ)
        event = {
            "version": "2.0",
            "routeKey": "POST /slack/actions",
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": request.get_data(as_text=True),
            "isBase64Encoded": False,
        }
        answer = self.invoke("ReceiveAction", event)
        response = Response(answer.get("body", ""), answer["statusCode"], answer.get("headers", {}))
        return response(environ, start_response)

    def _invoke_by_api(
        self, function_name: str, qualifier: str | None, body: Any, headers: Any, response_headers: dict[str, str]
    ) -> bytes:
        if headers.get("X-Amz-Invocation-Type") != "Event":
            return super()._invoke_by_api(function_name, qualifier, body, headers, response_headers)
        function = self._function_of[function_name.rpartition(":")[2]].removesuffix("Function")
        self._events.put(partial(self._invoke_by_event, function, json.loads(body)))
        return b""

    # --- executions

    def wait_for(self, name: str, seconds: float = 60) -> Json:
        """The end of the execution of this name."""
        return self.wait(self.run_of(name), seconds)

    @staticmethod
    def run_of(name: str) -> Run:
        arn = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:{NAME}-error-triage:{name}"
        return Run(arn, name, {})

    def triage(self, *messages: str, **more: Any) -> Json:
        """Log an error and see it explained; the report."""
        (name,) = self.send(*(messages or (TRACE,)), **more)["started"]
        end = self.wait_for(name)
        assert end["status"] == "SUCCEEDED", (end, self.mails())
        return self.report(name)

    def report(self, name: str) -> Json:
        fingerprint, _, generation = name.partition("-")
        return self.read(f"triage/{fingerprint}/{generation}/report.json")

    def incident(self, name: str) -> Json:
        key = {"fingerprint": name.partition("-")[0], "item": "incident"}
        return self.tables["IncidentTable"].get_item(Key=key)["Item"]

    def refresh(self) -> Json:
        """What the schedule does every minute."""
        return self.invoke("RefreshMessages", {"source": "aws.events"})


def subscription(*events: Json, group: str = GROUP, stream: str = STREAM, kind: str = "DATA_MESSAGE") -> Json:
    return encode(
        {
            "messageType": kind,
            "owner": ACCOUNT,
            "logGroup": group,
            "logStream": stream,
            "subscriptionFilters": ["triage"],
            "logEvents": list(events),
        }
    )
