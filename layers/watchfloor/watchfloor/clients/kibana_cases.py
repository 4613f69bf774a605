"""Cases of Elastic's Kibana, by its Cases API.

https://www.elastic.co/docs/api/doc/kibana/group/endpoint-cases
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import requests

from watchfloor.errors import ConflictError, InvalidInputError, TransientError
from watchfloor.markup import Section, clean, to_markdown
from watchfloor.tickets import Draft, Ticket, case_is_open

TIMEOUT = (5.0, 20.0)
# Kibana may still be at a request that we gave up (Elasticsearch gets 30 s), and the next refresh shows the case.
SETTLE_SECONDS = 60.0
MAX_ALERTS_PER_CASE = 1_000
_ALERTS_A_REQUEST = 100
_PAGE = 100
_APP = {
    "securitySolution": "/app/security/cases",
    "observability": "/app/observability/cases",
    "cases": "/app/management/insightsAndAlerting/cases",
}


class KibanaCases:
    """Cases of one Kibana space; implements `watchfloor.ticketing.Tracker`.

    Parameters
    ----------
    settings
        `url`; `api_key`, or `user` and `password`; optionally `space` and `owner` (securitySolution).
    secret_name
        What to name in an error that its owner mends by changing the settings.
    """

    name = "kibana"
    settle_seconds = SETTLE_SECONDS

    def __init__(
        self,
        settings: Mapping[str, str],
        secret_name: str = "the Kibana secret",
        timeout: tuple[float, float] = TIMEOUT,
    ) -> None:
        self._secret = secret_name
        self._timeout = timeout
        self._owner = settings.get("owner") or "securitySolution"
        if not settings.get("url") or not (
            settings.get("api_key") or (settings.get("user") and settings.get("password"))
        ):
            raise InvalidInputError(
                f"{secret_name} needs url, and api_key or user and password; docs/integrations.md shows its form"
            )
        if self._owner not in _APP:
            raise InvalidInputError(f"{secret_name}: owner must be one of {', '.join(_APP)}")
        space = settings.get("space") or "default"
        self._base = settings["url"].rstrip("/") + ("" if space == "default" else f"/s/{quote(space, safe='')}")
        self._session = requests.Session()
        self._session.headers["kbn-xsrf"] = "watchfloor"
        if settings.get("api_key"):
            self._session.headers["Authorization"] = f"ApiKey {settings['api_key']}"
        else:
            self._session.auth = (settings["user"], settings["password"])

    def find(self, ticket_id: str) -> Ticket | None:
        case = self._call("GET", f"/{quote(ticket_id, safe='')}", f"read case {ticket_id}", missing=True)
        return self._ticket(case) if case else None

    def search(self, label: str) -> list[Ticket]:
        """Cases with this tag, newest first; a new one may be missing for a moment."""
        query = {"tags": label, "owner": self._owner, "sortField": "createdAt", "sortOrder": "desc", "perPage": _PAGE}
        with self._readable("search"):
            cases = self._call("GET", "/_find", "search", params=query)["cases"]
            return [self._ticket(case) for case in cases if label in case["tags"]]

    def create(self, draft: Draft) -> Ticket:
        body = {
            "title": draft.title,
            "description": draft.description(to_markdown),
            "tags": ["watchfloor", draft.label],
            "owner": self._owner,
            "connector": {"id": "none", "name": "none", "type": ".none", "fields": None},
            # A case that is closed must not close alerts, nor an open one reopen them.
            "settings": {"syncAlerts": False},
        }
        return self._ticket(self._call("POST", "", "create a case", json=body))

    def update(self, ticket: Ticket, draft: Draft) -> None:
        """Overwrite the description of the version that was read."""
        change = {"id": ticket.id, "version": ticket.raw["version"], "description": draft.description(to_markdown)}
        self._call("PATCH", "", f"write case {ticket.id}", json={"cases": [change]}, unchanged=True)

    def attach(self, ticket: Ticket, draft: Draft, is_new: bool) -> None:
        """Attach the alerts that live in Elasticsearch (`_id` and `_index`) and are not attached yet."""
        alerts = {
            alert["raw"]["_id"]: alert
            for alert in draft.cluster["alerts"]
            if isinstance(alert.get("raw"), dict) and _is_text(alert["raw"].get("_id"), alert["raw"].get("_index"))
        }
        if not alerts:
            return
        doing = f"attach alerts to case {ticket.id}"
        with self._readable(doing):
            attached = {row["id"] for row in self._call("GET", f"/{quote(ticket.id, safe='')}/alerts", doing)}
        room = MAX_ALERTS_PER_CASE - len(attached)
        new = [alert for alert_id, alert in alerts.items() if alert_id not in attached][: max(room, 0)]
        new.sort(key=lambda alert: alert["name"])
        for start in range(0, len(new), _ALERTS_A_REQUEST):
            self._comment(ticket.id, doing, _attachment(new[start : start + _ALERTS_A_REQUEST]))

    def comment_once(self, ticket_id: str, sentence: str, comment: Sequence[Section]) -> None:
        """Comment, unless a comment with this sentence is there; on a case that is gone, nothing."""
        if self.find(ticket_id) is None or any(sentence in text for text in self._comments(ticket_id)):
            return
        self._comment(ticket_id, f"comment on case {ticket_id}", {"type": "user", "comment": to_markdown(comment)})

    def _comments(self, ticket_id: str) -> Iterator[str]:
        path, doing = f"/{quote(ticket_id, safe='')}/comments/_find", f"read comments of case {ticket_id}"
        page, left = 1, 1
        while left > 0:
            with self._readable(doing):
                found = self._call("GET", path, doing, params={"page": page, "perPage": _PAGE})
                yield from [comment["comment"] for comment in found["comments"] if comment["type"] == "user"]
                left = found["total"] - page * _PAGE
            page += 1

    def _comment(self, ticket_id: str, doing: str, body: dict[str, Any]) -> None:
        path = f"/{quote(ticket_id, safe='')}/comments"
        try:
            self._call("POST", path, doing, json={**body, "owner": self._owner})
        except ConflictError as error:
            raise TransientError(f"Kibana: somebody else is changing case {ticket_id}") from error

    def _ticket(self, case: dict[str, Any]) -> Ticket:
        with self._readable("read a case"):
            url = f"{self._base}{_APP[self._owner]}/{case['id']}"
            return Ticket(case["id"], url, case_is_open(case["status"]), raw=case)

    def _call(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        missing: bool = False,
        unchanged: bool = False,
    ) -> Any:
        """One request; None for 404 where `missing` is borne, and for 406 (nothing new) where `unchanged` is."""
        try:
            response = self._session.request(
                method, f"{self._base}/api/cases{path}", params=params, json=json, timeout=self._timeout
            )
            status = response.status_code
            if (status == 404 and missing) or (status == 406 and unchanged):
                return None
            if status >= 400:
                raise self._refusal(response, doing)
            return response.json()
        except (requests.JSONDecodeError, UnicodeDecodeError) as error:
            raise TransientError(f"Kibana's answer cannot be read, trying to {doing}") from error
        except requests.RequestException as error:
            raise TransientError(f"Kibana does not answer ({type(error).__name__}), trying to {doing}") from error

    def _refusal(self, response: requests.Response, doing: str) -> Exception:
        status, said = response.status_code, " ".join(response.text.split())[:500]
        if status == 409:
            return ConflictError(f"Kibana: somebody else was faster to {doing}")
        if status == 401:
            return InvalidInputError(
                f"Kibana refused the credentials in {self._secret} (401); renew them and store them there"
            )
        if status == 403:
            return InvalidInputError(
                f"Kibana forbids the user of {self._secret} to {doing} (403 {said}); grant it All on Cases for"
                f" {self._owner}"
            )
        if status == 429 or status >= 500:
            after = response.headers.get("Retry-After")
            return TransientError(
                f"Kibana could not {doing} ({status} {said})"
                + (f"; it asks for {after} s of patience" if after else "")
            )
        return InvalidInputError(f"Kibana refused to {doing} ({status} {said})")

    @staticmethod
    @contextmanager
    def _readable(doing: str) -> Iterator[None]:
        try:
            yield
        except (KeyError, TypeError) as error:
            raise TransientError(f"Kibana's answer cannot be read, trying to {doing}") from error


def _is_text(*values: object) -> bool:
    return all(isinstance(value, str) and value for value in values)


def _attachment(alerts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One attachment for all of them; it has room for one rule's name."""
    names = {clean(alert["name"]) for alert in alerts}
    return {
        "type": "alert",
        "alertId": [alert["raw"]["_id"] for alert in alerts],
        "index": [alert["raw"]["_index"] for alert in alerts],
        "rule": {"id": None, "name": names.pop() if len(names) == 1 else None},
    }
