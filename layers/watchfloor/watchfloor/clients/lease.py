"""One run at a time per stream, in the order of their tickets."""

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
        """Tell the oldest that it is its turn, unless one has it; tickets of executions that run no more are dropped."""
        alive = []
        for ticket in self._streams.queue(stream):
            if self._executions.is_running(ticket.execution_arn):
                alive.append(ticket)
            else:
                self._streams.remove_ticket(stream, ticket.number)
        # A ticket drawn earlier may be stored later than the one that holds the lease by now.
        if any(ticket.holds for ticket in alive):
            return
        if alive and alive[0].token:
            heard = self._executions.succeed(alive[0].token, {"ticket": alive[0].number})
            self._streams.end_wait(alive[0], holds=heard)

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
