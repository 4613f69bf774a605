"""An alert's name as words, pairs of words, and pieces of words."""

from __future__ import annotations

import re
from collections import Counter

CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
TOKEN = re.compile(r"[a-z]+|[0-9]+")
STOP_WORDS = frozenset(
    """the a an of to in on for by with and or via from is was has have been be as at that this it its are into using used
    uses use can may""".split()  # noqa: SIM905 - a list of 34 literals reads worse
)
ENDINGS = ("ations", "ation", "ions", "ings", "ing", "ion", "ies", "ers", "ed", "es", "er", "s")
SHORTEST_STEM = 4
PIECES = (3, 4, 5)
MAX_CHARACTERS = 400
WORD, PAIR = "w ", "b "  # pieces have no prefix: none has a blank in second place


def words(text: str) -> list[str]:
    """Words and numbers in lower case; `PowerShell` is two words, and an endless text is cut."""
    return [word for word in TOKEN.findall(CAMEL.sub(" ", text[:MAX_CHARACTERS]).lower()) if word not in STOP_WORDS]


def stem(word: str) -> str:
    """A word without its ending: `dumping`, `dumped` and `dumps` are one."""
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST_STEM:
            return word[: -len(ending)]
    return word


def features(text: str) -> Counter[str]:
    """How often each feature occurs in a text.

    Pairs are of stems next to each other or one apart, in either order: `lsass dump` and `dump of lsass memory` share one.
    """
    found = words(text)
    stems = [stem(word) for word in found]
    counts = Counter(WORD + word for word in stems)
    for apart in (1, 2):
        counts.update(PAIR + " ".join(sorted(pair)) for pair in zip(stems, stems[apart:], strict=False))
    for word in found:
        framed = f"<{word}>"
        counts.update(framed[i : i + size] for size in PIECES for i in range(len(framed) - size + 1))
    return counts


def is_piece(feature: str) -> bool:
    return feature[1] != " "
