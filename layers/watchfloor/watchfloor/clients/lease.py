"""One run at a time per stream: whoever holds the oldest ticket has the lease."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from watchfloor.clients.executions import Executions
from watchfloor.clients.stream_table import StreamTable, Ticket


class Lease:
    def __init__(self, streams: StreamTable, executions: Executions) -> None:
        self._streams = streams
        self._executions = executions

    def wait(self, ticket: Ticket) -> None:
        """Queue a waiting task by its token, and call whoever's turn it is."""
        self._streams.put_ticket(ticket)
        self.call_next(ticket.stream)

    def release(self, stream: str, number: int) -> None:
        self._streams.remove_ticket(stream, number)
        self.call_next(stream)

    def call_next(self, stream: str) -> None:
        """Tell the head of the queue that it is its turn; tickets of executions that run no more are dropped."""
        for ticket in self._streams.queue(stream):
            if not self._executions.is_running(ticket.execution_arn):
                self._streams.remove_ticket(stream, ticket.number)
                continue
            if ticket.token:
                self._executions.succeed(ticket.token, {"ticket": ticket.number})
                self._streams.drop_token(ticket)
            return

    def sweep(self) -> int:
        """Keep those who wait alive, break leases of the dead; return how many wait.

        One that fails does not keep the others from their turn; the first failure is raised at the end.
        """
        waiting = [ticket for ticket in self._streams.all_tickets() if ticket.token]
        steps: list[Callable[[], object]] = [
            partial(self._executions.heartbeat, ticket.token or "") for ticket in waiting
        ]
        steps += [partial(self.call_next, stream) for stream in {ticket.stream for ticket in waiting}]
        failures: list[Exception] = []
        for step in steps:
            try:
                step()
            except Exception as error:  # noqa: BLE001 - raised when the others are done
                failures.append(error)
        if failures:
            raise failures[0]
        return len(waiting)
