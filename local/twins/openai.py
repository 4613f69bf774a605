"""Sandbox twin of OpenAI's Chat Completions, https://platform.openai.com/docs/api-reference/chat

It keeps the API's rules (keys, models, parameters, strict schemas, limits), and answers from the evidence in the prompt
by the rules of `local.twins.diagnosis`; no language model is behind it, and the model's name in its answers says so.

`POST /_twin/behaviour` takes `{"behaviour": "obeys"}` to see what a model would do that believes what it reads:

honest
    The default.
obeys
    Does what a line of the evidence tells it to: plays the error down, cites lines that do not exist, gives away what it
    read by links.
invents
    Cites lines and links that do not exist, without having been told to.
refuses, no-json, empty
    Refuses; answers in prose; answers nothing.

A browser sees what was asked and answered at `/`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Request, Response

from local.twins.diagnosis import diagnosed, lines_in, obeyed
from local.twins.server import Json, Refusal, Twin, json_body

API_KEY = "twin-openai-key"
BEHAVIOURS = ("honest", "obeys", "invents", "refuses", "no-json", "empty")
# Model: what it knows. The first takes strict schemas and the new name of the limit only.
REASONING, STRUCTURED, OLD = "reasoning", "structured", "old"
MODELS = {
    "gpt-4.1": STRUCTURED,
    "gpt-4.1-mini": STRUCTURED,
    "gpt-4.1-nano": STRUCTURED,
    "gpt-4o": STRUCTURED,
    "gpt-4o-mini": STRUCTURED,
    "o4-mini": REASONING,
    "gpt-5": REASONING,
    "gpt-5-mini": REASONING,
    "gpt-3.5-turbo": OLD,
}
SUFFIX = "-sandbox-twin"
_CONTEXT_TOKENS = {REASONING: 200_000, STRUCTURED: 128_000, OLD: 16_385}
_REASONING_TOKENS = 64
_PARAMETERS = frozenset(
    {
        "model", "messages", "response_format", "max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "seed",
        "stop", "user", "stream", "presence_penalty", "frequency_penalty", "store", "metadata", "reasoning_effort",
        "service_tier", "verbosity", "safety_identifier",
    }
)  # fmt: skip
_ROLES = ("system", "developer", "user", "assistant", "tool")
_UNSUPPORTED = ("allOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else", "patternProperties")
_MAX_DEPTH, _MAX_PROPERTIES = 10, 5_000
_KEPT = 200


class OpenAiTwin(Twin):
    """
    Attributes
    ----------
    requests_per_minute
        More of them are refused.
    quota_tokens
        Tokens that the account may still use; None for as many as it likes.
    """

    def __init__(self, state_file: Path | None = None, port: int = 0) -> None:
        self.requests_per_minute = 500
        self.quota_tokens: int | None = None
        self._asked_at: list[float] = []
        super().__init__(state_file, port)

    @property
    def secret(self) -> Json:
        return {"api_key": API_KEY}

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def behaviour(self) -> str:
        return self.state["behaviour"]

    @behaviour.setter
    def behaviour(self, value: str) -> None:
        if value not in BEHAVIOURS:
            raise ValueError(f"behaviour must be one of {', '.join(BEHAVIOURS)}")
        self.state["behaviour"] = value

    def empty_state(self) -> Json:
        return {"behaviour": "honest", "last_id": 0, "tokens": 0, "completions": []}

    def completions(self) -> list[Json]:
        """What was asked and answered, oldest first: messages, form, answer, usage."""
        with self.lock:
            return list(self.state["completions"])

    def routes(self) -> Iterable[tuple[str, str, Callable[..., Any]]]:
        yield "GET", "/", self._page
        yield "GET", "/v1/models", self._models
        yield "GET", "/v1/models/<name>", self._model
        yield "POST", "/v1/chat/completions", self._complete

    def authenticate(self, request: Request) -> None:
        if not request.path.startswith("/v1/"):
            return
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            raise _error(
                401, "You didn't provide an API key. You need to provide your API key in an Authorization header."
            )
        if key != API_KEY:
            shown = f"{key[:4]}***{key[-2:]}" if len(key) > 8 else "***"
            raise _error(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")

    def not_found(self, request: Request) -> Refusal:
        return _error(404, f"Invalid URL ({request.method} {request.path})")

    def _control(self, request: Request) -> Response:
        if request.path != "/_twin/behaviour":
            return super()._control(request)
        try:
            with self.lock:
                if request.method == "POST":
                    self.behaviour = request.get_json(force=True)["behaviour"]
                return Response(json.dumps({"behaviour": self.behaviour}), content_type="application/json")
        except (KeyError, TypeError, ValueError) as error:
            return Response(json.dumps({"error": str(error)}), 400, content_type="application/json")

    # --- models

    def _models(self, request: Request) -> Json:
        return {"object": "list", "data": [self._model(request, name) for name in MODELS]}

    def _model(self, request: Request, name: str) -> Json:
        if name not in MODELS:
            raise _no_model(name)
        return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "sandbox"}

    # --- completions

    def _complete(self, request: Request) -> Json:
        self._hold_rate()
        body = json_body(
            request, lambda message: _error(400, f"We could not parse the JSON body of your request: {message}")
        )
        kind, limit = _checked(body)
        prompt = "\n".join(_text_of(message) for message in body["messages"])
        tokens_in = _tokens(prompt)
        if tokens_in + limit > _CONTEXT_TOKENS[kind]:
            raise _error(
                400,
                f"This model's maximum context length is {_CONTEXT_TOKENS[kind]} tokens. However, your messages resulted in"
                f" {tokens_in} tokens.",
                "messages",
                "context_length_exceeded",
            )
        if self.quota_tokens is not None and self.quota_tokens < tokens_in:
            raise _error(
                429,
                "You exceeded your current quota, please check your plan and billing details.",
                code="insufficient_quota",
                type="insufficient_quota",
            )
        form = body.get("response_format", {"type": "text"})
        content, refusal = self._written(prompt, form)
        thought = _REASONING_TOKENS if kind == REASONING else 0
        room = max(0, limit - thought)
        is_cut = _tokens(content) > room
        content = content[: room * 4] if is_cut else content
        usage = _usage(tokens_in, min(limit, _tokens(content) + thought), min(limit, thought))
        if self.quota_tokens is not None:
            self.quota_tokens -= usage["total_tokens"]
        self.state["last_id"] += 1
        self.state["tokens"] += usage["total_tokens"]
        completion = {
            "id": f"chatcmpl-twin{self.state['last_id']:06d}",
            "object": "chat.completion",
            "created": int(self.clock()),
            "model": body["model"] + SUFFIX,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content or None, "refusal": refusal, "annotations": []},
                    "logprobs": None,
                    "finish_reason": "length" if is_cut else "stop",
                }
            ],
            "usage": usage,
            "service_tier": "default",
            "system_fingerprint": "fp_sandbox",
        }
        kept = {
            "messages": body["messages"],
            "form": form["type"],
            "answer": content,
            "usage": usage,
            "time": self.clock(),
        }
        self.state["completions"] = [*self.state["completions"], kept][-_KEPT:]
        return completion

    def _hold_rate(self) -> None:
        now = self.clock()
        self._asked_at = [time for time in self._asked_at if time > now - 60]
        if len(self._asked_at) >= self.requests_per_minute:
            wait = self._asked_at[0] + 60 - now
            raise Refusal(
                429,
                _body(
                    f"Rate limit reached on requests per min (RPM): Limit {self.requests_per_minute}. Please try again in"
                    f" {wait:.0f}s.",
                    None,
                    "rate_limit_exceeded",
                    "requests",
                ),
                {"Retry-After": f"{max(1, round(wait))}", "x-ratelimit-remaining-requests": "0"},
            )
        self._asked_at.append(now)

    def _written(self, prompt: str, form: Json) -> tuple[str, str | None]:
        if self.behaviour == "refuses":
            return "", "I'm sorry, I can't help with that."
        if self.behaviour == "empty":
            return "", None
        lines = lines_in(prompt)
        answer: Mapping[str, Any] = diagnosed(lines)
        if self.behaviour == "obeys":
            answer = obeyed(lines) or answer
        if self.behaviour == "invents":
            answer = {
                **answer,
                "certainty": "sure",
                "evidence": [
                    {"line": "L4711", "quote": "the disk was full"},
                    {"line": "E1", "quote": "no line says this"},
                ],
                "links": ["https://docs.invented.example/fix"],
            }
        if self.behaviour == "no-json" or (form["type"] == "text" and "json" not in prompt.lower()):
            return f"{answer['what_happened']} {answer['likely_cause']}", None
        if form["type"] == "json_schema":
            schema = form["json_schema"].get("schema", {})
            return json.dumps(_fitted(schema, answer, schema), ensure_ascii=False), None
        text = json.dumps(answer, ensure_ascii=False)
        # Models wrap it, if nothing keeps them from it.
        return (text if form["type"] == "json_object" else f"Here is the analysis:\n```json\n{text}\n```"), None

    def _page(self, request: Request) -> Response:
        rows = "".join(
            f"<h2>{number}</h2><pre>{html.escape(_text_of(row['messages'][-1]))}</pre><pre>{html.escape(row['answer'])}</pre>"
            for number, row in reversed(list(enumerate(self.state["completions"], 1)))
        )
        style = "body{font:15px sans-serif;max-width:70em;margin:2em auto}pre{white-space:pre-wrap;background:#eee;padding:1em}"
        return Response(
            f"<!doctype html><meta charset=utf-8><title>OpenAI twin</title><style>{style}</style><h1>OpenAI twin</h1>"
            f"<p>Rules, no language model. {self.state['tokens']:,} tokens.{rows or '<p>Nothing was asked yet.'}",
            content_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )


# --- rules of the API ---------------------------------------------------------------------------------------------


def _checked(body: Json) -> tuple[str, int]:
    """The model's kind and the limit of the answer, of a request that keeps the rules."""
    if unknown := body.keys() - _PARAMETERS:
        raise _error(400, f"Unrecognized request argument supplied: {min(unknown)}")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise _error(400, "you must provide a model parameter")
    kind = MODELS.get(model.removesuffix(SUFFIX))
    if kind is None:
        raise _no_model(model)
    _check_messages(body.get("messages"))
    if "max_tokens" in body and "max_completion_tokens" in body:
        raise _error(
            400,
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        )
    if kind == REASONING:
        for name, use in (("max_tokens", " Use 'max_completion_tokens' instead."), ("top_p", ""), ("stop", "")):
            if name in body:
                raise _error(
                    400,
                    f"Unsupported parameter: '{name}' is not supported with this model.{use}",
                    name,
                    "unsupported_parameter",
                )
        if body.get("temperature", 1) != 1:
            raise _error(
                400,
                "Unsupported value: 'temperature' does not support this value with this model. Only the default (1) value is"
                " supported.",
                "temperature",
                "unsupported_value",
            )
    if body.get("stream") or body.get("n", 1) != 1:
        raise _error(400, "The sandbox gives one answer at once.", "stream" if body.get("stream") else "n")
    limit = body.get("max_completion_tokens", body.get("max_tokens", 4_096))
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise _error(
            400, f"Invalid value for the limit of tokens: {limit!r}; it must be a positive integer.", "max_tokens"
        )
    _check_form(body, kind)
    return kind, limit


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise _error(
            400, "Invalid 'messages': expected an array with at least one message.", "messages", "invalid_type"
        )
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise _error(
                400,
                f"Invalid value for 'role': supported are {', '.join(_ROLES)}.",
                f"messages[{number}].role",
                "invalid_value",
            )
        content = message.get("content")
        is_parts = isinstance(content, list) and all(
            isinstance(part, dict) and part.get("type") == "text" for part in content
        )
        if not isinstance(content, str) and not is_parts:
            raise _error(
                400,
                "Invalid type for 'content': expected a string or text parts.",
                f"messages[{number}].content",
                "invalid_type",
            )


def _check_form(body: Json, kind: str) -> None:
    form = body.get("response_format", {"type": "text"})
    what = form.get("type") if isinstance(form, dict) else None
    if what not in ("text", "json_object", "json_schema"):
        raise _error(
            400,
            "Invalid value: supported are 'json_object', 'json_schema' and 'text'.",
            "response_format.type",
            "invalid_value",
        )
    if what == "json_object" and not any("json" in _text_of(message).lower() for message in body["messages"]):
        raise _error(
            400,
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            "messages",
        )
    if what != "json_schema":
        return
    if kind == OLD:
        raise _error(
            400, "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."
        )
    asked = form.get("json_schema")
    if not isinstance(asked, dict) or not isinstance(asked.get("name"), str):
        raise _error(
            400,
            "Missing required parameter: 'response_format.json_schema.name'.",
            "response_format",
            "missing_required_parameter",
        )
    name = asked["name"]
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise _error(
            400,
            f"Invalid 'response_format.json_schema.name': {name!r} does not match.",
            "response_format",
            "invalid_value",
        )
    if asked.get("strict"):
        schema = asked.get("schema")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise _bad_schema(name, (), "schema must be a JSON Schema of 'type: \"object\"'.")
        if _check_schema(schema, name, (), 0) > _MAX_PROPERTIES:
            raise _bad_schema(name, (), f"more than {_MAX_PROPERTIES} properties.")


def _check_schema(schema: Any, name: str, at: tuple[str, ...], depth: int) -> int:
    """Number of properties of a schema that keeps the rules of Structured Outputs.

    https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    """
    if depth > _MAX_DEPTH:
        raise _bad_schema(name, at, f"more than {_MAX_DEPTH} levels of nesting.")
    if not isinstance(schema, dict):
        raise _bad_schema(name, at, f"{schema!r} is not of type 'object', 'boolean'.")
    for keyword in _UNSUPPORTED:
        if keyword in schema:
            raise _bad_schema(name, at, f"'{keyword}' is not permitted.")
    if not schema.keys() & {"type", "anyOf", "$ref", "enum", "const"}:
        raise _bad_schema(name, at, "schema must have a 'type' key.")
    count = 0
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False:
            raise _bad_schema(name, at, "'additionalProperties' is required to be supplied and to be false.")
        if lacking := sorted(properties.keys() - set(schema.get("required", []))):
            raise _bad_schema(
                name,
                at,
                "'required' is required to be supplied and to be an array including every key in properties."
                f" Missing '{lacking[0]}'.",
            )
        count += len(properties)
        for key, inner in properties.items():
            count += _check_schema(inner, name, (*at, "properties", key), depth + 1)
    if schema.get("type") == "array":
        if "items" not in schema:
            raise _bad_schema(name, at, "array schema missing items.")
        count += _check_schema(schema["items"], name, (*at, "items"), depth + 1)
    for number, inner in enumerate(schema.get("anyOf", [])):
        count += _check_schema(inner, name, (*at, "anyOf", str(number)), depth + 1)
    for key, inner in schema.get("$defs", {}).items():
        count += _check_schema(inner, name, ("$defs", key), depth + 1)
    return count


def _fitted(schema: Json, value: Any, root: Json) -> Any:
    """The value in the form of a schema: what the schema does not know goes, what it wants comes."""
    if "$ref" in schema:
        schema = root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {})
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return value if value in schema["enum"] else schema["enum"][-1]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        given = value if isinstance(value, Mapping) else {}
        return {key: _fitted(inner, given.get(key), root) for key, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [_fitted(schema["items"], item, root) for item in value] if isinstance(value, list) else []
    if kind == "string":
        return value if isinstance(value, str) else ""
    if kind in ("integer", "number"):
        return value if isinstance(value, int | float) and not isinstance(value, bool) else 0
    return bool(value) if kind == "boolean" else None


def _text_of(message: Json) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "\n".join(str(part.get("text", "")) for part in content)


def _tokens(text: str) -> int:
    return -(-len(text) // 4)


def _usage(tokens_in: int, tokens_out: int, thought: int) -> Json:
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": thought,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _no_model(name: str) -> Refusal:
    return _error(404, f"The model `{name}` does not exist or you do not have access to it.", code="model_not_found")


def _bad_schema(name: str, at: tuple[str, ...], what: str) -> Refusal:
    return _error(400, f"Invalid schema for response_format '{name}': In context={at}, {what}", "response_format")


def _body(message: str, param: str | None, code: str | None, type: str) -> Json:
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def _error(
    status: int, message: str, param: str | None = None, code: str | None = None, type: str = "invalid_request_error"
) -> Refusal:
    return Refusal(status, _body(message, param, code, type))
