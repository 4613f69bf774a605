"""What people mean who press a button of a message, choose from its list, or submit the window that it opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from watchfloor.approvals import Verdict
from watchfloor.errors import InvalidInputError
from watchfloor.incidents import Incident, acknowledge, resolve, silence
from watchfloor.messages import ACKNOWLEDGE, APPROVE, REFUSE, RESOLVE_NOTED, SILENCE, SILENCES

# What the buttons under a question say of the script that waits for its approval.
VERDICTS: dict[str, Verdict] = {APPROVE: "approved", REFUSE: "refused"}


@dataclass(frozen=True)
class Action:
    """A button pressed, a choice made, or a window submitted.

    Attributes
    ----------
    action_id
        Of the button or select; of a window its callback id.
    value
        Fingerprint or approval id, as the message or the window carries it.
    user_id, user_name
        Who it was. The name is for showing; it proves nothing.
    channel, message_ts
        The message with the button; of a window, the one whose button opened it. May be empty.
    trigger_id
        Opens a window, for three seconds.
    selected
        What was chosen in a select.
    inputs
        What a window's fields hold, by block id.
    """

    action_id: str
    value: str
    user_id: str
    user_name: str
    channel: str = ""
    message_ts: str = ""
    trigger_id: str = ""
    selected: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    response_url: str = field(default="", repr=False)


def edit_of(action: Action, now: float) -> Callable[[Incident], Incident] | None:
    """What it changes of its incident; None for what changes no incident, or two at once.

    Raises
    ------
    InvalidInputError
        It asks for a time of silence that nobody was offered.
    """
    by = action.user_name
    if action.action_id == ACKNOWLEDGE:
        return partial(acknowledge, by=by, now=now)
    if action.action_id == SILENCE:
        if action.selected not in SILENCES:
            raise InvalidInputError(f"no time to be silent: {action.selected[:20]!r}")
        return partial(silence, by=by, until=now + SILENCES[action.selected], now=now)
    if action.action_id == RESOLVE_NOTED:
        return partial(resolve, by=by, note=action.inputs.get("note", ""), now=now)
    return None
