"""Parameters of the clustering: one fixed default for all streams."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import orjson


@dataclass(frozen=True)
class Settings:
    """What the clustering takes for close, many and usual. Times are in seconds.

    The defaults are round numbers for what the terms mean; ``models/README.md`` says how much each of them matters.
    """

    # A run is one alert name from one src to one dst without a pause.
    pause_seconds: float = 5.0
    settle_seconds: float = 2.0  # so long a run is watched before it is judged
    # Burst: so many alerts while it is watched, or so many within about two seconds later on.
    burst_alerts: int = 30
    burst_decay_seconds: float = 2.0
    burst_level: float = 20.0
    burst_share: float = 0.15  # names with this share of a burst tell it from another one
    # Routine: what came back in this many sessions over this long, or has been going on for so long.
    session_seconds: float = 1800.0
    routine_sessions: int = 3
    routine_seconds: float = 21600.0
    persistent_seconds: float = 3600.0
    learning_seconds: float = 86400.0  # a stream's first day; what is new later must go on for as long
    routine_hosts: int = 8  # a name that is usual and came on so many hosts is usual everywhere,
    routine_volume: int = 15  # and so many of them from a new src are, too
    routine_excess: float = 3.0  # times the usual level is no routine
    routine_level: float = 5.0
    rare_seconds: float = 7200.0  # what is rarer and comes together with something unusual belongs to it
    routine_span_seconds: float = 86400.0
    forget_seconds: float = 30 * 86400.0
    # Steps: unusual alerts belong together when they share a host, or come at the same moment.
    link_seconds: float = 1800.0
    span_seconds: float = 43200.0
    moment_seconds: float = 5.0
    # But not where steps come so often that one would fall into the pause by chance.
    pace_seconds: float = 3600.0
    chance: float = 1.0
    # Equal values link two runs as a shared host does, for this share of link_seconds.
    attribute_weights: Mapping[str, float] = field(default_factory=lambda: {"url": 0.5, "cert": 0.5, "user_agent": 0.1})
    node_weights: Mapping[str, float] = field(default_factory=lambda: {"userid": 0.5})


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Settings from variables such as ``WATCHFLOOR_PAUSE_SECONDS`` and ``WATCHFLOOR_NODE_WEIGHTS`` (JSON object).

    Raises
    ------
    ValueError
        A variable is no number, or no object of numbers from 0 to 1.
    """
    chosen = {}
    for parameter in fields(Settings):
        variable = f"WATCHFLOOR_{parameter.name.upper()}"
        if variable not in environment:
            continue
        try:
            value = orjson.loads(environment[variable])
            if parameter.name.endswith("_weights"):
                right = isinstance(value, dict) and all(_is_number(w) and 0 <= w <= 1 for w in value.values())
            else:
                right = _is_number(value) and value > 0
        except orjson.JSONDecodeError:
            right = False
        if not right:
            kind = (
                "a JSON object of numbers from 0 to 1" if parameter.name.endswith("_weights") else "a positive number"
            )
            raise ValueError(f"{variable} must be {kind}, not {environment[variable]!r}")
        chosen[parameter.name] = value
    return Settings(**chosen)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
