"""Lines around an error, on moto."""

import time

import boto3
import pytest
from moto import mock_aws

from watchfloor.clients.log_groups import LogGroups
from watchfloor.errors import NotFoundError

GROUP, STREAM = "/aws/lambda/orders", "s"


@pytest.fixture
def logs():
    with mock_aws():
        client = boto3.client("logs", region_name="us-east-1")
        client.create_log_group(logGroupName=GROUP)
        client.create_log_stream(logGroupName=GROUP, logStreamName=STREAM)
        yield client


@pytest.fixture
def now():
    return float(int(time.time()) - 600)


def put(logs, *rows: tuple[float, str]) -> None:
    events = [{"timestamp": round(at * 1_000), "message": text} for at, text in rows]
    logs.put_log_events(logGroupName=GROUP, logStreamName=STREAM, logEvents=events)


def around(logs, at: float, message: str, before: int = 2, after: int = 2, own: int = 1) -> tuple[list[str], int]:
    lines, place = LogGroups(logs).around(GROUP, STREAM, at, message, before=before, after=after, own=own)
    return [line["text"] for line in lines], place


def test_lines_are_taken_by_their_place(logs, now):
    put(logs, *[(now + number * 60, f"line {number}") for number in range(9)])
    assert around(logs, now + 240, "line 4") == (["line 2", "line 3", "line 4", "line 5", "line 6"], 2)


def test_lines_of_the_same_millisecond_are_told_apart_by_their_place(logs, now):
    put(logs, *[(now, f"line {number}") for number in range(9)])
    assert around(logs, now, "line 4") == (["line 2", "line 3", "line 4", "line 5", "line 6"], 2)


def test_many_lines_of_the_same_millisecond_are_paged_through(logs, now):
    for start in (0, 2_500):
        put(logs, *[(now, f"line {number}") for number in range(start, start + 2_500)])
    assert around(logs, now, "line 4700")[0] == [f"line {number}" for number in range(4_698, 4_703)]


@pytest.mark.parametrize(
    ("at", "found"), [(0, (["line 0", "line 1", "line 2"], 0)), (4, (["line 2", "line 3", "line 4"], 2))]
)
def test_ends_of_a_stream_have_fewer_lines(logs, now, at, found):
    put(logs, *[(now + number, f"line {number}") for number in range(5)])
    assert around(logs, now + at, f"line {at}") == found


def test_lines_of_the_error_itself_do_not_count_as_those_after(logs, now):
    put(logs, *[(now + number, f"line {number}") for number in range(9)])
    assert around(logs, now + 3, "line 3", own=3)[0] == [f"line {number}" for number in (1, 2, 3, 4, 5, 6, 7)]


def test_no_lines_wanted_leaves_the_error(logs, now):
    put(logs, *[(now + number, f"line {number}") for number in range(3)])
    assert around(logs, now + 1, "line 1", before=0, after=0) == (["line 1"], 0)


def test_error_that_is_not_in_the_stream_has_the_lines_before_it(logs, now):
    put(logs, *[(now + number, f"line {number}") for number in range(3)])
    assert around(logs, now + 2, "something else") == (["line 0", "line 1"], -1)


def test_stream_that_is_gone_is_not_found(logs, now):
    with pytest.raises(NotFoundError):
        LogGroups(logs).around("/gone", STREAM, now, "x", before=1, after=1)


def test_lines_of_a_request_are_found_in_all_streams(logs, now):
    logs.create_log_stream(logGroupName=GROUP, logStreamName="other")
    put(logs, (now, "abc-1 one"), (now + 1, "abc-2 no"))
    event = {"timestamp": round((now + 2) * 1_000), "message": "abc-1 two"}
    logs.put_log_events(logGroupName=GROUP, logStreamName="other", logEvents=[event])
    found = LogGroups(logs).of_request(GROUP, "abc-1", now, seconds=900, limit=10)
    assert [(row["text"], row["stream"]) for row in found] == [("abc-1 one", "s"), ("abc-1 two", "other")]
    assert len(LogGroups(logs).of_request(GROUP, "abc", now, seconds=900, limit=2)) == 2
