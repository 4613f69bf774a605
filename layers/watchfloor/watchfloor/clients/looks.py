"""Looks at things of which some are not there, and some may not be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code
from watchfloor.errors import NotFoundError

T = TypeVar("T")

_NOT_FOUND = {
    "ClusterNotFoundException",
    "DBInstanceNotFound",
    "DBInstanceNotFoundFault",
    "ResourceNotFoundException",
}
_DENIED = {"AccessDenied", "AccessDeniedException"}


class Looks:
    """Notes what the role may not look at, instead of ending with it."""

    def __init__(self) -> None:
        self._denied: dict[tuple[str, str], ClientError] = {}

    def at(self, kind: str, name: str, call: Callable[[], T]) -> T | None:
        """What an AWS call answers; None where there is nothing, or its role may not look."""
        try:
            return call()
        except NotFoundError:
            return None
        except ClientError as error:
            if error_code(error) in _DENIED:
                self._denied[kind, name] = error
            elif error_code(error) not in _NOT_FOUND:
                raise
            return None

    def denied(self) -> Iterator[tuple[str, str, str]]:
        """Kind and name of what may not be looked at, and why."""
        for (kind, name), error in self._denied.items():
            yield kind, name, error.response["Error"].get("Message") or error_code(error)

    def raise_denied(self) -> None:
        """Raise AWS's first denial, if there is one: for who has seen nothing at all."""
        for error in self._denied.values():
            raise error
