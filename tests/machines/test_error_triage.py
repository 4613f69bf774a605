"""From an error in the logs to one explained message, on moto's interpreter, with the twins of the outside services."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from slack_sdk.signature import SignatureVerifier

from local.twins.slack import ANA, BEN, CHANNEL, GUEST, PARTNER, SIGNING_SECRET, SlackTwin
from tests.machines.harness import Fault, sample_event
from tests.machines.triage import TRACE, TriageCloud, subscription
from watchfloor.approvals import Approval, Ask, Person, shown
from watchfloor.clients import slack as slack_client
from watchfloor.clients.approval_table import ApprovalTable
from watchfloor.clients.executions import Executions
from watchfloor.clients.slack import Slack
from watchfloor.errors import AccessDeniedError, InvalidInputError, TransientError
from watchfloor.messages import approval_message

DAY = 86_400
APPROVAL = "0f3a5c7e9b1d2f46"


@pytest.fixture(scope="module")
def slack_server() -> Iterator[SlackTwin]:
    with SlackTwin() as twin:
        yield twin


@pytest.fixture
def slack(slack_server: SlackTwin, monkeypatch: pytest.MonkeyPatch) -> SlackTwin:
    monkeypatch.setattr(slack_client, "_SETTLE_SECONDS", 0.0)
    slack_server.faults.clear()
    slack_server.log.clear()
    slack_server.state = slack_server.empty_state()
    return slack_server


@pytest.fixture
def cloud(slack: SlackTwin, request: pytest.FixtureRequest) -> Iterator[TriageCloud]:
    with TriageCloud({"SlackSecretArn": slack.secret}, **getattr(request, "param", {})) as cloud:
        yield cloud


def why(report: dict[str, Any], what: str) -> str:
    """Why something is missing of a report."""
    (found,) = (row["why"] for row in report["missing"] if row["what"] == what)
    return found


# --- one message


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


def test_states_in_order_and_what_the_state_carries_is_small(cloud: TriageCloud) -> None:
    (name,) = cloud.send(TRACE)["started"]
    end = cloud.wait_for(name)
    assert set(cloud.states(cloud.run_of(name).arn)) == {
        "WaitForContext",
        "GatherContext",
        "SearchEvidence",
        "SearchStackOverflow",
        "FindEarlierIncidents",
        "AskModel",
        "WriteReport",
        "SendMessages",
        "SendSlack",
        "SendMail",
        "IsTold",
        "Told",
    }
    assert len(end["output"]) < 2_000
    assert "load_order" not in end["output"]


def test_same_error_again_is_counted_and_not_told_again(cloud: TriageCloud, slack: SlackTwin) -> None:
    (name,) = cloud.send(TRACE)["started"]
    cloud.wait_for(name)
    for _ in range(3):
        assert cloud.send(TRACE, TRACE)["started"] == []
    assert cloud.incident(name)["total"] == 7
    assert len(slack.messages()) == 1
    assert len(cloud.mails("TriageTopic")) == 1


def test_delivery_that_comes_twice_is_counted_once(cloud: TriageCloud) -> None:
    events = cloud.log(TRACE, TRACE)
    first, second = cloud.receive(*events), cloud.receive(*events)
    (name,) = first["started"]
    cloud.wait_for(name)
    assert second["started"] == []
    assert cloud.incident(name)["total"] == 2


def test_flood_in_one_delivery_is_one_execution(cloud: TriageCloud) -> None:
    events = [cloud.event(TRACE) for _ in range(2_000)]
    (name,) = cloud.receive(*events)["started"]
    cloud.wait_for(name)
    assert cloud.incident(name)["total"] == 2_000
    assert len(cloud.executions()) == 1


def test_delivery_with_many_errors_starts_each_once(cloud: TriageCloud) -> None:
    answer = cloud.send("ERROR cannot open door", "all is well", "ERROR wheel is flat", "ERROR cannot open door")
    assert answer["errors"] == 3
    assert len(answer["started"]) == 2
    for name in answer["started"]:
        cloud.wait_for(name)
    assert sorted(int(cloud.incident(name)["total"]) for name in answer["started"]) == [1, 2]


def test_control_message_starts_nothing(cloud: TriageCloud) -> None:
    answer = cloud.invoke("ReceiveLogs", subscription(kind="CONTROL_MESSAGE"))
    assert answer == {"status": "control", "errors": 0, "started": [], "held": []}
    assert cloud.items("IncidentTable") == []


@pytest.mark.parametrize(
    "group",
    [
        "/aws/lambda/watchfloor-Triage-1AB-AskModelFunction-2CD",
        "/aws/lambda/watchfloor-Pipeline-1AB-CreateJiraFunction-2CD",
        "/aws/vendedlogs/states/watchfloor-triage",
        # The function's own, whatever it is called.
        "/aws/lambda/receive_logs",
    ],
)
def test_own_log_group_is_refused_so_that_no_loop_forms(cloud: TriageCloud, group: str) -> None:
    answer = cloud.receive(cloud.event(TRACE), group=group)
    assert (answer["status"], answer["started"]) == ("refused", [])
    assert cloud.items("IncidentTable") == []


@pytest.mark.parametrize("event", [{}, {"awslogs": {"data": "AAAA"}}, {"awslogs": {"data": 7}}])
def test_what_is_no_subscription_event_is_refused(cloud: TriageCloud, event: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        cloud.invoke("ReceiveLogs", event)


# --- what is missing never keeps the message back


PARTS = {
    "GatherContext": "the log around it",
    "SearchStackOverflow": "Stack Overflow",
    "FindEarlierIncidents": "earlier incidents",
    "AskModel": "the model's answer",
}


@pytest.mark.parametrize("function", PARTS)
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("secret=hunter2hunter2"), "it failed (RuntimeError); its log group says why"),
        (InvalidInputError("renew the key"), "renew the key"),
    ],
)
def test_message_goes_out_without_what_failed(
    cloud: TriageCloud, slack: SlackTwin, function: str, error: Exception, said: str
) -> None:
    cloud.faults[function] = Fault(error)
    report = cloud.triage()
    assert why(report, PARTS[function]) == said
    assert len(slack.messages()) == len(cloud.mails("TriageTopic")) == 1
    assert "hunter2" not in slack.everything_received()


def test_message_goes_out_with_everything_missing(cloud: TriageCloud, slack: SlackTwin) -> None:
    for function in PARTS:
        cloud.faults[function] = Fault(TransientError("down"))
    report = cloud.triage()
    assert {row["what"] for row in report["missing"]} == set(PARTS.values())
    assert (report["verdict"], report["context"]) == ("NO_ANSWER", [])
    assert report["error"]["type"] == "KeyError"
    assert len(slack.messages()) == 1


def test_passing_errors_are_retried_a_few_times_only(cloud: TriageCloud) -> None:
    for function in PARTS:
        cloud.faults[function] = Fault(TransientError("down"), times=1)
    report = cloud.triage()
    assert not {row["what"] for row in report["missing"]} & {"the log around it", "earlier incidents"}
    assert sum(cloud.interpreter.waits) <= 10


def test_log_that_is_gone_is_missing_and_nothing_else(cloud: TriageCloud) -> None:
    (name,) = cloud.receive(cloud.event(TRACE), group="/gone")["started"]
    assert cloud.wait_for(name)["status"] == "SUCCEEDED"
    report = cloud.report(name)
    assert "/gone" in why(report, "the log around it")
    # It is no function's log group, so nothing is said of a function.
    assert {row["what"] for row in report["missing"]} == {"the log around it", "Stack Overflow", "the model's answer"}


def test_what_is_not_set_up_is_missing_and_says_by_which_parameter(cloud: TriageCloud) -> None:
    report = cloud.triage()
    assert "OpenAiSecretArn" in why(report, "the model's answer")
    assert "StackExchangeUrl" in why(report, "Stack Overflow")


# --- telling


@pytest.mark.parametrize("function", ["SendSlack", "SendMail"])
def test_one_way_of_telling_is_enough(cloud: TriageCloud, slack: SlackTwin, function: str) -> None:
    cloud.faults[function] = Fault(AccessDeniedError("no"))
    cloud.triage()
    assert (len(slack.messages()), len(cloud.mails("TriageTopic"))) == ((0, 1) if function == "SendSlack" else (1, 0))
    assert cloud.mails() == []


def test_nobody_told_fails_and_those_who_get_alarms_are_told(cloud: TriageCloud) -> None:
    for function in ("SendSlack", "SendMail"):
        cloud.faults[function] = Fault(AccessDeniedError("no"))
    (name,) = cloud.send(TRACE)["started"]
    end = cloud.wait_for(name)
    assert (end["status"], end["error"]) == ("FAILED", "NobodyTold")
    ((subject, text),) = cloud.mails()
    assert "KeyError" in subject
    assert name.partition("-")[0] in text and "/aws/lambda/orders" in text


def test_report_that_cannot_be_written_is_told_to_those_who_get_alarms(cloud: TriageCloud) -> None:
    cloud.faults["WriteReport"] = Fault(RuntimeError("disk full of hunter2hunter2"))
    (name,) = cloud.send(TRACE)["started"]
    assert cloud.wait_for(name)["status"] == "FAILED"
    ((_, text),) = cloud.mails()
    assert "WriteReport" in text and "RuntimeError" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("after", [False, True])
def test_failure_is_told_once_when_telling_of_it_breaks(cloud: TriageCloud, after: bool) -> None:
    cloud.faults["WriteReport"] = Fault(RuntimeError("no"))
    cloud.faults["ReportTriageFailure"] = Fault(TransientError("broken"), times=2, after=after)
    cloud.wait_for(cloud.send(TRACE)["started"][0])
    cloud.settle()
    assert (len(cloud.mails()), cloud.dead_letters) == (1, [])


def test_failure_that_cannot_be_told_is_kept_and_told_by_hand(cloud: TriageCloud) -> None:
    cloud.faults["WriteReport"] = Fault(RuntimeError("no"))
    cloud.faults["ReportTriageFailure"] = Fault(TransientError("broken"), times=3)
    cloud.wait_for(cloud.send(TRACE)["started"][0])
    cloud.settle()
    assert cloud.mails() == []
    ((function, kept, _),) = cloud.dead_letters
    cloud.invoke(function, kept)
    ((subject, _),) = cloud.mails()
    assert "not explained" in subject and "KeyError" in subject


def test_aborted_execution_is_told_once(cloud: TriageCloud) -> None:
    def slowly(event: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.5)
        return {}

    cloud.stand_ins["GatherContext"] = slowly
    (name,) = cloud.send(TRACE)["started"]
    cloud.stop(cloud.run_of(name).arn)
    cloud.wait_for(name)
    cloud.until(cloud.mails)
    event = {"executionArn": cloud.run_of(name).arn, "status": "ABORTED"}
    cloud.invoke("ReportTriageFailure", event)
    assert len(cloud.mails()) == 1


@pytest.mark.parametrize("after", [False, True])
def test_message_is_sent_once_when_a_try_breaks(cloud: TriageCloud, slack: SlackTwin, after: bool) -> None:
    for function in ("SendSlack", "SendMail"):
        cloud.faults[function] = Fault(TransientError("broken"), times=2, after=after)
    cloud.triage()
    assert len(slack.messages()) == len(cloud.mails("TriageTopic")) == 1


@pytest.mark.parametrize("kind", ["commit-then-drop", "500", "429", "down", "garbage"])
def test_slack_has_the_message_once_whatever_becomes_of_its_answer(
    cloud: TriageCloud, slack: SlackTwin, kind: str
) -> None:
    slack.fail(kind, path="chat.postMessage")
    cloud.triage()
    assert len(slack.messages()) == 1


def test_webhook_gets_one_message_without_buttons(slack: SlackTwin) -> None:
    with TriageCloud({"SlackSecretArn": slack.webhook_secret}) as cloud:
        cloud.triage()
        cloud.send(TRACE)
        cloud.refresh()
        (message,) = slack.messages()
        assert "actions" not in [block["type"] for block in message["blocks"]]
        # Nothing of it can be changed, so nothing stays to be done.
        assert cloud.refresh()["refreshed"] == 0


def test_webhook_whose_answer_is_lost_is_not_repeated_and_mail_tells(slack: SlackTwin) -> None:
    slack.fail("commit-then-drop", path="/services/")
    with TriageCloud({"SlackSecretArn": slack.webhook_secret}) as cloud:
        cloud.triage()
        assert len(slack.messages()) == len(cloud.mails("TriageTopic")) == 1


def test_without_slack_mail_tells() -> None:
    with TriageCloud() as cloud:
        cloud.triage()
        assert len(cloud.mails("TriageTopic")) == 1


def test_without_slack_and_without_readers_of_the_mail_nobody_is_told() -> None:
    with TriageCloud(AlarmEmail="") as cloud:
        (name,) = cloud.send(TRACE)["started"]
        end = cloud.wait_for(name)
        assert (end["status"], end["error"]) == ("FAILED", "NobodyTold")
        assert cloud.mails("TriageTopic") == []
        assert cloud.report(name)["title"] == "KeyError: 'customer_id'"


def test_slack_whose_answer_is_lost_twice_is_asked_before_it_is_told_again(
    cloud: TriageCloud, slack: SlackTwin
) -> None:
    slack.fail("commit-then-drop", path="chat.postMessage")
    # It cannot be looked either whether the message is there.
    slack.fail("500", path="conversations.history")
    earlier = len(slack.log)
    cloud.triage()
    assert len(slack.messages()) == 1
    posts = [row for row in slack.log[earlier:] if "chat.postMessage" in row["path"]]
    searches = [row for row in slack.log[earlier:] if "conversations.history" in row["path"]]
    assert (len(posts), len(searches)) == (1, 2)


def test_title_with_colours_and_controls_is_told_to_those_who_get_alarms(cloud: TriageCloud) -> None:
    for function in ("SendSlack", "SendMail"):
        cloud.faults[function] = Fault(AccessDeniedError("no"))
    (name,) = cloud.send("ERROR \x1b[31mdoor\x1b[0m is\x07 open")["started"]
    cloud.wait_for(name)
    ((subject, text),) = cloud.mails()
    assert subject == "Watchfloor: not explained (failed): door is open"
    assert not any(ord(character) < 32 for character in text.replace("\n", ""))


# --- what changes with time


def test_count_of_the_message_is_live(cloud: TriageCloud, slack: SlackTwin) -> None:
    cloud.triage()
    cloud.send(*[TRACE] * 41)
    assert cloud.refresh()["refreshed"] == 1
    (message,) = slack.messages()
    assert "42 times" in json.dumps(message["blocks"])
    updates = [row for row in slack.log if "chat.update" in row["path"]]
    # Nothing new, nothing to do.
    assert cloud.refresh()["refreshed"] == 0
    assert [row for row in slack.log if "chat.update" in row["path"]] == updates


def test_message_that_slack_refuses_keeps_no_other_waiting(
    cloud: TriageCloud, slack: SlackTwin, monkeypatch: Any
) -> None:
    names = cloud.send("ERROR door is open", "ERROR wheel is flat")["started"]
    for name in names:
        cloud.wait_for(name)
    cloud.refresh()
    cloud.send("ERROR door is open")
    with monkeypatch.context() as patch:
        patch.setattr(slack, "scopes", set())
        cloud.refresh()
    door = next(name for name in names if cloud.incident(name)["total"] == 2)
    assert "to_do" not in cloud.incident(door)
    # What changes it again has it tried again.
    cloud.send("ERROR door is open")
    assert cloud.refresh()["refreshed"] == 1
    assert "3 times" in json.dumps([message["blocks"] for message in slack.messages()])


def test_message_that_slack_does_not_take_now_comes_after_the_others(
    cloud: TriageCloud, slack: SlackTwin, monkeypatch: Any
) -> None:
    name = cloud.send(TRACE)["started"][0]
    cloud.wait_for(name)
    cloud.refresh()
    cloud.send(TRACE)
    slack.fail("500", path="chat.update")
    assert cloud.refresh()["refreshed"] == 0
    assert float(cloud.incident(name)["due_at"]) > time.time() + 200
    assert cloud.refresh()["refreshed"] == 0
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 400)
    assert cloud.refresh()["refreshed"] == 1
    assert "2 times" in json.dumps(slack.messages()[0]["blocks"])


def test_error_that_is_back_is_told_in_its_thread(cloud: TriageCloud, slack: SlackTwin) -> None:
    old = cloud.event(TRACE, time.time() - 3 * DAY)
    (first,) = cloud.receive(old)["started"]
    cloud.wait_for(first)
    (second,) = cloud.send(TRACE)["started"]
    assert (first[:-2], second[-2:]) == (second[:-2], "-2")
    assert cloud.wait_for(second)["status"] == "SUCCEEDED"

    (thread,) = slack.threads()
    (reply,) = slack.replies(thread["ts"])
    assert "Back after" in json.dumps(reply["blocks"])
    assert "Back after" in json.dumps(thread["blocks"])
    assert reply["subtype"] == "thread_broadcast"
    report = cloud.report(second)
    assert report["generation"] == 2
    assert "seen once" in next(row["text"] for row in report["evidence"] if row["kind"] == "earlier_incident")


def test_unknown_outcome_is_remembered_though_the_next_try_fails_before_it_posts(
    cloud: TriageCloud, slack: SlackTwin
) -> None:
    (first,) = cloud.receive(cloud.event(TRACE, time.time() - 3 * DAY))["started"]
    cloud.wait_for(first)
    slack.fail("commit-then-drop", path="chat.postMessage")
    slack.fail("500", path="conversations.replies")
    slack.fail("500", path="chat.update", skip=1)
    (second,) = cloud.send(TRACE)["started"]
    assert cloud.wait_for(second)["status"] == "SUCCEEDED"
    assert len(slack.replies(slack.threads()[0]["ts"])) == 1


def test_thread_that_somebody_deleted_begins_anew(cloud: TriageCloud, slack: SlackTwin) -> None:
    (first,) = cloud.receive(cloud.event(TRACE, time.time() - 3 * DAY))["started"]
    cloud.wait_for(first)
    slack.messages().clear()
    next(iter(slack.state["channels"].values()))["messages"].clear()
    (second,) = cloud.send(TRACE)["started"]
    assert cloud.wait_for(second)["status"] == "SUCCEEDED"
    assert len(slack.threads()) == 1


def test_start_that_failed_is_made_up_for(cloud: TriageCloud, slack: SlackTwin, monkeypatch: Any) -> None:
    def throttled(self: Any, *_: Any) -> None:
        raise TransientError("throttled")

    from watchfloor.clients.executions import Executions

    events = cloud.log(TRACE)
    with monkeypatch.context() as patch:
        patch.setattr(Executions, "start", throttled)
        with pytest.raises(TransientError):
            cloud.receive(*events)
    assert cloud.executions() == []
    (name,) = cloud.refresh()["started"]
    cloud.wait_for(name)
    assert cloud.incident(name)["total"] == 1
    assert len(slack.messages()) == 1


def test_start_that_failed_is_made_up_for_by_the_next_delivery(cloud: TriageCloud, monkeypatch: Any) -> None:
    from watchfloor.clients.executions import Executions

    events = cloud.log(TRACE)
    with monkeypatch.context() as patch:
        patch.setattr(Executions, "start", lambda self, *_: (_ for _ in ()).throw(TransientError("throttled")))
        with pytest.raises(TransientError):
            cloud.receive(*events)
    (name,) = cloud.receive(*events)["started"]
    cloud.wait_for(name)
    assert cloud.incident(name)["total"] == 1


@pytest.mark.parametrize("cloud", [{"TriageIncidentsPerHour": "2"}], indirect=True)
def test_more_incidents_than_allowed_are_held_back_told_together_and_started_later(
    cloud: TriageCloud, slack: SlackTwin, monkeypatch: Any
) -> None:
    answer = cloud.send("ERROR door is open", "ERROR wheel is flat", "ERROR tank is empty", "ERROR lamp is dark")
    assert (len(answer["started"]), len(answer["held"])) == (2, 2)
    for name in answer["started"]:
        cloud.wait_for(name)
    assert any("2 other new incidents are held back" in text for text in cloud.report(answer["started"][0])["limits"])

    assert cloud.refresh()["held"] == 2
    assert cloud.refresh()["held"] == 0
    (notice,) = (message for message in slack.messages() if "held back" in message["text"])
    assert "2 new incidents" in notice["text"]
    assert len([subject for subject, _ in cloud.mails("TriageTopic") if "held back" in subject]) == 1

    # They are counted meanwhile.
    cloud.send("ERROR tank is empty")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3_600)
    started = cloud.refresh()["started"]
    assert sorted(started) == sorted(answer["held"])
    monkeypatch.undo()
    for name in started:
        assert cloud.wait_for(name)["status"] == "SUCCEEDED"
    assert len(slack.threads()) == 5


# --- what people change


def test_silenced_error_is_counted_and_told_when_the_silence_is_over(
    cloud: TriageCloud, slack: SlackTwin, monkeypatch: Any
) -> None:
    name = cloud.send(TRACE)["started"][0]
    cloud.wait_for(name)
    press(cloud, slack, "incident_silence", "1h")
    assert cloud.send(TRACE)["started"] == []
    assert "Silenced" in json.dumps(slack.messages()[0]["blocks"])

    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3_700)
    cloud.refresh()
    cloud.refresh()
    assert "Silenced" not in json.dumps(slack.messages()[0]["blocks"])
    assert cloud.receive(cloud.event(TRACE))["started"] == [name[:-1] + "2"]
    monkeypatch.undo()
    cloud.wait_for(name[:-1] + "2")


def test_acknowledged_message_says_by_whom(cloud: TriageCloud, slack: SlackTwin) -> None:
    name = cloud.send(TRACE)["started"][0]
    cloud.wait_for(name)
    assert press(cloud, slack, "incident_acknowledge")["status"] == 200
    assert (cloud.incident(name)["status"], cloud.incident(name)["by"]) == ("acknowledged", "ana")
    assert "Acknowledged by *ana*" in json.dumps(slack.messages()[0]["blocks"], ensure_ascii=False)


def test_resolution_is_asked_for_and_shown_when_the_error_is_back(cloud: TriageCloud, slack: SlackTwin) -> None:
    name = cloud.receive(cloud.event(TRACE, time.time() - 60))["started"][0]
    cloud.wait_for(name)
    press(cloud, slack, "incident_resolve")
    submit(cloud, slack, note="rolled back to version 7")
    assert (cloud.incident(name)["status"], cloud.incident(name)["note"]) == ("resolved", "rolled back to version 7")
    (second,) = cloud.send(TRACE)["started"]
    cloud.wait_for(second)
    earlier = [row["text"] for row in cloud.report(second)["evidence"] if row["kind"] == "earlier_incident"]
    assert any("resolved by ana: rolled back to version 7" in text for text in earlier)


@pytest.mark.parametrize("cloud", [{"RedactIpAddresses": "true"}], indirect=True)
def test_notes_and_reasons_follow_the_rule_for_ip_addresses(cloud: TriageCloud, slack: SlackTwin) -> None:
    cloud.faults["AskModel"] = Fault(InvalidInputError("10.1.2.4 refuses the key"))
    name = cloud.receive(cloud.event(TRACE, time.time() - 60))["started"][0]
    cloud.wait_for(name)
    press(cloud, slack, "incident_resolve")
    submit(cloud, slack, note="10.1.2.3 was full")
    (second,) = cloud.send(TRACE)["started"]
    cloud.wait_for(second)
    report = cloud.report(second)
    assert "was full" in json.dumps(report) and "10.1.2.3" not in json.dumps(report)
    assert why(report, "the model's answer") == "[IP_1] refuses the key"


def test_merged_error_counts_for_the_other_one(cloud: TriageCloud, slack: SlackTwin) -> None:
    first = cloud.send("ERROR door is open")["started"][0]
    cloud.wait_for(first)
    second = cloud.send("ERROR wheel is flat")["started"][0]
    cloud.wait_for(second)
    press(cloud, slack, "incident_merge", message=1)
    submit(cloud, slack, into=first.partition("-")[0])
    cloud.send("ERROR wheel is flat", "ERROR wheel is flat")
    assert (cloud.incident(first)["total"], cloud.incident(second)["total"]) == (3, 1)
    assert "Merged" in json.dumps(slack.messages()[1]["blocks"])


def test_split_error_becomes_several_from_then_on(cloud: TriageCloud) -> None:
    from watchfloor import incidents
    from watchfloor.clients.incident_table import IncidentTable

    name = cloud.send("ERROR user 1 is locked", "ERROR user 2 is locked")["started"][0]
    cloud.wait_for(name)
    table = IncidentTable(cloud.tables["IncidentTable"])
    table.change(name.partition("-")[0], lambda row: incidents.split(row, ["text"], by="kim", now=time.time()))
    started = cloud.send("ERROR user 1 is locked", "ERROR user 2 is locked", "ERROR user 1 is locked")["started"]
    assert len(started) == 2 and name not in started
    for finer in started:
        cloud.wait_for(finer)
    assert sorted(int(cloud.incident(finer)["total"]) for finer in started) == [1, 2]
    assert cloud.incident(name)["total"] == 2


# --- who is believed


SIGNED = {"x-slack-request-timestamp": "1795190200", "x-slack-signature": "v0=" + "0" * 64}


@pytest.mark.parametrize("headers", [{}, SIGNED, {**SIGNED, "x-slack-request-timestamp": "now"}])
def test_what_slack_did_not_sign_is_refused_and_changes_nothing(cloud: TriageCloud, headers: dict[str, str]) -> None:
    name = cloud.send(TRACE)["started"][0]
    cloud.wait_for(name)
    event = {**action_on(name), "headers": headers}
    assert cloud.invoke("ReceiveAction", event) == {"statusCode": 401}
    assert cloud.incident(name)["status"] == "open"


def test_without_a_signing_secret_nobody_is_believed(slack: SlackTwin) -> None:
    with TriageCloud({"SlackSecretArn": slack.webhook_secret}) as cloud:
        event = sample_event("receive_action", "triage")
        event["headers"] = signed("guessed", event["body"])
        assert cloud.invoke("ReceiveAction", event) == {"statusCode": 401}


@pytest.mark.parametrize(
    ("body", "status"),
    [("payload=%7B%7D", 400), ("", 400), ("x=1", 400), ("payload=" + "a" * 1_100_000, 413)],
)
def test_nonsense_that_slack_signed_is_refused(cloud: TriageCloud, body: str, status: int) -> None:
    event = {**sample_event("receive_action", "triage"), "body": body, "headers": signed(SIGNING_SECRET, body)}
    assert cloud.invoke("ReceiveAction", event) == {"statusCode": status}


def test_body_in_base64_is_read(cloud: TriageCloud) -> None:
    name = cloud.send(TRACE)["started"][0]
    cloud.wait_for(name)
    event = action_on(name)
    event["headers"] = signed(SIGNING_SECRET, event["body"])
    event |= {"body": base64.b64encode(event["body"].encode()).decode(), "isBase64Encoded": True}
    assert cloud.invoke("ReceiveAction", event) == {"statusCode": 200}
    cloud.settle()
    assert cloud.incident(name)["by"] == "kim"


def test_request_that_comes_again_does_nothing(cloud: TriageCloud, slack: SlackTwin) -> None:
    name = cloud.send(TRACE)["started"][0]
    cloud.wait_for(name)
    event = action_on(name)
    event["headers"] = signed(SIGNING_SECRET, event["body"])
    assert cloud.invoke("ReceiveAction", event) == {"statusCode": 200}
    press(cloud, slack, "incident_resolve")
    submit(cloud, slack, note="rolled back")
    assert cloud.invoke("ReceiveAction", event) == {"statusCode": 200}
    cloud.settle()
    assert (cloud.incident(name)["status"], cloud.incident(name)["note"]) == ("resolved", "rolled back")


def test_action_on_an_incident_that_never_was_is_refused(cloud: TriageCloud) -> None:
    event = action_on("0123456789abcdef-1")
    event["headers"] = signed(SIGNING_SECRET, event["body"])
    assert cloud.invoke("ReceiveAction", event) == {"statusCode": 400}


def test_merged_incident_is_offered_no_more(cloud: TriageCloud, slack: SlackTwin) -> None:
    first, second = cloud.send("ERROR door is open", "ERROR wheel is flat")["started"]
    for name in (first, second):
        cloud.wait_for(name)
    merged = 0 if first.partition("-")[0] in json.dumps(slack.threads()[0]["blocks"]) else 1
    press(cloud, slack, "incident_merge", message=merged)
    assert submit(cloud, slack, into=second.partition("-")[0])["body"] == ""
    press(cloud, slack, "incident_merge", message=1 - merged)
    assert "There is no other incident" in json.dumps(slack.state["views"])


# --- who may approve


def ask_to_approve(cloud: TriageCloud, slack: SlackTwin, requester: Person) -> ApprovalTable:
    """A script that waits for approval, and its message with the buttons; two people are needed."""
    approvals = ApprovalTable(cloud.tables["ApprovalTable"])
    ask = Ask("oncall-rollback-lambda", {"function_name": "checkout"}, requester.shown)
    approval = Approval(APPROVAL, ask, requester, [], ends_at=int(time.time()) + 600)
    approvals.open(Executions(cloud.sfn), approval, "token")
    Slack(slack.secret).post(approval_message(shown(approval)), "approval")
    return approvals


def approve(cloud: TriageCloud, slack: SlackTwin, user: str) -> str:
    """What who pressed is told."""
    before = len(slack.state["ephemeral"])
    slack.press("approval_approve", user=user, url=cloud.action_url)
    return " ".join(message["text"] for message in slack.state["ephemeral"][before:])


def test_colleague_approves(cloud: TriageCloud, slack: SlackTwin) -> None:
    approvals = ask_to_approve(cloud, slack, Person(("mallory",)))
    assert "1 of 2 are given" in approve(cloud, slack, BEN)
    (decision,) = approvals.get(APPROVAL)[0].decisions
    assert decision.person == Person(("ben", BEN, "ben@example.com"), is_proven=True, provider="slack")


@pytest.mark.parametrize("user", [GUEST, PARTNER])
def test_who_only_sees_the_channel_does_not_approve(cloud: TriageCloud, slack: SlackTwin, user: str) -> None:
    approvals = ask_to_approve(cloud, slack, Person(("mallory",)))
    slack.state["channels"][CHANNEL]["members"].append(user)
    assert "no full member" in approve(cloud, slack, user)
    assert approvals.get(APPROVAL)[0].decisions == ()


def test_who_asks_is_known_in_slack_by_mail_address(cloud: TriageCloud, slack: SlackTwin) -> None:
    """The name in Slack is one's own to change."""
    approvals = ask_to_approve(cloud, slack, Person(("benedict",)))
    slack.state["users"][BEN]["profile"]["email"] = "Benedict@example.com"
    assert "somebody else has to approve" in approve(cloud, slack, BEN)
    assert approvals.get(APPROVAL)[0].decisions == ()


def test_approvers_may_be_named(slack: SlackTwin) -> None:
    with TriageCloud({"SlackSecretArn": {**slack.secret, "approvers": [ANA]}}) as cloud:
        approvals = ask_to_approve(cloud, slack, Person(("mallory",)))
        assert "not among the approvers" in approve(cloud, slack, BEN)
        assert "1 of 2 are given" in approve(cloud, slack, ANA)
        slack.press("approval_refuse", user=BEN, url=cloud.action_url)
        assert approvals.get(APPROVAL)[0].status == "refused"


def action_on(name: str) -> dict[str, Any]:
    """Somebody acknowledges the incident; not signed yet."""
    event = sample_event("receive_action", "triage")
    return {**event, "body": event["body"].replace("1f3647916e63339c", name.partition("-")[0])}


def signed(secret: str, body: str) -> dict[str, str]:
    now = str(int(time.time()))
    signature = SignatureVerifier(secret).generate_signature(timestamp=now, body=body)
    return {"x-slack-request-timestamp": now, "x-slack-signature": signature or ""}


def press(cloud: TriageCloud, slack: SlackTwin, action_id: str, selected: str = "", message: int = 0) -> dict[str, Any]:
    """Press a button, and see what comes of it."""
    ts = slack.threads()[message]["ts"]
    answer = slack.press(action_id, ts, selected=selected, url=cloud.action_url)
    cloud.settle()
    return answer


def submit(cloud: TriageCloud, slack: SlackTwin, **values: str) -> dict[str, Any]:
    """Fill in the window that is open."""
    answer = slack.submit(values, url=cloud.action_url)
    cloud.settle()
    return answer
