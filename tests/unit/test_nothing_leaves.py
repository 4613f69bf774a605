"""Planted secrets through all that triage tells, as the functions tell it; `tests/e2e` does the same on the deployed one."""

import json
import os
from zlib import crc32

import pytest

from local.triage_events import packed
from local.twins.diagnosis import diagnosed, lines_in
from tests.secret_samples import forms_of, planted
from watchfloor.answers import evidence_lines, prompt_messages, verify
from watchfloor.clients.error_intake import part_of
from watchfloor.fingerprints import fingerprint
from watchfloor.incidents import Incident, grouping, message_state, record
from watchfloor.log_events import decode, errors_in
from watchfloor.mails import incident_mail
from watchfloor.messages import incident_message
from watchfloor.redaction import Redactor
from watchfloor.reports import build, citable, context_of, links_of, redacted_lines, search_words

NOW = 1_795_176_000.0
AROUND = 10
EXECUTION = "arn:aws:states:us-east-1:000000000000:execution:triage:one-1"
SEEDS = (1, 2, crc32(os.environ.get("WATCHFLOOR_SEED", "1").encode()))


def deliveries(seed):
    """Ten of them: a secret in an error's own words, five in the lines before it and four in those after it."""
    rows = planted(seed, 100)
    for number in range(10):
        own, *others = (row.line for row in rows[number::10])
        error = (
            f"[ERROR] Leaky{number}Error: {own}\nTraceback (most recent call last):\n"
            f'  File "/var/task/shop/leak.py", line 7, in leak_{number}\n    raise Leaky{number}Error(...)'
        )
        yield rows[number::10], [*others[:5], error, *others[5:]]


def told_of(messages):
    """All that is told of the errors in a delivery, by place."""
    events = [
        {"id": f"{number:056d}", "timestamp": NOW * 1_000, "message": text} for number, text in enumerate(messages)
    ]
    batch = decode(packed({"messageType": "DATA_MESSAGE", "logGroup": "/a", "logStream": "b", "logEvents": events}))
    lines = [{"time": NOW, "text": text} for text in messages]
    for error in errors_in(batch):
        found = fingerprint(error)
        part = part_of(found, [error], {event.id: event.message for event in batch.events}, ips=False)
        yield "intake", part.redacted
        incident = record(Incident(found.value), part.new, now=NOW, reopen_after_seconds=3_600)
        place = int(error.event_ids[0])
        first = max(0, place - AROUND)
        seen = context_of(error, lines[first : place + AROUND + 1], place - first)
        # As gather_context does it.
        redactor = Redactor()
        redactor.lines([line["text"] for line in seen.lines if line["is_error"]])
        case = redactor.value({"error": error.to_dict(), "grouped_by": grouping(found)})
        shown = redactor.value(seen.error.to_dict())
        context = {"error": shown, "lines": redacted_lines(seen.lines, redactor), "facts": []}
        yield "Stack Exchange", search_words(case["error"])
        evidence = evidence_lines(citable(case, context, []))
        prompt = prompt_messages(evidence)
        yield "the model", prompt
        checked = verify(json.dumps(diagnosed(lines_in(prompt[-1]["content"]))), evidence)
        report = build(
            incident,
            generation=1,
            case=case,
            context=context,
            evidence=[],
            answer={"verdict": checked.verdict, "answer": checked.answer, "reasons": checked.reasons},
            missing=[],
            limits=[],
            links=links_of(region="us-east-1", bucket="b", key="k", error=case["error"], execution_arn=EXECUTION),
        )
        yield "the report", report
        yield "Slack", incident_message(report, message_state(incident, {}, now=NOW))
        yield "the mail", incident_mail(report)


@pytest.mark.parametrize("seed", SEEDS)
def test_none_of_100_planted_secrets_is_in_anything_that_is_told(seed):
    places = set()
    for rows, messages in deliveries(seed):
        for place, told in told_of(messages):
            places.add(place)
            text = json.dumps(told, ensure_ascii=False)
            assert not [row for row in rows if any(form in text for form in forms_of(row.secret))], (seed, place, text)
    assert places == {"intake", "Stack Exchange", "the model", "the report", "Slack", "the mail"}
