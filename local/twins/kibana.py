"""Sandbox twin of Kibana's Cases API (Elastic Stack 8 and 9).

Rules from the API's reference and the validation in the Cases plugin: strict bodies, lengths, optimistic versions,
406 for an update without a change, at most 1,000 alerts a case, no alerts on a closed case.
"""

from __future__ import annotations

import base64
import html
import json
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Request, Response

from local.twins.server import Json, Refusal, Twin, basic_credentials, json_body

API_KEY, USER, PASSWORD = "dHdpbjpraWJhbmE=", "elastic", "twin-kibana-password"
SPACES = ("default", "soc")
OWNERS = ("securitySolution", "observability", "cases")
STATUSES = ("open", "in-progress", "closed")
MAX_TITLE, MAX_DESCRIPTION, MAX_COMMENT, MAX_TAG, MAX_TAGS = 160, 30_000, 30_000, 256, 200
MAX_ALERTS_PER_CASE = 1_000
_SEVERITIES = ("low", "medium", "high", "critical")
_USER = {"email": None, "full_name": None, "username": USER, "profile_uid": None}
_CREATE = {"title", "description", "tags", "connector", "settings", "owner"}
_OPTIONAL = {"assignees", "severity", "category", "customFields"}
_FIND = {"tags", "status", "owner", "sortField", "sortOrder", "page", "perPage", "search", "searchFields", "from", "to"}
_SORT = {"createdAt": "created_at", "updatedAt": "updated_at", "title": "title", "status": "status"}


class KibanaTwin(Twin):
    """
    Attributes
    ----------
    index_lag_seconds
        How long `_find` does not see a new case.
    """

    def __init__(self, state_file: Path | None = None, port: int = 0) -> None:
        self.index_lag_seconds = 0.0
        super().__init__(state_file, port)

    @property
    def secret(self) -> Json:
        return {"url": self.url, "api_key": API_KEY}

    def empty_state(self) -> Json:
        return {"cases": {}, "sequence": 0}

    def cases(self) -> list[Json]:
        """All cases as held, oldest first; `space`, `comments` and `created_epoch` included."""
        with self.lock:
            return list(self.state["cases"].values())

    def set_status(self, case_id: str, status: str) -> None:
        """Change a case's status, as a user would by hand."""
        with self.lock:
            case = self.state["cases"][case_id]
            case["status"] = status
            self._touch(case)

    def routes(self) -> Iterable[tuple[str, str, Callable[..., Any]]]:
        yield "GET", "/", self._page
        for space in ("", "/s/<space>"):
            base = f"{space}/api/cases"
            yield "POST", base, self._create
            yield "PATCH", base, self._update
            yield "GET", f"{base}/_find", self._find
            yield "GET", f"{base}/<case_id>", self._get
            yield "GET", f"{base}/<case_id>/alerts", self._alerts
            yield "POST", f"{base}/<case_id>/comments", self._add_comment
            yield "GET", f"{base}/<case_id>/comments/_find", self._find_comments

    def authenticate(self, request: Request) -> None:
        if request.path == "/":
            return
        if request.method not in ("GET", "HEAD") and not request.headers.get("kbn-xsrf"):
            raise _refuse(400, "Request must contain a kbn-xsrf header.")
        if request.headers.get("Authorization") == f"ApiKey {API_KEY}":
            return
        if basic_credentials(request) != (USER, PASSWORD):
            raise _refuse(401, "[security_exception]: unable to authenticate with provided credentials")

    def not_found(self, request: Request) -> Refusal:
        return _refuse(404, "Not Found")

    # --- cases

    def _create(self, request: Request, space: str = "default") -> Json:
        body = json_body(request, _bad)
        _keys(body, required=_CREATE, optional=_OPTIONAL)
        _check(body)
        self.state["sequence"] += 1
        case_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"twin/{self.state['sequence']}"))
        now = self._time()
        case = {
            "id": case_id,
            "title": body["title"].strip(),
            "description": body["description"].strip(),
            "tags": [tag.strip() for tag in body["tags"]],
            "connector": body["connector"],
            "settings": body["settings"],
            "owner": body["owner"],
            "severity": body.get("severity", "low"),
            "assignees": body.get("assignees", []),
            "category": body.get("category"),
            "customFields": body.get("customFields", []),
            "status": "open",
            "space": _space(space),
            "created_at": now,
            "created_epoch": self.clock(),
            "updated_at": None,
            "comments": [],
        }
        self.state["cases"][case_id] = case
        self._touch(case, updated=False)
        return _bean(case)

    def _update(self, request: Request, space: str = "default") -> list[Json]:
        body = json_body(request, _bad)
        _keys(body, required={"cases"})
        if not isinstance(body["cases"], list) or not 1 <= len(body["cases"]) <= 100:
            raise _bad("The length of the field cases is too short or too long. Array must be of length 1 to 100.")
        changes = []
        for change in body["cases"]:
            _keys(change, required={"id", "version"}, optional=_CREATE | _OPTIONAL | {"status"})
            case = self.state["cases"].get(change["id"])
            if not case or case["space"] != _space(space):
                raise _refuse(404, f"These cases {change['id']} do not exist. Please check you have the correct ids.")
            if case["version"] != change["version"]:
                raise _refuse(
                    409,
                    f"These cases {change['id']} has been updated. Please refresh before saving additional updates.",
                )
            _check(change)
            if change.get("status", "open") not in STATUSES:
                raise _bad(f'Invalid value "{change["status"]}" supplied to "cases,status"')
            if "owner" in change and change["owner"] != case["owner"]:
                raise _bad(f"Updating the owner of a case is not allowed ids: [{case['id']}]")
            new = {
                name: value
                for name, value in change.items()
                if name not in ("id", "version") and case.get(name) != value
            }
            changes.append((case, new))
        if not any(new for _, new in changes):
            raise _refuse(406, "All update fields are identical to current version.")
        for case, new in changes:
            case.update(new)
            self._touch(case)
        return [_bean(case) for case, _ in changes]

    def _get(self, request: Request, case_id: str, space: str = "default") -> Json:
        return _bean(self._case(case_id, space))

    def _find(self, request: Request, space: str = "default") -> Json:
        given = request.args
        if unknown := given.keys() - _FIND:
            raise _bad(f'invalid keys "{",".join(sorted(unknown))}"')
        tags, owners, statuses = given.getlist("tags"), given.getlist("owner"), given.getlist("status")
        page, per_page = _whole(given, "page", 1), _whole(given, "perPage", 20)
        if per_page > 100:
            raise _bad("The provided perPage value is too high. The maximum allowed perPage value is 100.")
        visible_until = self.clock() - self.index_lag_seconds
        inside = [
            case
            for case in self.state["cases"].values()
            if case["space"] == _space(space) and case["created_epoch"] <= visible_until
        ]
        found = [
            case
            for case in inside
            if (not tags or set(tags) & set(case["tags"]))
            and (not owners or case["owner"] in owners)
            and (not statuses or case["status"] in statuses)
        ]
        order = given.get("sortField", "createdAt")
        if order not in _SORT:
            raise _bad(f'Invalid value "{order}" supplied to "sortField"')
        found.sort(key=lambda case: case[_SORT[order]] or "", reverse=given.get("sortOrder", "desc") == "desc")
        counts = {
            f"count_{status.replace('-', '_')}_cases": sum(case["status"] == status for case in inside)
            for status in STATUSES
        }
        shown = found[(page - 1) * per_page : page * per_page]
        return {
            "cases": [_bean(case, comments=False) for case in shown],
            "page": page,
            "per_page": per_page,
            "total": len(found),
            **counts,
        }

    def _case(self, case_id: str, space: str) -> Json:
        case = self.state["cases"].get(case_id)
        if not case or case["space"] != _space(space):
            raise _refuse(404, f"Saved object [cases/{case_id}] not found")
        return case

    # --- comments, which are attached alerts as well

    def _alerts(self, request: Request, case_id: str, space: str = "default") -> list[Json]:
        return [
            {"id": id_, "index": index, "attached_at": comment["created_at"]}
            for comment in self._case(case_id, space)["comments"]
            if comment["type"] == "alert"
            for id_, index in zip(comment["alertId"], comment["index"], strict=True)
        ]

    def _add_comment(self, request: Request, case_id: str, space: str = "default") -> Json:
        case = self._case(case_id, space)
        body = json_body(request, _bad)
        kind = body.get("type")
        if body.get("owner", case["owner"]) != case["owner"]:
            raise _bad("The owner field of the comment must match the case")
        if kind == "user":
            _keys(body, required={"type", "comment", "owner"})
            _text(body["comment"], "comment", MAX_COMMENT)
        elif kind == "alert":
            _keys(body, required={"type", "alertId", "index", "rule", "owner"})
            _keys(body["rule"], required={"id", "name"})
            ids, indices = _listed(body["alertId"]), _listed(body["index"])
            if len(ids) != len(indices) or not all(isinstance(value, str) for value in ids + indices):
                raise _bad("Received an alert comment with ids and indices arrays of different lengths")
            if case["status"] == "closed":
                raise _bad("Alert cannot be attached to a closed case")
            attached = {row["id"] for row in self._alerts(request, case_id, space)}
            if len(attached) + len(ids) > MAX_ALERTS_PER_CASE:
                raise _bad(f"Case has reached the maximum allowed number ({MAX_ALERTS_PER_CASE}) of attached alerts.")
            # Kibana leaves out what is attached already.
            fresh = {id_: index for id_, index in zip(ids, indices, strict=True) if id_ not in attached}
            body = {**body, "alertId": list(fresh), "index": list(fresh.values())}
            if not fresh:
                return _bean(case)
        else:
            raise _bad(f'Invalid value "{kind}" supplied to "type"')
        self.state["sequence"] += 1
        comment_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"twin/{self.state['sequence']}"))
        case["comments"].append(
            {
                "id": comment_id,
                "version": _version(self.state["sequence"]),
                "created_at": self._time(),
                "created_by": _USER,
                "updated_at": None,
                "updated_by": None,
                "pushed_at": None,
                "pushed_by": None,
                **body,
            }
        )
        self._touch(case)
        return _bean(case)

    def _find_comments(self, request: Request, case_id: str, space: str = "default") -> Json:
        comments = self._case(case_id, space)["comments"]
        page, per_page = _whole(request.args, "page", 1), _whole(request.args, "perPage", 20)
        if per_page > 100:
            raise _bad("The provided perPage value is too high. The maximum allowed perPage value is 100.")
        shown = comments[(page - 1) * per_page : page * per_page]
        return {"comments": shown, "page": page, "per_page": per_page, "total": len(comments)}

    def _touch(self, case: Json, updated: bool = True) -> None:
        self.state["sequence"] += 1
        case["version"] = _version(self.state["sequence"])
        if updated:
            case["updated_at"] = self._time()

    def _time(self) -> str:
        return self.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _page(self, request: Request) -> Response:
        parts = "".join(
            f"<h2>{html.escape(case['title'])}</h2><p>{case['status']} · {html.escape(', '.join(case['tags']))}"
            f"<pre>{html.escape(case['description'])}</pre>"
            for case in reversed(self.state["cases"].values())
        )
        return Response(
            "<!doctype html><meta charset=utf-8><title>Kibana twin</title>"
            "<style>body{font:15px sans-serif;max-width:60em;margin:2em auto}pre{white-space:pre-wrap}</style>"
            f"<h1>Kibana twin</h1>{parts or 'No cases yet.'}",
            content_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )


def _bean(case: Json, comments: bool = True) -> Json:
    hidden = {"space", "created_epoch", "comments"}
    alerts = sum(len(comment["alertId"]) for comment in case["comments"] if comment["type"] == "alert")
    return {
        **{name: value for name, value in case.items() if name not in hidden},
        "comments": case["comments"] if comments else [],
        "totalComment": sum(comment["type"] == "user" for comment in case["comments"]),
        "totalAlerts": alerts,
        "created_by": _USER,
        "updated_by": _USER if case["updated_at"] else None,
        "closed_at": case["updated_at"] if case["status"] == "closed" else None,
        "closed_by": _USER if case["status"] == "closed" else None,
        "duration": None,
        "external_service": None,
    }


def _version(sequence: int) -> str:
    return base64.b64encode(json.dumps([sequence, 1], separators=(",", ":")).encode()).decode()


def _space(space: str) -> str:
    if space not in SPACES:
        raise _refuse(404, "Not Found")
    return space


def _refuse(status: int, message: str) -> Refusal:
    names = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 406: "Not Acceptable", 409: "Conflict"}
    return Refusal(status, {"statusCode": status, "error": names[status], "message": message})


def _bad(message: str) -> Refusal:
    return _refuse(400, message)


def _keys(body: Any, required: set[str], optional: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    if not isinstance(body, dict):
        raise _bad("expected a plain object")
    if missing := required - body.keys():
        raise _bad(f'Invalid value "undefined" supplied to "{min(missing)}"')
    if unknown := body.keys() - required - optional:
        raise _bad(f'invalid keys "{",".join(sorted(unknown))}"')


def _check(body: Json) -> None:
    """The fields of a new case and of a change have the same rules."""
    if "title" in body:
        _text(body["title"], "title", MAX_TITLE)
    if "description" in body:
        _text(body["description"], "description", MAX_DESCRIPTION)
    if "tags" in body:
        if not isinstance(body["tags"], list) or len(body["tags"]) > MAX_TAGS:
            raise _bad(f"The length of the field tags is too long. Array must be of length <= {MAX_TAGS}.")
        for tag in body["tags"]:
            _text(tag, "tag", MAX_TAG)
    if "owner" in body and body["owner"] not in OWNERS:
        raise _bad(f'Invalid value "{body["owner"]}" supplied to "owner"')
    if "connector" in body:
        _keys(body["connector"], required={"id", "name", "type", "fields"})
    if "settings" in body:
        _keys(body["settings"], required={"syncAlerts"}, optional={"extractObservables"})
    if body.get("severity", "low") not in _SEVERITIES:
        raise _bad(f'Invalid value "{body["severity"]}" supplied to "severity"')


def _text(value: Any, name: str, limit: int) -> None:
    if not isinstance(value, str):
        raise _bad(f'Invalid value "{json.dumps(value)}" supplied to "{name}"')
    if not value.strip():
        raise _bad(f"The {name} field cannot be an empty string.")
    if len(value.encode("utf-16-le")) // 2 > limit:
        raise _bad(f"The length of the {name} is too long. The maximum length is {limit}.")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _whole(given: Any, name: str, otherwise: int) -> int:
    try:
        return max(int(given.get(name, otherwise)), 1)
    except ValueError as error:
        raise _bad(f'Invalid value "{given.get(name)}" supplied to "{name}"') from error
