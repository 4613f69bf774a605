"""Requests count as sent over TLS, as AWS's own endpoints require; here they never leave the loopback interface."""

from __future__ import annotations

from local.cloud import anchors

_RESOLVE = "core.iam_evaluator:_resolve_condition_key"


def install() -> None:
    resolve = anchors.replace(
        _RESOLVE, lambda key, ctx: "true" if key.lower() == "aws:securetransport" else resolve(key, ctx)
    )
