"""From a file of alerts to batches of valid alerts in time order.

Alerts go to sorted run files while the input is read, and are merged when the batches are asked for: the memory needed
does not grow with the file, and the disk holds each alert once.
"""

import errno
import heapq
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import orjson

from watchfloor.alerts import MAX_ID_CHARACTERS, UNWRITABLE, AlertRow, RejectedAlert, read_alert, read_node_features
from watchfloor.errors import InvalidInputError
from watchfloor.formats import Mapping, builtin_mappings
from watchfloor.json_records import MAX_RECORD_BYTES, JsonRecords, UnreadableRecord, decode

MAX_ALERT_BYTES = 1_000_000
UNPACKED_LIMIT = 20_000_000_000
REJECTED_RECORD_CHARACTERS = 2_000

_RUN_BYTES = 48_000_000
_ID_RUN_BYTES = 16_000_000
_LINE_OVERHEAD_BYTES = 170  # of a line, its key and their tuple in memory
_COUNTED_REASONS = 1_000
_ALERT_KEYS = frozenset({"id", "time", "src", "dst", "name"})


def take_in(
    source: BinaryIO,
    *,
    file_name: str,
    work_dir: Path,
    mappings: Sequence[Mapping] | None = None,
    chunk_size: int = 50_000,
    chunk_bytes: int = 40_000_000,
    unpacked_limit: int = UNPACKED_LIMIT,
) -> "Intake":
    """Read a file of alerts once, validating, sorting and rejecting.

    Parameters
    ----------
    source
        The file, plain or gzip; only `read(size)` is used.
    file_name
        For messages; names in .jsonl or .ndjson are read line by line.
    work_dir
        A folder on disk with about as much room as the file (unpacked) is large.
    mappings
        Of other products' formats, in the order in which they are tried. A user's own come before the built-in ones,
        which are the default.
    chunk_size, chunk_bytes
        A batch closes before it exceeds either; bytes as JSON, `raw` included.
    unpacked_limit
        Refuse a gzip file that unpacks to more bytes.

    Returns
    -------
    Intake
        To be used as a context manager, or closed.

    Raises
    ------
    InvalidInputError
        When the file is no JSON, incomplete or damaged, or has no usable alert. What was rejected until then is in
        `work_dir / "rejected.jsonl"`.
    """
    intake = Intake(work_dir, chunk_size, chunk_bytes)
    try:
        intake.read(source, file_name, builtin_mappings() if mappings is None else mappings, unpacked_limit)
    except OSError as error:
        intake.close()
        if error.errno == errno.ENOSPC:
            raise InvalidInputError(
                f"{file_name} is too large for the work space: split it, or give the function more ephemeral storage"
            ) from error
        raise
    except BaseException:
        intake.close()
        raise
    return intake


class Intake:
    """What `take_in` made of a file.

    Attributes
    ----------
    alert_count, rejected_count : int
        Valid alerts, and records that are none; together with `ignored_count` all records of the file.
    ignored_count : int
        Records of a mapped format that are other events than alerts, such as Suricata's flow events.
    dropped_technique_count : int
        Technique ids that ATT&CK does not have.
    node_feature : dict
        Features by host or user name, scalars only.
    warnings : list of str
        What was ignored in the file outside its alerts.
    rejected_path : Path
        JSON Lines of {"reason", "id"?, "position", "record"}: the record as it was given or, where it is long or no
        JSON, the beginning of its text; the position counts the file's records from 1.
    """

    def __init__(self, work_dir: Path, chunk_size: int, chunk_bytes: int) -> None:
        work_dir.mkdir(parents=True, exist_ok=True)
        self.alert_count = 0
        self.rejected_count = 0
        self.ignored_count = 0
        self.dropped_technique_count = 0
        self.node_feature: dict[str, dict[str, Any]] = {}
        self.warnings: list[str] = []
        self.rejected_path = work_dir / "rejected.jsonl"
        self._chunk_size = chunk_size
        self._chunk_bytes = chunk_bytes
        self._alerts = _SortedRuns(work_dir, "alerts", _RUN_BYTES, float)
        self._ids = _SortedRuns(work_dir, "ids", _ID_RUN_BYTES, bytes)
        self._feature_bytes = 0
        self._duplicates = bytearray()
        self._reasons: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the work files; the rejected records stay."""
        self._alerts.remove()
        self._ids.remove()

    def batches(self) -> Iterator[list[AlertRow]]:
        """The alerts in time order (the file's order where times are equal), numbered, in batches.

        `raw` is an `orjson.Fragment`, JSON that is ready to be written, because decoded it is several times as large.
        """
        batch: list[AlertRow] = []
        size = 0
        number = 0
        for _, position, line in self._alerts.merged():
            if self._is_duplicate(position):
                continue
            if batch and (len(batch) >= self._chunk_size or size + len(line) > self._chunk_bytes):
                yield batch
                batch = []
                size = 0
            row, _, raw = line.partition(b"\t")
            alert: Any = {"i": number, **orjson.loads(row)}
            if raw:
                alert["raw"] = orjson.Fragment(raw)
            batch.append(alert)
            number += 1
            size += len(line)
        if batch:
            yield batch

    def read(self, source: BinaryIO, file_name: str, mappings: Sequence[Mapping], unpacked_limit: int) -> None:
        """Fill this intake from a file; see `take_in`."""
        formats = _Formats(mappings)
        records = JsonRecords(source, file_name, formats.wrappers, "node_feature", unpacked_limit)
        position = 0
        with self.rejected_path.open("wb") as rejected:
            for text in records:
                try:
                    if text is None:
                        raise UnreadableRecord(f"the record is larger than {MAX_RECORD_BYTES / 1e6:g} MB")
                    given = decode(text)
                    found = formats.alerts_in(given, records.by_line)
                except (UnreadableRecord, RecursionError) as error:
                    position += 1
                    reason = str(error) if isinstance(error, UnreadableRecord) else "nested too deeply"
                    self._reject(rejected, [reason], (text or b"").decode("utf-8", "replace"), position)
                    continue
                if type(given) is dict and "node_feature" in given:
                    self._add_node_feature(given["node_feature"], file_name)
                for record, mapping in found:
                    position += 1
                    self._add(rejected, record, mapping, position)
            self._add_rest(records.rest, file_name)
            self._alerts.flush()
            self._ids.flush()
            self._reject_duplicates(rejected, position)
        if not self.alert_count:
            raise InvalidInputError(self._nothing_usable(file_name))

    def _add(self, rejected: BinaryIO, record: Any, mapping: Mapping | None, position: int) -> None:
        given = record
        try:
            if mapping is None:
                row, dropped = read_alert(record)
            elif mapping.is_alert(record):
                given = mapping.apply(record)
                row, dropped = read_alert(given, raw=record)
            else:
                self.ignored_count += 1
                return
            raw = row.pop("raw", None)
            line = orjson.dumps(row)
            if raw is not None:
                line += b"\t" + orjson.dumps(raw)
            # Results name alerts by the text of their ids, so 1 and "1" are one id. The slice is a copy: orjson's own
            # bytes keep 4 KB each.
            alert_id = orjson.dumps(str(row["id"]))[1:-1]
            if len(line) > MAX_ALERT_BYTES:
                raise RejectedAlert([f"the alert is larger than {MAX_ALERT_BYTES / 1e6:g} MB"])
        except (RejectedAlert, TypeError, RecursionError) as error:
            reasons = error.reasons if isinstance(error, RejectedAlert) else [f"the record {UNWRITABLE}"]
            if mapping is not None:
                reasons = [f"{reason} (as read by the mapping {mapping.name})" for reason in reasons]
            self._reject(rejected, reasons, record, position, given.get("id") if isinstance(given, dict) else None)
            return
        self.alert_count += 1
        self.dropped_technique_count += dropped
        self._alerts.add(row["time"], repr(row["time"]).encode(), position, line)
        self._ids.add(alert_id, alert_id, position)

    def _reject(self, rejected: BinaryIO, reasons: list[str], record: Any, position: int, alert_id: Any = None) -> None:
        self.rejected_count += 1
        for reason in reasons:
            if reason in self._reasons or len(self._reasons) < _COUNTED_REASONS:
                self._reasons[reason] += 1
        entry: dict[str, Any] = {"reason": "; ".join(reasons)}
        if type(alert_id) is int or (type(alert_id) is str and len(alert_id) <= MAX_ID_CHARACTERS):
            entry["id"] = alert_id
        entry["position"] = position
        line = f'{json.dumps(entry, ensure_ascii=False)[:-1]}, "record": {_shown(record)}}}\n'
        rejected.write(line.encode("utf-8", "replace"))

    def _reject_duplicates(self, rejected: BinaryIO, last_position: int) -> None:
        previous = None
        for alert_id, position, _ in self._ids.merged():
            if alert_id == previous:
                self._duplicates = self._duplicates or bytearray(last_position // 8 + 1)
                self._duplicates[position >> 3] |= 1 << (position & 7)
            previous = alert_id
        self._ids.remove()
        if self._duplicates:
            for _, position, line in self._alerts.unsorted():
                if self._is_duplicate(position):
                    self.alert_count -= 1
                    row, _, raw = line.partition(b"\t")
                    reason = "an earlier alert in the file has the same id"
                    self._reject(rejected, [reason], orjson.loads(raw or row), position, orjson.loads(row)["id"])

    def _is_duplicate(self, position: int) -> bool:
        return bool(self._duplicates) and bool(self._duplicates[position >> 3] >> (position & 7) & 1)

    def _add_node_feature(self, given: object, file_name: str) -> None:
        features, complaints = read_node_features(given)
        self.node_feature |= features
        self.warnings += [complaint for complaint in complaints if complaint not in self.warnings]
        self._feature_bytes += len(orjson.dumps(features))
        if self._feature_bytes > MAX_RECORD_BYTES:
            raise _too_much_beside(file_name)

    def _add_rest(self, documents: list[bytes | None], file_name: str) -> None:
        for document in documents:
            if document is None:
                raise _too_much_beside(file_name)
            try:
                rest = decode(document)
            except UnreadableRecord as error:
                self.warnings.append(f"node_feature was ignored: {error}")
            else:
                if "node_feature" in rest:
                    self._add_node_feature(rest["node_feature"], file_name)

    def _nothing_usable(self, file_name: str) -> str:
        if self.rejected_count:
            reasons = "; ".join(f"{reason} ({count:,} times)" for reason, count in self._reasons.most_common(3))
            return (
                f"{file_name} has no usable alert: all {self.rejected_count:,} were rejected. Most frequent reasons: "
                f"{reasons}"
            )
        if self.ignored_count:
            return f"{file_name} has no alerts: its {self.ignored_count:,} records are other events"
        return f"{file_name} has no alerts: its list is empty"


def _too_much_beside(file_name: str) -> InvalidInputError:
    return InvalidInputError(
        f"{file_name} has more than {MAX_RECORD_BYTES / 1e6:g} MB beside its alerts, such as node_feature: "
        "leave out what is about none of them"
    )


def _shown(record: Any) -> str:
    """JSON of the record; of the beginning of its text when that is long, or when JSON has no words for it (NaN)."""
    text = record
    if not isinstance(record, str):
        try:
            try:
                text = json.dumps(record, ensure_ascii=False, allow_nan=False)
                text.encode()
                if len(text) <= REJECTED_RECORD_CHARACTERS:
                    return text
            except ValueError:
                text = json.dumps(record)
        except RecursionError:
            text = "(nested too deeply)"
    return json.dumps(text[:REJECTED_RECORD_CHARACTERS], ensure_ascii=False)


class _Formats:
    """Finds the alerts in a decoded record and the mapping that reads each (None: the input format itself)."""

    def __init__(self, mappings: Sequence[Mapping]) -> None:
        builtin = {id(mapping) for mapping in builtin_mappings()}
        self._own = [mapping for mapping in mappings if id(mapping) not in builtin]
        self._builtin = [mapping for mapping in mappings if id(mapping) in builtin]
        self._paths = [path for mapping in mappings for path in mapping.records]
        self.wrappers = {("input",), *(tuple(path.text.split(".")) for path in self._paths)}

    def alerts_in(self, given: Any, is_line: bool) -> list[tuple[Any, Mapping | None]]:
        """The record itself, or those that it wraps; a line may be a list of records."""
        if is_line and isinstance(given, list):
            return [pair for item in given for pair in self._opened(item)]
        return self._opened(given)

    def _opened(self, given: Any) -> list[tuple[Any, Mapping | None]]:
        known, mapping = self._format_of(given)
        if known or not isinstance(given, dict):
            return [(given, mapping)]
        if isinstance(given.get("input"), list):
            return [(record, self._format_of(record)[1]) for record in given["input"]]
        if given.keys() == {"node_feature"}:
            return []
        for path in self._paths:
            wrapped = [(record, *self._format_of(record)) for record in path.values(given)]
            if any(known for _, known, _ in wrapped):
                return [(record, mapping) for record, _, mapping in wrapped]
        if not given.keys() & _ALERT_KEYS and any(_is_empty_at(given, wrapper) for wrapper in self.wrappers):
            return []
        return [(given, None)]

    def _format_of(self, record: Any) -> tuple[bool, Mapping | None]:
        if not isinstance(record, dict):
            return False, None
        for mapping in self._own:
            if mapping.matches(record):
                return True, mapping
        if "time" in record and "name" in record and ("src" in record or "dst" in record):
            return True, None
        for mapping in self._builtin:
            if mapping.matches(record):
                return True, mapping
        return False, None


def _is_empty_at(node: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        node = node.get(key) if isinstance(node, dict) else None
    return bool(node == [])


class _SortedRuns:
    """Sorts more lines than memory holds: files of bounded size, each sorted, merged when read.

    A line is its key, a tab, its position, a tab and the rest. Positions are unique and order what has equal keys.
    """

    def __init__(self, folder: Path, stem: str, run_bytes: int, read_key: Callable[[bytes], Any]) -> None:
        self._folder = folder
        self._stem = stem
        self._run_bytes = run_bytes
        self._read_key = read_key
        self._rows: list[tuple[Any, int, bytes]] = []
        self._size = 0
        self._paths: list[Path] = []

    def add(self, key: Any, key_text: bytes, position: int, rest: bytes = b"") -> None:
        line = b"%b\t%d\t%b\n" % (key_text, position, rest)
        self._rows.append((key, position, line))
        self._size += len(line) + _LINE_OVERHEAD_BYTES
        if self._size >= self._run_bytes:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._rows.sort()
            path = self._folder / f"{self._stem}-{len(self._paths):06}.run"
            self._paths.append(path)
            with path.open("wb", buffering=1_000_000) as run:
                run.writelines(line for _, _, line in self._rows)
            self._rows = []
            self._size = 0

    def merged(self) -> Iterator[tuple[Any, int, bytes]]:
        """Key, position and rest of every line, in order."""
        return heapq.merge(*map(self._lines, self._paths))

    def unsorted(self) -> Iterator[tuple[Any, int, bytes]]:
        """The same, run after run."""
        return itertools.chain.from_iterable(map(self._lines, self._paths))

    def remove(self) -> None:
        for path in self._paths:
            path.unlink(missing_ok=True)
        self._paths = []
        self._rows = []

    def _lines(self, path: Path) -> Iterator[tuple[Any, int, bytes]]:
        with path.open("rb", buffering=65_536) as lines:
            for line in lines:
                key, position, rest = line[:-1].split(b"\t", 2)
                yield self._read_key(key), int(position), rest
