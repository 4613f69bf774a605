"""The link row: one worker at a time, and nothing forgotten when one dies."""

import pytest

from tests.ticket_world import Clock, aws, create_link_table
from watchfloor.clients.link_table import CLAIM_SECONDS, LinkTable
from watchfloor.errors import TransientError
from watchfloor.tickets import Ticket

TICKET = Ticket("SOC-1", "https://jira.example/browse/SOC-1", True)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def workers(clock):
    with aws():
        table = create_link_table()
        yield LinkTable(table, "jira", "one", clock=clock), LinkTable(table, "jira", "two", clock=clock)


def test_row_is_there_for_one_integration_only(workers):
    one, _ = workers
    one.claim("c1")
    assert one.get("c1").cluster_id == "c1"
    assert LinkTable(one._table, "kibana", "one").get("c1") is None


def test_claim_keeps_others_out_until_it_is_given_back(workers):
    one, two = workers
    one.claim("c1")
    with pytest.raises(TransientError, match="cluster c1 is being worked on"):
        two.claim("c1")
    one.release("c1")
    two.claim("c1")


def test_claim_of_a_dead_worker_expires_and_its_late_writes_are_refused(workers, clock):
    one, two = workers
    one.claim("c1")
    clock.pass_(CLAIM_SECONDS + 1)
    two.claim("c1")
    with pytest.raises(TransientError, match="taken over"):
        one.attempt("c1")
    one.release("c1")
    with pytest.raises(TransientError):
        LinkTable(one._table, "jira", "three", clock=clock).claim("c1")


def test_every_write_renews_the_claim(workers, clock):
    one, two = workers
    one.claim("c1")
    for write in (lambda: one.attempt("c1"), lambda: one.point("c1", TICKET)):
        clock.pass_(CLAIM_SECONDS - 1)
        write()
    clock.pass_(CLAIM_SECONDS - 1)
    with pytest.raises(TransientError):
        two.claim("c1")


def test_row_tells_the_story_of_a_ticket(workers, clock):
    one, two = workers
    one.claim("c1")
    one.attempt("c1")
    assert one.get("c1").create_attempted_at == clock.now
    link = one.point("c1", TICKET)
    assert (link.external_id, link.url, link.create_attempted_at) == ("SOC-1", TICKET.url, None)
    one.finish("c1", "run-1", "created", "print")
    link = two.claim("c1")
    assert (link.run_id, link.outcome, link.fingerprint) == ("run-1", "created", "print")
    assert two.point("c1", Ticket("SOC-2", "", True)).fingerprint is None


def test_merged_row_leads_to_the_survivor(workers):
    one, _ = workers
    one.claim("c2")
    one.merge("c2", "run-2", "c1", TICKET)
    link = one.get("c2")
    assert (link.merged_into, link.external_id, link.url) == ("c1", "SOC-1", TICKET.url)
    one.claim("c2")  # the claim was given back
