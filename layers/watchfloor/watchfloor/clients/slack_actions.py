"""Does what people press in Slack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from watchfloor.approvals import Verdict, check_approver, person_of_slack, still_to_come
from watchfloor.buttons import VERDICTS, Action, edit_of
from watchfloor.clients.approval_table import ApprovalTable
from watchfloor.clients.executions import Executions
from watchfloor.clients.incident_table import IncidentTable
from watchfloor.clients.slack import Slack, approvers
from watchfloor.errors import AccessDeniedError, ConflictError, InvalidInputError, NotFoundError
from watchfloor.foreign_text import Mrkdwn
from watchfloor.incidents import merge
from watchfloor.messages import MERGE, MERGE_CHOSEN, RESOLVE, merge_view, resolve_view

# Slack gives three seconds for an answer; there is none to be patient with.
_TIMEOUT_SECONDS = 2


class SlackActions:
    """`settings` is the Slack secret; `refresh` has an incident's message brought up to date, and does not wait for it."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        incidents: IncidentTable,
        approvals: ApprovalTable,
        executions: Executions,
        refresh: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._incidents = incidents
        self._approvals = approvals
        self._executions = executions
        self._refresh = refresh

    def take(self, action: Action, now: float) -> dict[str, Any] | None:
        """Do it, and return what Slack is to be answered, if anything; what nobody knows here does nothing.

        Raises
        ------
        InvalidInputError
            It asks for what cannot be done, or the secret is not as it must be.
        """
        if edit := edit_of(action, now):
            self._incidents.change(action.value, edit)
            self._refresh(action.value)
        elif action.action_id == MERGE_CHOSEN:
            return self._merge(action, now)
        elif action.action_id in (RESOLVE, MERGE):
            self._slack().open_view(action.trigger_id, self._view(action))
        elif action.action_id in VERDICTS:
            self._decide(action, VERDICTS[action.action_id])
        return None

    def _merge(self, action: Action, now: float) -> dict[str, Any] | None:
        try:
            self._incidents.merge(action.value, action.selected, partial(merge, by=action.user_name, now=now))
        except (ConflictError, InvalidInputError) as error:
            return {"response_action": "errors", "errors": {"into": str(error)}}
        self._refresh(action.value)
        return None

    def _view(self, action: Action) -> dict[str, Any]:
        """The window that asks for what a button alone does not say."""
        title = self._incidents.get(action.value).title
        if action.action_id == RESOLVE:
            return resolve_view(action.value, title, action.channel, action.message_ts)
        others = [(row["fingerprint"], row["title"]) for row in self._incidents.recent()]
        return merge_view(action.value, title, others, action.channel, action.message_ts)

    def _decide(self, action: Action, verdict: Verdict) -> None:
        """On a script that waits for an approval; the machine that waits brings the message up to date."""
        slack, chosen = self._slack(), approvers(self._settings)
        try:
            user = slack.colleague(action.user_id)
            check_approver(user.id, verdict, chosen)
            person = person_of_slack(user.id, action.user_name, user.email)
            told = still_to_come(self._approvals.decide(self._executions, action.value, person, verdict))
        except (AccessDeniedError, ConflictError, NotFoundError) as error:
            told = str(error)
        if told:
            slack.tell(action.channel, action.user_id, Mrkdwn().line(told, 500))

    def _slack(self) -> Slack:
        return Slack(self._settings, timeout_seconds=_TIMEOUT_SECONDS, patience_seconds=0)
