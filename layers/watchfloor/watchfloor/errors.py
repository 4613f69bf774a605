"""Errors by the field's names; the state machines' Retry and Catch name the same classes."""


class WatchfloorError(Exception):
    """Base of every error that Watchfloor raises on purpose."""


class InvalidInputError(WatchfloorError):
    """The input cannot be used; the message tells its owner what to mend. Never retried."""


class TransientError(WatchfloorError):
    """A service failed in a way that passes: throttled, unreachable, internal error. Retried as it is."""


class AccessDeniedError(WatchfloorError):
    """A role, or a key's policy, forbids it. Never retried."""


class CapacityError(WatchfloorError):
    """No capacity or quota for this instance type. Retried on the next type of the list."""


class ModelError(WatchfloorError):
    """The model failed on its input or answered outside its contract. Never retried."""


class ConflictError(WatchfloorError):
    """Somebody else changed the same thing first."""


class NotFoundError(WatchfloorError):
    """What was to be worked on is not there."""


class DeadlineError(WatchfloorError):
    """There was not time enough."""
