"""The measure of grouping, and the corpus that is measured."""

from collections import Counter
from pathlib import Path

import orjson
import pytest

from bench.grouping import BAR, BENIGN, ERRORS, Labelled, main, read, score
from watchfloor.errors import InvalidInputError
from watchfloor.fingerprints import fingerprint
from watchfloor.log_events import decode, encode, errors_in


def written(path: Path, *rows: dict) -> Path:
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    return path


def test_score_as_if_places_of_values_were_learned(tmp_path):
    rows = [{"group": "a", "message": f"ERROR mill {name} stands still"} for name in ("upper", "lower", "middle")]
    path = written(tmp_path / "errors.jsonl", *rows, {"group": "b", "message": "ERROR mill upper runs dry"})
    assert score(read(path)).split == {"a": [1, 1, 1]}
    assert score(read(path), words=4).split == {"a": [1, 1, 1]}
    assert score(read(path), words=3).f1 == 1.0


def test_score_counts_pairs(tmp_path):
    path = written(
        tmp_path / "errors.jsonl",
        {"group": "a", "message": "ERROR disk full"},
        {"group": "a", "message": "ERROR disk full"},
        {"group": "a", "message": "ERROR no space"},
        {"group": "b", "message": "ERROR no space"},
        {"group": "c", "message": "INFO all is well"},
        {"group": BENIGN, "message": "INFO all is well"},
        {"group": BENIGN, "message": "ERROR not at all"},
    )
    total = score(read(path))
    # Same label: 3 pairs of a. Same fingerprint: "disk full" twice, "no space" twice. Right: one of them.
    assert (total.errors, total.groups) == (5, 3)
    assert (total.right, total.same_label, total.same_fingerprint) == (1, 3, 2)
    assert (total.precision, total.recall, total.f1) == (0.5, pytest.approx(1 / 3), pytest.approx(0.4))
    assert total.split == {"a": [2, 1]}
    assert total.mixed == [{"a": 1, "b": 1}]
    assert total.unseen == ["c: INFO all is well"] and total.false_alarms == ["ERROR not at all"]


def test_read_takes_messages_lines_and_whole_events(tmp_path):
    event = encode({"messageType": "DATA_MESSAGE", "logGroup": "/g", "logEvents": [{"message": "ERROR x"}]})
    path = written(
        tmp_path / "errors.jsonl",
        {"group": "a", "message": "ERROR x"},
        {"group": "a", "lines": ["ERROR x", "\tat com.acme.A.b(A.java:1)"]},
        {"group": "a", "event": event},
    )
    assert [error.group for error in read(path)] == ["a"] * 3
    assert read(path)[2] == Labelled("a", event)


@pytest.mark.parametrize("text", ["{", "[]", '{"message":"x"}', '{"group":"a"}'])
def test_main_names_the_line_that_is_no_labelled_error(tmp_path, capsys, text):
    path = tmp_path / "errors.jsonl"
    path.write_text('{"group":"a","message":"ERROR x"}\n' + text)
    with pytest.raises(InvalidInputError, match="line 2"):
        read(path)
    assert main([str(path)]) == 2
    assert "line 2" in capsys.readouterr().err


def test_main_prints_figures_for_people_and_machines(tmp_path, capsys):
    path = written(
        tmp_path / "errors.jsonl", {"group": "a", "message": "ERROR x"}, {"group": "b", "message": "ERROR x"}
    )
    assert main([str(path)]) == 1
    assert "mixed: a (1), b (1)" in capsys.readouterr().out
    main([str(path), "--json"])
    assert orjson.loads(capsys.readouterr().out)[str(path)]["precision"] == 0


def test_corpus_is_large_and_grouped_as_people_would(capsys):
    rows = [row for path in sorted(ERRORS.glob("*.jsonl")) for row in read(path) if row.group != BENIGN]
    groups = Counter(row.group for row in rows)
    assert len(rows) >= 300 and len(groups) >= 60
    assert min(groups.values()) > 1
    assert main(["--json"]) == 0
    for name, figures in orjson.loads(capsys.readouterr().out).items():
        assert figures["f1"] >= BAR, name
        assert not figures["false_alarms"]


@pytest.mark.parametrize(("name", "reached"), [("twentyninth_blind", 0.91), ("thirtieth_blind", 0.89)])
def test_corpus_that_is_below_the_bar_gets_no_worse(name, reached):
    total = score(read(ERRORS / "unmended" / f"{name}.jsonl"))
    assert total.f1 > reached
    assert total.precision == 1
    assert not total.unseen


def test_corpus_a_line_an_event_gives_the_same_fingerprints():
    def given(*messages):
        event = {"messageType": "DATA_MESSAGE", "logGroup": "/g", "logEvents": [{"message": text} for text in messages]}
        return [fingerprint(error).value for error in errors_in(decode(encode(event)))]

    whole = [
        decode(row.event).events[0].message
        for path in sorted(ERRORS.glob("*.jsonl"))
        for row in read(path)
        if row.group != BENIGN
    ]
    texts = [text for text in whole if "\n" in text.strip()]
    same = [given(text) == given(*text.split("\n")) for text in texts]
    assert len(same) > 400
    assert sum(same) / len(same) > 0.96
