"""Who has a stream's lease, and who is called when it is free."""

from dataclasses import dataclass, field, replace

import pytest

from tests.unit.tables import table
from watchfloor.clients.lease import Lease
from watchfloor.clients.stream_table import StreamTable, Ticket
from watchfloor.errors import TransientError


@dataclass
class Runs:
    """Executions that run, and what their waiting tasks were told."""

    running: set[str]
    called: list[str] = field(default_factory=list)
    heartbeats: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    def is_running(self, execution_arn: str) -> bool:
        return execution_arn in self.running

    def succeed(self, token: str, output: dict) -> bool:
        if token in self.gone:
            return False
        self.called.append(token)
        return True

    def heartbeat(self, token: str) -> bool:
        if token in self.refused:
            raise TransientError("throttled")
        self.heartbeats.append(token)
        return token not in self.gone


@pytest.fixture
def streams():
    with table("StreamTable") as raw:
        yield StreamTable(raw)


@pytest.fixture
def runs():
    return Runs({"arn:1", "arn:2", "arn:3"})


@pytest.fixture
def lease(streams, runs):
    return Lease(streams, runs)


def ticket(number, token=True, stream="default"):
    return Ticket(stream, number, f"run-{number}", f"arn:{number}", f"token-{number}" if token else None)


def test_first_one_is_called_at_once(lease, runs, streams):
    lease.wait(ticket(1))
    assert runs.called == ["token-1"]
    assert streams.queue("default") == [replace(ticket(1, token=False), holds=True)]


def test_second_one_is_called_when_the_first_is_done(lease, runs, streams):
    lease.wait(ticket(1))
    lease.wait(ticket(2))
    assert runs.called == ["token-1"]
    lease.release("default", 1)
    assert runs.called == ["token-1", "token-2"]


def test_earlier_ticket_that_does_not_wait_yet_goes_first(lease, runs, streams):
    streams.put_ticket(ticket(1, token=False))
    lease.wait(ticket(2))
    assert runs.called == []
    lease.wait(ticket(1))
    assert runs.called == ["token-1"]


def test_ticket_of_a_dead_execution_is_dropped(lease, runs, streams):
    lease.wait(ticket(1))
    runs.running.remove("arn:1")
    lease.wait(ticket(2))
    assert runs.called == ["token-1", "token-2"]
    assert streams.queue("default") == [replace(ticket(2, token=False), holds=True)]


def test_earlier_ticket_that_is_stored_late_waits_for_the_holder(lease, runs):
    lease.wait(ticket(2))
    lease.wait(ticket(1))
    assert runs.called == ["token-2"]
    lease.release("default", 2)
    assert runs.called == ["token-2", "token-1"]


def test_holder_that_was_not_told_is_told_by_the_next_one_here(lease, runs, streams):
    """Whoever gave it the lease died in between."""
    streams.put_ticket(ticket(2))
    assert streams.give_lease(ticket(2))
    lease.wait(ticket(1))
    assert runs.called == ["token-2"]
    assert lease.sweep() == 1
    lease.release("default", 2)
    assert runs.called == ["token-2", "token-1"]


def test_dead_holder_gives_way(lease, runs):
    lease.wait(ticket(2))
    lease.wait(ticket(1))
    runs.running.remove("arn:2")
    lease.call_next("default")
    assert runs.called == ["token-2", "token-1"]


def test_release_of_one_in_the_middle_calls_nobody(lease, runs):
    for number in (1, 2, 3):
        lease.wait(ticket(number))
    lease.release("default", 2)
    assert runs.called == ["token-1"]
    lease.release("default", 1)
    assert runs.called == ["token-1", "token-3"]


def test_streams_have_leases_of_their_own(lease, runs):
    lease.wait(ticket(1))
    lease.wait(ticket(1, stream="branch"))
    assert runs.called == ["token-1", "token-1"]


def test_sweep_keeps_those_alive_who_wait_and_counts_them(lease, runs):
    for number in (1, 2, 3):
        lease.wait(ticket(number))
    assert lease.sweep() == 2
    assert sorted(runs.heartbeats) == ["token-2", "token-3"]
    assert runs.called == ["token-1"]


def test_sweep_that_fails_for_one_looks_after_the_others_first(lease, runs):
    for number in (1, 2, 3):
        lease.wait(ticket(number))
    runs.refused.add("token-2")
    with pytest.raises(TransientError):
        lease.sweep()
    assert runs.heartbeats == ["token-3"]


def test_sweep_breaks_the_lease_of_the_dead(lease, runs):
    lease.wait(ticket(1))
    lease.wait(ticket(2))
    runs.running.remove("arn:1")
    assert lease.sweep() == 1
    assert runs.called == ["token-1", "token-2"]


def test_task_that_no_longer_waits_is_called_again_with_its_new_token(lease, runs, streams):
    """Its wait was cut short; the retry brings another token."""
    runs.gone.add("token-1")
    lease.wait(ticket(1))
    assert streams.queue("default") == [replace(ticket(1, token=False), holds=True)]
    lease.wait(Ticket("default", 1, "run-1", "arn:1", "token-1b"))
    assert runs.called == ["token-1b"]


def test_nothing_to_sweep(lease):
    assert lease.sweep() == 0
