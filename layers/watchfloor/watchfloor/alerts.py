"""One alert: what a record of the input must look like, and the row it becomes."""

import datetime
import math
import re
import sys
from typing import Any, NotRequired, TypedDict

import orjson

from watchfloor.attack import normalise_technique
from watchfloor.errors import InvalidInputError

MAX_ID_CHARACTERS = 512
MAX_HOST_CHARACTERS = 1_024
MAX_NAME_CHARACTERS = 10_000
MAX_ATTRIBUTES_CHARACTERS = 65_536
MAX_TIME_SECONDS = 4_102_444_800  # 2100-01-01
UNWRITABLE = "holds what UTF-8 JSON cannot carry: half a surrogate pair, an integer beyond 64 bits, or more than 250 nested levels"

_FIELDS = frozenset({"id", "time", "src", "dst", "name", "tech", "other_attributes_dict"})
_ISO_DATE = re.compile(r"[0-9]{4}-?(?:[0-9]{2}-?[0-9]{2}|W)", re.ASCII)


class AlertRow(TypedDict):
    """A valid alert; `time` in epoch seconds, `raw` the record as given where it holds more than this row."""

    i: NotRequired[int]
    id: int | str
    time: float
    src: str
    dst: str
    name: str
    tech: list[str]
    attributes: dict[str, Any]
    raw: NotRequired[Any]


class RejectedAlert(InvalidInputError):
    """A record that is no valid alert.

    Attributes
    ----------
    reasons : list of str
        One constant sentence a violation, without the record's values, so that reasons can be counted.
    """

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


def read_alert(record: object, raw: object = None) -> tuple[AlertRow, int]:
    """Validate one record of the input format.

    Parameters
    ----------
    record
        The decoded JSON value.
    raw
        The record as its product wrote it, when `record` came through a mapping.

    Returns
    -------
    tuple
        The alert, and how many technique ids were dropped because ATT&CK does not have them.

    Raises
    ------
    RejectedAlert
        Naming every violation.
    """
    if not isinstance(record, dict):
        raise RejectedAlert(["the record is not a JSON object"])
    get = record.get
    wrong: list[str] = []

    given_id = get("id")
    if type(given_id) is str:
        if not given_id:
            wrong.append("id is empty")
        elif len(given_id) > MAX_ID_CHARACTERS:
            wrong.append(f"id is longer than {MAX_ID_CHARACTERS} characters")
        elif "\0" in given_id:
            wrong.append("id holds a NUL character")
    elif given_id is None:
        wrong.append("id is missing")
    elif type(given_id) is not int:
        if type(given_id) is float:
            wrong.append("id is a fraction, or beyond 64 bits: write it as text")
        else:
            wrong.append("id is neither an integer nor text")

    time = _seconds(get("time"), wrong)
    src = _host("src", get("src"), wrong)
    dst = _host("dst", get("dst"), wrong)
    if src == "" and dst == "":
        wrong.append("src and dst are missing: at least one is needed")

    name = get("name")
    if type(name) is str:
        name = name.strip()
        if not name:
            wrong.append("name is empty")
        elif len(name) > MAX_NAME_CHARACTERS:
            wrong.append(f"name is longer than {MAX_NAME_CHARACTERS} characters")
        elif "\0" in name:
            wrong.append("name holds a NUL character")
    else:
        wrong.append("name is missing" if name is None else "name is not text")

    techniques: list[str] = []
    dropped = 0
    given_techniques = get("tech")
    if type(given_techniques) is list:
        for given in given_techniques:
            technique = normalise_technique(given)
            if technique is None:
                dropped += 1
            elif technique not in techniques:
                techniques.append(technique)
    elif given_techniques is not None:
        wrong.append("tech is not a list of ATT&CK ids")

    given_attributes = get("other_attributes_dict")
    attributes: dict[str, Any] = {}
    if type(given_attributes) is dict:
        attributes = _attributes(given_attributes, wrong)
    elif given_attributes is not None:
        wrong.append("other_attributes_dict is not an object")

    if wrong:
        raise RejectedAlert(wrong if record.keys() & _FIELDS else [_no_alert(record)])
    row: AlertRow = {
        "id": given_id,  # type: ignore[typeddict-item]
        "time": time,
        "src": src or dst or "",
        "dst": dst or src or "",
        "name": name,  # type: ignore[typeddict-item]
        "tech": techniques,
        "attributes": attributes,
    }
    if raw is not None:
        row["raw"] = raw
    elif not record.keys() <= _FIELDS:
        row["raw"] = record
    return row, dropped


def _no_alert(record: dict[str, Any]) -> str:
    if "input" in record:
        return '"input" is not a list of alerts'
    return "the record has none of an alert's fields (id, time, src, dst, name), and no mapping reads it"


def _seconds(time: object, wrong: list[str]) -> float:
    """Epoch seconds of a number or an ISO 8601 text; without a zone it is UTC."""
    if type(time) is float or type(time) is int:
        if 0 <= time < MAX_TIME_SECONDS:
            return float(time)
        if type(time) is float and not math.isfinite(time):
            wrong.append("time is NaN or infinite")
        elif time < 0:
            wrong.append("time is before 1970")
        elif time < 1e11:
            wrong.append("time is after the year 2099")
        else:
            unit = "milliseconds" if time < 1e14 else "microseconds" if time < 1e17 else "nanoseconds"
            wrong.append(f"time is not in seconds: it looks like {unit} since 1970")
    elif type(time) is str:
        text = time.strip().upper()
        try:
            if not _ISO_DATE.match(text) or text.isdigit():
                raise ValueError
            moment = datetime.datetime.fromisoformat(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=datetime.UTC)
            return _seconds(moment.timestamp(), wrong)
        except (ValueError, OverflowError):
            wrong.append("time is text but not ISO 8601, such as 2026-11-20T15:03:00Z")
    else:
        wrong.append("time is missing" if time is None else "time is neither a number nor ISO 8601 text")
    return 0.0


def _host(field: str, host: object, wrong: list[str]) -> str | None:
    """The stripped text, "" when absent, None when it is no text."""
    if type(host) is str:
        text = host.strip()
        if len(text) > MAX_HOST_CHARACTERS:
            wrong.append(f"{field} is longer than {MAX_HOST_CHARACTERS} characters")
        elif "\0" in text:
            wrong.append(f"{field} holds a NUL character")
        return text
    if host is None:
        return ""
    wrong.append(f"{field} is not text")
    return None


def _attributes(given: dict[str, Any], wrong: list[str]) -> dict[str, Any]:
    """The attributes as scalars: null and NaN are absent, a nested value becomes its JSON text."""
    attributes: dict[str, Any] = {}
    size = 0
    for key, value in given.items():
        kind = type(value)
        size += len(key)
        if value is None or (kind is float and math.isnan(value)):
            continue
        if key == "priority":
            if (kind is not float and kind is not int) or abs(value) > sys.float_info.max:
                wrong.append("priority is not a finite number")
                continue
            value = float(value)
        elif key == "port":
            if kind is float and value.is_integer():
                value = int(value)
            elif kind is not int:
                wrong.append("port is not an integer")
                continue
            if not 0 <= value <= 65_535:
                wrong.append("port is not between 0 and 65535")
        elif kind is str:
            size += len(value)
        elif key in ("url", "user_agent", "cert"):
            wrong.append(f"{key} is not text")
            continue
        else:
            try:
                value = _scalar(value)
            except TypeError:
                wrong.append(f"other_attributes_dict {UNWRITABLE}")
                continue
            if type(value) is str:
                size += len(value)
        attributes[key] = value
    if size > MAX_ATTRIBUTES_CHARACTERS:
        wrong.append(f"other_attributes_dict is longer than {MAX_ATTRIBUTES_CHARACTERS} characters")
    return attributes


def _scalar(value: Any) -> str | int | float | bool:
    """A scalar as it is, anything nested as its JSON text; a TypeError when UTF-8 JSON cannot hold it."""
    return orjson.dumps(value).decode() if isinstance(value, (dict, list)) else value


def read_node_features(given: object) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Validate the features of hosts and users; an entry that is no object is left out, and said.

    Returns
    -------
    tuple
        The features by name, scalars only (nested values as JSON text, null and NaN as absent), and the complaints.
    """
    if not isinstance(given, dict):
        return {}, ["node_feature is not an object: ignored"]
    features: dict[str, dict[str, Any]] = {}
    ignored = 0
    for name, of_name in given.items():
        try:
            encoded = {
                key: _scalar(value)
                for key, value in of_name.items()
                if value is not None and not (type(value) is float and math.isnan(value))
            }
            orjson.dumps({name: encoded})
        except (AttributeError, TypeError):
            ignored += 1
        else:
            features[name.strip()] = encoded
    return features, [f"node_feature: {ignored} entries are not objects of plain values: ignored"] if ignored else []
