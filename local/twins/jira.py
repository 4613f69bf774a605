"""Sandbox twin of Jira: Cloud (REST v2 and v3) or Data Center (v2), one project, one workflow.

Rules from Atlassian's REST documentation and OpenAPI document, and from what the services are known to do where these
are silent: required and unknown fields, lengths, ADF in v3, the search that Cloud removed, its lagging index.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from local.twins.server import Json, Refusal, Twin, basic_credentials, json_body

USER, TOKEN, PAT = "watchfloor@example.com", "twin-jira-token", "twin-jira-pat"
PROJECT = "SOC"
ISSUE_TYPES = {"10001": "Task", "10002": "Bug", "10003": "Incident"}
# id: (name, status category); "Triage" stands for the statuses that workflows invent.
STATUSES = {
    "1": ("To Do", "new"),
    "2": ("In Progress", "indeterminate"),
    "3": ("Triage", "indeterminate"),
    "4": ("Done", "done"),
    "5": ("Won't Fix", "done"),
}
_CATEGORIES = {
    "new": (2, "To Do", "blue-gray"),
    "indeterminate": (4, "In Progress", "yellow"),
    "done": (3, "Done", "green"),
}
_FIELDS = {
    "summary": "Summary",
    "description": "Description",
    "issuetype": "Issue Type",
    "project": "Project",
    "labels": "Labels",
    "status": "Status",
    "created": "Created",
    "updated": "Updated",
    "attachment": "Attachment",
    "comment": "Comment",
    "priority": "Priority",
}
_SETTABLE = {"summary", "description", "issuetype", "project", "labels", "priority"}
_MAX_SUMMARY, _MAX_TEXT = 255, 32_767
_BLOCKS = {"paragraph", "heading", "bulletList", "orderedList", "listItem", "codeBlock", "rule", "blockquote"}
_CLAUSE = re.compile(r"""\s*(?P<field>\w+)\s*(?P<op>!=|=)\s*(?:"(?P<quoted>[^"]*)"|(?P<bare>[\w-]+))\s*""")


class JiraTwin(Twin):
    """
    Parameters
    ----------
    cloud
        False plays Jira Data Center.

    Attributes
    ----------
    index_lag_seconds
        How long Cloud's search does not see a new issue.
    denied
        Permission keys, e.g. CREATE_ISSUES, that the user does not have.
    """

    def __init__(self, state_file: Path | None = None, port: int = 0, cloud: bool = True) -> None:
        self.cloud = cloud
        self.index_lag_seconds = 0.0
        self.denied: set[str] = set()
        super().__init__(state_file, port)

    @property
    def secret(self) -> Json:
        credentials = {"user": USER, "token": TOKEN} if self.cloud else {"pat": PAT}
        return {"url": self.url, "project": PROJECT, **credentials}

    def empty_state(self) -> Json:
        return {"issues": {}, "last_id": 10_000, "last_number": 0}

    def issues(self) -> list[Json]:
        """All issues as held, oldest first: key, fields, `created_at` in epoch seconds."""
        with self.lock:
            return list(self.state["issues"].values())

    def transition(self, key: str, status: str) -> None:
        """Move an issue to a status, by the status's name, as a user would by hand."""
        with self.lock:
            self.state["issues"][key]["status"] = next(id_ for id_, (name, _) in STATUSES.items() if name == status)

    def routes(self) -> Iterable[tuple[str, str, Callable[..., Any]]]:
        yield "GET", "/", self._page_of_all
        yield "GET", "/browse/<key>", self._page_of_one
        for version in ("2", "3") if self.cloud else ("2",):
            base = f"/rest/api/{version}"
            yield "GET", f"{base}/serverInfo", self._server_info
            yield "GET", f"{base}/field", self._list_fields
            yield "GET", f"{base}/myself", self._myself
            yield "GET", f"{base}/mypermissions", self._my_permissions
            yield "GET", f"{base}/project/<key>", self._project
            yield "POST", f"{base}/issue", self._create
            yield "GET", f"{base}/issue/<key>", self._get
            yield "PUT", f"{base}/issue/<key>", self._edit
            yield "GET", f"{base}/issue/<key>/comment", self._comments
            yield "POST", f"{base}/issue/<key>/comment", self._add_comment
            yield "POST", f"{base}/issue/<key>/attachments", self._attach
            yield "GET", f"{base}/issue/<key>/transitions", self._transitions
            yield "POST", f"{base}/issue/<key>/transitions", self._do_transition
            yield "GET", f"{base}/attachment/content/<id>", self._attachment_content
            yield "GET", f"{base}/search", self._gone if self.cloud else self._search
            yield "POST", f"{base}/search", self._gone if self.cloud else self._search
            if self.cloud:
                yield "GET", f"{base}/search/jql", self._search
                yield "POST", f"{base}/search/jql", self._search

    def authenticate(self, request: Request) -> None:
        if not request.path.startswith("/rest/"):
            return
        if self.cloud and basic_credentials(request) == (USER, TOKEN):
            return
        if not self.cloud and request.headers.get("Authorization") == f"Bearer {PAT}":
            return
        raise Refusal(
            401,
            _errors("Client must be authenticated to access this resource."),
            {"WWW-Authenticate": 'OAuth realm="' + self.url + '"'},
        )

    def not_found(self, request: Request) -> Refusal:
        return Refusal(404, {"message": "null for uri: " + request.url, "status-code": 404})

    # --- the instance

    def _server_info(self, request: Request) -> Json:
        numbers = [1001, 0, 0] if self.cloud else [9, 12, 2]
        return {
            "baseUrl": self.url,
            "version": ".".join(map(str, numbers)) + ("-SNAPSHOT" if self.cloud else ""),
            "versionNumbers": numbers,
            "deploymentType": "Cloud" if self.cloud else "Server",
            "buildNumber": 100_200,
            "serverTitle": "Jira twin",
        }

    def _list_fields(self, request: Request) -> list[Json]:
        return [
            {
                "id": id_,
                "key": id_,
                "name": name,
                "custom": False,
                "orderable": True,
                "navigable": True,
                "searchable": True,
                "clauseNames": [id_],
            }
            for id_, name in _FIELDS.items()
        ]

    def _myself(self, request: Request) -> Json:
        return self._user()

    def _user(self) -> Json:
        if self.cloud:
            return {"accountId": "5b10a2844c20165700ede21g", "displayName": "Watchfloor", "active": True}
        return {"name": "watchfloor", "key": "JIRAUSER10100", "displayName": "Watchfloor", "active": True}

    def _my_permissions(self, request: Request) -> Json:
        project = request.args.get("projectKey")
        if project not in (None, PROJECT):
            raise Refusal(404, _errors(f"No project could be found with key '{project}'."))
        keys = [key for key in request.args.get("permissions", "").split(",") if key]
        if self.cloud and not keys:
            raise Refusal(400, _errors("The 'permissions' query parameter is required."))
        keys = keys or ["BROWSE_PROJECTS", "CREATE_ISSUES", "EDIT_ISSUES", "ADD_COMMENTS", "CREATE_ATTACHMENTS"]
        return {
            "permissions": {
                key: {
                    "id": str(number),
                    "key": key,
                    "name": key.replace("_", " ").title(),
                    "type": "PROJECT",
                    "description": "",
                    "havePermission": key not in self.denied,
                }
                for number, key in enumerate(keys, start=10)
            }
        }

    def _project(self, request: Request, key: str) -> Json:
        if key not in (PROJECT, "10000"):
            raise Refusal(404, _errors(f"No project could be found with key '{key}'."))
        return {
            "id": "10000",
            "key": PROJECT,
            "name": "Security operations",
            "self": f"{self.url}/rest/api/{_version(request)}/project/10000",
            "issueTypes": [{"id": id_, "name": name, "subtask": False} for id_, name in ISSUE_TYPES.items()],
        }

    # --- issues

    def _create(self, request: Request) -> tuple[int, Json]:
        self._need("CREATE_ISSUES", 403, "You do not have permission to create issues in this project.")
        body = json_body(request, _bad)
        _only(body, {"fields", "update", "properties", "historyMetadata", "transition"})
        fields = body.get("fields") or {}
        wrong = self._wrong_fields(fields, _version(request))
        project, issue_type = fields.get("project"), fields.get("issuetype")
        if not isinstance(project, dict) or (project.get("key"), project.get("id")) not in (
            (PROJECT, None),
            (None, "10000"),
        ):
            wrong["project"] = "Specify a valid project ID or key"
        if not isinstance(issue_type, dict) or not (
            issue_type.get("name") in ISSUE_TYPES.values() or str(issue_type.get("id")) in ISSUE_TYPES
        ):
            wrong["issuetype"] = "Specify a valid issue type"
        if not fields.get("summary") and "summary" not in wrong:
            wrong["summary"] = "You must specify a summary of the issue."
        if wrong:
            raise Refusal(400, {"errorMessages": [], "errors": wrong})
        self.state["last_id"] += 1
        self.state["last_number"] += 1
        key = f"{PROJECT}-{self.state['last_number']}"
        assert isinstance(issue_type, dict)
        self.state["issues"][key] = {
            "id": str(self.state["last_id"]),
            "key": key,
            "summary": fields["summary"],
            "description": fields.get("description"),
            "labels": fields.get("labels", []),
            "issuetype": issue_type.get("name") or ISSUE_TYPES[str(issue_type["id"])],
            "status": "1",
            "comments": [],
            "attachments": [],
            "created_at": self.clock(),
            "updated_at": self.clock(),
        }
        return 201, {"id": str(self.state["last_id"]), "key": key, "self": self._self(request, key)}

    def _get(self, request: Request, key: str) -> Json:
        return self._bean(request, self._issue(key), request.args.get("fields", "*all").split(","))

    def _edit(self, request: Request, key: str) -> tuple[int, None]:
        issue = self._issue(key)
        self._need("EDIT_ISSUES", 403, "You do not have permission to edit issues in this project.")
        body = json_body(request, _bad)
        _only(body, {"fields", "update", "properties", "historyMetadata", "transition"})
        fields = body.get("fields") or {}
        wrong = self._wrong_fields(fields, _version(request))
        for name in ("project", "issuetype"):
            if name in fields:
                wrong[name] = f"Field '{name}' cannot be set. It is not on the appropriate screen, or unknown."
        if wrong:
            raise Refusal(400, {"errorMessages": [], "errors": wrong})
        issue.update({name: value for name, value in fields.items() if name in issue})
        issue["updated_at"] = self.clock()
        return 204, None

    def _wrong_fields(self, fields: Json, version: str) -> dict[str, str]:
        wrong = {
            name: f"Field '{name}' cannot be set. It is not on the appropriate screen, or unknown."
            for name in fields.keys() - _SETTABLE
        }
        summary = fields.get("summary")
        if summary is not None:
            if not isinstance(summary, str) or not summary.strip():
                wrong["summary"] = "You must specify a summary of the issue."
            elif "\n" in summary or "\r" in summary:
                wrong["summary"] = "The summary is invalid because it contains newline characters."
            elif _length(summary) > _MAX_SUMMARY:
                wrong["summary"] = f"Summary can't exceed {_MAX_SUMMARY} characters."
        if fields.get("description") is not None and (problem := _wrong_text(fields["description"], version)):
            wrong["description"] = problem
        for label in fields.get("labels") or []:
            if not isinstance(label, str):
                wrong["labels"] = "Specify the value as an array of strings."
            elif " " in label:
                wrong["labels"] = f"The label '{label}' contains spaces which is invalid."
            elif _length(label) > 255:
                wrong["labels"] = f"The label '{label}' exceeds the maximum length of 255 characters."
        return wrong

    def _issue(self, key: str) -> Json:
        issue = self.state["issues"].get(key) or next(
            (issue for issue in self.state["issues"].values() if issue["id"] == key), None
        )
        if issue is None or "BROWSE_PROJECTS" in self.denied:
            raise Refusal(404, _errors("Issue does not exist or you do not have permission to see it."))
        return issue

    def _self(self, request: Request, key: str) -> str:
        return f"{self.url}/rest/api/{_version(request)}/issue/{self.state['issues'][key]['id']}"

    def _bean(self, request: Request, issue: Json, wanted: list[str]) -> Json:
        version = _version(request)
        fields = {
            "summary": issue["summary"],
            "description": _as_version(issue["description"], version),
            "labels": issue["labels"],
            "issuetype": {"name": issue["issuetype"], "subtask": False},
            "project": {"id": "10000", "key": PROJECT, "name": "Security operations"},
            "status": self._status(issue["status"]),
            "created": _time(self, issue["created_at"]),
            "updated": _time(self, issue["updated_at"]),
            "attachment": [self._attachment_bean(request, row) for row in issue["attachments"]],
            "comment": {"comments": [self._comment_bean(request, row) for row in issue["comments"]]},
        }
        if not {"*all", "*navigable"} & set(wanted):
            fields = {name: value for name, value in fields.items() if name in wanted}
        return {"id": issue["id"], "key": issue["key"], "self": self._self(request, issue["key"]), "fields": fields}

    def _status(self, id_: str) -> Json:
        name, category = STATUSES[id_]
        number, category_name, color = _CATEGORIES[category]
        return {
            "id": id_,
            "name": name,
            "statusCategory": {"id": number, "key": category, "name": category_name, "colorName": color},
        }

    def _need(self, permission: str, status: int, message: str) -> None:
        if permission in self.denied:
            raise Refusal(status, _errors(message))

    # --- search

    def _gone(self, request: Request) -> Any:
        raise Refusal(
            410,
            _errors(
                "The requested API has been removed. Please migrate to the /rest/api/3/search/jql API. A full migration"
                " guideline is available at https://developer.atlassian.com/changelog/#CHANGE-2046"
            ),
        )

    def _search(self, request: Request) -> Json:
        given = request.args.to_dict(flat=False) if request.method == "GET" else json_body(request, _bad)
        jql = given.get("jql", "")
        jql = str(_first(jql, ""))
        matches = _matcher(jql)
        visible_until = self.clock() - (self.index_lag_seconds if self.cloud else 0)
        issues = [
            issue for issue in self.state["issues"].values() if matches(issue) and issue["created_at"] <= visible_until
        ]
        if jql.rstrip().casefold().endswith("desc"):
            issues.reverse()
        if "BROWSE_PROJECTS" in self.denied:
            raise Refusal(400, _errors(f"The value '{PROJECT}' does not exist for the field 'project'."))
        wanted = [name for names in given.get("fields", []) for name in names.split(",")]
        limit = int(_first(given.get("maxResults"), 50))
        if self.cloud:
            start = int(_first(given.get("nextPageToken"), 0))
            page = [self._bean(request, issue, wanted or ["id"]) for issue in issues[start : start + limit]]
            last = start + limit >= len(issues)
            return {"issues": page, "isLast": last, **({} if last else {"nextPageToken": str(start + limit)})}
        start = int(_first(given.get("startAt"), 0))
        page = [self._bean(request, issue, wanted or ["*navigable"]) for issue in issues[start : start + limit]]
        return {"issues": page, "startAt": start, "maxResults": limit, "total": len(issues)}

    # --- comments and attachments

    def _comments(self, request: Request, key: str) -> Json:
        rows = self._issue(key)["comments"]
        start, limit = int(request.args.get("startAt", 0)), int(request.args.get("maxResults", 5_000))
        page = [self._comment_bean(request, row) for row in rows[start : start + limit]]
        return {"comments": page, "startAt": start, "maxResults": limit, "total": len(rows)}

    def _add_comment(self, request: Request, key: str) -> tuple[int, Json]:
        issue = self._issue(key)
        self._need("ADD_COMMENTS", 403, "You do not have the permission to comment on this issue.")
        body = json_body(request, _bad)
        _only(body, {"body", "visibility", "properties"})
        if problem := _wrong_text(body.get("body"), _version(request)):
            raise Refusal(400, {"errorMessages": [], "errors": {"comment": problem}})
        self.state["last_id"] += 1
        row = {"id": str(self.state["last_id"]), "body": body["body"], "created_at": self.clock()}
        issue["comments"].append(row)
        return 201, self._comment_bean(request, row)

    def _comment_bean(self, request: Request, row: Json) -> Json:
        return {
            "id": row["id"],
            "self": f"{self.url}/rest/api/{_version(request)}/comment/{row['id']}",
            "author": self._user(),
            "body": _as_version(row["body"], _version(request)),
            "created": _time(self, row["created_at"]),
            "updated": _time(self, row["created_at"]),
        }

    def _attach(self, request: Request, key: str) -> list[Json]:
        issue = self._issue(key)
        if request.headers.get("X-Atlassian-Token") != "no-check":
            raise Refusal(403, "XSRF check failed")
        self._need("CREATE_ATTACHMENTS", 403, "You do not have permission to create attachments for this issue.")
        files = request.files.getlist("file")
        if not files:
            raise Refusal(400, _errors("No file was uploaded in the part 'file'."))
        added = []
        for file in files:
            content = file.read()
            self.state["last_id"] += 1
            added.append(
                {
                    "id": str(self.state["last_id"]),
                    "filename": file.filename,
                    "content": base64.b64encode(content).decode(),
                    "size": len(content),
                    "created_at": self.clock(),
                }
            )
        issue["attachments"] += added
        return [self._attachment_bean(request, row) for row in added]

    def _attachment_bean(self, request: Request, row: Json) -> Json:
        base = f"{self.url}/rest/api/{_version(request)}/attachment"
        return {
            "id": row["id"],
            "self": f"{base}/{row['id']}",
            "filename": row["filename"],
            "author": self._user(),
            "created": _time(self, row["created_at"]),
            "size": row["size"],
            "mimeType": "text/csv",
            "content": f"{base}/content/{row['id']}",
        }

    def _attachment_content(self, request: Request, id: str) -> Response:
        for issue in self.state["issues"].values():
            for row in issue["attachments"]:
                if row["id"] == id:
                    return Response(base64.b64decode(row["content"]), content_type="application/octet-stream")
        raise Refusal(404, _errors(f"The attachment with id '{id}' does not exist."))

    # --- workflow: from every status to every other one

    def _transitions(self, request: Request, key: str) -> Json:
        here = self._issue(key)["status"]
        return {
            "transitions": [
                {"id": f"{id_}1", "name": name, "to": self._status(id_)}
                for id_, (name, _) in STATUSES.items()
                if id_ != here
            ]
        }

    def _do_transition(self, request: Request, key: str) -> tuple[int, None]:
        issue = self._issue(key)
        target = str((json_body(request, _bad).get("transition") or {}).get("id", ""))
        if target[:-1] not in STATUSES or target[-1:] != "1" or target[:-1] == issue["status"]:
            raise Refusal(400, _errors("It seems that you have tried to perform an illegal workflow operation."))
        issue["status"] = target[:-1]
        issue["updated_at"] = self.clock()
        return 204, None

    # --- pages for people

    def _page_of_all(self, request: Request) -> Response:
        rows = "".join(
            f"<tr><td><a href='/browse/{issue['key']}'>{issue['key']}</a><td>{html.escape(issue['summary'])}"
            f"<td>{html.escape(STATUSES[issue['status']][0])}"
            for issue in reversed(self.state["issues"].values())
        )
        return _page("Jira twin", f"<table>{rows or '<tr><td>No issues yet.'}</table>")

    def _page_of_one(self, request: Request, key: str) -> Response:
        if key not in self.state["issues"]:
            return redirect("/")
        issue = self.state["issues"][key]
        comments = "".join(f"<hr><pre>{html.escape(_plain(row['body']))}</pre>" for row in issue["comments"])
        files = "".join(f"<li>{html.escape(row['filename'])} ({row['size']:,} bytes)" for row in issue["attachments"])
        return _page(
            f"{key} {issue['summary']}",
            f"<p><b>{html.escape(STATUSES[issue['status']][0])}</b> · {html.escape(', '.join(issue['labels']))}"
            f"<pre>{html.escape(_plain(issue['description']))}</pre><ul>{files}</ul>{comments}<p><a href='/'>All</a>",
        )


def _errors(message: str) -> Json:
    return {"errorMessages": [message], "errors": {}}


def _bad(message: str) -> Refusal:
    return Refusal(400, _errors(message))


def _only(body: Json, known: set[str]) -> None:
    if unknown := body.keys() - known:
        raise _bad(f'Unrecognized field "{min(unknown)}"')


def _version(request: Request) -> str:
    return request.path.split("/")[3]


def _first(value: Any, otherwise: Any) -> Any:
    value = value[0] if isinstance(value, list) and value else value
    return otherwise if value in (None, [], "") else value


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _time(twin: Twin, seconds: float) -> str:
    return twin.now().fromtimestamp(seconds, twin.now().tzinfo).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def _matcher(jql: str) -> Callable[[Json], bool]:
    """The part of JQL that is needed: clauses joined by AND, and an ORDER BY, which is always by creation."""
    text = re.split(r"\border\s+by\b", jql, flags=re.IGNORECASE)[0]
    if not text.strip():
        raise _bad("Unbounded JQL queries are not allowed here. Please add a search restriction to your query.")
    tests = []
    for clause in re.split(r"\band\b(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", text, flags=re.IGNORECASE):
        match = _CLAUSE.fullmatch(clause)
        if not match:
            raise _bad(f"Error in the JQL Query: the twin does not understand '{clause.strip()}'.")
        field, value = match["field"].lower(), match["quoted"] if match["quoted"] is not None else match["bare"]
        if field not in _READERS:
            raise _bad(f"Field '{match['field']}' does not exist or you do not have permission to view it.")
        if field == "project" and value != PROJECT:
            raise _bad(f"The value '{value}' does not exist for the field 'project'.")
        tests.append((_READERS[field], value.casefold(), match["op"] == "="))
    return lambda issue: all((value in read(issue)) is wanted for read, value, wanted in tests)


_READERS: dict[str, Callable[[Json], list[str]]] = {
    "project": lambda issue: [PROJECT.casefold()],
    "labels": lambda issue: [label.casefold() for label in issue["labels"]],
    "key": lambda issue: [issue["key"].casefold()],
    "status": lambda issue: [STATUSES[issue["status"]][0].casefold()],
    "statuscategory": lambda issue: [
        STATUSES[issue["status"]][1],
        _CATEGORIES[STATUSES[issue["status"]][1]][1].casefold(),
    ],
}


def _wrong_text(text: Any, version: str) -> str:
    """What is wrong with a description or comment; nothing: the empty string."""
    if version == "2":
        if not isinstance(text, str):
            return "Operation value must be a string"
        size = _length(text)
    else:
        if not isinstance(text, dict) or text.get("type") != "doc" or text.get("version") != 1:
            return "Operation value must be an Atlassian Document (see the Atlassian Document Format)"
        if not isinstance(text.get("content"), list) or not all(_is_node(node) for node in text["content"]):
            return "INVALID_INPUT"
        size = _length(json.dumps(text, ensure_ascii=False))
    if size > _MAX_TEXT:
        return "The entered text is too long. It exceeds the allowed limit of 32,767 characters."
    return ""


def _is_node(node: Any) -> bool:
    if not isinstance(node, dict) or node.keys() - {"type", "attrs", "content", "text", "marks"}:
        return False
    kind, content = node.get("type"), node.get("content", [])
    if kind == "text":
        marks = [mark.get("type") for mark in node.get("marks", [])]
        fits = "code" not in marks or set(marks) <= {"code", "link"}
        return isinstance(node.get("text"), str) and bool(node["text"]) and fits
    if kind == "hardBreak":
        return True
    if kind == "heading" and node.get("attrs", {}).get("level") not in range(1, 7):
        return False
    if kind in ("bulletList", "orderedList") and (not content or any(n.get("type") != "listItem" for n in content)):
        return False
    if kind == "listItem" and (not content or content[0].get("type") not in _BLOCKS):
        return False
    return kind in _BLOCKS and all(_is_node(child) for child in content)


def _as_version(text: Any, version: str) -> Any:
    """Text written by one version as the other one reads it."""
    if text is None or isinstance(text, dict) == (version == "3"):
        return text
    if isinstance(text, dict):
        return _plain(text)
    lines = [line for line in text.split("\n") if line]
    paragraphs = [{"type": "paragraph", "content": [{"type": "text", "text": line}]} for line in lines]
    return {"type": "doc", "version": 1, "content": paragraphs}


def _plain(text: Any) -> str:
    if text is None or isinstance(text, str):
        return text or ""
    inner = "".join(_plain(child) for child in text.get("content", []))
    ends = {"paragraph": "\n", "heading": "\n", "listItem": ""}
    starts = {"heading": "\n", "listItem": "- "}
    return starts.get(text["type"], "") + text.get("text", "") + inner + ends.get(text["type"], "")


def _page(title: str, body: str) -> Response:
    style = "body{font:15px sans-serif;max-width:60em;margin:2em auto}pre{white-space:pre-wrap}td{padding:.2em .6em}"
    return Response(
        f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{style}</style>"
        f"<h1>{html.escape(title)}</h1>{body}",
        content_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
    )
