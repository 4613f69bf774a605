"""A triage report and an approval, as messages are made from them."""

from __future__ import annotations

from typing import Any

REPORT: dict[str, Any] = {
    "fingerprint": "a3f19c0d2e4b5a67",
    "title": "KeyError: 'customer_id' in orders-api",
    "status": "open",
    "generation": 1,
    "count": 412,
    "first_seen": 1_795_144_380,
    "last_seen": 1_795_144_860,
    "log_group": "/aws/lambda/orders-api",
    "log_stream": "2026/11/20/[$LATEST]abc",
    "grouped_by": {"rule": "frames", "reason": "exception type and the application's own frames"},
    "error": {
        "type": "KeyError",
        "message": "'customer_id'",
        "language": "python",
        "frames": [
            {"file": "orders/charge.py", "function": "charge", "line": 42, "in_app": True},
            {"file": "orders/handler.py", "function": "lambda_handler", "line": 27, "in_app": True},
        ],
    },
    "context": [{"id": f"L{n}", "text": f"line {n}", "is_error": n == 11} for n in range(1, 22)],
    "verdict": "CONFIRMED",
    "answer": {
        "what_happened": "Orders fail while they are charged.",
        "likely_cause": "cart-service answers with schema v3, which names the field `customerId`.",
        "next_steps": ["Roll cart-service back.", "Read both names in `orders/charge.py`."],
        "evidence": [{"line": "L4", "quote": "cart 99812 has no field customer_id"}],
        "side": "application",
        "links": ["https://example.com/invented"],
    },
    "evidence": [
        {"kind": "deployment", "source": "function cart-service", "text": "deployed 2 minutes before", "url": ""},
        {"kind": "stack_overflow", "source": "KeyError?", "text": "a", "url": "https://stackoverflow.com/q/1?a=1&b=2"},
        {
            "kind": "earlier_incident",
            "source": "KeyError: 'sku'",
            "url": "",
            "text": "resolved by ana: rolled back",
            "note": "rolled back",
        },
    ],
    "missing": [{"what": "alarms", "why": "throttled"}, "Stack Overflow: the daily quota is used up"],
    "limits": ["The day's budget for models is used up."],
    "links": {
        "report": "https://s3.example.com/report.json?a=1&b=2",
        "logs": "https://console.example.com/logs",
        "execution": "https://console.example.com/execution",
    },
}
APPROVAL: dict[str, Any] = {
    "id": "approval-1",
    "script": "oncall-restart-service",
    "requested_by": "ben",
    "reason": "The queue grows.",
    "parameters": {"cluster": "prod", "token": "***"},
    "plan": [{"service": "ecs", "operation": "UpdateService", "parameters": {"cluster": "prod", "force": True}}],
    "risk": "high",
    "expires_at": 1_795_150_000,
}


def with_text(text: str) -> dict[str, Any]:
    """A report in which everything foreign is this text."""
    return {
        **REPORT,
        "title": text,
        "log_group": text,
        "log_stream": text,
        "grouped_by": {"rule": text, "reason": text},
        "error": {"type": text, "message": text, "language": text, "frames": [{"file": text, "function": text}] * 20},
        "context": [{"id": text[:20], "text": text, "is_error": True}] * 21,
        "answer": {
            "what_happened": text,
            "likely_cause": text,
            "next_steps": [text] * 10,
            "evidence": [{"line": text, "quote": text}] * 10,
            "links": [text] * 10,
        },
        "evidence": [
            {"kind": kind, "source": text, "text": text, "url": text}
            for kind in ("stack_overflow", "earlier_incident", "deployment")
        ]
        * 10,
        "missing": [{"what": text, "why": text}] * 10,
        "limits": [text] * 10,
        "doubts": [text] * 10,
        "note": text,
        "by": text,
        "model": text,
    }
