"""A chat model behind OpenAI's Chat Completions, or any endpoint that speaks the same.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import openai

from watchfloor.errors import InvalidInputError, TransientError

CONNECT_SECONDS = 5.0
MAX_TRIES = 3
MAX_ANSWER_BYTES = 1_000_000
_FIRST_WAIT_SECONDS = 1.0
# From the strictest form of answer to none: not every endpoint knows every one.
_FORMS = ("json_schema", "json_object", "text")
# OpenAI's reasoning models refuse the second; older servers of other makers know only that.
_LIMITS = ("max_completion_tokens", "max_tokens")
_FINAL_CODES = ("model_not_found", "invalid_api_key", "context_length_exceeded", "content_policy_violation")
_QUOTA_CODES = ("insufficient_quota", "billing_hard_limit_reached")


@dataclass(frozen=True)
class Reply:
    """What the model answered.

    Attributes
    ----------
    text
        Its text, empty when it gave none.
    tokens_in, tokens_out
        As the endpoint counted them; 0 where it does not say.
    model
        Name of the model that answered, as the endpoint gives it.
    form
        How the answer was asked for: "json_schema", "json_object" or "text".
    problem
        Why the text is not the whole answer; empty when it is.
    """

    text: str
    tokens_in: int
    tokens_out: int
    model: str
    form: str = "json_schema"
    problem: str = ""


class ChatModel:
    """One model of one endpoint.

    Parameters
    ----------
    settings
        `api_key`; optionally `organization` and `project`.
    base_url
        Of any compatible endpoint, with its version, such as `https://api.openai.com/v1`.
    model
        Name of the model.
    max_output_tokens
        Limit of an answer; a reasoning model's thoughts count.
    secret_name
        What to name in an error that its owner mends by changing the key.

    Attributes
    ----------
    may_be_billed
        Whether the endpoint may have begun to answer what was asked last.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        base_url: str,
        model: str,
        max_output_tokens: int = 2_000,
        *,
        secret_name: str = "the OpenAI secret",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        key = str(settings.get("api_key") or "").strip()
        if not key or not key.isascii():
            raise InvalidInputError(f"{secret_name} lacks a usable api_key; docs/integrations.md shows its form")
        if not base_url.startswith(("https://", "http://")):
            raise InvalidInputError(f"the parameter OpenAiBaseUrl is no address of the web: {base_url[:100]!r}")
        self._secret = secret_name
        self._model = model
        self._limit = max_output_tokens
        self._sleep = sleep
        self.may_be_billed = False
        # What the endpoint accepted last: a warm function asks in that form first.
        self._form, self._limit_field = 0, 0
        # The library's own retries know no deadline.
        self._client = openai.OpenAI(
            api_key=key,
            organization=settings.get("organization"),
            project=settings.get("project"),
            base_url=base_url,
            max_retries=0,
        )

    def ask(self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], timeout: float = 60.0) -> Reply:
        """One answer in the form of a JSON Schema.

        Parameters
        ----------
        messages
            Chat messages: `role` and `content`.
        schema
            Strict JSON Schema; its `title` names it.
        timeout
            Seconds for everything, retries included.

        Raises
        ------
        TransientError
            The endpoint does not answer, answers nonsense, or wants to be asked later.
        InvalidInputError
            Key, model, URL or quota do not suffice; the message says what to mend.
        """
        deadline = time.monotonic() + timeout
        tries = 0
        self.may_be_billed = False
        while True:
            try:
                return self._ask_once(messages, schema, deadline)
            except openai.APIStatusError as error:
                if error.status_code in (400, 422) and self._step_down(error):
                    continue
                self.may_be_billed |= error.status_code >= 500
                translated = self._translated(error)
                wait = _retry_after(error.response.headers)
            except (openai.APIConnectionError, openai.APIResponseValidationError) as error:
                self.may_be_billed |= not _is_unsent(error)
                translated = TransientError(f"the model does not answer ({type(error).__name__})")
                translated.__cause__ = error
                wait = None
            except TransientError as error:
                self.may_be_billed = True
                translated, wait = error, None
            if not isinstance(translated, TransientError):
                raise translated
            tries += 1
            wait = _FIRST_WAIT_SECONDS * 2 ** (tries - 1) if wait is None else wait
            if tries >= MAX_TRIES or time.monotonic() + wait >= deadline:
                raise translated
            self._sleep(wait)

    def _ask_once(self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any], deadline: float) -> Reply:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TransientError("the model did not answer in time")
        form = _FORMS[self._form]
        request: dict[str, Any] = {
            "model": self._model,
            "messages": [*messages, *_described(form, schema)],
            _LIMITS[self._limit_field]: self._limit,
        }
        if form != "text":
            request["response_format"] = _response_format(form, schema)
        # The timeout is one of silence, so the body is read piece by piece against the deadline.
        timeout = openai.Timeout(left, connect=min(CONNECT_SECONDS, left))
        with self._client.with_streaming_response.chat.completions.create(**request, timeout=timeout) as response:
            body = bytearray()
            for piece in response.iter_bytes():
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    raise TransientError(f"the model's answer is longer than {MAX_ANSWER_BYTES:,} bytes")
                if time.monotonic() > deadline:
                    raise TransientError("the model did not answer in time")
        return self._reply(bytes(body), form)

    def _reply(self, body: bytes, form: str) -> Reply:
        try:
            answer = json.loads(body)
            choice = answer["choices"][0]
            message, reason = choice["message"], choice.get("finish_reason")
            text, refusal = message.get("content") or "", message.get("refusal") or ""
            usage = answer.get("usage") or {}
            tokens_in, tokens_out = (int(usage.get(key) or 0) for key in ("prompt_tokens", "completion_tokens"))
            model = str(answer.get("model") or self._model)
            if not isinstance(text, str):
                raise TypeError("content is not text")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            # What answers is no model right now: a proxy's or a maintenance page.
            raise TransientError(f"the model's answer cannot be read ({type(error).__name__})") from error
        problem = ""
        if refusal:
            text, problem = "", "the model refused to answer"
        elif reason == "length":
            problem = f"the answer was cut off at {self._limit:,} tokens; raise the parameter OpenAiMaxOutputTokens"
        elif reason == "content_filter":
            problem = "the endpoint's content filter withheld the answer"
        elif not text.strip():
            problem = "the answer is empty"
        return Reply(text, tokens_in, tokens_out, model, form, problem)

    def _step_down(self, error: openai.APIStatusError) -> bool:
        """Whether there is another form of the request that this endpoint may accept."""
        if error.code in _FINAL_CODES + _QUOTA_CODES:
            return False
        if error.param in _LIMITS or self._form == len(_FORMS) - 1:
            if self._limit_field or error.param == _LIMITS[1]:
                return False
            self._limit_field = 1
        else:
            self._form += 1
        return True

    def _translated(self, error: openai.APIStatusError) -> Exception:
        status, code = error.status_code, error.code
        said = _said(error)
        if code in _QUOTA_CODES:
            return InvalidInputError(
                f"the account of {self._secret} has no quota left ({status} {said}); see its billing"
            )
        if status == 401:
            return InvalidInputError(
                f"the endpoint refused the API key in {self._secret} ({status} {said}); renew it there"
            )
        if status == 403:
            return InvalidInputError(
                f"the API key in {self._secret} may not use the model {self._model} ({status} {said}); grant it, or"
                f" change the parameter OpenAiModel"
            )
        if status == 404:
            return InvalidInputError(
                f"the endpoint has no model {self._model} ({status} {said}); correct the parameter OpenAiModel, or"
                " OpenAiBaseUrl"
            )
        if status in (408, 409, 429) or status >= 500:
            return TransientError(f"the model could not answer ({status} {said})")
        return InvalidInputError(f"the endpoint refused the question ({status} {said})")


def _is_unsent(error: BaseException | None) -> bool:
    """Whether there was no connection, so that nothing was asked."""
    while error:
        if isinstance(error, ConnectionRefusedError | socket.gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False


def _response_format(form: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    if form == "json_object":
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "json_schema": {"name": str(schema.get("title", "answer")), "strict": True, "schema": dict(schema)},
    }


def _described(form: str, schema: Mapping[str, Any]) -> list[dict[str, str]]:
    """What tells the model the schema where the endpoint does not enforce it."""
    if form == "json_schema":
        return []
    text = f"Answer with one JSON object and nothing else. It must fit this JSON Schema: {json.dumps(dict(schema))}"
    return [{"role": "system", "content": text}]


def _said(error: openai.APIStatusError) -> str:
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(message or error.code or "").split())[:300]


def _retry_after(headers: Mapping[str, str]) -> float | None:
    for name, divisor in (("retry-after-ms", 1_000), ("retry-after", 1)):
        try:
            seconds = float(headers.get(name, "")) / divisor
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None
