"""Indicators of compromise in alerts, and which side of the fence a host is on."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

INTERNAL, EXTERNAL, UNKNOWN, NOT_A_HOST = "internal", "external", "unknown", "not a host"
KINDS = ("ip", "domain", "url", "hash", "user_agent", "certificate")

_INTERNAL_NETWORKS = [
    ipaddress.ip_network(network)
    for network in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
]
_MAX_TEXT, _MAX_VALUE, _MAX_DEPTH = 4_000, 2_048, 3

# Every pattern is a bounded run of one character class: linear on any input.
_URL = re.compile(r"\b(?:https?|ftp)://[^\s\"'<>\\^`{|}]{3,2048}", re.IGNORECASE)
_IPV4 = re.compile(r"(?<![\w.])[0-9.]{7,15}(?![\w.]|-\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9a-fA-F:]{6,39}(?![\w:.])")
_HOST = re.compile(r"(?<![\w.@/\\-])[A-Za-z0-9.-]{4,253}(?![\w@/\\-])")
_HEX = re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{32,64}(?![0-9A-Za-z])")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HASH_KEY = re.compile(r"hash|md5|sha1|sha256|checksum|digest", re.IGNORECASE)
_HOST_KEY = re.compile(r"domain|hostname|fqdn|rrname|query|sni|server_name|http_host", re.IGNORECASE)

# In free text a word with dots is a domain only under one of these: alert names are full of file and malware names
# ("cmd.exe", "Win32.Agent"), and a full list of top-level domains holds many of their endings.
_COMMON_TLDS = (
    "com net org info biz edu gov mil int io co me tv cc ru su cn ir kp de uk fr nl eu us ca br jp kr in au it es pl "
    "ua ro cz se no ch at be tk ml ga cf gq top xyz site online club shop live icu buzz work link click space store "
    "website tech pro pw ws onion dev app cloud"
)
_PRIVATE_TLDS = "local localdomain localhost lan internal intranet corp home arpa test invalid"
_COMMON, _PRIVATE = frozenset(_COMMON_TLDS.split()), frozenset(_PRIVATE_TLDS.split())


def indicators(alert: dict[str, Any]) -> set[tuple[str, str]]:
    """`(kind, value)` of what an alert gives a hunter: see `KINDS`. Addresses are public ones only."""
    found = {
        ("ip", _address(host)) for host in (alert["src"], alert["dst"]) if side_of(host) == EXTERNAL and _is_ip(host)
    }
    found.update(_in_text("", alert["name"][:_MAX_TEXT]))
    for key, value in _strings(alert["attributes"], 0):
        found.update(_in_attribute(key, value))
    return found


def defang(value: str) -> str:
    """The indicator in a form that no mail client or chat makes clickable."""
    scheme = re.sub(r"^(h)tt(p|ps)://", r"\1xx\2://", value, flags=re.IGNORECASE)
    head, separator, rest = scheme.partition("://")
    host, slash, path = (rest if separator else head).partition("/")
    safe = host.replace(".", "[.]") if "." in host else host.replace(":", "[:]")
    return f"{head}{separator}{safe}{slash}{path}" if separator else f"{safe}{slash}{path}"


def host_of(value: str) -> str:
    """The host of a URL; any other indicator as it is."""
    if "://" not in value:
        return value
    return re.split(r"[/?#]", value.split("://", 1)[1], maxsplit=1)[0].rsplit("@", 1)[-1].split(":", 1)[0]


def side_of(host: str, features: dict[str, Any] | None = None) -> str:
    """`INTERNAL`, `EXTERNAL`, `UNKNOWN` (a name), or `NOT_A_HOST` (broadcast, multicast, unspecified).

    The node feature "Internal/External" decides where it is given, the address otherwise.
    """
    told = str((features or {}).get("Internal/External", "")).strip().casefold()
    return told if told in (INTERNAL, EXTERNAL) else _side_of_name(host)


@lru_cache(65_536)
def _side_of_name(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return UNKNOWN
    if address.is_multicast or address.is_unspecified or (address.version == 4 and int(address) >> 28 == 15):
        return NOT_A_HOST
    if any(address in network for network in _INTERNAL_NETWORKS if network.version == address.version):
        return INTERNAL
    return EXTERNAL


def _strings(value: Any, depth: int, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value[:_MAX_TEXT]
    elif depth < _MAX_DEPTH and isinstance(value, dict):
        for name, item in value.items():
            yield from _strings(item, depth + 1, str(name))
    elif depth < _MAX_DEPTH and isinstance(value, list):
        for item in value[:100]:
            yield from _strings(item, depth + 1, key)


def _in_attribute(key: str, value: str) -> frozenset[tuple[str, str]]:
    value = value.strip()
    if not value:
        return frozenset()
    if key == "user_agent":
        return frozenset({("user_agent", value[:_MAX_VALUE])})
    if key == "cert":
        return frozenset({("certificate", value[:_MAX_VALUE])})
    return _in_text(key, value)


@lru_cache(16_384)
def _in_text(key: str, text: str) -> frozenset[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for url in _URL.findall(text):
        found.add(("url", url.rstrip(".,;:)]")))
        found |= _host(host_of(url), is_certain=True)
    rest = _URL.sub(" ", text)
    if key == "url":
        found.update({("url", rest.strip()[:_MAX_VALUE])} if "/" in rest.strip() else ())
    for pattern in (_IPV4, _IPV6):
        for match in pattern.findall(rest):
            if _is_ip(match) and side_of(_address(match)) == EXTERNAL:
                found.add(("ip", _address(match)))
    for word in _HOST.findall(rest):
        found |= _host(word, is_certain=bool(_HOST_KEY.search(key)) or key == "url")
    for word in _HEX.findall(rest):
        if len(word) in (40, 64) or (len(word) == 32 and _HASH_KEY.search(f"{key} {text}")):
            found.add(("hash", word.lower()))
    return frozenset(found)


def _host(word: str, is_certain: bool) -> set[tuple[str, str]]:
    word = word.strip(".-")
    if _is_ip(word):
        return {("ip", _address(word))} if side_of(_address(word)) == EXTERNAL else set()
    name = word.lower()
    labels = name.split(".")
    is_domain = (
        len(labels) > 1
        and (is_certain or (word == name and labels[-1] in _COMMON))
        and labels[-1] not in _PRIVATE
        and labels[-1].isalpha()
        and len(labels[-1]) > 1
        and all(_LABEL.fullmatch(label) for label in labels)
    )
    return {("domain", name)} if is_domain else set()


@lru_cache(65_536)
def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))
