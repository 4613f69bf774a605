"""Dead letters on their way back, as SQS tells of it (ListMessageMoveTasks)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from watchfloor.errors import ConflictError, DeadlineError, InvalidInputError, WatchfloorError
from watchfloor.queues import Queue


class MoveFailedError(WatchfloorError):
    """SQS gave up the move."""


def check_move(queue: Queue, sources: Sequence[str], newest: Mapping[str, Any], to_queue_name: str | None) -> None:
    """Refuse a move out of what is no dead-letter queue, into itself, or beside another one.

    Parameters
    ----------
    sources
        Queues whose dead letters it holds.
    newest
        The last move out of it, empty where there was none.
    """
    if not sources:
        raise ConflictError(f"{queue.name} is no dead-letter queue: no queue names it in its redrive policy")
    if newest.get("Status") in ("RUNNING", "CANCELLING"):
        raise ConflictError(f"messages of {queue.name} are being moved already: {progress(newest)}")
    if to_queue_name == queue.name:
        raise InvalidInputError("to_queue_name: is the dead-letter queue itself")


def is_over(move: Mapping[str, Any]) -> bool:
    """A move that was asked for just now may not be listed yet."""
    return bool(move) and move["Status"] not in ("RUNNING", "CANCELLING")


def outcome(move: Mapping[str, Any], before: Queue, after: Queue, waited_seconds: int) -> dict[str, Any]:
    """What came of a move; raises where SQS gave it up, or it goes on after a wait."""
    status, moved = move.get("Status"), move.get("ApproximateNumberOfMessagesMoved", 0)
    if status == "FAILED":
        raise MoveFailedError(f"SQS gave up: {move.get('FailureReason', 'no reason given')}; {progress(move)}")
    if status != "COMPLETED" and waited_seconds:
        raise DeadlineError(
            f"the move of {before.name} still goes on after {waited_seconds} s, and will: {progress(move)}"
        )
    return {
        "move_status": status,
        "moved_count": moved,
        "left_count": after.visible,
        # Fewer than were counted: received, expired or deleted by somebody meanwhile.
        "missing_count": max(0, before.visible - moved - after.visible) if status == "COMPLETED" else None,
    }


def progress(move: Mapping[str, Any]) -> str:
    """How far a move is, and how to end it."""
    moved, all_of = move.get("ApproximateNumberOfMessagesMoved", 0), move.get("ApproximateNumberOfMessagesToMove", "?")
    told = f"{move.get('Status', 'not begun')}, {moved} of {all_of} messages moved"
    if move.get("Status") == "RUNNING" and "TaskHandle" in move:
        told += f"; `aws sqs cancel-message-move-task --task-handle {move['TaskHandle']}` ends it"
    return told
