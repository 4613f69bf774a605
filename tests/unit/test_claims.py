"""Whose run an uploaded file is."""

import pytest

from tests.unit.tables import table
from watchfloor.clients.claims import Claims
from watchfloor.clients.run_table import ENRICHED, FAILED, SUCCEEDED, RunTable
from watchfloor.clients.stream_table import StreamTable, Ticket
from watchfloor.runs import RunSource

SOURCE = RunSource("r1", "default", "data", "input/alerts.json", "v1", 18_432)


class Running(set):
    """Executions that run."""

    is_running = set.__contains__


@pytest.fixture
def runs():
    with table("RunTable") as raw:
        yield RunTable(raw)


@pytest.fixture
def streams():
    with table("StreamTable") as raw:
        yield StreamTable(raw)


@pytest.fixture
def running():
    return Running({"arn:one", "arn:two", "arn:three"})


@pytest.fixture
def claims(runs, streams, running):
    return Claims(runs, streams, running)


def test_new_file_is_a_run_with_a_ticket(claims, runs, streams):
    assert claims.claim(SOURCE, "arn:one") == {"decision": "run", "ticket": 1, "stage": "claimed"}
    assert runs.get("r1")["key"] == "input/alerts.json"
    assert streams.queue("default") == [Ticket("default", 1, "r1", "arn:one")]


def test_claim_may_be_repeated_by_its_execution(claims, runs, streams):
    first = claims.claim(SOURCE, "arn:one")
    assert claims.claim(SOURCE, "arn:one") | {"next_batch": 0} == first | {"next_batch": 0}
    assert len(streams.queue("default")) == 1


def test_claim_that_died_before_its_ticket_was_put_puts_it(claims, streams):
    first = claims.claim(SOURCE, "arn:one")
    streams.remove_ticket("default", first["ticket"])
    claims.claim(SOURCE, "arn:one")
    assert [ticket.number for ticket in streams.queue("default")] == [first["ticket"]]


def test_run_of_a_living_execution_is_skipped(claims, runs, streams):
    claims.claim(SOURCE, "arn:one")
    claim = claims.claim(SOURCE, "arn:two")
    assert claim["decision"] == "skip"
    assert "stage" in claim
    assert runs.get("r1")["execution_arn"] == "arn:one"
    assert len(streams.queue("default")) == 1


def test_run_that_succeeded_is_skipped_by_anyone(claims, runs):
    claims.claim(SOURCE, "arn:one")
    runs.finish("r1", SUCCEEDED)
    assert {claims.claim(SOURCE, arn)["decision"] for arn in ("arn:one", "arn:two")} == {"skip"}


@pytest.mark.parametrize("status", ["RUNNING", FAILED])
def test_run_of_a_dead_execution_is_taken_over_at_the_end_of_the_queue(claims, runs, streams, running, status):
    claims.claim(SOURCE, "arn:one")
    runs.advance("r1", stage=ENRICHED, batch_count=4, unknown_name_count=2, base_version=5, next_batch=3)
    if status == FAILED:
        runs.finish("r1", FAILED)
    running.remove("arn:one")
    streams.put_ticket(Ticket("default", streams.draw_ticket("default"), "r2", "arn:three"))

    assert claims.claim(SOURCE, "arn:two") == {
        "decision": "run",
        "ticket": 3,
        "stage": "enriched",
        "batch_count": 4,
        "unknown_name_count": 2,
        "base_version": 5,
        "next_batch": 3,
    }
    row = runs.get("r1")
    assert (row["execution_arn"], row["status"], row["ticket"]) == ("arn:two", "RUNNING", 3)
    assert [ticket.run_id for ticket in streams.queue("default")] == ["r2", "r1"]


def test_failed_run_whose_execution_still_ends_is_left_to_it(claims, runs):
    """Its report is not done yet; the same event will come again, or its owner starts it again."""
    claims.claim(SOURCE, "arn:one")
    runs.finish("r1", FAILED)
    assert claims.claim(SOURCE, "arn:two")["decision"] == "skip"


def test_of_two_that_take_over_one_skips(claims, runs, streams, running, monkeypatch):
    claims.claim(SOURCE, "arn:one")
    running.remove("arn:one")
    draw = streams.draw_ticket

    def overtaken(stream):
        monkeypatch.setattr(streams, "draw_ticket", draw)
        assert claims.claim(SOURCE, "arn:three")["decision"] == "run"
        return draw(stream)

    monkeypatch.setattr(streams, "draw_ticket", overtaken)
    assert claims.claim(SOURCE, "arn:two")["decision"] == "skip"
    assert runs.get("r1")["execution_arn"] == "arn:three"
    assert [ticket.execution_arn for ticket in streams.queue("default")] == ["arn:three"]


def test_of_two_that_come_at_once_one_skips(claims, runs, streams, monkeypatch):
    draw = streams.draw_ticket

    def overtaken(stream):
        monkeypatch.setattr(streams, "draw_ticket", draw)
        assert claims.claim(SOURCE, "arn:three")["decision"] == "run"
        return draw(stream)

    monkeypatch.setattr(streams, "draw_ticket", overtaken)
    assert claims.claim(SOURCE, "arn:two")["decision"] == "skip"
    assert [ticket.execution_arn for ticket in streams.queue("default")] == ["arn:three"]
