"""What an X.509 certificate says, read from its DER form (RFC 5280).

Python tells a certificate's fields only once it was verified; the ones worth looking at are those that are not.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_INTEGER, _OBJECT_ID, _SEQUENCE, _SET = 0x02, 0x06, 0x30, 0x31
_UTC_TIME, _GENERALIZED_TIME, _BMP_STRING, _OCTET_STRING = 0x17, 0x18, 0x1E, 0x04
_VERSION, _EXTENSIONS, _DNS_NAME, _IP_ADDRESS = 0xA0, 0xA3, 0x82, 0x87
_SUBJECT_ALTERNATIVE_NAMES = "2.5.29.17"
_ATTRIBUTES = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
}
_MAX_BYTES = 100_000
_MAX_NAMES = 100


@dataclass(frozen=True)
class Certificate:
    """A server's certificate; times are UTC, names are DNS names and addresses it is good for."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: dt.datetime
    not_after: dt.datetime

    def days_left(self, now: dt.datetime) -> float:
        """Days until it expires, negative where it has."""
        return (self.not_after - now).total_seconds() / 86_400

    def to_json(self, now: dt.datetime) -> dict[str, Any]:
        return {
            "subject": self.subject,
            "issuer": self.issuer,
            "names": list(self.names[:20]),
            "not_before": self.not_before.isoformat(),
            "not_after": self.not_after.isoformat(),
            "days_left": round(self.days_left(now), 1),
        }

    @property
    def self_issued(self) -> bool:
        return self.subject == self.issuer


def read_certificate(der: bytes) -> Certificate:
    """The fields of a DER certificate.

    Raises
    ------
    ValueError
        The bytes are no certificate.
    """
    if len(der) > _MAX_BYTES:
        raise ValueError("the certificate is too large")
    try:
        outer = next(_values(der))[1]
        fields = list(_values(next(_values(outer))[1]))
        if fields[0][0] == _VERSION:
            del fields[0]
        _serial, _algorithm, issuer, validity, subject, _key, *rest = fields
        begin, end = (_time(*value) for value in _values(validity[1]))
        names = tuple(_alternative_names(next((value for tag, value in rest if tag == _EXTENSIONS), b"")))
        return Certificate(_name(subject[1]), _name(issuer[1]), names, begin, end)
    except (IndexError, StopIteration, TypeError, UnicodeDecodeError) as error:
        raise ValueError("the bytes are no X.509 certificate") from error


def _values(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each value of a DER sequence."""
    position = 0
    while position < len(data):
        tag, length = data[position], data[position + 1]
        position += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[position : position + count])
            position += count
        if position + length > len(data):
            raise IndexError("a value reaches beyond its end")
        yield tag, data[position : position + length]
        position += length


def _name(data: bytes) -> str:
    """`CN=example.com, O=Example`, in the order of the certificate."""
    parts = []
    for tag, group in _values(data):
        if tag != _SET:
            raise IndexError("no name")
        for _, attribute in _values(group):
            (_, identifier), (kind, text) = _values(attribute)
            oid = _object_id(identifier)
            parts.append(f"{_ATTRIBUTES.get(oid, oid)}={_text(kind, text)}")
    return ", ".join(parts)


def _text(kind: int, data: bytes) -> str:
    return data.decode("utf-16-be" if kind == _BMP_STRING else "utf-8", "replace")[:200]


def _object_id(data: bytes) -> str:
    numbers, value = [], 0
    for byte in data:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]]))


def _time(tag: int, data: bytes) -> dt.datetime:
    text = data.decode("ascii")
    if tag == _UTC_TIME:
        # RFC 5280: years from 50 on are of the last century.
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise IndexError("no time")
    return dt.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.UTC)


def _alternative_names(extensions: bytes) -> Iterator[str]:
    if not extensions:
        return
    for _, extension in _values(next(_values(extensions))[1]):
        parts = list(_values(extension))
        if _object_id(parts[0][1]) != _SUBJECT_ALTERNATIVE_NAMES:
            continue
        found = list(_values(next(_values(parts[-1][1]))[1]))
        for tag, value in found[:_MAX_NAMES]:
            if tag == _DNS_NAME:
                yield value.decode("ascii", "replace")
            elif tag == _IP_ADDRESS and len(value) == 4:
                yield ".".join(map(str, value))
            elif tag == _IP_ADDRESS and len(value) == 16:
                yield ":".join(value[at : at + 2].hex() for at in range(0, 16, 2))
