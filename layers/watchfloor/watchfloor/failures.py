"""What a failed transform job means for the run. The one place where text decides."""

from __future__ import annotations

from watchfloor.errors import CapacityError, ModelError, TransientError, WatchfloorError

# SageMaker gives the reason of a failed job as text only; these are its prefixes.
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTransformJob.html
_CAPACITY = ("CapacityError", "ResourceLimitExceeded", "InsufficientCapacityError", "InsufficientInstanceCapacity")
_TRANSIENT = ("InternalServerError", "InternalFailure", "InternalError", "ServiceUnavailable", "ThrottlingException")


def failure_class(reason: str) -> type[WatchfloorError]:
    """Error class of a job's FailureReason: whether, and how, to try again."""
    if reason.startswith(_CAPACITY):
        return CapacityError
    if reason.startswith(_TRANSIENT):
        return TransientError
    return ModelError
