"""Sandbox twins of the services that Watchfloor talks to: stateful, with the vendors' rules, on 127.0.0.1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from local.twins.jira import JiraTwin
from local.twins.kibana import KibanaTwin
from local.twins.openai import OpenAiTwin
from local.twins.opensearch import OpenSearchTwin
from local.twins.server import Twin
from local.twins.slack import SlackTwin
from local.twins.stack_exchange import StackExchangeTwin


class Twins:
    """All twins together; a context manager.

    Parameters
    ----------
    state_dir
        Where each twin keeps its state from one start to the next; None forgets it.
    ports
        Fixed ports by twin ("jira", "kibana", "opensearch", "slack", "openai", "stack_exchange"); a free one where none
        is given.
    """

    def __init__(self, state_dir: Path | None = None, ports: Mapping[str, int] | None = None) -> None:
        ports = ports or {}
        self.jira = JiraTwin(_file(state_dir, "jira"), ports.get("jira", 0))
        self.kibana = KibanaTwin(_file(state_dir, "kibana"), ports.get("kibana", 0))
        self.opensearch = OpenSearchTwin(_file(state_dir, "opensearch"), ports.get("opensearch", 0))
        self.slack = SlackTwin(_file(state_dir, "slack"), ports.get("slack", 0))
        self.openai = OpenAiTwin(_file(state_dir, "openai"), ports.get("openai", 0))
        self.stack_exchange = StackExchangeTwin(_file(state_dir, "stack_exchange"), ports.get("stack_exchange", 0))
        self._all: dict[str, Twin] = {
            "jira": self.jira,
            "kibana": self.kibana,
            "opensearch": self.opensearch,
            "slack": self.slack,
            "openai": self.openai,
            "stack_exchange": self.stack_exchange,
        }

    def start(self) -> Self:
        for twin in self._all.values():
            twin.start()
        return self

    def stop(self) -> None:
        for twin in self._all.values():
            twin.stop()

    @property
    def urls(self) -> dict[str, str]:
        return {name: twin.url for name, twin in self._all.items()}

    @property
    def secrets(self) -> dict[str, dict[str, Any]]:
        """What Secrets Manager has to hold for the pipeline to reach the twins."""
        return {name: twin.secret for name, twin in self._all.items()}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _file(state_dir: Path | None, name: str) -> Path | None:
    return state_dir / f"{name}.json" if state_dir else None


__all__ = ["JiraTwin", "KibanaTwin", "OpenAiTwin", "OpenSearchTwin", "SlackTwin", "StackExchangeTwin", "Twins"]
