"""What is wrong with a queue, and what may be done to its messages."""

import json
from typing import Any

import pytest

from watchfloor.errors import ConflictError
from watchfloor.queues import Queue, check_sample, check_search, findings, report, sample

CALM: dict[str, list[float]] = {"age": [], "sent": [], "received": [], "deleted": []}


def queue(visible: int = 0, most_receives: int = 0, **attributes: str) -> Queue:
    if most_receives:
        policy = {"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:dead", "maxReceiveCount": most_receives}
        attributes["RedrivePolicy"] = json.dumps(policy)
    counts = {"": visible, "NotVisible": 2, "Delayed": 0}
    return Queue(
        "orders",
        "https://sqs/orders",
        {
            "QueueArn": "arn:aws:sqs:eu-west-1:1:orders",
            "MessageRetentionPeriod": "345600",
            "VisibilityTimeout": "30",
            **{f"ApproximateNumberOfMessages{kind}": str(count) for kind, count in counts.items()},
            **attributes,
        },
    )


def test_queue_names_where_its_dead_letters_go():
    assert (queue(most_receives=3).dead_letter_queue, queue(most_receives=3).most_receives) == ("dead", 3)
    assert (queue().dead_letter_queue, queue().most_receives) == (None, None)


def test_report_sums_what_came_and_names_the_readers():
    mapping = {"FunctionArn": "arn:aws:lambda:eu-west-1:1:function:ship", "State": "Disabled", "BatchSize": 10}
    flow = {**CALM, "age": [7_200.4, 60.0], "sent": [5.0, 6.0]}
    found = report(queue(visible=4), flow, [mapping], None, [])
    assert (found["visible"], found["in_flight"], found["oldest_seconds"]) == (4, 2, 7_200)
    assert (found["sent_in_3_hours"], found["deleted_in_3_hours"], found["is_fifo"]) == (11, 0, False)
    reader = {"function": "ship", "state": "Disabled", "batch_size": 10, "last_result": None}
    assert found["consumers"] == [reader]
    assert found["findings"][0] == "its consumer ship is switched off"


def about(**changes: Any) -> dict[str, Any]:
    quiet = {"visible": 0, "in_flight": 0, "oldest_seconds": None, "retention_seconds": 345_600}
    return {**quiet, **changes}


@pytest.mark.parametrize(
    ("name", "state", "flow", "words"),
    [
        (
            "q",
            about(visible=5, oldest_seconds=300_000),
            CALM,
            "messages are about to be lost: the oldest is 3 days old",
        ),
        (
            "q",
            about(visible=900),
            {**CALM, "sent": [600], "received": [90], "deleted": [90]},
            "it grows: 600 came and 90",
        ),
        ("q", about(visible=9), {**CALM, "received": [80], "deleted": [5]}, "its readers fail: 80 receives, but 5"),
        ("q.fifo", about(in_flight=19_500), CALM, "19500 messages are in flight, which is about as many as SQS allows"),
        ("q", about(), CALM, "it has no dead letter queue"),
    ],
)
def test_queue_findings(name, state, flow, words):
    assert findings(name, state, flow, [], None, [])[0].startswith(words)


def test_queue_that_is_well_says_so_only():
    dead = {"queue_name": "d", "after_receives": 3, "visible": 0}
    flow: dict[str, list[float]] = {**CALM, "sent": [50], "received": [50], "deleted": [50]}
    assert findings("q", about(), flow, [], dead, []) == ["0 messages wait; 0 are being worked on"]


def test_sample_shows_each_message_once_and_no_secret():
    message = {"MessageId": "1", "Body": "mail anna@example.com " + "x" * 9_000}
    old = {**message, "Attributes": {"SentTimestamp": "1000", "ApproximateReceiveCount": "1"}}
    (shown,) = sample([message, old])
    assert shown["body"].startswith("mail [EMAIL_1] xxx")
    assert (len(shown["body"]), shown["body_characters"]) == (3_000, 9_022)
    assert (shown["sent"], shown["first_received"], shown["receives"]) == ("1970-01-01T00:00:01+00:00", None, 1)


def test_look_that_could_make_a_dead_letter_is_refused():
    check_sample(queue())
    with pytest.raises(ConflictError, match="ask for its dead letter queue"):
        check_sample(queue(most_receives=3))


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (queue(visible=21), "would hold up the others"),
        (queue(visible=1, most_receives=4), "after 4 receives"),
    ],
)
def test_search_that_could_harm_others_is_refused(state, says):
    with pytest.raises(ConflictError, match=says):
        check_search(state)


@pytest.mark.parametrize("state", [queue(visible=20), queue(most_receives=1), queue(visible=1, most_receives=5)])
def test_search_that_harms_nobody_is_allowed(state):
    check_search(state)
