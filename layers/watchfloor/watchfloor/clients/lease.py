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
        head = next((ticket for ticket in alive if ticket.holds), alive[0] if alive else None)
        # Marked before it is told, and told until that is noted: whoever dies in between, the next one here goes on.
        if head and head.token and self._streams.give_lease(head):
            self._executions.succeed(head.token, {"ticket": head.number})
            self._streams.end_wait(head)

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
