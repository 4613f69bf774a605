"""Dead letters on their way back: what is refused, and what came of it."""

import pytest

from tests.unit.test_queues import queue
from watchfloor.errors import ConflictError, DeadlineError, InvalidInputError
from watchfloor.queue_moves import MoveFailedError, check_move, is_over, outcome

RUNNING = {"Status": "RUNNING", "TaskHandle": "handle", "ApproximateNumberOfMessagesMoved": 1}


@pytest.mark.parametrize(
    ("sources", "newest", "to", "error"),
    [
        ([], {}, None, ConflictError),
        (["shop"], RUNNING, None, ConflictError),
        (["shop"], {"Status": "CANCELLING"}, None, ConflictError),
        (["shop"], {}, "orders", InvalidInputError),
    ],
)
def test_move_that_is_refused(sources, newest, to, error):
    with pytest.raises(error):
        check_move(queue(), sources, newest, to)


def test_move_after_another_one_is_allowed():
    check_move(queue(), ["shop"], {"Status": "COMPLETED"}, "shop")


def test_move_is_over_once_sqs_lists_it_and_it_does_not_run():
    assert [is_over(move) for move in ({}, RUNNING, {"Status": "COMPLETED"}, {"Status": "FAILED"})] == [
        False,
        False,
        True,
        True,
    ]


def test_outcome_counts_what_is_neither_moved_nor_left():
    done = {"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": 5}
    found = outcome(done, queue(visible=9), queue(visible=1), 60)
    assert found == {"move_status": "COMPLETED", "moved_count": 5, "left_count": 1, "missing_count": 3}
    assert outcome(RUNNING, queue(visible=9), queue(visible=8), 0)["missing_count"] is None


def test_outcome_of_a_move_that_failed_or_takes_longer_is_an_error():
    with pytest.raises(MoveFailedError, match="AccessDenied"):
        outcome({"Status": "FAILED", "FailureReason": "AccessDenied"}, queue(), queue(), 60)
    for move, says in ((RUNNING, "--task-handle handle"), ({}, "not begun")):
        with pytest.raises(DeadlineError, match=says):
            outcome(move, queue(), queue(), 60)
