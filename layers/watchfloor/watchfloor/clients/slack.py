"""Slack: messages by a bot's token (Web API) or by an incoming webhook, and what people press.

https://docs.slack.dev/apis/web-api and https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

from __future__ import annotations

import json
import logging
import re
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import URLError
from urllib.parse import parse_qs

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.signature import Clock, SignatureVerifier
from slack_sdk.webhook import WebhookClient

from watchfloor.buttons import Action
from watchfloor.errors import AccessDeniedError, InvalidInputError, TransientError

API_URL = "https://slack.com/api/"
# For connecting, and for each wait for more of an answer. The library's own default is 30.
TIMEOUT_SECONDS = 10
# How long one call waits in all when Slack asks for patience.
PATIENCE_SECONDS = 15.0
EVENT_TYPE = "watchfloor_message"
MAX_ACTION_BYTES = 500_000
_PAGE, _PAGES = 200, 5
# A message that Slack was at when the connection broke may take a moment to be there.
_SETTLE_SECONDS = 2.0

_CHANNEL = re.compile(r"[CGD][A-Z0-9]{2,30}")
_USER = re.compile(r"[UW][A-Z0-9]{2,30}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}\.[0-9]{1,9}")
_SECONDS = re.compile(r"[0-9]{1,12}")
_ERROR_CODE = re.compile(r"[a-z][a-z0-9_]{1,80}")

# What is wrong with the settings, by Slack's name for it.
_MEND = {
    "invalid_auth": "the bot token is not valid; install the app again and store its new token",
    "not_authed": "the bot token is missing; store it",
    "account_inactive": "the bot's account is switched off; install the app again and store its new token",
    "token_revoked": "the bot token was revoked; install the app again and store its new token",
    "token_expired": "the bot token has expired; switch token rotation off for the app and store its new token",
    "not_allowed_token_type": "a bot token (xoxb-) is needed",
    "not_in_channel": "the app is not in the channel; invite it there (/invite @Watchfloor)",
    "channel_not_found": "the channel is unknown to the app; use its id (C...), and invite the app if it is private",
    "is_archived": "the channel is archived; choose another one",
    "channel_is_archived": "the channel is archived; make a webhook for another one",
    "restricted_action": "the workspace does not let apps post in this channel; ask its owner, or choose another one",
    "action_prohibited": "the workspace does not let webhooks post there; ask its owner",
    "posting_to_general_channel_denied": "the workspace does not let webhooks post in #general; choose another channel",
    "no_service": "the webhook is gone or switched off; make a new one and store its URL",
    "no_team": "the webhook's workspace is gone; make a new one and store its URL",
    "no_active_hooks": "the webhook is switched off; make a new one and store its URL",
    "invalid_token": "the webhook's URL is not complete; store it again",
    "team_disabled": "the workspace is switched off",
}
# With these Slack may have done it all the same.
_UNCERTAIN = {"internal_error", "fatal_error", "service_unavailable"}
_PASSING = {"ratelimited", "rate_limited", "request_timeout", "team_added_to_org"}
_TOO_LATE = {"expired_trigger_id", "exchanged_trigger_id", "trigger_expired", "trigger_exchanged"}

Json = dict[str, Any]


class UnknownOutcomeError(TransientError):
    """Slack may or may not have posted the message; the next try has to say `again=True`, and then looks first."""


@dataclass(frozen=True)
class Posted:
    """Where a message is.

    Attributes
    ----------
    channel, ts
        What names the message for `update` and for replies; empty with a webhook.
    is_certain
        False where a webhook's answer got lost: it may be there or not, and nobody can look.
    """

    channel: str = ""
    ts: str = ""
    is_certain: bool = True


@dataclass(frozen=True)
class SlackUser:
    """Somebody of the workspace.

    Attributes
    ----------
    name
        For showing: people choose it themselves.
    email
        What tells who it is; empty without the scope users:read.email.
    is_person
        Neither a bot nor somebody who left.
    is_guest
        Invited to some channels only, or a stranger from another workspace.
    team, enterprise
        Ids of the workspace, and of the organization that it may belong to.
    """

    id: str
    name: str
    email: str
    is_person: bool
    is_guest: bool = False
    team: str = ""
    enterprise: str = ""


class Slack:
    """One channel of one workspace.

    A message is posted at most once for a key, if its caller keeps to this: it notes the attempt before `post`, takes
    the note back after a TransientError that is no UnknownOutcomeError, and says `again=True` where it finds a note. The
    bot then searches the channel for a message with that key. A webhook cannot search, so it does not repeat.

    Parameters
    ----------
    settings
        `bot_token`, `channel` (its id), `signing_secret`, optionally `api_url`; or `webhook_url` alone.
    secret_name
        What to name in an error that its owner mends by changing the settings.

    Raises
    ------
    InvalidInputError
        Slack refuses; the message says what to mend.
    TransientError
        Slack does not answer, or wants to be asked later; nothing was posted.
    UnknownOutcomeError
        See there.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        secret_name: str = "the Slack secret",
        *,
        timeout_seconds: int = TIMEOUT_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._secret = secret_name
        self._patience = patience_seconds
        self._sleep = sleep
        # The library writes whole requests to a logger that lets it; the webhook's URL is a secret.
        logger = logging.getLogger("watchfloor.slack")
        logger.setLevel(logging.CRITICAL)
        self._web: WebClient | None = None
        self._webhook: WebhookClient | None = None
        # A retry inside of the library could post twice, so it gets none.
        if token := settings.get("bot_token"):
            if not settings.get("signing_secret"):
                raise InvalidInputError(f"{secret_name} lacks signing_secret, without which no button works")
            self.channel = _checked_channel(settings, secret_name)
            self._web = WebClient(
                token=token,
                base_url=settings.get("api_url") or API_URL,
                timeout=timeout_seconds,
                logger=logger,
                retry_handlers=[],
            )
        elif url := settings.get("webhook_url"):
            self.channel = ""
            self._webhook = WebhookClient(url=url, timeout=timeout_seconds, logger=logger, retry_handlers=[])
        else:
            raise InvalidInputError(
                f"{secret_name} needs bot_token and channel, or webhook_url; docs/integrations.md shows its form"
            )

    @property
    def can_thread(self) -> bool:
        """Whether there are threads, updates and buttons: with a bot, not with a webhook."""
        return self._web is not None

    def post(
        self, message: Mapping[str, Any], key: str, thread_ts: str | None = None, *, again: bool = False
    ) -> Posted:
        """Post a message, once.

        Parameters
        ----------
        message
            `text` and `blocks`.
        key
            Names the message among all that are ever posted to the channel.
        thread_ts
            The message to reply to; the channel sees the reply too.
        again
            An earlier try may have posted it.
        """
        if self._webhook is not None:
            return Posted(is_certain=False) if again else self._send(message)
        if again and (found := self._search(key, thread_ts)):
            return found
        try:
            answer = self._call(
                "chat.postMessage",
                {
                    **_content(message),
                    "channel": self.channel,
                    "unfurl_links": False,
                    "unfurl_media": False,
                    "metadata": {"event_type": EVENT_TYPE, "event_payload": {"key": key}},
                    # A reply wakes only those who wrote in the thread; this one shows in the channel too.
                    **({"thread_ts": thread_ts, "reply_broadcast": True} if thread_ts else {}),
                },
                writes=True,
            )
            if not answer.get("ts"):
                raise UnknownOutcomeError("Slack did not say where it posted the message")
        except UnknownOutcomeError:
            self._sleep(_SETTLE_SECONDS)
            if found := self._search(key, thread_ts):
                return found
            raise
        return Posted(str(answer.get("channel") or self.channel), str(answer["ts"]))

    def _search(self, key: str, thread_ts: str | None) -> Posted | None:
        """As `find`; where Slack does not let us look, the message may be there."""
        try:
            return self.find(key, thread_ts)
        except TransientError as error:
            raise UnknownOutcomeError(f"it could not be looked whether the message is there: {error}") from error

    def find(self, key: str, thread_ts: str | None = None) -> Posted | None:
        """The message with this key among the channel's latest thousand, or the thread's."""
        method = "conversations.replies" if thread_ts else "conversations.history"
        where = {"channel": self.channel, "include_all_metadata": True, "limit": _PAGE}
        if thread_ts:
            where["ts"] = thread_ts
        cursor = ""
        for _ in range(_PAGES):
            with self._readable(method):
                answer = self._call(method, {**where, **({"cursor": cursor} if cursor else {})}, as_form=True)
                for message in answer.get("messages") or []:
                    about = message.get("metadata") or {}
                    if about.get("event_type") == EVENT_TYPE and (about.get("event_payload") or {}).get("key") == key:
                        return Posted(self.channel, str(message["ts"]))
                cursor = (answer.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                break
        return None

    def update(self, channel: str, ts: str, message: Mapping[str, Any]) -> bool:
        """Put a message in the place of one of ours; False where somebody deleted it."""
        body = {**_content(message), "channel": channel, "ts": ts}
        return self._call("chat.update", body, borne={"message_not_found"})["ok"] is True

    def tell(self, channel: str, user_id: str, text: str) -> None:
        """Say something to one person in the channel; nobody else sees it. `text` is mrkdwn."""
        self._call("chat.postEphemeral", {"channel": channel, "user": user_id, "text": text, "parse": "none"})

    def open_view(self, trigger_id: str, view: Mapping[str, Any]) -> bool:
        """Open a window for whoever pressed a button; False where that was more than three seconds ago."""
        body = {"trigger_id": trigger_id, "view": dict(view)}
        return self._call("views.open", body, borne=_TOO_LATE)["ok"] is True

    def user(self, user_id: str) -> SlackUser:
        """Who pressed a button."""
        with self._readable("users.info"):
            user = self._call("users.info", {"user": user_id}, as_form=True)["user"]
            profile = user.get("profile") or {}
            name = profile.get("display_name") or profile.get("real_name") or user.get("name") or user["id"]
            is_person = not (user.get("is_bot") or user.get("deleted") or user["id"] == "USLACKBOT")
            return SlackUser(
                user["id"],
                str(name),
                str(profile.get("email") or ""),
                is_person,
                is_guest=any(user.get(kind) for kind in ("is_restricted", "is_ultra_restricted", "is_stranger")),
                team=str(user.get("team_id") or ""),
                enterprise=str((user.get("enterprise_user") or {}).get("enterprise_id") or ""),
            )

    def colleague(self, user_id: str) -> SlackUser:
        """Who pressed a button, if they are a full member of the app's own workspace or organization.

        Anybody in a channel can press its buttons, and channels can be shared with guests and other companies.

        Raises
        ------
        AccessDeniedError
            They are not.
        """
        user, app = self.user(user_id), self._call("auth.test", {})
        is_here = bool(user.team) and user.team == app.get("team_id")
        is_here = is_here or (bool(user.enterprise) and user.enterprise == app.get("enterprise_id"))
        if not user.is_person or user.is_guest or not is_here:
            raise AccessDeniedError(f"{user.id} is no full member of the app's own workspace")
        return user

    # --- Web API

    def _call(
        self,
        method: str,
        body: Json,
        *,
        as_form: bool = False,
        writes: bool = False,
        borne: Collection[str] = (),
    ) -> Json:
        """One method's answer; one with `ok` false only for an error that is borne.

        `writes` where a second call would do something a second time.
        """
        if self._web is None:
            raise InvalidInputError(f"{self._secret} holds a webhook, which cannot do {method}; store a bot_token")
        given: Json = {"params": body} if as_form else {"json": body}
        waited = 0.0
        while True:
            try:
                with self._connection(method, writes):
                    data = self._web.api_call(method, http_verb="GET" if as_form else "POST", **given).data
                    return data if isinstance(data, dict) else {}
            except SlackApiError as error:
                if error.response.status_code == 200 and error.response.get("error") in borne:
                    return {"ok": False}
                wait = _retry_after(error.response.headers) if error.response.status_code == 429 else None
                if wait is None or waited + wait > self._patience:
                    raise self._refusal(error, method, writes) from None
                self._sleep(wait)
                waited += wait

    def _refusal(self, error: SlackApiError, method: str, writes: bool) -> Exception:
        response = error.response
        status, code = response.status_code, str(response.get("error") or "")
        if status == 429 or code in _PASSING:
            after = _retry_after(response.headers)
            return TransientError(f"Slack wants {method} later ({code or status}; in {after or 'some'} s)")
        if status >= 500 or code in _UNCERTAIN or not _ERROR_CODE.fullmatch(code):
            kind = UnknownOutcomeError if writes else TransientError
            return kind(f"Slack failed at {method} ({status} {code if _ERROR_CODE.fullmatch(code) else 'no JSON'})")
        if code == "missing_scope":
            mend = (
                f"the app lacks the scope {response.get('needed')}; add it, install the app again, store its new token"
            )
        else:
            details = (response.get("response_metadata") or {}).get("messages") or response.get("errors") or []
            said = "; ".join(str(detail) for detail in details)[:500]
            mend = _MEND.get(code) or f"it refuses {method}" + (f": {said}" if said else "")
        return InvalidInputError(f"Slack: {mend} ({self._secret}, {method}: {code})")

    # --- webhook

    def _send(self, message: Mapping[str, Any]) -> Posted:
        assert self._webhook is not None
        waited = 0.0
        while True:
            try:
                with self._connection("the webhook", writes=True):
                    answer = self._webhook.send(
                        text=message["text"], blocks=message["blocks"], unfurl_links=False, unfurl_media=False
                    )
            except UnknownOutcomeError:
                return Posted(is_certain=False)
            status, code = answer.status_code, answer.body.strip()[:100]
            if status == 200 and code == "ok":
                return Posted()
            if status == 429:
                wait = _retry_after(answer.headers)
                if wait is None or waited + wait > self._patience:
                    raise TransientError(f"Slack wants the webhook later (429; in {wait or 'some'} s)")
                self._sleep(wait)
                waited += wait
                continue
            if not 400 <= status < 500:
                # It may have been posted, and there is nowhere to look.
                return Posted(is_certain=False)
            known = code if _ERROR_CODE.fullmatch(code) else "no reason given"
            mend = _MEND.get(known) or f"it refuses the message ({known})"
            raise InvalidInputError(f"Slack: {mend} ({self._secret}, webhook: {status} {known})")

    @contextmanager
    def _connection(self, doing: str, writes: bool) -> Iterator[None]:
        try:
            yield
        except SlackApiError:
            raise
        except (OSError, HTTPException, SlackClientError, ValueError, LookupError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            # Nothing was sent, so nothing was posted.
            unsent = isinstance(reason, ConnectionRefusedError | socket.gaierror | ssl.SSLCertVerificationError)
            kind = UnknownOutcomeError if writes and not unsent else TransientError
            raise kind(f"Slack does not answer ({type(reason).__name__}), trying {doing}") from None

    @staticmethod
    @contextmanager
    def _readable(doing: str) -> Iterator[None]:
        try:
            yield
        except (KeyError, TypeError, AttributeError) as error:
            raise TransientError(f"Slack's answer to {doing} cannot be read") from error


def approvers(settings: Mapping[str, Any], secret_name: str = "the Slack secret") -> list[str] | None:
    """Who alone may approve, by their Slack ids; None where every colleague may."""
    listed = settings.get("approvers")
    if listed is None:
        return None
    if not isinstance(listed, list) or not all(isinstance(each, str) and _USER.fullmatch(each) for each in listed):
        raise InvalidInputError(f'{secret_name}: approvers must be a list of user ids, such as ["U0123456789"]')
    return listed


def _checked_channel(settings: Mapping[str, str], secret_name: str) -> str:
    channel = settings.get("channel") or ""
    if not _CHANNEL.fullmatch(channel):
        raise InvalidInputError(
            f"{secret_name}: channel must be the channel's id (C...), which is at the bottom of its details in Slack"
        )
    return channel


def _content(message: Mapping[str, Any]) -> Json:
    # Slack shall make no links or mentions of what looks like some.
    return {"text": message["text"], "blocks": message["blocks"], "parse": "none", "link_names": False}


def _retry_after(headers: Mapping[str, Any]) -> float | None:
    """Seconds; None where Slack names none, or none that can be waited for."""
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    text = str(value[0] if isinstance(value, list) and value else value).strip()
    return float(text) if text.isdigit() and len(text) < 6 else None


# --- what people press --------------------------------------------------------------------------------------------


class _At(Clock):
    """The library's clock, showing the time that the caller says it is."""

    def __init__(self, now: float) -> None:
        self._now = now

    def now(self) -> float:
        return self._now


def verify_signature(signing_secret: str, headers: Mapping[str, str], body: str | bytes, now: float) -> str:
    """Let through what Slack signed within the last five minutes, and return the signature.

    https://docs.slack.dev/authentication/verifying-requests-from-slack

    Raises
    ------
    AccessDeniedError
        Anything else.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        timestamp = given["x-slack-request-timestamp"]
        # The verifier's int() reads more than digits.
        if not _SECONDS.fullmatch(timestamp) or not signing_secret.strip():
            raise ValueError(timestamp)
        signature = given["x-slack-signature"]
        is_valid = SignatureVerifier(signing_secret, _At(now)).is_valid(body, timestamp, signature)
    except (KeyError, TypeError, ValueError, AttributeError):
        is_valid = False
    if not is_valid:
        raise AccessDeniedError("the request does not carry Slack's signature of the last five minutes")
    return signature


def parse_action(body: str | bytes) -> Action:
    """What a request to the interactivity URL says; its signature is verified before.

    Raises
    ------
    InvalidInputError
        It says nothing that can be acted upon.
    """
    try:
        if len(body) > MAX_ACTION_BYTES:
            raise ValueError("too long")
        text = body.decode() if isinstance(body, bytes) else body
        (payload,) = parse_qs(text, strict_parsing=True, max_num_fields=5)["payload"]
        read = _READERS[json.loads(payload)["type"]]
        return read(json.loads(payload))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise InvalidInputError(f"this is no action of Slack's that is known here ({type(error).__name__})") from error


def _block_action(payload: Json) -> Action:
    action = payload["actions"][0]
    value, selected = action.get("value"), ""
    if action["type"] == "static_select":
        value, _, selected = _text(action["selected_option"]["value"], 150).partition(" ")
    container, message = payload.get("container") or {}, payload.get("message") or {}
    channel = (payload.get("channel") or {}).get("id") or container.get("channel_id") or ""
    return Action(
        action_id=_text(action["action_id"], 255),
        value=_text(value, 2_000),
        channel=_matching(_CHANNEL, channel),
        message_ts=_matching(_TIMESTAMP, container.get("message_ts") or message.get("ts") or ""),
        selected=selected,
        response_url=_text(payload.get("response_url") or "", 2_000),
        **_who(payload),
    )


def _view_submission(payload: Json) -> Action:
    view = payload["view"]
    about = json.loads(_text(view["private_metadata"], 3_000))
    inputs, selected = {}, ""
    for block_id, elements in view["state"]["values"].items():
        (element,) = elements.values()
        inputs[_text(block_id, 255)] = _field(element)
        if element.get("selected_option"):
            selected = selected or _field(element)
    return Action(
        action_id=_text(view["callback_id"], 255),
        value=_text(about["value"], 2_000),
        channel=_matching(_CHANNEL, about.get("channel") or ""),
        message_ts=_matching(_TIMESTAMP, about.get("message_ts") or ""),
        selected=selected,
        inputs=inputs,
        **_who(payload),
    )


_READERS: dict[str, Callable[[Json], Action]] = {"block_actions": _block_action, "view_submission": _view_submission}


def _who(payload: Json) -> Json:
    user = payload["user"]
    if not _USER.fullmatch(user["id"]):
        raise ValueError("no user")
    name = user.get("username") or user.get("name") or user["id"]
    return {
        "user_id": user["id"],
        "user_name": _text(name, 200),
        "trigger_id": _text(payload.get("trigger_id") or "", 500),
    }


def _field(element: Json) -> str:
    option = element.get("selected_option")
    return _text(option["value"] if option else element.get("value") or "", 3_000)


def _text(value: object, limit: int) -> str:
    if not isinstance(value, str) or len(value) > limit:
        raise ValueError("no text, or too much of it")
    return value


def _matching(pattern: re.Pattern[str], text: object) -> str:
    if text != "" and not (isinstance(text, str) and pattern.fullmatch(text)):
        raise ValueError("not in Slack's form")
    return str(text)
