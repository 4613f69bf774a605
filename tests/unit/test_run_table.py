"""Rows of the run table: who works on a run, and how far it is."""

import time

import pytest

from tests.unit.tables import table
from watchfloor.clients.run_table import ENRICHED, FAILED, PUBLISHED, SUCCEEDED, RunTable

ROW = {"stream": "default", "execution_arn": "arn:one", "ticket": 7, "size": 18_432}


@pytest.fixture
def raw():
    with table("RunTable") as raw:
        yield raw


@pytest.fixture
def runs(raw):
    runs = RunTable(raw, retention_seconds=100)
    assert runs.create("r1", ROW)
    return runs


def test_new_run_is_running_from_its_first_batch(runs):
    row = runs.get("r1")
    assert row | ROW | {"status": "RUNNING", "stage": "claimed", "next_batch": 0} == row


def test_unknown_run_is_none(runs):
    assert runs.get("r2") is None


def test_run_is_created_once(runs):
    assert not runs.create("r1", ROW | {"execution_arn": "arn:two"})
    assert runs.get("r1")["execution_arn"] == "arn:one"


def test_numbers_come_back_as_they_went(runs):
    runs.advance("r1", next_batch=3, share=0.25, nested={"list": [1, 2.5], "text": "x"})
    row = runs.get("r1")
    assert (row["next_batch"], row["share"], row["nested"]) == (3, 0.25, {"list": [1, 2.5], "text": "x"})
    assert type(row["next_batch"]) is int


def test_every_change_keeps_the_row_longer(runs, raw, monkeypatch):
    now = int(time.time())
    monkeypatch.setattr("time.time", lambda: now + 50)
    runs.advance("r1", stage=ENRICHED)
    assert runs.get("r1")["expires_at"] == now + 150
    assert runs.get("r1")["updated_at"] == now + 50


def test_progress_of_a_run_that_is_gone_makes_no_row(runs):
    runs.advance("r2", stage=ENRICHED)
    assert runs.get("r2") is None


def test_run_is_taken_over_from_the_execution_that_had_it(runs):
    runs.finish("r1", FAILED)
    assert runs.take_over("r1", "arn:one", "arn:two", 8)
    row = runs.get("r1")
    assert (row["execution_arn"], row["ticket"], row["status"]) == ("arn:two", 8, "RUNNING")


def test_second_one_to_take_over_comes_too_late(runs):
    assert runs.take_over("r1", "arn:one", "arn:two", 8)
    assert not runs.take_over("r1", "arn:one", "arn:three", 9)
    assert runs.get("r1")["execution_arn"] == "arn:two"


def test_run_that_succeeded_is_not_taken_over(runs):
    assert runs.finish("r1", SUCCEEDED, summary={"alerts": 3})
    assert not runs.take_over("r1", "arn:one", "arn:two", 8)


def test_run_that_succeeded_stays_so(runs):
    assert runs.finish("r1", SUCCEEDED)
    assert not runs.finish("r1", FAILED, error="late")
    row = runs.get("r1")
    assert row["status"] == SUCCEEDED
    assert "error" not in row


def test_run_that_failed_may_succeed_later(runs):
    runs.advance("r1", stage=PUBLISHED)
    assert runs.finish("r1", FAILED, error="ModelError")
    assert runs.finish("r1", SUCCEEDED)
    assert runs.get("r1")["status"] == SUCCEEDED
