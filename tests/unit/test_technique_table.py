"""What was learned about alert names."""

import hashlib
import time

import pytest

from tests.unit.tables import table
from watchfloor.clients.technique_table import TechniqueTable, name_hash
from watchfloor.errors import TransientError

SCAN = [{"id": "T1046", "score": 0.9}, {"id": "T1595", "score": 0.25}]


@pytest.fixture
def raw():
    with table("TechniqueTable") as raw:
        yield raw


@pytest.fixture
def techniques(raw):
    return TechniqueTable(raw, retention_seconds=100)


def test_key_is_the_hash_of_the_stripped_name(techniques, raw):
    techniques.remember({" Nmap scan ": SCAN}.items(), "model-1")
    (item,) = raw.scan()["Items"]
    assert item["name_hash"] == hashlib.sha256(b"Nmap scan").hexdigest() == name_hash("Nmap scan")
    assert item["source"] == "model-1"


def test_known_names_are_found_and_others_are_not(techniques):
    techniques.remember({"Nmap scan": SCAN, "Nothing in it": []}.items(), "model-1")
    assert techniques.look_up(["Nmap scan", "Nothing in it", "Never seen"]) == {"Nmap scan": SCAN, "Nothing in it": []}
    assert techniques.look_up([]) == {}


def test_newest_answer_counts(techniques):
    techniques.remember({"Nmap scan": []}.items(), "model-1")
    techniques.remember({"Nmap scan": SCAN}.items(), "model-2")
    assert techniques.look_up(["Nmap scan"]) == {"Nmap scan": SCAN}


def test_names_that_differ_by_their_ends_are_one(techniques):
    techniques.remember({"Nmap scan": SCAN, "Nmap scan ": SCAN}.items(), "model-1")
    assert techniques.look_up(["Nmap scan "]) == {"Nmap scan ": SCAN}


def test_many_names_are_all_written_and_found(techniques):
    """DynamoDB takes 25 at a time and gives 100."""
    names = [f"name {number}" for number in range(230)]
    assert techniques.remember(((name, SCAN) for name in names), "model-1") == 230
    assert techniques.look_up([*names, "Never seen"]).keys() == set(names)


def test_name_of_any_length_fits(techniques):
    name = "x" * 1_000_000
    techniques.remember({name: SCAN}.items(), "model-1")
    assert techniques.look_up([name]) == {name: SCAN}


def test_name_is_asked_again_after_a_while(techniques, raw):
    before = int(time.time())
    techniques.remember({"Nmap scan": SCAN}.items(), "model-1")
    assert before + 100 <= raw.scan()["Items"][0]["expires_at"] <= before + 110


def test_what_dynamodb_left_over_is_asked_again(techniques, raw, monkeypatch):
    techniques.remember({f"name {number}": SCAN for number in range(3)}.items(), "model-1")
    read = raw.meta.client.batch_get_item

    def only_one(RequestItems):
        keys = RequestItems[raw.name]["Keys"]
        answer = read(RequestItems={raw.name: {"Keys": keys[:1]}})
        return answer | {"UnprocessedKeys": {raw.name: {"Keys": keys[1:]}} if keys[1:] else {}}

    monkeypatch.setattr(raw.meta.client, "batch_get_item", only_one)
    assert len(techniques.look_up(f"name {number}" for number in range(3))) == 3


def test_table_that_answers_nothing_is_a_passing_error(techniques, raw, monkeypatch):
    monkeypatch.setattr("watchfloor.clients.batch_read.time.sleep", lambda seconds: None)
    monkeypatch.setattr(
        raw.meta.client, "batch_get_item", lambda RequestItems: {"Responses": {}, "UnprocessedKeys": RequestItems}
    )
    with pytest.raises(TransientError, match="throttled"):
        techniques.look_up(["Nmap scan"])
