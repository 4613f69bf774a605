"""Sandbox twin of the Stack Exchange API 2.3, https://api.stackexchange.com/docs, with a few questions of its own.

It keeps the API's rules: a wrapper around everything, gzip always, HTTP 400 for whatever error, filters without bodies
unless asked for, pages, a quota a day, throttling, and `backoff`, which has to be honoured. What was searched for is in
its state. A browser sees a question at its link.
"""

from __future__ import annotations

import gzip
import html
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml
from werkzeug.wrappers import Request, Response

from local.twins.server import Json, Refusal, Twin

KEY = "twin-stack-exchange-key"
SITE = "stackoverflow"
QUESTIONS = Path(__file__).with_name("questions.yaml")
QUOTA, QUOTA_WITHOUT_KEY = 10_000, 300
ERRORS = {
    400: ("bad_parameter", "A parameter is missing or wrong"),
    401: ("access_token_required", "This method needs an access token"),
    403: ("access_denied", "This is not allowed"),
    404: ("no_method", "No method found with this name"),
    405: ("key_required", "This method needs a key"),
    500: ("internal_error", "Something went wrong"),
    502: ("throttle_violation", "too many requests from this IP"),
    503: ("temporarily_unavailable", "The API is being worked on"),
}
_FILTERS = {"default": False, "withbody": True, "total": False, "none": False}
_SORTS = {
    "/search/advanced": ("activity", "creation", "votes", "relevance"),
    "/similar": ("activity", "creation", "votes", "relevance"),
    "/search": ("activity", "creation", "votes", "relevance"),
    "/answers": ("activity", "creation", "votes"),
}
_COMMON = {"site", "key", "filter", "page", "pagesize", "order", "sort", "fromdate", "todate", "min", "max"}
_SEARCH = {"q", "tagged", "nottagged", "title", "body", "answers", "accepted", "intitle", "closed", "views"}
_MAX_PAGE, _MAX_IDS = 100, 100
_REQUESTS_A_SECOND = 30
_KEPT = 500
_TOKEN = re.compile(r"[a-z][a-z0-9+#]*(?:\.[a-z]+)*|\d+")
_DAY = 86_400
_CREATED = 1_700_000_000


class StackExchangeTwin(Twin):
    """
    Attributes
    ----------
    backoff_seconds
        Told with every answer, per method; 0 for never. Who asks again before it is over is refused.
    """

    def __init__(self, state_file: Path | None = None, port: int = 0) -> None:
        self.backoff_seconds = 0
        self._asked_at: list[float] = []
        self._not_before: dict[str, float] = {}
        super().__init__(state_file, port)

    @property
    def secret(self) -> Json:
        return {"key": KEY}

    @property
    def api_url(self) -> str:
        return f"{self.url}/2.3"

    def empty_state(self) -> Json:
        return {"questions": _questions(), "searches": [], "used": {}, "day": 0}

    def add_question(self, title: str, body: str, tags: list[str], answers: list[Json], score: int = 1) -> int:
        """A question more; answers as {score, body, accepted}. Its id."""
        with self.lock:
            number = len(self.state["questions"]) + 1
            self.state["questions"].append(_question(number, title, body, tags, answers, score))
            return self.state["questions"][-1]["question_id"]

    def searches(self) -> list[Json]:
        """What was searched for, oldest first: the parameters."""
        with self.lock:
            return list(self.state["searches"])

    def routes(self) -> Iterable[tuple[str, str, Callable[..., Any]]]:
        yield "GET", "/", self._page_of_all
        yield "GET", "/questions/<int:number>/<slug>", self._page_of_one
        for method, function in (
            ("search/advanced", self._search),
            ("search", self._search),
            ("similar", self._search),
            ("questions/<ids>", self._of_ids),
            ("questions/<ids>/answers", self._answers),
            ("errors/<int:error_id>", self._simulate),
        ):
            yield "GET", f"/2.3/{method}", self._wrapped(method, function)

    def authenticate(self, request: Request) -> None:
        """Keys are optional; those that are given are checked where the parameters are."""

    def not_found(self, request: Request) -> Refusal:
        return _error(404)

    # --- what all methods have in common

    def _wrapped(self, method: str, function: Callable[..., Any]) -> Callable[..., Response]:
        def answer(request: Request, **arguments: Any) -> Response:
            try:
                quota = self._admit(request, method)
                items = function(request, **arguments)
            except Refusal as refusal:
                return _zipped(refusal.body, refusal.status)
            page, size = _whole(request, "page", 1, 1, 25), _whole(request, "pagesize", 30, 0, _MAX_PAGE)
            start = (page - 1) * size
            wrapper: Json = {"items": items[start : start + size], "has_more": start + size < len(items), **quota}
            if request.args.get("filter") == "total":
                wrapper = {"total": len(items)}
            if self.backoff_seconds:
                wrapper["backoff"] = self.backoff_seconds
                self._not_before[method] = self.clock() + self.backoff_seconds
            return _zipped(wrapper, 200)

        return answer

    def _admit(self, request: Request, method: str) -> Json:
        """The quota after this request, if the caller may ask and asks correctly."""
        now = self.clock()
        self._asked_at = [time for time in self._asked_at if time > now - 1]
        self._asked_at.append(now)
        if len(self._asked_at) > _REQUESTS_A_SECOND:
            raise _error(502, f"{ERRORS[502][1]}, more requests available in 60 seconds")
        if self._not_before.get(method, 0) > now:
            raise _error(502, "Violation of backoff parameter")
        key = request.args.get("key")
        if key is not None and key != KEY:
            raise _error(400, "`key` doesn't match a known application")
        if self.state["day"] != now // _DAY:
            self.state["day"], self.state["used"] = now // _DAY, {}
        quota, who = (QUOTA, KEY) if key else (QUOTA_WITHOUT_KEY, "address")
        used = self.state["used"].get(who, 0) + 1
        if used > quota:
            raise _error(502, f"{ERRORS[502][1]}, more requests available in {int(_DAY - now % _DAY)} seconds")
        self.state["used"][who] = used
        self._check(request)
        return {"quota_max": quota, "quota_remaining": quota - used}

    def _check(self, request: Request) -> None:
        given = request.args
        if request.path.startswith("/2.3/errors/"):
            return
        if given.get("site") is None:
            raise _error(400, "site is required")
        if given["site"] != SITE:
            raise _error(400, f"No site found for name `{given['site']}`")
        if unknown := set(given) - _COMMON - _SEARCH:
            raise _error(400, min(unknown))
        if given.get("filter", "default") not in _FILTERS:
            raise _error(400, "Invalid filter specified")
        if given.get("order", "desc") not in ("asc", "desc"):
            raise _error(400, "order")
        allowed = next(
            (sorts for end, sorts in _SORTS.items() if request.path.endswith(end)), ("activity", "votes", "creation")
        )
        if given.get("sort", "activity") not in allowed:
            raise _error(400, "sort")
        _whole(request, "page", 1, 1, 25)
        _whole(request, "pagesize", 30, 0, _MAX_PAGE)

    # --- methods

    def _search(self, request: Request) -> list[Json]:
        given = request.args
        self.state["searches"] = [*self.state["searches"], {**given, "time": self.clock()}][-_KEPT:]
        words = " ".join(given.get(name, "") for name in ("q", "title", "intitle", "body")).strip()
        tags = [tag for tag in given.get("tagged", "").lower().split(";") if tag]
        if not words and not tags:
            raise _error(400, "One of the following parameters must be set: q, tagged, title, body")
        if request.path.endswith("/search") and not (tags or given.get("intitle")):
            raise _error(400, "One of the following parameters must be set: tagged, intitle")
        wanted = _tokens(words)
        found = []
        for question in self.state["questions"]:
            if tags and not set(tags) & set(question["tags"]):
                continue
            if len(question["answers"]) < _whole(request, "answers", 0, 0, 10_000):
                continue
            if given.get("accepted", "").lower() == "true" and not any(
                row["is_accepted"] for row in question["answers"]
            ):
                continue
            relevance = _relevance(wanted, question)
            if relevance > 0 or not wanted:
                found.append((relevance, question))
        sort = given.get("sort", "activity")
        keys: dict[str, Callable[[tuple[float, Json]], float]] = {
            "relevance": lambda pair: pair[0],
            "votes": lambda pair: pair[1]["score"],
        }
        found.sort(
            key=keys.get(sort, lambda pair: pair[1]["creation_date"]), reverse=given.get("order", "desc") == "desc"
        )
        return [self._item(question, request) for _, question in found]

    def _of_ids(self, request: Request, ids: str) -> list[Json]:
        numbers = _ids(ids)
        return [self._item(row, request) for row in self.state["questions"] if row["question_id"] in numbers]

    def _answers(self, request: Request, ids: str) -> list[Json]:
        numbers = _ids(ids)
        rows = [
            {**answer, "question_id": question["question_id"]}
            for question in self.state["questions"]
            if question["question_id"] in numbers
            for answer in question["answers"]
        ]
        key = "score" if request.args.get("sort") == "votes" else "creation_date"
        rows.sort(key=lambda row: row[key], reverse=request.args.get("order", "desc") == "desc")
        return [_shown(row, request) for row in rows]

    def _simulate(self, request: Request, error_id: int) -> list[Json]:
        raise _error(error_id if error_id in ERRORS else 400)

    def _item(self, question: Json, request: Request) -> Json:
        answers = question["answers"]
        accepted = next((row["answer_id"] for row in answers if row["is_accepted"]), None)
        item = {key: question[key] for key in ("question_id", "tags", "score", "creation_date", "body")}
        return _shown(
            {
                **item,
                # A safe filter, which all of these are, gives what may be put into HTML as it is.
                "title": html.escape(question["title"]),
                "link": f"{self.url}/questions/{question['question_id']}/{_slug(question['title'])}",
                "is_answered": bool(answers),
                "answer_count": len(answers),
                "content_license": "CC BY-SA 4.0",
                **({"accepted_answer_id": accepted} if accepted else {}),
            },
            request,
        )

    # --- pages for people

    def _page_of_all(self, request: Request) -> Response:
        rows = "".join(
            f"<li><a href='/questions/{row['question_id']}/{_slug(row['title'])}'>{html.escape(row['title'])}</a>"
            for row in self.state["questions"]
        )
        return _page("Stack Exchange twin", f"<ul>{rows}</ul>")

    def _page_of_one(self, request: Request, number: int, slug: str) -> Response:
        question = next((row for row in self.state["questions"] if row["question_id"] == number), None)
        if question is None:
            raise self.not_found(request)
        answers = "".join(
            f"<hr><p><b>{row['score']}{' ✓ accepted' if row['is_accepted'] else ''}</b></p>{row['body']}"
            for row in question["answers"]
        )
        return _page(question["title"], f"<p>{', '.join(question['tags'])}</p>{question['body']}{answers}")


# --- questions ----------------------------------------------------------------------------------------------------


def _questions() -> list[Json]:
    rows = yaml.safe_load(QUESTIONS.read_text(encoding="utf-8"))
    return [
        _question(
            number,
            row["title"],
            row["body"],
            row["tags"],
            [
                {**answer, "accepted": place == 0 and row.get("accepted", True)}
                for place, answer in enumerate(row["answers"])
            ],
            row["score"],
        )
        for number, row in enumerate(rows, 1)
    ]


def _question(number: int, title: str, body: str, tags: list[str], answers: list[Json], score: int) -> Json:
    return {
        "question_id": 70_000_000 + number * 100,
        "title": title,
        "body": body,
        "tags": tags,
        "score": score,
        "creation_date": _CREATED + number * 3_600,
        "answers": [
            {
                "answer_id": 70_000_000 + number * 100 + place,
                "score": answer["score"],
                "body": answer["body"],
                "is_accepted": bool(answer.get("accepted")),
                "creation_date": _CREATED + number * 3_600 + place * 60,
                "content_license": "CC BY-SA 4.0",
            }
            for place, answer in enumerate(answers, 1)
        ],
    }


def _relevance(wanted: set[str], question: Json) -> float:
    """How well it fits: words of the title count most; under two fifths of the words it does not fit at all."""
    title, rest = _tokens(question["title"]), _tokens(f"{question['body']} {' '.join(question['tags'])}")
    hits = wanted & (title | rest)
    if not wanted or len(hits) < max(1, 0.4 * len(wanted)):
        return 0.0
    return len(hits) / len(wanted) + 0.5 * len(wanted & title) / len(wanted)


def _tokens(text: str) -> set[str]:
    return {token for token in _TOKEN.findall(re.sub(r"<[^>]{0,200}>", " ", text).lower()) if len(token) > 2}


def _slug(title: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))[:80] or "question"


# --- form of requests and answers ---------------------------------------------------------------------------------


def _whole(request: Request, name: str, otherwise: int, low: int, high: int) -> int:
    text = request.args.get(name)
    if text is None:
        return otherwise
    if not text.isdigit() or not low <= int(text) <= high:
        raise _error(400, name)
    return int(text)


def _ids(text: str) -> set[int]:
    parts = text.split(";")
    if not all(part.isdigit() for part in parts):
        raise _error(404)
    if len(parts) > _MAX_IDS:
        raise _error(400, "ids")
    return {int(part) for part in parts}


def _shown(item: Json, request: Request) -> Json:
    with_body = _FILTERS.get(request.args.get("filter", "default"), False)
    return {key: value for key, value in item.items() if key != "body" or with_body}


def _error(error_id: int, message: str = "") -> Refusal:
    name, usual = ERRORS[error_id]
    return Refusal(400, {"error_id": error_id, "error_message": message or usual, "error_name": name})


def _zipped(body: Json, status: int) -> Response:
    return Response(
        gzip.compress(json.dumps(body).encode(), mtime=0),
        status,
        {"Content-Encoding": "gzip"},
        content_type="application/json; charset=utf-8",
    )


def _page(title: str, body: str) -> Response:
    style = (
        "body{font:15px sans-serif;max-width:60em;margin:2em auto}pre{white-space:pre-wrap;background:#eee;padding:1em}"
    )
    return Response(
        f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{style}</style>"
        f"<h1>{html.escape(title)}</h1>{body}",
        content_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
    )
