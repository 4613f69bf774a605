"""From an error in the logs to one explained message, on moto's interpreter, with the twins of the outside services."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.twins.slack import SlackTwin
from tests.machines.harness import Fault
from tests.machines.triage import TRACE, TriageCloud


@pytest.fixture(scope="module")
def slack_server() -> Iterator[SlackTwin]:
    with SlackTwin() as twin:
        yield twin


@pytest.fixture
def slack(slack_server: SlackTwin) -> SlackTwin:
    slack_server.faults.clear()
    slack_server.state = slack_server.empty_state()
    return slack_server


@pytest.fixture
def cloud(slack: SlackTwin) -> Iterator[TriageCloud]:
    with TriageCloud({"SlackSecretArn": slack.secret}) as cloud:
        yield cloud


def test_error_becomes_one_report_one_thread_one_mail(cloud: TriageCloud, slack: SlackTwin) -> None:
    report = cloud.triage("START RequestId: 1", "loading", TRACE, "END RequestId: 1")

    assert report["title"] == "KeyError: 'customer_id'"
    assert report["count"] == 1
    assert report["error"]["frames"][0]["function"] == "load_order"
    assert [line["text"].split("\n")[0] for line in report["context"]] == [
        "START RequestId: 1",
        "loading",
        "[ERROR] KeyError: 'customer_id'",
        "END RequestId: 1",
    ]
    assert [line["is_error"] for line in report["context"]] == [False, False, True, False]
    (message,) = slack.messages()
    assert "KeyError" in message["text"]
    ((subject, text),) = cloud.mails("TriageTopic")
    assert "KeyError" in subject and "load_order" in text
    assert cloud.mails() == []
