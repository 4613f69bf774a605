"""What an execution of error triage left in S3 so far, by what its state says it did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from watchfloor.clients.documents import Documents
from watchfloor.layout import IncidentLayout


class IncidentDocuments:
    """
    Parameters
    ----------
    state
        The execution's state: `fingerprint`, `generation`, and the outcomes of the steps so far. A step that failed
        has left nothing that could be counted on.
    """

    def __init__(self, documents: Documents, state: Mapping[str, Any]) -> None:
        self._documents = documents
        self._state = state
        self.layout = IncidentLayout(state["fingerprint"], state["generation"])

    def case(self) -> dict[str, Any]:
        """The error and how it was grouped."""
        return self._documents.read_json(self.layout.error)

    def context(self) -> dict[str, Any] | None:
        return self._of(self._state.get("context"), self.layout.context)

    def evidence(self) -> list[dict[str, Any]]:
        """Earlier incidents, then Stack Overflow."""
        parts = self._state.get("evidence") or {}
        return [
            *(self._of(parts.get("earlier_incidents"), self.layout.evidence_earlier_incidents) or []),
            *(self._of(parts.get("stack_overflow"), self.layout.evidence_stack_overflow) or []),
        ]

    def answer(self) -> dict[str, Any] | None:
        return self._of(self._state.get("answer"), self.layout.answer)

    def _of(self, part: Mapping[str, Any] | None, key: str) -> Any:
        return self._documents.read_json(key) if part and "Error" not in part else None
