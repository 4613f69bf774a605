"""What people mean who press something in Slack."""

import pytest

from watchfloor.buttons import VERDICTS, Action, edit_of
from watchfloor.errors import InvalidInputError
from watchfloor.incidents import Incident
from watchfloor.messages import (
    ACKNOWLEDGE,
    APPROVE,
    MERGE,
    MERGE_CHOSEN,
    REFUSE,
    RESOLVE,
    RESOLVE_NOTED,
    SILENCE,
)

NOW = 1_795_176_000.0
INCIDENT = Incident("f" * 16, version=1, generation=1, started=1, title="KeyError: 'id'")


def pressed(action_id: str, **more) -> Action:
    return Action(action_id, INCIDENT.fingerprint, user_id="U0ANA", user_name="ana", **more)


def changed(action: Action) -> Incident:
    edit = edit_of(action, NOW)
    assert edit
    return edit(INCIDENT)


def test_acknowledge_says_who_and_when():
    after = changed(pressed(ACKNOWLEDGE))
    assert (after.status, after.by, after.changed_at) == ("acknowledged", "ana", NOW)


@pytest.mark.parametrize(("chosen", "hours"), [("1h", 1), ("4h", 4), ("24h", 24), ("7d", 168)])
def test_silence_lasts_as_long_as_was_chosen(chosen, hours):
    after = changed(pressed(SILENCE, selected=chosen))
    assert (after.status, after.by, after.until) == ("silenced", "ana", NOW + hours * 3_600)


@pytest.mark.parametrize("chosen", ["", "1000d", "-1h"])
def test_silence_for_a_time_that_was_not_offered_is_refused(chosen):
    with pytest.raises(InvalidInputError, match="no time to be silent"):
        edit_of(pressed(SILENCE, selected=chosen), NOW)


@pytest.mark.parametrize(("inputs", "note"), [({"note": "a new certificate"}, "a new certificate"), ({}, "")])
def test_submitted_window_resolves_with_its_note(inputs, note):
    after = changed(pressed(RESOLVE_NOTED, inputs=inputs))
    assert (after.status, after.by, after.note) == ("resolved", "ana", note)


@pytest.mark.parametrize("action_id", [RESOLVE, MERGE, MERGE_CHOSEN, APPROVE, REFUSE, "somebody_else_s"])
def test_what_asks_back_merges_or_decides_changes_no_incident_by_itself(action_id):
    assert edit_of(pressed(action_id), NOW) is None


def test_only_the_buttons_of_a_question_decide():
    assert VERDICTS == {APPROVE: "approved", REFUSE: "refused"}
