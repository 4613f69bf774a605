"""A stream's queue, and the pointer to its models' state."""

import pytest

from tests.unit.tables import table
from watchfloor.clients.stream_table import StreamState, StreamTable, Ticket
from watchfloor.errors import ConflictError


@pytest.fixture
def streams():
    with table("StreamTable") as raw:
        yield StreamTable(raw)


def ticket(number, stream="default", token=None):
    return Ticket(stream, number, f"run-{number}", f"arn:{number}", token)


def test_tickets_count_up_stream_by_stream(streams):
    assert [streams.draw_ticket("default") for _ in range(3)] == [1, 2, 3]
    assert streams.draw_ticket("branch") == 1


def test_queue_is_in_the_order_of_numbers(streams):
    for number in (10, 2, 1):
        streams.put_ticket(ticket(number, token=f"token-{number}"))
    streams.put_ticket(ticket(1, "branch"))
    streams.draw_ticket("default")
    streams.advance_state("default", 0, "run-0", "c", "f")
    assert streams.queue("default") == [ticket(number, token=f"token-{number}") for number in (1, 2, 10)]
    assert sorted(streams.all_tickets(), key=str) == sorted([*streams.queue("default"), ticket(1, "branch")], key=str)


def test_long_queue_is_read_to_its_end(streams):
    """DynamoDB answers a megabyte at a time."""
    for number in range(1, 6):
        streams.put_ticket(ticket(number, token="t" * 300_000))
    assert [item.number for item in streams.queue("default")] == [1, 2, 3, 4, 5]
    assert len(streams.all_tickets()) == 5


def test_removed_ticket_is_gone(streams):
    streams.put_ticket(ticket(1))
    streams.remove_ticket("default", 1)
    streams.remove_ticket("default", 1)
    assert streams.queue("default") == []


def test_token_is_dropped_when_its_wait_is_over(streams):
    streams.put_ticket(ticket(1, token="first"))
    assert streams.give_lease(ticket(1, token="first"))
    streams.end_wait(ticket(1, token="first"))
    (held,) = streams.queue("default")
    assert (held.token, held.holds) == (None, True)
    assert not streams.give_lease(ticket(1, token="first"))
    streams.end_wait(ticket(1, token="first"))


def test_wait_that_begins_anew_does_not_hold_the_lease(streams):
    streams.put_ticket(ticket(1, token="first"))
    assert streams.give_lease(ticket(1, token="first"))
    streams.put_ticket(ticket(1, token="second"))
    assert not streams.give_lease(ticket(1, token="first"))
    assert streams.queue("default") == [ticket(1, token="second")]


def test_token_of_a_newer_wait_stays(streams):
    streams.put_ticket(ticket(1, token="second"))
    streams.end_wait(ticket(1, token="first"))
    assert streams.queue("default") == [ticket(1, token="second")]


def test_token_of_a_ticket_that_is_gone_is_no_error(streams):
    streams.end_wait(ticket(1, token="first"))
    assert streams.queue("default") == []


def test_stream_begins_without_state(streams):
    assert streams.state("default") == StreamState(0, None, None, None)


def test_state_moves_on_version_by_version(streams):
    streams.advance_state("default", 0, "one", "c1", "f1")
    streams.advance_state("default", 1, "two", "c2", "f2")
    assert streams.state("default") == StreamState(2, "two", "c2", "f2")
    assert streams.state("branch") == StreamState()


@pytest.mark.parametrize("version", [1, 2])
def test_same_step_may_be_repeated(streams, version):
    for base in range(version):
        streams.advance_state("default", base, f"run-{base}", "c", "f")
    streams.advance_state("default", version - 1, f"run-{version - 1}", "c", "f")
    assert streams.state("default").version == version


@pytest.mark.parametrize(("versions", "base"), [(1, 0), (2, 0), (3, 1)])
def test_run_that_was_overtaken_cannot_move_the_state(streams, versions, base):
    for number in range(versions):
        streams.advance_state("default", number, f"run-{number}", f"c{number}", "f")
    before = streams.state("default")
    with pytest.raises(ConflictError, match=f"no longer at version {base}"):
        streams.advance_state("default", base, "late", "c", "f")
    assert streams.state("default") == before


def test_state_cannot_jump_ahead(streams):
    with pytest.raises(ConflictError):
        streams.advance_state("default", 3, "late", "c", "f")
    assert streams.state("default") == StreamState()
