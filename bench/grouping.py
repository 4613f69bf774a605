"""How well errors are grouped: pairs of errors that are one problem, against pairs that got one fingerprint.

    python -m bench.grouping                      the labelled errors in bench/errors/, each file and all together
    python -m bench.grouping ERRORS.jsonl         other ones
    python -m bench.grouping ERRORS.jsonl --json  the figures for machines
    python -m bench.grouping --learn 3            as if a word were a value once 3 words had stood in its place

One error a line, as JSON: `group`, what somebody on call would call the problem, and the error itself in one of three
forms: `message`, one log event; `lines`, several log events, one line of the log each; `event`, a whole CloudWatch Logs
subscription event. `log_group` is optional; other fields are ignored.

Of all pairs of errors, a pair is right when both have one label and one fingerprint. Precision is the share of right
pairs among those with one fingerprint, recall the share among those with one label. An error that triage would not
take for one counts as alone, so it costs recall; a benign line can be given as the group `-`, where it ought not to be
found at all.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from watchfloor.errors import InvalidInputError
from watchfloor.fingerprints import MESSAGE, Fingerprint, fingerprint
from watchfloor.log_events import decode, encode, errors_in

ERRORS = Path(__file__).parent / "errors"
BENIGN = "-"
BAR = 0.95
_START, _LINE_GAP_MS = 1_793_577_600_000, 2


@dataclass(frozen=True)
class Labelled:
    """One line of a corpus: the label, and the subscription event that brings the error."""

    group: str
    event: dict[str, Any]


@dataclass
class Score:
    """Counts of pairs, and what went wrong."""

    errors: int = 0
    groups: int = 0
    right: int = 0
    same_label: int = 0
    same_fingerprint: int = 0
    unseen: list[str] = field(default_factory=list)
    false_alarms: list[str] = field(default_factory=list)
    split: dict[str, list[int]] = field(default_factory=dict)
    mixed: list[dict[str, int]] = field(default_factory=list)

    @property
    def precision(self) -> float:
        return self.right / self.same_fingerprint if self.same_fingerprint else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.same_label if self.same_label else 1.0

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The figures, for JSON."""
        return {
            "errors": self.errors,
            "groups": self.groups,
            "precision": round(self.precision, 4),
            "recall": round(self.recall, 4),
            "f1": round(self.f1, 4),
            "not_seen_as_error": self.unseen,
            "false_alarms": self.false_alarms,
            "split_groups": self.split,
            "mixed_groups": self.mixed,
        }


def read(path: Path) -> list[Labelled]:
    """The labelled errors of a file.

    Raises
    ------
    InvalidInputError
        A line is no labelled error.
    """
    labelled = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
            labelled.append(Labelled(str(row["group"]), row["event"] if "event" in row else _event(row)))
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise InvalidInputError(f"{path}, line {number}: no labelled error ({error})") from error
    return labelled


def _event(row: dict[str, Any]) -> dict[str, Any]:
    messages = row["lines"] if "lines" in row else [row["message"]]
    return encode(
        {
            "messageType": "DATA_MESSAGE",
            "owner": "123456789012",
            "logGroup": row.get("log_group", "/aws/lambda/example"),
            "logStream": row.get("log_stream", "2026/11/01/[$LATEST]0123456789abcdef0123456789abcdef"),
            "subscriptionFilters": ["errors"],
            "logEvents": [
                {"id": f"{index:056d}", "timestamp": _START + index * _LINE_GAP_MS, "message": message}
                for index, message in enumerate(messages)
            ],
        }
    )


def fingerprint_of(event: dict[str, Any]) -> Fingerprint | None:
    """The fingerprint of the first error that an event brings, None where there is none."""
    errors = errors_in(decode(event))
    return fingerprint(errors[0]) if errors else None


def learned(fingerprints: Iterable[Fingerprint | None], words: int) -> list[str | None]:
    """Fingerprints as a grouping would have them that learns from the stream, as Drain does.

    Where so many different words stood at one place of a message that is otherwise the same, the place is a value's.
    """
    given = list(fingerprints)
    texts = [tuple(found.basis[0].split()) if found and found.rule == MESSAGE else () for found in given]
    seen: dict[tuple[tuple[str, ...], tuple[str, ...]], set[str]] = defaultdict(set)
    for text in texts:
        for at, word in enumerate(text):
            seen[text[:at], text[at + 1 :]].add(word)
    values: list[str | None] = []
    for found, text in zip(given, texts, strict=True):
        places = (str(rest) for at in range(len(text)) if len(seen[rest := (text[:at], text[at + 1 :])]) >= words)
        values.append(next(places, found.value if found else None))
    return values


def score(labelled: Iterable[Labelled], *, words: int = 0) -> Score:
    """Pairs of errors counted by the table of labels and fingerprints, so the time is linear; `words` as `learned`."""
    total = Score()
    cells: Counter[tuple[str, str]] = Counter()
    errors = list(labelled)
    found = [fingerprint_of(error.event) for error in errors]
    values = learned(found, words) if words else [given.value if given else None for given in found]
    for number, (error, value) in enumerate(zip(errors, values, strict=True)):
        if error.group == BENIGN:
            if value:
                total.false_alarms.append(_shown(error.event))
            continue
        if value is None:
            total.unseen.append(f"{error.group}: {_shown(error.event)}")
        cells[error.group, value or f"unseen {number}"] += 1
    by_label: dict[str, list[int]] = defaultdict(list)
    by_value: dict[str, dict[str, int]] = defaultdict(dict)
    for (group, value), count in cells.items():
        by_label[group].append(count)
        by_value[value][group] = count
    total.errors, total.groups = sum(cells.values()), len(by_label)
    total.right = sum(map(_pairs, cells.values()))
    total.same_label = sum(_pairs(sum(counts)) for counts in by_label.values())
    total.same_fingerprint = sum(_pairs(sum(counts.values())) for counts in by_value.values())
    total.split = {group: sorted(counts, reverse=True) for group, counts in by_label.items() if len(counts) > 1}
    total.mixed = [counts for counts in by_value.values() if len(counts) > 1]
    return total


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def _shown(event: dict[str, Any]) -> str:
    message = decode(event).events[0].message
    return message.strip().split("\n", 1)[0][:160]


def report(name: str, total: Score) -> str:
    """The figures for people."""
    lines = [
        f"{name}: {total.errors} errors in {total.groups} groups",
        f"  pair precision {total.precision:.4f}  recall {total.recall:.4f}  F1 {total.f1:.4f}",
    ]
    lines += [f"  not seen as an error: {shown}" for shown in total.unseen]
    lines += [f"  false alarm: {shown}" for shown in total.false_alarms]
    lines += [f"  split: {group} into {' + '.join(map(str, counts))}" for group, counts in sorted(total.split.items())]
    lines += [
        f"  mixed: {', '.join(f'{group} ({count})' for group, count in counts.items())}" for counts in total.mixed
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Prints the figures; 1 when a file misses the bar."""
    parser = argparse.ArgumentParser(description="How well errors are grouped (pair precision, recall, F1)")
    parser.add_argument(
        "files", nargs="*", type=Path, help="labelled errors, JSON Lines; default: bench/errors/*.jsonl"
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--learn", type=int, default=0, metavar="WORDS", help="learn places of values from the stream")
    options = parser.parse_args(arguments)
    try:
        corpora = {str(path): read(path) for path in options.files or sorted(ERRORS.glob("*.jsonl"))}
    except (InvalidInputError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    scores = {name: score(labelled, words=options.learn) for name, labelled in corpora.items()}
    if len(corpora) > 1:
        # Labels of different files are different groups.
        everything = [
            Labelled(error.group if error.group == BENIGN else f"{Path(name).stem}/{error.group}", error.event)
            for name, labelled in corpora.items()
            for error in labelled
        ]
        scores["all"] = score(everything, words=options.learn)
    if options.json:
        print(
            orjson.dumps({name: total.to_dict() for name, total in scores.items()}, option=orjson.OPT_INDENT_2).decode()
        )
    else:
        print("\n".join(report(Path(name).name, total) for name, total in scores.items()))
    return 0 if all(total.f1 >= BAR for total in scores.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
