"""Published versions of a function, and the alias that leads its callers to one of them, as Lambda tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from watchfloor.errors import ConflictError, NotFoundError


def weights(alias: Mapping[str, Any]) -> dict[str, float]:
    """The share of the traffic that goes to other versions."""
    return (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}


def earlier_version(function_name: str, alias: Mapping[str, Any], versions: Iterable[str], wanted: str | None) -> str:
    """The version to roll back to.

    AWS keeps no record of where an alias led before. Where traffic is split, it is the older of both versions;
    otherwise the highest published one below the current.

    Parameters
    ----------
    wanted
        One that is asked for.
    """
    current, split, published = alias["FunctionVersion"], weights(alias), set(versions) - {"$LATEST"}
    if wanted:
        if wanted not in published:
            raise NotFoundError(f"{function_name} has no version {wanted}; there are {_shown(published)}")
        if wanted == current and not split:
            raise ConflictError(f"the alias {alias['Name']} of {function_name} leads to version {current} already")
        return wanted
    if split:
        return min({current, *split} - {"$LATEST"}, key=int)
    below = [version for version in published if current == "$LATEST" or int(version) < int(current)]
    if not below:
        raise NotFoundError(f"{function_name} has no version published before {current}; there are {_shown(published)}")
    return max(below, key=int)


def rollback(alias: Mapping[str, Any], versions: Mapping[str, Mapping[str, Any]], to_version: str) -> dict[str, Any]:
    """What an alias led to, and what it is led back to."""
    before, target = versions.get(alias["FunctionVersion"], {}), versions[to_version]
    return {
        "from_version": alias["FunctionVersion"],
        "from_weights": weights(alias),
        "to_version": to_version,
        "to_description": target.get("Description", ""),
        "to_published": target.get("LastModified", ""),
        # The same code: then the versions differ in their configuration only.
        "is_same_code": before.get("CodeSha256") == target.get("CodeSha256"),
    }


def _shown(published: Iterable[str]) -> str:
    return ", ".join(sorted(published, key=int)[-20:]) or "none at all"
