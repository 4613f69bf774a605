"""Load balancers: the health of targets on this machine, by a connection to them; all others count as healthy."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from xml.sax.saxutils import escape

from ministack.services import alb

from local.cloud import anchors

CONNECT_SECONDS = 0.3


def install() -> None:
    describe = anchors.replace("services.alb:_describe_target_health", lambda params: _describe(describe, params))
    # Its table of actions was filled when the module was read.
    alb._ACTION_MAP["DescribeTargetHealth"] = alb._describe_target_health


def _describe(describe: Any, params: Any) -> Any:
    arn = alb._p(params, "TargetGroupArn")
    group = alb._tgs.get(arn)
    if group is None:
        return describe(params)
    wanted = {target["Id"] for target in alb._parse_targets_param(params)}
    shown = [
        _member(target["Id"], target.get("Port", group.get("Port", 80)))
        for target in list(alb._targets.get(arn, []))
        if not wanted or target["Id"] in wanted
    ]
    return alb._xml(
        200,
        "DescribeTargetHealth",
        f"<TargetHealthDescriptions>{''.join(shown)}</TargetHealthDescriptions>",
    )


def _member(target: str, port: int) -> str:
    health = "<State>healthy</State>"
    if not _answers(target, port):
        health = (
            "<State>unhealthy</State><Reason>Target.FailedHealthChecks</Reason>"
            "<Description>Health checks failed</Description>"
        )
    return (
        f"<member><Target><Id>{escape(target)}</Id><Port>{port}</Port></Target>"
        f"<TargetHealth>{health}</TargetHealth></member>"
    )


def _answers(target: str, port: int) -> bool:
    try:
        if not ipaddress.ip_address(target).is_loopback:
            return True
    except ValueError:
        return True
    try:
        with socket.create_connection((target, int(port)), CONNECT_SECONDS):
            return True
    except OSError:
        return False
