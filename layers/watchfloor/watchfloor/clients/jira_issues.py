"""Jira issues, of Jira Cloud (REST v3, text as ADF) and Jira Data Center (REST v2, text as wiki markup)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from jira import JIRA, JIRAError
from jira.resources import Issue

from watchfloor.errors import InvalidInputError, TransientError
from watchfloor.markup import Section, to_adf, to_wiki
from watchfloor.tickets import Draft, Ticket, issue_is_open

# (connect, read) in seconds. The library's own default is no timeout at all.
TIMEOUT = (5.0, 20.0)
# Our label search decides whether an issue is created, so Jira Cloud's index must have caught up.
SETTLE_SECONDS = 60.0
_PERMISSIONS = {
    "BROWSE_PROJECTS": "Browse Projects",
    "CREATE_ISSUES": "Create Issues",
    "EDIT_ISSUES": "Edit Issues",
    "ADD_COMMENTS": "Add Comments",
    "CREATE_ATTACHMENTS": "Create Attachments",
}
_FIELDS = "status,labels,attachment"


class JiraIssues:
    """Issues of one Jira project; implements `watchfloor.ticketing.Tracker`.

    Parameters
    ----------
    settings
        `url`, `project`, optionally `issue_type` (Task); and `user` and `token` for Cloud, or `pat` for Data Center.
    secret_name
        What to name in an error that its owner mends by changing the settings.

    Raises
    ------
    InvalidInputError
        Settings, credentials or permissions do not suffice; the message says what to mend.
    TransientError
        Jira does not answer, or wants to be asked later.
    """

    name = "jira"
    settle_seconds = SETTLE_SECONDS

    def __init__(
        self, settings: Mapping[str, str], secret_name: str = "the Jira secret", timeout: tuple[float, float] = TIMEOUT
    ) -> None:
        self._secret = secret_name
        is_cloud = "pat" not in settings
        needed = ("url", "project", "user", "token") if is_cloud else ("url", "project", "pat")
        if missing := [key for key in needed if not settings.get(key)]:
            raise InvalidInputError(f"{secret_name} lacks {', '.join(missing)}; docs/integrations.md shows its form")
        self._project = settings["project"]
        self._issue_type = settings.get("issue_type") or "Task"
        self._write: Callable[[Sequence[Section]], Any] = to_adf if is_cloud else to_wiki
        credentials: dict[str, Any] = (
            {"basic_auth": (settings["user"], settings["token"])} if is_cloud else {"token_auth": settings["pat"]}
        )
        with self._errors("connect", {404: f"the url in {secret_name} leads to no Jira"}):
            # A retry inside of the library could create an issue twice, so it gets none.
            self._jira = JIRA(
                options={"server": settings["url"], "rest_api_version": "3" if is_cloud else "2"},
                max_retries=0,
                timeout=timeout,
                logging=False,
                **credentials,
            )
        # The library searches where Jira Cloud answers 410, unless it was told that this is Jira Cloud.
        if (self._jira.deploymentType == "Cloud") != is_cloud:
            raise InvalidInputError(
                f"{settings['url']} is Jira {self._jira.deploymentType}, but {secret_name} holds credentials for"
                f" Jira {'Cloud (user, token)' if is_cloud else 'Data Center (pat)'}"
            )
        self._check_permissions()

    def _check_permissions(self) -> None:
        unknown = f"{self._secret}: Jira knows no project {self._project}, or hides it from this user"
        with self._errors("read permissions", {404: unknown, 400: unknown}):
            granted = self._jira.my_permissions(projectKey=self._project, permissions=",".join(_PERMISSIONS))
        rows = granted.get("permissions", {})
        if lacking := [name for key, name in _PERMISSIONS.items() if not rows.get(key, {}).get("havePermission", True)]:
            raise InvalidInputError(
                f"the Jira user of {self._secret} lacks {', '.join(lacking)} in project {self._project};"
                " grant them, or correct the user or token"
            )

    def find(self, ticket_id: str) -> Ticket | None:
        with self._errors(f"read {ticket_id}"):
            try:
                return self._ticket(self._jira.issue(ticket_id, fields=_FIELDS))
            except JIRAError as error:
                if error.status_code == 404:
                    return None
                raise

    def search(self, label: str) -> list[Ticket]:
        """Issues with this label, newest first; Jira Cloud's index lags behind."""
        query = f'project = "{self._project}" AND labels = "{label}" ORDER BY created DESC'
        with self._errors("search"):
            issues = self._jira.search_issues(query, maxResults=100, fields=_FIELDS)
            if not isinstance(issues, list):
                raise TransientError("Jira's search did not answer with issues")
            return [self._ticket(issue) for issue in issues if label in issue.fields.labels]

    def create(self, draft: Draft) -> Ticket:
        fields = {
            "project": {"key": self._project},
            "issuetype": {"name": self._issue_type},
            "summary": draft.title,
            "description": draft.description(self._write),
            "labels": ["watchfloor", draft.label],
        }
        with self._errors("create an issue"):
            issue = self._jira.create_issue(fields=fields, prefetch=False)
            return Ticket(issue.key, self._url(issue.key), is_open=True)

    def update(self, ticket: Ticket, draft: Draft) -> None:
        """Overwrite the description."""
        fields = {"description": draft.description(self._write)}
        with self._errors(f"write {ticket.id}"):
            ticket.raw.update(fields=fields)

    def attach(self, ticket: Ticket, draft: Draft, is_new: bool) -> None:
        """Give a new issue its alerts as CSV, once."""
        if not is_new or not draft.cluster["alerts"]:
            return
        file = io.BytesIO(draft.csv())
        with self._errors(f"attach alerts to {ticket.id}"):
            # One that was created just now was not read, and has none.
            attachments = getattr(ticket.raw.fields, "attachment", []) if ticket.raw else []
            if all(attachment.filename != draft.csv_name for attachment in attachments):
                self._jira.add_attachment(ticket.id, file, draft.csv_name)  # type: ignore[arg-type]

    def comment_once(self, ticket_id: str, sentence: str, comment: Sequence[Section]) -> None:
        """Comment, unless a comment with this sentence is there; on an issue that is gone, nothing."""
        with self._errors(f"comment on {ticket_id}"):
            try:
                comments = self._jira.comments(ticket_id, max_results=5_000)
            except JIRAError as error:
                if error.status_code == 404:
                    return
                raise
            if not any(sentence in _text(existing.raw["body"]) for existing in comments):
                self._jira.add_comment(ticket_id, self._write(comment))

    def _ticket(self, issue: Issue) -> Ticket:
        status = issue.fields.status
        is_open = issue_is_open(status.name, status.statusCategory.key)
        return Ticket(issue.key, self._url(issue.key), is_open, raw=issue)

    def _url(self, key: str) -> str:
        return f"{self._jira.server_url}/browse/{key}"

    @contextmanager
    def _errors(self, doing: str, meanings: Mapping[int, str] = {}) -> Iterator[None]:
        """The library's errors by our names. `meanings` explains statuses that have a special one here."""
        try:
            yield
        except JIRAError as error:
            raise self._translated(error, doing, meanings) from error
        except requests.RequestException as error:
            raise TransientError(f"Jira does not answer ({type(error).__name__}), trying to {doing}") from error
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            # What answers is no Jira right now: a proxy's or a maintenance page.
            raise TransientError(f"Jira's answer cannot be read ({type(error).__name__}), trying to {doing}") from error

    def _translated(self, error: JIRAError, doing: str, meanings: Mapping[int, str]) -> Exception:
        status = error.status_code or 0
        said = " ".join((error.text or "").split())[:500]
        if status in meanings:
            return InvalidInputError(f"{meanings[status]} ({status} {said})")
        if status == 401:
            return InvalidInputError(
                f"Jira refused the credentials in {self._secret} (401 {said}); renew the token and store it there"
            )
        if status == 403:
            return InvalidInputError(
                f"Jira forbids the user of {self._secret} to {doing} (403 {said}); grant the permission in project"
                f" {self._project}, and log in once by browser if Jira asks for a CAPTCHA"
            )
        if status == 429 or status >= 500 or not status:
            after = error.response.headers.get("Retry-After") if error.response is not None else None
            return TransientError(
                f"Jira could not {doing} ({status} {said})" + (f"; it asks for {after} s of patience" if after else "")
            )
        return InvalidInputError(f"Jira refused to {doing} ({status} {said})")


def _text(body: Any) -> str:
    """Plain text of a comment: wiki markup as it is, ADF without its structure."""
    if isinstance(body, str):
        return body
    return body.get("text", "") + "".join(_text(node) for node in body.get("content", []))
