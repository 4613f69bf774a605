"""Secrets and personal data taken out of text before it leaves the account.

Each is replaced by a placeholder such as [SECRET_1]; the same value gets the same placeholder, and `Redactor.mapping`,
which must stay inside the account, leads back. `sensitive_text` says what is sensitive; here, text is also looked at
with its escapes undone, over the borders of lines, by the names of fields, and for what was found elsewhere.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from watchfloor.sensitive_text import (
    COOKIE,
    PASSWORD,
    PLACEHOLDER,
    PRIVATE_KEY,
    SECRET,
    TOKEN,
    USUAL,
    WEAK,
    Span,
    is_no_value,
    sensitive,
    strength,
)

# JSON in JSON in a query: three layers of escapes.
_MAX_LAYERS = 3
# Characters of a private key of 8,192 bits.
_LONGEST = 7_000
# What was found once is looked for everywhere, if it is too long to be a word.
_MIN_REPEATED, _MAX_REPEATED = 8, 200

_ESCAPE = re.compile(
    r"\\(?:[\"'\\/bfnrt]|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2})"
    # A character of UTF-8 is up to four of them.
    r"|%[cdCD][0-9a-fA-F]%[89abAB][0-9a-fA-F]|%[eE][0-9a-fA-F](?:%[89abAB][0-9a-fA-F]){2}|%[fF][0-7](?:%[89abAB][0-9a-fA-F]){3}"
    r"|%[0-9a-fA-F]{2}|&(?:quot|amp|apos|lt|gt|#\d{1,5}|#x[0-9a-fA-F]{1,4});"
)
_COOKIES = ("cookie", "cookies", "set-cookie")
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ENTITIES = {"quot": '"', "amp": "&", "apos": "'", "lt": "<", "gt": ">"}


class Redactor:
    """Takes secrets out of texts that belong together, with the same placeholders for all of them.

    Parameters
    ----------
    ips
        Take IP addresses out as well.
    """

    def __init__(self, ips: bool = False) -> None:
        self._ips = ips
        self._placeholders: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._repeated: dict[str, str] = {}

    @property
    def mapping(self) -> dict[str, str]:
        """Placeholder -> what it stands for. Never to leave the account."""
        return {placeholder: original for original, placeholder in self._placeholders.items()}

    def text(self, text: str) -> str:
        """The text without secrets."""
        return self._redacted([(text, False)])[0]

    def start(self, text: str, length: int) -> str:
        """The first `length` characters without secrets, those included that are cut in two there."""
        return self.text(text[: length + _LONGEST])[:length]

    def lines(self, texts: Iterable[str]) -> list[str]:
        """Texts that follow each other, each without secrets; a key that is spread over them is found."""
        return self._redacted([(text, False) for text in texts])

    def value(self, value: Any) -> Any:
        """Any JSON value in the same shape, its texts (names of fields included) and numbers without secrets."""
        leaves: list[_Leaf] = []
        _collect(value, leaves, (), False)
        # Texts of the same field of several rows follow each other: a key may be spread over them.
        groups = {path: number for number, path in enumerate(dict.fromkeys(leaf.path for leaf in leaves))}
        order = sorted(range(len(leaves)), key=lambda number: groups[leaves[number].path])
        texts = self._redacted([(leaves[number].text, leaves[number].is_secret) for number in order])
        return _rebuilt(value, iter([text for _, text in sorted(zip(order, texts, strict=True))]), "")

    def restored(self, text: str) -> str:
        """The text as it was. Only inside the account."""
        mapping = self.mapping
        return PLACEHOLDER.sub(lambda match: mapping.get(match[0], match[0]), text)

    def _redacted(self, leaves: list[tuple[str, bool]]) -> list[str]:
        joined = "\n".join(text for text, _ in leaves)
        starts, at = [], 0
        for text, _ in leaves:
            starts.append(at)
            at += len(text) + 1
        spans = list(_found(joined, self._ips))
        spans += [
            (start, start + len(text), SECRET)
            for start, (text, is_secret) in zip(starts, leaves, strict=True)
            if is_secret and len(text) > 1 and not is_no_value(text)
        ]
        spans = _split(_merged(spans), starts, joined)
        for start, end, kind in spans:
            self._note(joined[start:end], kind)
        spans = _split(_merged([*spans, *self._seen_again(joined)]), starts, joined)
        pieces: list[list[str]] = [[] for _ in leaves]
        position = list(starts)
        for start, end, kind in spans:
            leaf = bisect_right(starts, start) - 1
            pieces[leaf] += [joined[position[leaf] : start], self._placeholder(joined[start:end], kind)]
            position[leaf] = end
        return [
            "".join(pieces[number]) + joined[position[number] : starts[number] + len(text)]
            for number, (text, _) in enumerate(leaves)
        ]

    def _placeholder(self, original: str, kind: str) -> str:
        if original not in self._placeholders:
            self._numbers[kind] = self._numbers.get(kind, 0) + 1
            self._placeholders[original] = f"[{kind}_{self._numbers[kind]}]"
        return self._placeholders[original]

    def _note(self, original: str, kind: str) -> None:
        """Remember what will be a secret without its surroundings, too; of a private key each of its pieces."""
        for piece in re.split(r"[^A-Za-z0-9]+", original) if kind == PRIVATE_KEY else [original]:
            is_telling = any(c.isdigit() for c in piece) and any(c.isalpha() for c in piece)
            if (
                kind in (SECRET, PASSWORD, TOKEN, COOKIE, PRIVATE_KEY)
                and is_telling
                and len(piece) >= _MIN_REPEATED
                and len(self._repeated) < _MAX_REPEATED
            ):
                self._repeated.setdefault(piece, kind)

    def _seen_again(self, text: str) -> Iterator[Span]:
        for original, kind in self._repeated.items():
            at = text.find(original)
            while at >= 0:
                yield at, at + len(original), kind
                at = text.find(original, at + len(original))


# --- views of a text ----------------------------------------------------------------------------------------------


def _found(text: str, ips: bool) -> Iterator[Span]:
    """Spans in the text as it is, and in what it is with its escapes undone, layer by layer."""
    yield from sensitive(text, ips)
    view, layers = text, []
    for _ in range(_MAX_LAYERS):
        layer = _unescaped(view)
        if layer is None:
            return
        view, *places = layer
        layers.append(places)
        for start, end, kind in sensitive(view, ips):
            for seen, real in reversed(layers):
                start, end = _real(start, seen, real), _real(end, seen, real)
            yield start, end, kind


def _unescaped(text: str) -> tuple[str, list[int], list[int]] | None:
    """The text without one layer of escapes, and where its pieces stand in both; None if it has none."""
    pieces, seen, real = [], [], []
    length, position = 0, 0
    for match in _ESCAPE.finditer(text):
        for piece, at in ((text[position : match.start()], position), (_character(match[0]), match.start())):
            if piece:
                pieces.append(piece)
                seen.append(length)
                real.append(at)
                length += len(piece)
        position = match.end()
    if not pieces:
        return None
    pieces.append(text[position:])
    seen.append(length)
    real.append(position)
    return "".join(pieces), seen, real


def _character(escape: str) -> str:
    if escape[0] == "%":
        octets = bytes.fromhex(escape.replace("%", ""))
        # One character for one escape, whatever it stands for.
        return chr(octets[0]) if len(octets) == 1 else octets.decode("utf-8", "replace")[0]
    if escape[0] == "&":
        name = escape[1:-1]
        if name[0] != "#":
            return _ENTITIES[name]
        return chr(int(f"0x{name[2:]}", 16) if name[1] == "x" else int(name[1:]))
    return chr(int(f"0x{escape[2:]}", 16)) if escape[1] in "ux" else _SHORT.get(escape[1], escape[1])


def _real(place: int, seen: list[int], real: list[int]) -> int:
    piece = bisect_right(seen, place) - 1
    return real[piece] + place - seen[piece]


# --- spans --------------------------------------------------------------------------------------------------------


def _merged(spans: Iterable[Span]) -> list[Span]:
    """In order, none overlapping; the kind is that of the longest, of equal ones the one that says more."""
    merged: list[Span] = []
    widths: list[tuple[int, bool]] = []
    for start, end, kind in sorted(spans, key=lambda span: (span[0], -span[1])):
        if end <= start:
            continue
        width = (end - start, kind not in (SECRET, PASSWORD))
        if merged and start < merged[-1][1]:
            first, last, known = merged[-1]
            merged[-1] = (first, max(last, end), kind if width > widths[-1] else known)
            widths[-1] = max(widths[-1], width)
        else:
            merged.append((start, end, kind))
            widths.append(width)
    return merged


def _split(spans: list[Span], starts: list[int], text: str) -> list[Span]:
    """Spans that end with their leaf, without blanks around them."""
    parts = []
    for start, end, kind in spans:
        while start < end:
            leaf = bisect_right(starts, start)
            stop = min(end, starts[leaf] - 1) if leaf < len(starts) else end
            piece = text[start:stop]
            if piece.strip():
                left = start + len(piece) - len(piece.lstrip())
                parts.append((left, left + len(piece.strip()), kind))
            start = max(stop, starts[leaf]) if leaf < len(starts) else end
    return parts


# --- JSON values --------------------------------------------------------------------------------------------------


class _Leaf(NamedTuple):
    """A text of a value, whether the name of its field says that it is secret, and the names that lead to it."""

    text: str
    is_secret: bool
    path: tuple[str, ...]


def _collect(value: Any, leaves: list[_Leaf], path: tuple[str, ...], is_secret: bool) -> None:
    """Texts and numbers of a value, names of fields included, in order."""
    name = path[-1] if path else ""
    if isinstance(value, str):
        leaves.append(_Leaf(value, is_secret, path))
    elif _is_number(value, name):
        leaves.append(_Leaf(str(value), is_secret, path))
    elif isinstance(value, Mapping):
        named = _named(value)
        for key, item in value.items():
            leaves.append(_Leaf(str(key), False, (*path, "")))
            is_pair = named and str(key).lower() == "value"
            is_inside = is_secret and name.lower() in _COOKIES
            _collect(item, leaves, (*path, str(key)), is_pair or is_inside or _says_secret(str(key), item))
    elif isinstance(value, list | tuple):
        for item in value:
            _collect(item, leaves, path, is_secret)


def _rebuilt(value: Any, texts: Iterator[str], name: str) -> Any:
    if isinstance(value, str):
        return next(texts)
    if _is_number(value, name):
        text = next(texts)
        return value if text == str(value) else text
    if isinstance(value, Mapping):
        return {next(texts): _rebuilt(item, texts, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rebuilt(item, texts, name) for item in value]
    return value


def _is_number(value: Any, name: str) -> bool:
    """Whether it is a number that may be one of a card; those of ids are long, too."""
    return isinstance(value, int) and not isinstance(value, bool) and not name.lower().endswith("id")


def _named(pair: Mapping[str, Any]) -> bool:
    """Whether it is a pair such as {"name": "DB_PASSWORD", "value": ...}."""
    name = next((item for key, item in pair.items() if str(key).lower() in ("name", "key", "header")), None)
    return isinstance(name, str) and strength(name) >= USUAL


def _says_secret(name: str, value: Any) -> bool:
    if name.lower() in (*_COOKIES, "authorization", "proxy-authorization"):
        return True
    rank = strength(name)
    return rank >= USUAL or (rank == WEAK and isinstance(value, str) and len(value) >= 16)
