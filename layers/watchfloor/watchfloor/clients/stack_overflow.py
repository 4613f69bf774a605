"""Questions of Stack Overflow and their answers, by the Stack Exchange API 2.3.

https://api.stackexchange.com/docs
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import requests
from bs4 import BeautifulSoup
from bs4.element import NavigableString, PageElement, Tag

from watchfloor.errors import InvalidInputError, TransientError

URL = "https://api.stackexchange.com/2.3"
TIMEOUT = (5.0, 10.0)
MAX_BODY_BYTES = 2_000_000
MAX_TEXT_CHARACTERS = 2_000
_MAX_HTML_CHARACTERS = 60_000
# A pause longer than this is not waited for: the evidence is missing, and the message says so.
MAX_PAUSE_SECONDS = 3.0
_THROTTLED, _BAD_PARAMETER = 502, 400
_KEY_ERRORS = (401, 402, 403, 405, 406)
# When throttled without being told for how long.
_THROTTLE_SECONDS = 60.0
_DAY_SECONDS = 86_400
_BLOCKS = ("p", "br", "div", "blockquote", "h1", "h2", "h3", "tr", "ul", "ol")
_CODE = "\t"
_DROPPED = ("script", "style", "iframe", "object", "template", "noscript", "svg", "img")
_SECONDS = re.compile(r"(\d{1,6}) seconds")

# Until when (epoch seconds) a method of an address is to be left alone: the API asks for it by caller, so that one
# memory serves every client of this process, and a warm function remembers.
_paused_until: dict[tuple[str, str], float] = {}


@dataclass(frozen=True)
class Post:
    """A question with its best answer: the accepted one, otherwise the one with most votes."""

    title: str
    url: str
    question: str
    answer_text: str
    score: int
    accepted: bool


class StackOverflow:
    """
    Parameters
    ----------
    url
        Of the API, with its version.
    key
        Application key; None: the caller's address has 300 requests a day instead of 10,000.
    secret_name
        What to name in an error that its owner mends by changing the key.
    site
        Which site of Stack Exchange.
    """

    def __init__(
        self,
        url: str = URL,
        key: str | None = None,
        *,
        secret_name: str = "the Stack Exchange secret",
        site: str = "stackoverflow",
        timeout: tuple[float, float] = TIMEOUT,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not url.startswith(("https://", "http://")):
            raise InvalidInputError(f"the parameter StackExchangeUrl is no address of the web: {url[:100]!r}")
        self._url = url.rstrip("/")
        self._key = key
        self._secret = secret_name
        self._site = site
        self._timeout = timeout
        self._clock, self._sleep = clock, sleep
        self._session = requests.Session()
        self._session.headers["Accept-Encoding"] = "gzip"

    def search(self, query: str | Sequence[str], tagged: Sequence[str] = (), limit: int = 3) -> list[Post]:
        """Answered questions, those with an accepted answer first.

        Parameters
        ----------
        query
            Words; of several queries each is tried until one finds something.
        tagged
            A question has at least one of these tags.

        Raises
        ------
        TransientError
            The API does not answer, or asks for patience.
        InvalidInputError
            It refuses the key, or the question.
        """
        for words in [query] if isinstance(query, str) else query:
            found = self._questions(words, tagged, limit)
            if found:
                return self._with_answers(found)
        return []

    def _questions(self, words: str, tagged: Sequence[str], limit: int) -> list[dict[str, Any]]:
        items = self._get(
            "search/advanced",
            "/search/advanced",
            q=words[:200],
            answers="1",
            order="desc",
            sort="relevance",
            pagesize=str(limit * 2),
            filter="withbody",
            **({"tagged": ";".join(tagged)} if tagged else {}),
        )
        if not all(isinstance(item.get("question_id"), int) for item in items):
            raise TransientError("Stack Exchange's answer cannot be read (a question has no id)")
        # Sorting is stable: within both kinds relevance decides.
        return sorted(items, key=lambda item: "accepted_answer_id" not in item)[:limit]

    def _with_answers(self, questions: list[dict[str, Any]]) -> list[Post]:
        ids = ";".join(str(question["question_id"]) for question in questions)
        answers = self._get(
            "questions/answers",
            f"/questions/{ids}/answers",
            order="desc",
            sort="votes",
            pagesize="30",
            filter="withbody",
        )
        posts = []
        for question in questions:
            own = [answer for answer in answers if answer.get("question_id") == question["question_id"]]
            best = min(own, key=lambda answer: not answer.get("is_accepted"), default={})
            posts.append(
                Post(
                    title=text_of(str(question.get("title", "")), 200),
                    url=str(question.get("link", "")),
                    question=text_of(str(question.get("body", ""))),
                    answer_text=text_of(str(best.get("body", ""))),
                    score=_whole(best.get("score", question.get("score"))),
                    accepted=bool(best.get("is_accepted")),
                )
            )
        return posts

    def _get(self, method: str, path: str, **parameters: str) -> list[dict[str, Any]]:
        self._keep_still(method)
        parameters = {"site": self._site, **parameters, **({"key": self._key} if self._key else {})}
        try:
            with self._session.get(self._url + path, params=parameters, timeout=self._timeout, stream=True) as response:
                answer = self._read(response)
                status = response.status_code
        except requests.RequestException as error:
            # Its text holds the address with the key.
            raise TransientError(f"Stack Exchange does not answer ({type(error).__name__})") from None
        self._note_pause(method, answer)
        if "error_id" in answer or status >= 400:
            raise self._refusal(answer, status, method)
        items = answer.get("items")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise TransientError("Stack Exchange's answer cannot be read (it has no items)")
        return items

    def _read(self, response: requests.Response) -> dict[str, Any]:
        deadline = time.monotonic() + self._timeout[1]
        body = bytearray()
        for piece in response.iter_content(65_536):
            body += piece
            if len(body) > MAX_BODY_BYTES or time.monotonic() > deadline:
                raise TransientError("Stack Exchange's answer is too long, or takes too long")
        try:
            answer = json.loads(body)
        except ValueError as error:
            if response.status_code >= 400:
                return {}
            raise TransientError("Stack Exchange's answer cannot be read (it is not JSON)") from error
        return answer if isinstance(answer, dict) else {}

    def _refusal(self, answer: dict[str, Any], status: int, method: str) -> Exception:
        # The HTTP status is 400 whatever it is; what it is, the wrapper says.
        error_id = answer.get("error_id", status)
        said = " ".join(str(answer.get("error_message", "")).split())[:300]
        if error_id == _THROTTLED:
            wait = _SECONDS.search(said)
            self._pause(method, float(wait[1]) if wait else _THROTTLE_SECONDS)
            return TransientError(f"Stack Exchange throttles this address ({error_id} {said})")
        if error_id in _KEY_ERRORS or (error_id == _BAD_PARAMETER and self._key and "key" in said):
            return InvalidInputError(f"Stack Exchange refused the key in {self._secret} ({error_id} {said}); renew it")
        if status == 429 or error_id >= 500:
            return TransientError(f"Stack Exchange could not answer ({error_id} {said})")
        return InvalidInputError(f"Stack Exchange refused the question ({error_id} {said})")

    def _keep_still(self, method: str) -> None:
        """Wait as long as the API asked to be left alone, if that is short."""
        left = max(_paused_until.get((self._url, what), 0.0) for what in (method, "*")) - self._clock()
        if left <= 0:
            return
        if left > MAX_PAUSE_SECONDS:
            raise TransientError(f"Stack Exchange asked not to be asked again for {left:.0f} s")
        self._sleep(left)

    def _note_pause(self, method: str, answer: dict[str, Any]) -> None:
        backoff = answer.get("backoff")
        if isinstance(backoff, int | float) and backoff > 0:
            self._pause(method, float(backoff))
        if answer.get("quota_remaining") == 0:
            # The quota is one of a day, UTC, over all methods.
            self._pause("*", _DAY_SECONDS - self._clock() % _DAY_SECONDS)

    def _pause(self, method: str, seconds: float) -> None:
        _paused_until[self._url, method] = self._clock() + min(seconds, _DAY_SECONDS)


def _whole(number: Any) -> int:
    return number if isinstance(number, int) else 0


def text_of(markup: str, limit: int = MAX_TEXT_CHARACTERS) -> str:
    """Plain text of HTML: code keeps its lines, other text is folded, scripts and pictures are dropped."""
    lines = "".join(_pieces(BeautifulSoup(markup[:_MAX_HTML_CHARACTERS], "html.parser"))).split("\n")
    folded = (
        line.rstrip().replace(_CODE, "    ") if line.startswith(_CODE) else " ".join(line.split()) for line in lines
    )
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(folded)).strip("\n")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _pieces(soup: BeautifulSoup) -> Iterator[str]:
    """Text of the elements in order; lines of code begin with a mark. No recursion: markup may be nested at will."""
    left: list[PageElement | str] = [soup]
    while left:
        element = left.pop()
        if not isinstance(element, Tag):
            # Comments and the like are strings of other classes.
            if type(element) in (str, NavigableString):
                yield element if type(element) is str else " ".join(f"|{element}|".split())[1:-1]
        elif element.name == "pre":
            code = element.get_text().strip("\n").split("\n")
            yield "\n\n" + "\n".join(_CODE + line.replace(_CODE, "    ") for line in code) + "\n\n"
        elif element.name not in _DROPPED:
            if element.name in _BLOCKS:
                left.append("\n")
                yield "\n"
            elif element.name == "li":
                yield "\n- "
            left += reversed(element.contents)
