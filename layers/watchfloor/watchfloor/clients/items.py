"""DynamoDB items: its decimals for our floats, and back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any


def stored(value: Any) -> Any:
    """A JSON value as the DynamoDB resource takes it."""
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, dict):
        return {key: stored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [stored(item) for item in value]
    return value


def plain(value: Any) -> Any:
    """An item's value as JSON: decimals become int or float."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value
