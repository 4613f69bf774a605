"""The MITRE ATT&CK(R) index: techniques, tactics, their severity and their stages.

ATT&CK Enterprise 18.1, live techniques only; see NOTICE for its terms of use.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Worst first.
SEVERITY: tuple[str, ...] = (
    "Impact",
    "Exfiltration",
    "Command and Control",
    "Collection",
    "Lateral Movement",
    "Credential Access",
    "Privilege Escalation",
    "Persistence",
    "Execution",
    "Initial Access",
    "Defense Evasion",
    "Discovery",
    "Resource Development",
    "Reconnaissance",
)

STAGES: tuple[str, ...] = (
    "Unknown",
    "Recon",
    "Getting in",
    "Execution",
    "Collect, spread and C2",
    "Campaign goals",
)

_STAGE_OF_TACTIC = {
    "Reconnaissance": "Recon",
    "Resource Development": "Recon",
    "Initial Access": "Getting in",
    "Execution": "Execution",
    "Persistence": "Execution",
    "Privilege Escalation": "Execution",
    "Defense Evasion": "Execution",
    "Credential Access": "Collect, spread and C2",
    "Discovery": "Collect, spread and C2",
    "Lateral Movement": "Collect, spread and C2",
    "Collection": "Collect, spread and C2",
    "Command and Control": "Collect, spread and C2",
    "Exfiltration": "Campaign goals",
    "Impact": "Campaign goals",
}
_RANK = {tactic: rank for rank, tactic in enumerate(SEVERITY)}
# "T1059", "T1059.001", and the spellings of ATT&CK URLs ("T1059/001") and of people ("t1059.1").
_TECHNIQUE_ID = re.compile(r"\s*[Tt]([0-9]{4})(?:[./]([0-9]{1,3}))?\s*", re.ASCII)


@dataclass(frozen=True)
class Technique:
    """A live ATT&CK technique or sub-technique; tactics by name, in ATT&CK's own order."""

    id: str
    name: str
    tactics: tuple[str, ...]


@cache
def techniques() -> dict[str, Technique]:
    """All live techniques by id."""
    index = json.loads(Path(__file__).with_name("attack_index.json").read_text(encoding="utf-8"))
    tactics = index["tactics"]
    return {
        technique_id: Technique(technique_id, name, tuple(tactics[number] for number in numbers))
        for technique_id, name, numbers in index["techniques"]
    }


def normalise_technique(text: object) -> str | None:
    """The id as ATT&CK writes it, or None when it is malformed, unknown, revoked or deprecated.

    >>> normalise_technique(" t1059.1 ")
    'T1059.001'
    """
    if not isinstance(text, str):
        return None
    known = techniques()
    if text in known:
        return text
    match = _TECHNIQUE_ID.fullmatch(text)
    if not match:
        return None
    technique_id = f"T{match[1]}.{match[2]:0>3}" if match[2] else f"T{match[1]}"
    return technique_id if technique_id in known else None


def tactics_of(technique_ids: Iterable[str]) -> list[str]:
    """Distinct tactics of the techniques, worst first.

    A sub-technique that this ATT&CK version lacks (newer or revoked) counts as its parent; any other unknown id has
    no tactic.
    """
    known = techniques()
    found: set[str] = set()
    for technique_id in technique_ids:
        technique = known.get(technique_id) or known.get(technique_id.partition(".")[0])
        if technique:
            found.update(technique.tactics)
    return sorted(found, key=_RANK.__getitem__)


def most_severe(tactics: Iterable[str]) -> str | None:
    """The worst of the tactics by `SEVERITY`; None when none of them is known."""
    return min((tactic for tactic in tactics if tactic in _RANK), key=_RANK.__getitem__, default=None)


def stage_of(tactic: str | None) -> str:
    """The stage, one of `STAGES`, that a tactic belongs to."""
    return _STAGE_OF_TACTIC.get(tactic, "Unknown") if tactic else "Unknown"
