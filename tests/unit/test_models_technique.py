"""The technique model in the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.technique import load, predict
from models.technique.features import features, words
from models.technique.predict import WEIGHTS
from watchfloor.attack import normalise_technique


@pytest.mark.parametrize(
    ("name", "technique"),
    [
        ("LSASS Memory Dump via Procdump", "T1003"),
        ("Suspicious Encoded PowerShell Command Line", "T1059"),
        ("New Scheduled Task Created by schtasks.exe", "T1053"),
        ("AWS CloudTrail Logging Disabled", "T1562"),
        ("Possible DNS Tunneling", "T1071"),
        ("Ransomware File Encryption Activity", "T1486"),
    ],
)
def test_plain_names_find_their_technique(name: str, technique: str) -> None:
    best = predict([name])[0]
    assert technique in [answer["id"].split(".")[0] for answer in best[:3]]


def test_word_of_a_sub_technique_names_it() -> None:
    assert predict(["LSASS Memory Dump via Procdump"])[0][0]["id"] == "T1003.001"


@pytest.mark.parametrize("name", ["", "   ", "\n\t", "—", "日本語", "\ud800", "a" * 10_000_000, "1 2 3", "%s{}\0"])
def test_odd_names_are_answered(name: str) -> None:
    best = predict([name])[0]
    assert len(best) <= 5
    assert all(0 <= answer["score"] <= 1 for answer in best)


def test_every_answer_is_a_live_technique_and_no_parent_comes_twice() -> None:
    for best in predict(["credential access", "Trojan beacon", "ET SCAN", "login failed", "sudo", "container escape"]):
        parents = [answer["id"].split(".")[0] for answer in best]
        assert len(parents) == len(set(parents)) == 5
        assert all(normalise_technique(answer["id"]) == answer["id"] for answer in best)
        assert [a["score"] for a in best] == sorted((a["score"] for a in best), reverse=True)


def test_same_name_gets_the_same_answer_wherever_it_stands() -> None:
    names = ["Port scan", "DNS tunnel", "Port scan", "PORT SCAN", " port  scan. "]
    answers = predict(names)
    assert answers[0] == answers[2] == answers[3] == answers[4]
    assert predict(names[1:2])[0] == answers[1]


def test_words_are_split_and_lower_case() -> None:
    assert words("PowerShell via cmd.exe /c T1059 of the") == ["power", "shell", "cmd", "exe", "c", "t", "1059"]
    assert {"w power", "b power shell", "<pow"} <= set(features("PowerShell"))


def test_weights_are_small_and_hold_no_pickle() -> None:
    assert WEIGHTS.stat().st_size < 30_000_000
    assert load().weights.dtype.name == "int8"
    assert "Sigma" in Path(WEIGHTS).with_name("NOTICE").read_text()
