"""The records of a JSON file one by one, in bounded memory: a document, an array or JSON Lines, plain or gzip.

Records are told apart by their brackets and quotes alone and decoded one at a time, so one that is broken inside (NaN,
bytes that are no UTF-8, a bad escape) does not take the others with it. Where the brackets themselves are wrong,
nothing after that place can be trusted, and the file is refused.
"""

import json
import re
import zlib
from collections.abc import Collection, Generator, Iterator
from typing import Any, BinaryIO

import orjson

from watchfloor.errors import InvalidInputError

MAX_RECORD_BYTES = 16_000_000
BLOCK_BYTES = 1_000_000

_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
# All up to the next bracket; stops at a quote only when the string is not complete yet.
_TO_BRACKET = re.compile(rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*+', re.DOTALL)
_SCALAR = re.compile(rb"[^ \t\r\n,\]}]*+")
_LINES_NAME = re.compile(r"\.(jsonl|ndjson)(\.gz)?$", re.IGNORECASE)
_CLOSER = {ord("{"): ord("}"), ord("["): ord("]")}
_END = -1

_OTHER_KINDS = {
    b"PK\x03\x04": "a ZIP archive: unpack it, or use gzip",
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it, or use gzip",
    b"BZh": "packed with bzip2: unpack it, or use gzip",
    b"\xfd7zXZ": "packed with xz: unpack it, or use gzip",
    b"PAR1": "Parquet: export it as JSON",
    b"Obj\x01": "Avro: export it as JSON",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"{\0": "UTF-16 text: save it as UTF-8",
    b"[\0": "UTF-16 text: save it as UTF-8",
    b"<": "XML or HTML: export it as JSON",
}


class UnreadableRecord(InvalidInputError):
    """One record that is no JSON, or too large."""


def decode(text: bytes) -> Any:
    """Decode one record; NaN, infinity and lone surrogates pass, for validation to name.

    Raises
    ------
    UnreadableRecord
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: byte 0x{text[error.start]:02x} at byte {error.start} of the record"
    except RecursionError:
        reason = "not readable: nested too deeply"
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error.msg} (character {error.pos + 1} of the record)"
    except ValueError as error:
        reason = f"not JSON: {error}"
    raise UnreadableRecord(reason)


class JsonRecords:
    """Iterates over the texts of the records of a file.

    Parameters
    ----------
    source
        Only `read(size)` is used.
    file_name
        For messages; names ending in .jsonl or .ndjson are read as lines.
    wrappers
        Where records lie in a document that wraps them: paths of keys to an array, such as ("hits", "hits").
    beside
        The key of what else is wanted of such a document.
    unpacked_limit
        Refuse a gzip file that unpacks to more bytes.

    Attributes
    ----------
    by_line : bool
        Once iterated over: whether the file is JSON Lines.
    rest : list of bytes or None
        After the iteration: documents that wrapped records and have the key `beside`, without the records; None for one
        that is too large.
    """

    def __init__(
        self,
        source: BinaryIO,
        file_name: str,
        wrappers: Collection[tuple[str, ...]],
        beside: str,
        unpacked_limit: int,
    ) -> None:
        self._name = file_name
        self._text = _Text(_blocks(source, file_name, unpacked_limit), file_name)
        self._wrappers = frozenset(wrappers)
        self._towards = frozenset(path[:end] for path in wrappers for end in range(1, len(path)))
        self._beside = orjson.dumps(beside)
        self._wrapped = False
        self.by_line = False
        self.rest: list[bytes | None] = []

    def __iter__(self) -> Iterator[bytes | None]:
        """The records' texts in the file's order; None for one that is too large.

        Raises
        ------
        InvalidInputError
            Where the file is no JSON, incomplete or damaged: with the place, and what was seen there.
        """
        text = self._text
        first = text.peek()
        if first == _END:
            raise InvalidInputError(f"{self._name} is empty: it holds no alerts")
        if first not in b"{[":
            raise InvalidInputError(
                f"{self._name} is not JSON: at {text.place()} a '{{' or '[' should begin it, but there is {text.seen()}"
            )
        self.by_line = self._is_lines()
        yield from self._lines() if self.by_line else self._values()

    def _is_lines(self) -> bool:
        """JSON Lines, by name or because the first line is a complete object and something follows."""
        text = self._text
        while b"\n" not in text.buffer[text.at :] and len(text.buffer) - text.at < MAX_RECORD_BYTES:
            if text.more() < 0:
                break
        first, newline, after = text.buffer[text.at :].partition(b"\n")
        if _LINES_NAME.search(self._name) and first.strip() not in (b"{", b"["):
            return True
        try:
            complete = bool(newline) and isinstance(decode(first), dict)
        except UnreadableRecord:
            return False
        while complete and not after.strip():
            if text.more() < 0:
                return False
            after = text.buffer[text.at + len(first) :]
        return complete

    def _lines(self) -> Iterator[bytes | None]:
        text = self._text
        while True:
            end = text.buffer.rfind(b"\n", text.at)
            if end >= 0:
                for line in text.buffer[text.at : end].split(b"\n"):
                    if line and not line.isspace():
                        yield line
                text.at = end + 1
            elif len(text.buffer) - text.at > MAX_RECORD_BYTES:
                yield None
                while b"\n" not in text.buffer:
                    text.at = len(text.buffer)
                    if text.more() < 0:
                        return
                text.at = text.buffer.index(b"\n") + 1
            if text.more() < 0:
                last = text.buffer[text.at :]
                if last.strip():
                    yield last
                return

    def _values(self) -> Iterator[bytes | None]:
        text = self._text
        while (byte := text.peek()) != _END:
            if byte == ord("["):
                yield from self._elements()
            elif byte == ord("{"):
                self._wrapped = False
                document = yield from self._object(())
                if not self._wrapped:
                    yield document
                elif document is None or self._beside in document:
                    self.rest.append(document)
            else:
                raise text.unexpected("the end of the file, '{' or '['")

    def _elements(self) -> Iterator[bytes | None]:
        text = self._text
        text.at += 1
        while text.peek() != ord("]"):
            yield text.value()
            byte = text.peek()
            if byte == ord(","):
                text.at += 1
            elif byte != ord("]"):
                raise text.unexpected("',' or ']' after a record")
        text.at += 1

    def _object(self, path: tuple[str, ...]) -> Generator[bytes | None, None, bytes | None]:
        """Yields the records that the object wraps; returns the rest of it, or None when that is too large."""
        text = self._text
        text.at += 1
        members: list[bytes] = []
        size = 0
        while text.peek() != ord("}"):
            if text.peek() != ord('"'):
                raise text.unexpected("a key in quotes or '}'")
            key = text.value()
            if text.peek() != ord(":"):
                raise text.unexpected("':' after a key")
            text.at += 1
            byte = text.peek()
            here = (*path, _key(key))
            value: bytes | None
            if byte == ord("[") and here in self._wrappers:
                self._wrapped = True
                yield from self._elements()
                value = b"[]"
            elif byte == ord("{") and here in self._towards:
                value = yield from self._object(here)
            else:
                value = text.value()
            size += MAX_RECORD_BYTES + 1 if value is None else len(value)
            if key is not None and value is not None and size <= MAX_RECORD_BYTES:
                members.append(key + b":" + value)
            byte = text.peek()
            if byte == ord(","):
                text.at += 1
            elif byte != ord("}"):
                raise text.unexpected("',' or '}' after a value")
        text.at += 1
        return b"{" + b",".join(members) + b"}" if size <= MAX_RECORD_BYTES else None


def _key(text: bytes | None) -> str:
    try:
        return orjson.loads(text) if text is not None else ""
    except orjson.JSONDecodeError:
        return ""


class _Text:
    """A window on the text that moves forward; knows where it is, for messages."""

    def __init__(self, blocks: Iterator[bytes], file_name: str) -> None:
        self.buffer = b""
        self.at = 0
        self._blocks = blocks
        self._name = file_name
        self._start = 0
        self._lines = 0

    def more(self) -> int:
        """Add a block and let go what lies before `at`: how many bytes went, or -1 at the end of the file."""
        block = next(self._blocks, b"")
        if not block:
            return _END
        gone = self.at
        self._lines += self.buffer.count(b"\n", 0, gone)
        self._start += gone
        self.buffer = self.buffer[gone:] + block
        self.at = 0
        return gone

    def peek(self) -> int:
        """Move to the next byte that is no space, and say which; -1 at the end of the file."""
        while True:
            self.at = _SPACE.match(self.buffer, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if self.more() < 0:
                return _END

    def value(self) -> bytes | None:
        """Move behind the value that begins here: its text, or None when it is too large to keep."""
        byte = self.peek()
        if byte in _CLOSER:
            return self._nested()
        if byte == ord('"'):
            match = _STRING.match(self.buffer, self.at)
            while not match:
                if len(self.buffer) - self.at > MAX_RECORD_BYTES:
                    self.at = self._behind_string(self.at)
                    return None
                if self.more() < 0:
                    raise self._ends_inside(self._start + self.at)
                match = _STRING.match(self.buffer, self.at)
        else:
            match = _SCALAR.match(self.buffer, self.at)
            while match and match.end() == len(self.buffer) and self.more() >= 0:
                match = _SCALAR.match(self.buffer, self.at)
                if len(self.buffer) - self.at > MAX_RECORD_BYTES:
                    break
            if not match or not match[0] or match.end() - self.at > MAX_RECORD_BYTES:
                raise self.unexpected("a value")
        self.at = match.end()
        return match[0]

    def _nested(self) -> bytes | None:
        began = self._start + self.at
        closers = [_CLOSER[self.buffer[self.at]]]
        kept = True
        index = self.at + 1
        while closers:
            index = _TO_BRACKET.match(self.buffer, index).end()  # type: ignore[union-attr]
            if index < len(self.buffer) and (byte := self.buffer[index]) != ord('"'):
                if byte in _CLOSER:
                    closers.append(_CLOSER[byte])
                elif closers.pop() != byte:
                    self.at = index
                    raise self.unexpected(f"the record's brackets to match (it begins at byte {began + 1})")
                index += 1
                continue
            if len(self.buffer) - self.at > MAX_RECORD_BYTES:
                kept = False
            if not kept:
                index = self._behind_string(index) if index < len(self.buffer) else index
                self.at = index
            if index == len(self.buffer) or kept:
                gone = self.more()
                if gone < 0:
                    raise self._ends_inside(began)
                index -= gone
        text = self.buffer[self.at : index] if kept and index - self.at <= MAX_RECORD_BYTES else None
        self.at = index
        return text

    def _behind_string(self, index: int) -> int:
        """The index behind the string that begins at `index`, however long, keeping nothing of it."""
        began = self._start + index
        self.at = index + 1
        while True:
            end = _IN_STRING.match(self.buffer, self.at).end()  # type: ignore[union-attr]
            if end < len(self.buffer) and self.buffer[end] == ord('"'):
                return end + 1
            self.at = end
            if self.more() < 0:
                raise self._ends_inside(began)

    def place(self) -> str:
        """Where the text is now, counted from 1."""
        line = self._lines + self.buffer.count(b"\n", 0, self.at) + 1
        return f"line {line}, byte {self._start + self.at + 1}"

    def seen(self) -> str:
        """The beginning of what is there."""
        if self.at == len(self.buffer):
            return "the end of the file"
        return repr(self.buffer[self.at : self.at + 30].decode("utf-8", "replace"))

    def unexpected(self, expected: str) -> InvalidInputError:
        """The error for what is there."""
        if self.peek() == _END:
            return InvalidInputError(
                f"{self._name} is incomplete: it ends at {self.place()}, where {expected} is missing"
            )
        return InvalidInputError(
            f"{self._name} is not JSON: at {self.place()} expected {expected}, but there is {self.seen()}"
        )

    def _ends_inside(self, began: int) -> InvalidInputError:
        self.at = len(self.buffer)
        return InvalidInputError(
            f"{self._name} is incomplete: it ends at {self.place()}, inside the value that begins at byte {began + 1}. "
            "Export or upload it again; none of its alerts was taken in"
        )


def _blocks(source: BinaryIO, file_name: str, unpacked_limit: int) -> Iterator[bytes]:
    """The text in blocks, unpacked, without a byte order mark."""
    blocks = iter(lambda: source.read(BLOCK_BYTES), b"")
    first = _at_least(8, blocks)
    if first.startswith(b"\x1f\x8b"):
        blocks = _unpacked(source, first, file_name, unpacked_limit)
        first = _at_least(8, blocks)
    first = first.removeprefix(b"\xef\xbb\xbf")
    for beginning, kind in _OTHER_KINDS.items():
        if first.startswith(beginning):
            raise InvalidInputError(f"{file_name} is not JSON but {kind}")
    if first:
        yield first
    yield from blocks


def _at_least(size: int, blocks: Iterator[bytes]) -> bytes:
    """Blocks put together until they are long enough to tell what they begin with."""
    first = b""
    while len(first) < size and (block := next(blocks, b"")):
        first += block
    return first


def _unpacked(source: BinaryIO, data: bytes, file_name: str, limit: int) -> Iterator[bytes]:
    """Unpack gzip, of several members too, never more than a block at once."""
    unpacker = zlib.decompressobj(31)
    read = len(data)
    total = 0
    while True:
        try:
            block = unpacker.decompress(data, BLOCK_BYTES)
        except zlib.error as error:
            raise InvalidInputError(
                f"{file_name} is damaged: its gzip data cannot be unpacked near byte {read} ({error}). "
                "Export or upload it again; none of its alerts was taken in"
            ) from None
        total += len(block)
        if total > limit:
            raise InvalidInputError(f"{file_name} unpacks to more than {limit / 1e9:g} GB: split it")
        if block:
            yield block
        data = unpacker.unconsumed_tail
        if unpacker.eof:
            # Another member, padding, or the end.
            data = unpacker.unused_data.lstrip(b"\0")
            while not data:
                more = source.read(BLOCK_BYTES)
                if not more:
                    return
                read += len(more)
                data = more.lstrip(b"\0")
            unpacker = zlib.decompressobj(31)
        elif not data:
            data = source.read(BLOCK_BYTES)
            read += len(data)
            if not data and not block:
                raise InvalidInputError(
                    f"{file_name} is incomplete: its gzip data ends at byte {read} before its end mark. "
                    "Export or upload it again; none of its alerts was taken in"
                )
