"""Cases in OpenSearch: one document each, under an id that follows from its cluster."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opensearchpy import OpenSearch, Urllib3AWSV4SignerAuth
from opensearchpy.exceptions import (
    AuthenticationException,
    AuthorizationException,
    ConnectionError,
    ImproperlyConfigured,
    NotFoundError,
    SerializationError,
    TransportError,
)
from opensearchpy.exceptions import ConflictError as VersionConflict

from watchfloor.errors import ConflictError, InvalidInputError, TransientError
from watchfloor.markup import Section, clean, to_markdown
from watchfloor.tickets import Draft, Ticket, case_is_open

# It warns of every 404, and a case that is not there yet is the usual thing.
logging.getLogger("opensearch").setLevel(logging.ERROR)

INDEX = "watchfloor-cases"
TIMEOUT_SECONDS = 20
_MAX_ALERTS = 1_000
_KEYWORD, _DATE, _LONG = {"type": "keyword"}, {"type": "date"}, {"type": "long"}
MAPPING: dict[str, Any] = {
    "dynamic": "strict",
    "properties": {
        "case_id": _KEYWORD,
        "cluster_id": _KEYWORD,
        "label": _KEYWORD,
        "title": {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}},
        "description": {"type": "text"},
        "status": _KEYWORD,
        "tags": _KEYWORD,
        "techniques": _KEYWORD,
        "tactics": _KEYWORD,
        "hosts": _KEYWORD,
        "campaign_id": _KEYWORD,
        "campaign_url": {"type": "keyword", "index": False},
        "alert_count": _LONG,
        "alert_ids": _KEYWORD,
        # Kept, not searched: one attacker's attributes must not decide the mapping.
        "alerts": {"type": "object", "enabled": False},
        "start_time": _DATE,
        "end_time": _DATE,
        "created_at": _DATE,
        "updated_at": _DATE,
        "comments": {"properties": {"text": {"type": "text"}, "created_at": _DATE}},
    },
}


class OpenSearchCases:
    """Cases of one OpenSearch domain; implements `watchfloor.ticketing.Tracker`.

    A cluster's n-th case is the document `<label>-<n>`, so creating it twice is the same as creating it once. Changes
    are made on condition that nobody changed the document meanwhile; status and comments of others stay.

    Parameters
    ----------
    url
        Of the domain.
    auth
        (user, password), or boto3 credentials to sign with.
    region
        AWS region of the domain, with boto3 credentials.
    """

    name = "opensearch"
    settle_seconds = 0.0

    def __init__(
        self, url: str, auth: tuple[str, str] | Any, region: str = "", timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self._url = url.rstrip("/")
        signer = auth if isinstance(auth, tuple) else Urllib3AWSV4SignerAuth(auth, region, "es")
        with self._errors("connect"):
            self._client = OpenSearch(
                [self._url], http_auth=signer, timeout=timeout, max_retries=1, retry_on_timeout=False
            )
            self._create_index()

    def _create_index(self) -> None:
        if self._client.indices.exists(index=INDEX):
            return
        try:
            self._client.indices.create(
                index=INDEX, body={"settings": {"index": {"number_of_shards": 1}}, "mappings": MAPPING}
            )
        except TransportError as error:
            if error.error != "resource_already_exists_exception":
                raise

    def find(self, ticket_id: str) -> Ticket | None:
        with self._errors(f"read {ticket_id}"):
            try:
                document = self._client.get(index=INDEX, id=ticket_id, _source_excludes=["alerts", "description"])
            except NotFoundError:
                return None
            return self._ticket(document, document["_source"]["status"])

    def search(self, label: str) -> Iterator[Ticket]:
        """All cases of the cluster, oldest first; read by id, so none is missing."""
        number = 1
        while ticket := self.find(f"{label}-{number}"):
            yield ticket
            number += 1

    def create(self, draft: Draft) -> Ticket:
        case_id = f"{draft.label}-{1 + sum(1 for _ in self.search(draft.label))}"
        now = _now()
        body = self._content(draft, now) | {
            "case_id": case_id,
            "cluster_id": draft.cluster_id,
            "label": draft.label,
            "title": draft.title,
            "status": "open",
            "tags": ["watchfloor"],
            "created_at": now,
            "comments": [],
        }
        with self._errors(f"create {case_id}"):
            document = self._client.create(index=INDEX, id=case_id, body=body)
            return self._ticket(document, "open")

    def update(self, ticket: Ticket, draft: Draft) -> None:
        """Overwrite the description, and the facts that go with it."""
        self._change(ticket, self._content(draft, _now()))

    def attach(self, ticket: Ticket, draft: Draft, is_new: bool) -> None:
        """Alerts are part of the document."""

    def comment_once(self, ticket_id: str, sentence: str, comment: Sequence[Section]) -> None:
        """Add a comment, unless one with this sentence is there; to a case that is gone, nothing."""
        ticket = self.find(ticket_id)
        if ticket is None:
            return
        comments = ticket.raw["_source"]["comments"]
        if not any(sentence in existing["text"] for existing in comments):
            comments.append({"text": to_markdown(comment), "created_at": _now()})
            try:
                self._change(ticket, {"comments": comments})
            except ConflictError as error:
                raise TransientError(f"OpenSearch: somebody else is changing {ticket_id}") from error

    def _change(self, ticket: Ticket, changes: dict[str, Any]) -> None:
        with self._errors(f"write {ticket.id}"):
            self._client.update(
                index=INDEX,
                id=ticket.id,
                body={"doc": changes},
                if_seq_no=ticket.raw["_seq_no"],
                if_primary_term=ticket.raw["_primary_term"],
            )

    @staticmethod
    def _content(draft: Draft, now: str) -> dict[str, Any]:
        cluster = draft.cluster
        return {
            "description": draft.description(to_markdown),
            "techniques": cluster["techniques"],
            "tactics": cluster["tactics"],
            "hosts": draft.hosts,
            "campaign_id": draft.flow["flow_id"] if draft.flow else None,
            "campaign_url": draft.campaign_url or None,
            "alert_count": cluster["total_alert_count"],
            "alert_ids": [str(alert_id)[:256] for alert_id in cluster["alert_ids"][:_MAX_ALERTS]],
            "alerts": [
                {
                    **{key: alert[key] for key in ("id", "time", "src", "dst", "techniques", "tactics")},
                    "name": clean(alert["name"]),
                }
                for alert in cluster["alerts"][:_MAX_ALERTS]
            ],
            "start_time": _iso(cluster["start_time"]),
            "end_time": _iso(cluster["end_time"]),
            "updated_at": now,
        }

    def _ticket(self, document: dict[str, Any], status: str) -> Ticket:
        url = f"{self._url}/{INDEX}/_doc/{document['_id']}"
        return Ticket(document["_id"], url, case_is_open(status), raw=document)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """The library's errors by our names."""
        try:
            yield
        except VersionConflict as error:
            raise ConflictError(f"OpenSearch: somebody else was faster to {doing}") from error
        except (AuthenticationException, AuthorizationException) as error:
            raise InvalidInputError(
                f"OpenSearch forbids to {doing} ({error.status_code}); give the function's role (or the user in"
                f" OpenSearchSecretArn) access to the index {INDEX}"
            ) from error
        except ConnectionError as error:
            raise TransientError(f"OpenSearch does not answer ({type(error).__name__}), trying to {doing}") from error
        except TransportError as error:
            if error.status_code in (408, 429) or int(error.status_code) >= 500:
                raise TransientError(f"OpenSearch could not {doing} ({error.status_code})") from error
            raise InvalidInputError(
                f"OpenSearch refused to {doing} ({error.status_code} {str(error.error)[:500]})"
            ) from error
        except (SerializationError, KeyError, TypeError) as error:
            raise TransientError(f"OpenSearch's answer cannot be read, trying to {doing}") from error
        except (ImproperlyConfigured, ValueError) as error:
            raise InvalidInputError(f"OpenSearchUrl {self._url!r} cannot be used: {error}") from error


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")


def _iso(seconds: float) -> str | None:
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return None
