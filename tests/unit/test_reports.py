"""What is found out about an incident, put together."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from watchfloor import reports
from watchfloor.incidents import Incident
from watchfloor.log_events import ErrorEvent
from watchfloor.redaction import Redactor
from watchfloor.stack_frames import Frame

NOON = 1_795_176_000.0
ARN = "arn:aws:states:eu-central-1:123456789012:execution:watchfloor-error-triage:ab-1"


def error(**more) -> ErrorEvent:
    values = {
        "id": "1",
        "time": NOON,
        "log_group": "/aws/lambda/orders",
        "log_stream": "2026/11/20/[$LATEST]4f",
        "text": "ValueError: no",
        "type": "ValueError",
        "message": "no",
        "event_ids": ("1",),
    }
    return ErrorEvent(**{**values, **more})


def lines(*texts) -> list[dict]:
    return [{"time": NOON + number / 1_000, "text": text} for number, text in enumerate(texts)]


# --- around the error


def test_lines_are_numbered_and_the_error_is_marked():
    found = reports.context_of(error(), lines("INFO a", "ERROR ValueError: no", "INFO b"), 1)
    assert [(row["id"], row["is_error"]) for row in found.lines] == [("L1", False), ("L2", True), ("L3", False)]


def test_error_that_is_not_among_the_lines_marks_none():
    found = reports.context_of(error(), lines("INFO a"), -1)
    assert [row["is_error"] for row in found.lines] == [False]
    assert found.error == error()


def test_trace_that_arrived_after_its_head_completes_the_error():
    head = error(text="ERROR could not load", type="", message="could not load")
    rows = lines(
        "INFO before",
        "ERROR could not load",
        "Traceback (most recent call last):",
        '  File "/app/orders.py", line 12, in load',
        '    return table["id"]',
        "KeyError: 'id'",
        "INFO after",
    )
    found = reports.context_of(head, rows, 1)
    assert (found.error.type, [frame.function for frame in found.error.frames]) == ("KeyError", ["load"])
    assert [row["is_error"] for row in found.lines] == [False, True, True, True, True, True, False]
    # It is still the same error.
    assert found.error.id == head.id


def test_secret_spread_over_lines_is_redacted():
    key = ["-----BEGIN RSA PRIVATE KEY-----", "MIIEpAIBAAKCAQEA7" * 3, "-----END RSA PRIVATE KEY-----"]
    rows = [{"id": "L1", "text": text, "time": NOON, "is_error": False} for text in key]
    told = reports.redacted_lines(rows, Redactor())
    assert len(told) == 3
    assert "MIIEpAIBAAKCAQEA7" not in str(told)


def test_log_without_the_error_s_own_line_says_so():
    assert reports.not_found([{"time": NOON, "text": "x"}], 0) == []
    (before,) = reports.not_found([{"time": NOON, "text": "x"}], -1)
    (nothing,) = reports.not_found([], -1)
    assert before["what"] == nothing["what"] == "the log around it"
    assert "those before its time" in before["why"] and "no lines before" in nothing["why"]


def test_innermost_call_is_told_first():
    frames = [Frame("a.py", "outer", 1), Frame("b.py", "inner", 2)]
    told = reports.told_error(error(frames=tuple(frames)).to_dict())
    assert [frame["function"] for frame in told["frames"]] == ["inner", "outer"]


@pytest.mark.parametrize(
    ("group", "name"), [("/aws/lambda/orders", "orders"), ("/ecs/orders", ""), ("aws/lambda/x", "")]
)
def test_function_is_known_by_its_log_group(group, name):
    assert reports.function_of(group) == name


def configuration(**more):
    values = {"FunctionName": "orders", "Timeout": 3, "MemorySize": 128, "Runtime": "python3.13", "Version": "$LATEST"}
    return {**values, "LastModified": "2026-11-20T11:48:00.000+0000", **more}


def test_configuration_and_a_deployment_just_before_are_told():
    settings, deployed = reports.configuration_facts(configuration(), NOON)
    assert settings["text"] == "timeout 3 s, memory 128 MB, python3.13"
    assert (deployed["kind"], deployed["text"]) == ("deployment", "deployed 12 minutes before the error")


def test_one_minute_is_one_minute():
    _, deployed = reports.configuration_facts(configuration(LastModified="2026-11-20T11:59:20.000+0000"), NOON)
    assert deployed["text"] == "deployed 1 minute before the error"


@pytest.mark.parametrize("modified", ["2026-11-18T11:00:00.000+0000", "2026-11-20T12:30:00.000+0000", "nonsense"])
def test_deployment_long_before_or_after_is_not_told(modified):
    assert len(reports.configuration_facts(configuration(LastModified=modified), NOON)) == 1


def test_what_is_wrong_with_a_function_is_told():
    (settings,) = reports.configuration_facts(configuration(State="Failed", LastUpdateStatus="Failed"), NOON + 9e9)
    assert "state Failed" in settings["text"] and "last update Failed" in settings["text"]


def test_alarm_says_since_when_it_rings():
    since = datetime(2026, 11, 20, 11, 30, tzinfo=UTC)
    alarm = {"AlarmName": "orders-errors", "StateUpdatedTimestamp": since, "MetricName": "Errors"}
    (fact,) = reports.alarm_facts([alarm])
    assert fact["text"] == "in ALARM since 2026-11-20 11:30 UTC: Errors"


def test_lines_of_the_request_that_are_shown_already_are_not_told_twice():
    rows = lines("one", "two", "three")
    (fact,) = reports.request_facts(rows, rows[:2])
    assert (fact["kind"], fact["text"]) == ("request", "three")


# --- evidence


@pytest.mark.parametrize(
    ("type_", "message", "words"),
    [
        ("KeyError", "'customer_id'", ["KeyError"]),
        (
            "com.acme.TimeoutException",
            "Read timed out after 30000 ms\n at x",
            ["TimeoutException read timed out after", "TimeoutException"],
        ),
        ("LookupError", "customer John Smith has no basket", ["LookupError customer has no basket", "LookupError"]),
        ("", "order for Maria Gonzalez in Berlin failed", ["order for in failed"]),
        (
            "ModuleNotFoundError",
            "No module named 'requests'",
            ["ModuleNotFoundError no module named requests", "ModuleNotFoundError"],
        ),
        ("", "connection to 10.0.0.7:5432 refused for [EMAIL_1]", ["connection to refused for"]),
        ("", "42", []),
    ],
)
def test_search_is_for_what_others_may_have_met_too(type_, message, words):
    assert reports.search_words({"type": type_, "message": message}) == words


def test_earlier_incidents_say_what_resolved_them():
    ended = [{"status": "resolved", "by": "kim", "note": "rolled back", "count": 5, "last_seen": NOON}]
    alike = [
        Incident("me", title="me"),
        Incident("gone", title="gone", merged_into="me"),
        Incident("other", title="other", count=1, status="open"),
    ]
    mine, other = reports.earlier_evidence(ended, alike, "me")
    assert mine["text"] == "resolved by kim: rolled back (seen 5 times)"
    assert other["source"] == "other (other)"
    assert other["text"] == "nobody said what resolved it (seen once)"
    assert (mine["note"], other.get("note")) == ("rolled back", None)


# --- what is missing


def test_outcomes_say_what_is_missing():
    state = {
        "context": {"outcome": {"missing": [reports.lacks("alarms", "no")]}},
        "evidence": {
            "stack_overflow": {
                "Error": "TransientError",
                "Cause": '{"errorType": "TransientError", "errorMessage": "slow"}',
            },
            "earlier_incidents": {"outcome": {"missing": []}},
        },
    }
    assert reports.missing_parts(state, Redactor()) == [
        {"what": "alarms", "why": "no"},
        {"what": "Stack Overflow", "why": "slow"},
    ]


@pytest.mark.parametrize(
    ("error_", "cause", "why"),
    [
        ("States.Timeout", "", "it took too long"),
        (
            "Sandbox.Timedout",
            '{"errorMessage": "RequestId: 1 Error: Task timed out after 60.00 seconds"}',
            "it took too long",
        ),
        (
            "KeyError",
            '{"errorType": "KeyError", "errorMessage": "\'password=x\'"}',
            "it failed (KeyError); its log group says why",
        ),
        (
            "AccessDeniedError",
            '{"errorType": "AccessDeniedError", "errorMessage": "User arn:aws:sts::123456789012:x is not authorized"}',
            "a permission is missing; its log group says which",
        ),
        ("InvalidInputError", '{"errorType": "InvalidInputError", "errorMessage": "renew\\nit"}', "renew it"),
    ],
)
def test_reasons_are_told_in_words_of_our_own(error_, cause, why):
    assert reports.why_of(error_, cause, Redactor()) == why


def test_reasons_are_cut_after_they_were_redacted():
    cause = "x" * 285 + " AKIAIOSFODNN7EXAMPLE"
    why = reports.why_of("InvalidInputError", cause, Redactor())
    assert "AKIA" not in why and len(why) <= 300


@pytest.mark.parametrize("shown", [True, False])
def test_reasons_follow_the_rule_for_ip_addresses(shown):
    state = {"context": {"outcome": {"missing": [reports.lacks("alarms", "10.1.2.3 is away")]}}}
    (row,) = reports.missing_parts(state, Redactor(ips=not shown))
    assert ("10.1.2.3" in row["why"]) == shown


def test_limits_that_were_reached_are_told():
    state = {"answer": {"outcome": {"limits": ["The day's limit"]}}}
    assert reports.limits_reached(state, 0) == ["The day's limit"]
    assert "3 other new incidents are held back" in reports.limits_reached(state, 3)[1]
    assert reports.limits_reached({"answer": {"Error": "x", "Cause": ""}}, 0) == []


# --- the report


def build(**more):
    case = {"error": error().to_dict(), "grouped_by": {"rule": "type", "reason": "by its type", "basis": []}}
    values: dict[str, Any] = {"context": None, "evidence": [], "answer": None, "missing": [], "limits": [], "links": {}}
    incident = Incident("ab", generation=2, title="ValueError: no", count=7, since=NOON, last_seen=NOON + 5)
    return reports.build(incident, generation=2, case=case, **{**values, **more})


def test_report_without_anything_else_still_tells_the_error():
    report = build()
    assert (report["verdict"], report["answer"], report["context"]) == ("NO_ANSWER", {}, [])
    assert (report["error"]["type"], report["count"], report["generation"]) == ("ValueError", 7, 2)
    assert report["grouped_by"]["reason"] == "by its type"


def test_report_takes_the_error_as_its_context_tells_it():
    seen = error(type="KeyError", message="'id'")
    context = {"error": seen.to_dict(), "lines": [{"id": "L1", "text": "x"}], "facts": [{"kind": "alarm"}]}
    report = build(context=context, evidence=[{"kind": "stack_overflow"}])
    assert report["error"]["type"] == "KeyError"
    assert [row["kind"] for row in report["evidence"]] == ["alarm", "stack_overflow"]


def test_links_lead_to_report_log_and_execution():
    links = reports.links_of(
        region="eu-central-1", bucket="data", key="triage/ab/1/report.json", error=error().to_dict(), execution_arn=ARN
    )
    assert links["report"].startswith("https://eu-central-1.console.aws.amazon.com/s3/object/data?")
    # The console's own way of writing /aws/lambda/orders and [$LATEST].
    assert (
        "log-group/$252Faws$252Flambda$252Forders/log-events/2026$252F11$252F20$252F$255B$2524LATEST$255D4f"
        in links["logs"]
    )
    assert links["execution"].endswith(ARN)


def test_failure_mail_tells_what_is_known_and_nothing_foreign():
    incident = Incident("ab", generation=1, title="Größe: x" * 30, count=2, last_seen=NOON, log_groups=("/a",))
    subject, text = reports.failure_mail(
        execution_arn=ARN,
        status="TIMED_OUT",
        error="KeyError",
        cause="'password=x'",
        state="AskModel",
        incident=incident,
        redactor=Redactor(),
    )
    assert len(subject) < 100 and subject.isascii() and "\n" not in subject
    assert "AskModel" in text and "2 times" in text and ARN in text
    assert "password" not in text


def test_failure_mail_of_an_execution_that_somebody_started_with_nonsense():
    subject, text = reports.failure_mail(
        execution_arn=ARN, status="FAILED", error="", cause="", state=None, incident=None, redactor=Redactor()
    )
    assert "an error" in subject and "not said" in text


def test_held_mail_lists_them():
    row = {"fingerprint": "ab", "title": "boom", "count": 2, "log_group": "/a"}
    subject, text = reports.held_mail({"limit": 60, "incidents": [row], "until": NOON})
    assert subject == "Watchfloor: 1 new incident held back"
    assert "- boom (/a), seen 2 times" in text and "12:00 UTC" in text


def test_posts_become_evidence():
    post = SimpleNamespace(title="How?", url="https://x", question="q", answer_text="", score=1, accepted=False)
    assert reports.post_evidence([post]) == [
        {"kind": "stack_overflow", "source": "How?", "text": "q", "url": "https://x"}
    ]
