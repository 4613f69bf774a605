import pytest

from watchfloor.attack import (
    SEVERITY,
    STAGES,
    Technique,
    most_severe,
    normalise_technique,
    stage_of,
    tactics_of,
    techniques,
)


def test_index_holds_the_live_techniques_of_attack_18():
    known = techniques()
    assert len(known) == 691
    assert known["T1059.001"] == Technique("T1059.001", "PowerShell", ("Execution",))
    assert known["T1078"].tactics[0] in SEVERITY
    assert {tactic for technique in known.values() for tactic in technique.tactics} == set(SEVERITY)
    assert all(technique_id.partition(".")[0] in known for technique_id in known)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T1059", "T1059"),
        (" t1059.1 ", "T1059.001"),
        ("T1059.001", "T1059.001"),
        ("t1059/001\n", "T1059.001"),
        ("T1002", None),  # revoked
        ("T1108", None),  # deprecated or revoked
        ("T9999", None),
        ("T1059.999", None),
        ("T1059.", None),
        ("T1059.0001", None),
        ("T１０５９", None),  # full-width digits
        ("TA0001", None),
        ("PowerShell", None),
        ("", None),
        (None, None),
        (1059, None),
        (["T1059"], None),
    ],
)
def test_normalise_technique(text, expected):
    assert normalise_technique(text) == expected


def test_tactics_of_is_distinct_and_worst_first():
    assert tactics_of(["T1595", "T1486", "T1041", "T1041", "T9999"]) == ["Impact", "Exfiltration", "Reconnaissance"]
    assert tactics_of([]) == []


def test_tactics_of_unknown_sub_technique_falls_back_to_its_parent():
    assert tactics_of(["T1595.099"]) == ["Reconnaissance"]


def test_most_severe():
    assert most_severe(["Discovery", "Lateral Movement", "Initial Access"]) == "Lateral Movement"
    assert most_severe(["No such tactic"]) is None
    assert most_severe([]) is None


def test_every_tactic_has_a_stage():
    assert {stage_of(tactic) for tactic in SEVERITY} == set(STAGES) - {"Unknown"}
    assert stage_of("Reconnaissance") == "Recon"
    assert stage_of("Impact") == "Campaign goals"
    assert stage_of(None) == stage_of("") == stage_of("No such tactic") == "Unknown"
