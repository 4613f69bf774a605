"""Sandbox twin of Slack: Web API, incoming webhooks, and people who read, press and submit.

Rules from the methods' reference pages: token kinds, scopes, membership of channels, limits of texts and blocks,
triggers that last three seconds. What was said is kept, also what was refused or written over, so that a test can search
all of it.

Besides what all twins have, `POST /_twin/press`, `/_twin/submit` and `/_twin/close` do what a person does, and send the
signed request that Slack would send to the app's interactivity URL, which `POST /_twin/interactivity` takes. A browser sees
channel, threads and windows at `/_twin_page`.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from slack_sdk.signature import SignatureVerifier
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

from local import slack_page
from local.twins.block_kit_rules import MAX_CHARACTERS_OF_BLOCKS, characters, problems_of_message, problems_of_view
from local.twins.server import Json, Refusal, Twin

BOT_TOKEN, USER_TOKEN = "xoxb-twin-bot-token", "xoxp-twin-user-token"
SIGNING_SECRET = "twin-slack-signing-secret"
TEAM, APP, BOT, HOOK, HOOK_TOKEN = "T0TWIN", "A0TWIN", "U0BOT", "B0TWIN", "twin-webhook-token"
CHANNEL, FOREIGN_CHANNEL, PRIVATE_CHANNEL, ARCHIVED_CHANNEL = "C0WATCHFLOOR", "C0OTHER", "C0PRIVATE", "C0OLD"
ANA, BEN = "U0ANA", "U0BEN"
# A guest, one from another company in a shared channel, and one of another workspace of the same organization.
GUEST, PARTNER, SISTER = "U0GUEST", "U0PARTNER", "U0SISTER"
ENTERPRISE = "E0TWIN"
SCOPES = frozenset({"chat:write", "channels:history", "groups:history", "users:read", "users:read.email"})
TRIGGER_SECONDS = 3.0
MAX_TEXT, MAX_ATTACHMENTS, MAX_METADATA = 40_000, 100, 8_000
_KEPT = 5_000
# Slack gives an app three seconds to answer.
_ANSWER_SECONDS = 3.0
_TRUE = ("1", "true", True, 1)


class SlackTwin(Twin):
    """
    Attributes
    ----------
    scopes
        What the bot was granted.
    limits_rate
        Whether a channel takes one message a second only, as Slack's does.
    """

    def __init__(self, state_file: Path | None = None, port: int = 0) -> None:
        self.scopes: set[str] = set(SCOPES)
        self.limits_rate = False
        self._last_post: dict[str, float] = {}
        super().__init__(state_file, port)

    @property
    def secret(self) -> Json:
        return {
            "bot_token": BOT_TOKEN,
            "channel": CHANNEL,
            "signing_secret": SIGNING_SECRET,
            "api_url": f"{self.url}/api/",
        }

    @property
    def webhook_secret(self) -> Json:
        """Settings for those who have a webhook alone."""
        return {"webhook_url": f"{self.url}/services/{TEAM}/{HOOK}/{HOOK_TOKEN}"}

    def empty_state(self) -> Json:
        return {
            "sequence": 0,
            "interactivity_url": "",
            "channels": {
                CHANNEL: _channel("watchfloor", members=[BOT, ANA, BEN]),
                FOREIGN_CHANNEL: _channel("other", members=[ANA, BEN]),
                PRIVATE_CHANNEL: _channel("private", members=[ANA], is_private=True),
                ARCHIVED_CHANNEL: _channel("old", members=[BOT], is_archived=True),
            },
            "users": {
                ANA: _user("ana", "Ana Duty"),
                BEN: _user("ben", "Ben Backup"),
                GUEST: _user("gus", "Gus Guest", is_restricted=True),
                PARTNER: _user("pat", "Pat Partner", team_id="T0OTHER"),
                SISTER: _user("sis", "Sis Sister", team_id="T0SISTER", enterprise_user={"enterprise_id": ENTERPRISE}),
                "U0GONE": _user("gone", "Gone Away", deleted=True),
                BOT: _user("watchfloor", "Watchfloor", is_bot=True),
            },
            "triggers": {},
            "views": {},
            "ephemeral": [],
            "received": [],
        }

    # --- what tests and people look at

    def messages(self, channel: str = CHANNEL) -> list[Json]:
        """A channel's messages as they are now, replies included, oldest first."""
        with self.lock:
            return list(self.state["channels"][channel]["messages"])

    def threads(self, channel: str = CHANNEL) -> list[Json]:
        """Messages that are no replies."""
        return [message for message in self.messages(channel) if _is_top(message)]

    def replies(self, ts: str, channel: str = CHANNEL) -> list[Json]:
        return [m for m in self.messages(channel) if m.get("thread_ts") == ts and m["ts"] != ts]

    def everything_received(self) -> str:
        """All bodies that were ever sent here, refused ones and earlier versions included."""
        with self.lock:
            return "\n".join(entry["body"] for entry in self.state["received"])

    def routes(self) -> Iterable[tuple[str, str, Callable[..., Any]]]:
        yield "GET", "/", self._home
        yield "GET", "/_twin_page", self._page
        yield "POST", "/services/<team>/<hook>/<token>", self._webhook
        yield "POST", "/actions/<channel>/<ts>/<token>", self._response_url
        for method in ("GET", "POST"):
            yield method, "/api/<name>", self._method

    def authenticate(self, request: Request) -> None:
        """Each method looks at its token, since Slack refuses with status 200."""

    def not_found(self, request: Request) -> Refusal:
        return Refusal(404, {"ok": False, "error": "unknown_method"})

    # --- Web API

    def _method(self, request: Request, name: str) -> Any:
        self._keep(name, request)
        methods: dict[str, tuple[str, Callable[[Json], Json]]] = {
            "auth.test": ("", self._auth_test),
            "chat.postMessage": ("chat:write", self._post_message),
            "chat.update": ("chat:write", self._update),
            "chat.postEphemeral": ("chat:write", self._post_ephemeral),
            "conversations.history": ("history", self._history),
            "conversations.replies": ("history", self._replies),
            "users.info": ("users:read", self._user_info),
            "views.open": ("", self._open_view),
        }
        if name not in methods:
            raise _no("unknown_method")
        given = _arguments(request, takes_json=name != "users.info")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token if scheme.lower() == "bearer" else given.pop("token", "")
        if not token:
            raise _no("not_authed")
        if token == USER_TOKEN:
            raise _no("not_allowed_token_type")
        if token != BOT_TOKEN:
            raise _no("invalid_auth")
        scope, function = methods[name]
        if scope == "history":
            channel = self.state["channels"].get(given.get("channel"), {})
            scope = "groups:history" if channel.get("is_private") else "channels:history"
        if scope and scope not in self.scopes:
            raise _no("missing_scope", needed=scope, provided=",".join(sorted(self.scopes)))
        return {"ok": True, **function(given)}

    def _auth_test(self, given: Json) -> Json:
        names = {"user": "watchfloor", "user_id": BOT, "enterprise_id": ENTERPRISE}
        return {"url": f"{self.url}/", "team": "Twin", "team_id": TEAM, **names}

    def _post_message(self, given: Json) -> Json:
        channel_id, channel = self._channel_to_write(given)
        content = _content(given)
        if given.get("metadata") is not None:
            content["metadata"] = _metadata(given["metadata"])
        thread = given.get("thread_ts")
        if thread and not any(m["ts"] == thread and _is_top(m) for m in channel["messages"]):
            raise _no("thread_not_found")
        self._limit_rate(channel_id)
        if thread and given.get("reply_broadcast") in _TRUE:
            content["subtype"] = "thread_broadcast"
        message = self._add(channel, content, user=BOT, thread_ts=thread)
        return {"channel": channel_id, "ts": message["ts"], "message": _shown(message, with_metadata=True)}

    def _update(self, given: Json) -> Json:
        channel_id, channel = self._channel_to_write(given)
        message = _find(channel, given.get("ts"))
        if message is None:
            raise _no("message_not_found")
        if message["user"] != BOT or message.get("webhook"):
            raise _no("cant_update_message")
        # Blocks and metadata that are not given stay.
        content = _content({"blocks": message.get("blocks"), **given})
        if given.get("metadata") is not None:
            content["metadata"] = _metadata(given["metadata"])
        message.update(content)
        message["edited"] = {"user": BOT, "ts": self._next_ts()}
        return {"channel": channel_id, "ts": message["ts"], "text": message["text"]}

    def _post_ephemeral(self, given: Json) -> Json:
        channel_id, channel = self._channel_to_write(given)
        if given.get("user") not in channel["members"]:
            raise _no("user_not_in_channel")
        content = _content(given)
        ts = self._next_ts()
        self.state["ephemeral"].append({**content, "channel": channel_id, "user": given["user"], "ts": ts})
        return {"message_ts": ts}

    def _history(self, given: Json) -> Json:
        channel = self._channel_to_read(given)
        return self._listed([m for m in reversed(channel["messages"]) if _is_top(m)], given)

    def _replies(self, given: Json) -> Json:
        channel = self._channel_to_read(given)
        ts = given.get("ts")
        found = [m for m in channel["messages"] if m["ts"] == ts or m.get("thread_ts") == ts]
        if not found or not ts:
            raise _no("thread_not_found")
        return self._listed(found, given)

    def _listed(self, messages: list[Json], given: Json) -> Json:
        oldest, latest = given.get("oldest") or "0", given.get("latest") or "99999999999"
        try:
            limit, start = int(given.get("limit") or 100), int(given.get("cursor") or 0)
            inside = [m for m in messages if float(oldest) < float(m["ts"]) < float(latest)]
        except ValueError as error:
            raise _no("invalid_arguments") from error
        if not 1 <= limit <= 999:
            raise _no("invalid_limit")
        shown = inside[start : start + limit]
        more = len(inside) > start + limit
        with_metadata = given.get("include_all_metadata") in _TRUE
        return {
            "messages": [_shown(message, with_metadata) for message in shown],
            "has_more": more,
            "response_metadata": {"next_cursor": str(start + limit) if more else ""},
        }

    def _user_info(self, given: Json) -> Json:
        user = self.state["users"].get(given.get("user"))
        if user is None:
            raise _no("user_not_found")
        hidden = set() if "users:read.email" in self.scopes else {"email"}
        profile = {name: value for name, value in user["profile"].items() if name not in hidden}
        return {"user": {"id": given["user"], "team_id": TEAM, **user, "profile": profile}}

    def _open_view(self, given: Json) -> Json:
        view: Any = given.get("view")
        view = _json_or(view, view) if isinstance(view, str) else view
        trigger = self.state["triggers"].get(given.get("trigger_id"))
        if trigger is None:
            raise _no("invalid_trigger_id")
        if trigger["used"]:
            raise _no("exchanged_trigger_id")
        if self.clock() - trigger["at"] > TRIGGER_SECONDS:
            raise _no("expired_trigger_id")
        if problems := problems_of_view(view):
            raise _no("invalid_arguments", response_metadata={"messages": problems})
        trigger["used"] = True
        view_id = f"V{self._next()}"
        kept = {**view, "id": view_id, "team_id": TEAM, "user": trigger["user"]}
        self.state["views"][view_id] = kept
        return {"view": kept}

    def _channel_to_write(self, given: Json) -> tuple[str, Json]:
        name = str(given.get("channel") or "")
        by_name = {f"#{channel['name']}": key for key, channel in self.state["channels"].items()}
        channel_id = by_name.get(name, name)
        channel = self.state["channels"].get(channel_id)
        if channel is None or (channel["is_private"] and BOT not in channel["members"]):
            raise _no("channel_not_found")
        if channel["is_archived"]:
            raise _no("is_archived")
        if BOT not in channel["members"]:
            raise _no("not_in_channel")
        return channel_id, channel

    def _channel_to_read(self, given: Json) -> Json:
        channel = self.state["channels"].get(given.get("channel"))
        if channel is None or (channel["is_private"] and BOT not in channel["members"]):
            raise _no("channel_not_found")
        if BOT not in channel["members"]:
            raise _no("not_in_channel")
        return channel

    # --- webhooks

    def _webhook(self, request: Request, team: str, hook: str, token: str) -> Response:
        self._keep("webhook", request)
        if team != TEAM:
            return _words("no_team", 404)
        if hook != HOOK:
            return _words("no_service", 404)
        if token != HOOK_TOKEN:
            return _words("invalid_token", 403)
        raw = request.form.get("payload") or request.get_data(as_text=True)
        given = _json_or(raw, None)
        if not isinstance(given, dict):
            return _words("invalid_payload", 400)
        channel = self.state["channels"][CHANNEL]
        if channel["is_archived"]:
            return _words("channel_is_archived", 410)
        try:
            content = _content(given)
            self._limit_rate(HOOK)
        except Refusal as refusal:
            if refusal.status == 429:
                return _words("rate_limited", 429, {"Retry-After": "1"})
            return _words(refusal.body["error"], 400)
        self._add(channel, content, user=BOT, webhook=True)
        return _words("ok", 200)

    # --- people

    def press(
        self,
        action_id: str,
        ts: str = "",
        *,
        channel: str = CHANNEL,
        user: str = ANA,
        selected: str = "",
        url: str = "",
    ) -> Json:
        """Press a button, or choose from a select, and tell the app as Slack does.

        Parameters
        ----------
        ts
            The message; the latest one with this action when empty.
        selected
            Value of the chosen option, or how it ends (`1h`).
        url
            Where to; the app's interactivity URL when empty.

        Returns
        -------
        dict
            `status` and `body` of the app's answer, and `view_id` of the window that it opened.
        """
        with self.lock:
            message, block, element = self._element(channel, ts, action_id)
            trigger = self._trigger(user)
            action: Json = {
                "type": element["type"],
                "action_id": action_id,
                "block_id": block.get("block_id", "b1"),
                "action_ts": f"{self.clock():.6f}",
            }
            if element["type"] == "static_select":
                options = [
                    o for o in element["options"] if o["value"] == selected or o["value"].endswith(f" {selected}")
                ]
                if not options:
                    raise ValueError(f"{action_id} offers no {selected!r}")
                action["selected_option"] = options[0]
                action["placeholder"] = element.get("placeholder")
            else:
                action |= {"text": element["text"], "value": element.get("value", "")}
            where = {"channel_id": channel, "message_ts": message["ts"]}
            payload: Json = {
                "type": "block_actions",
                "user": self._person(user),
                "api_app_id": APP,
                "token": "deprecated",
                "container": {"type": "message", "is_ephemeral": False, **where},
                "trigger_id": trigger,
                "team": {"id": TEAM, "domain": "twin"},
                "enterprise": None,
                "is_enterprise_install": False,
                "channel": {"id": channel, "name": self.state["channels"][channel]["name"]},
                "message": _shown(message, with_metadata=True),
                "state": {"values": {}},
                "response_url": f"{self.url}/actions/{channel}/{message['ts']}/twin",
                "actions": [action],
            }
            before = set(self.state["views"])
        answer = self._send(payload, url)
        with self.lock:
            opened = [view_id for view_id in self.state["views"] if view_id not in before]
        return {**answer, "view_id": opened[-1] if opened else ""}

    def submit(self, values: Mapping[str, str], view_id: str = "", *, user: str = "", url: str = "") -> Json:
        """Submit a window with a value for each of its blocks; the latest window when none is named.

        Returns
        -------
        dict
            `status` and `body` of the app's answer. The window closes unless the answer says otherwise.
        """
        with self.lock:
            view_id = view_id or next(reversed(self.state["views"]), "")
            view = self.state["views"].get(view_id)
            if view is None:
                raise ValueError("no window is open")
            payload: Json = {
                "type": "view_submission",
                "team": {"id": TEAM, "domain": "twin"},
                "user": self._person(user or view["user"]),
                "api_app_id": APP,
                "token": "deprecated",
                "trigger_id": self._trigger(user or view["user"]),
                "view": {**view, "state": {"values": _state_of(view, values)}},
                "response_urls": [],
                "is_enterprise_install": False,
                "enterprise": None,
            }
        answer = self._send(payload, url)
        said = _json_or(answer["body"], {})
        stays = isinstance(said, dict) and said.get("response_action") in ("errors", "update", "push")
        if answer["status"] == 200 and not stays:
            with self.lock:
                self.state["views"].pop(view_id, None)
        return answer

    def close(self, view_id: str) -> Json:
        """Close a window without submitting it; Slack tells the app only if the window asks for that."""
        with self.lock:
            self.state["views"].pop(view_id, None)
        return {"status": 200, "body": ""}

    def say(self, text: str, user: str = ANA, channel: str = CHANNEL, thread_ts: str | None = None) -> str:
        """A person's message; its ts."""
        with self.lock:
            return self._add(self.state["channels"][channel], {"text": text}, user=user, thread_ts=thread_ts)["ts"]

    def delete(self, ts: str, channel: str = CHANNEL) -> None:
        """Delete a message, as an owner of the workspace may."""
        with self.lock:
            messages = self.state["channels"][channel]["messages"]
            messages[:] = [message for message in messages if message["ts"] != ts]

    def _element(self, channel: str, ts: str, action_id: str) -> tuple[Json, Json, Json]:
        for message in reversed(self.state["channels"][channel]["messages"]):
            if ts not in ("", message["ts"]):
                continue
            for block in message.get("blocks") or []:
                elements = [*block.get("elements", []), *([block["accessory"]] if "accessory" in block else [])]
                for element in elements:
                    if isinstance(element, dict) and element.get("action_id") == action_id:
                        return message, block, element
        raise ValueError(f"no message{f' {ts}' if ts else ''} has {action_id}")

    def _send(self, payload: Json, url: str) -> Json:
        """Sign as Slack does, and post. The lock is not held: the app may call back."""
        url = url or self.state["interactivity_url"]
        if not url:
            raise ValueError("the app has no interactivity URL; POST /_twin/interactivity sets it")
        body = urllib.parse.urlencode({"payload": json.dumps(payload)})
        timestamp = str(int(self.clock()))
        signature = SignatureVerifier(SIGNING_SECRET).generate_signature(timestamp=timestamp, body=body)
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": str(signature),
        }
        request = urllib.request.Request(url, body.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
                return {"status": answer.status, "body": answer.read(100_000).decode("utf-8", "replace")}
        except urllib.error.HTTPError as error:
            return {"status": error.code, "body": error.read(100_000).decode("utf-8", "replace")}
        except OSError as error:
            return {"status": 0, "body": f"the app does not answer: {error}"}

    def _response_url(self, request: Request, channel: str, ts: str, token: str) -> Json:
        self._keep("response_url", request)
        given = _json_or(request.get_data(as_text=True), {})
        message = _find(self.state["channels"].get(channel, {"messages": []}), ts)
        if token != "twin" or message is None or not isinstance(given, dict):
            raise Refusal(404, {"ok": False, "error": "used_url"})
        content = _content(given)
        if given.get("replace_original") in _TRUE:
            message.update(content)
        else:
            self.state["ephemeral"].append({**content, "channel": channel, "user": None, "ts": self._next_ts()})
        return {"ok": True}

    # --- page and control

    def _home(self, request: Request) -> Response:
        return Response(status=302, headers={"Location": "/_twin_page"})

    def _page(self, request: Request) -> Response:
        channel_id = request.args.get("channel", CHANNEL)
        channel = self.state["channels"].get(channel_id)
        if channel is None:
            raise Refusal(404, {"ok": False, "error": "channel_not_found"})
        page, script_nonce = slack_page.channel_page(
            channel_id=channel_id,
            channel=channel,
            users=self.state["users"],
            views=list(self.state["views"].values()),
            ephemeral=[m for m in self.state["ephemeral"] if m["channel"] == channel_id],
            theme=request.args.get("theme", ""),
        )
        policy = (
            "default-src 'none'; style-src 'unsafe-inline'; connect-src 'self';"
            f" script-src 'nonce-{script_nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return Response(page, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": policy})

    def _control(self, request: Request) -> Response:
        what = request.path.removeprefix("/_twin/")
        acts: dict[str, Callable[..., Json]] = {"press": self.press, "submit": self.submit, "close": self.close}
        if what not in (*acts, "interactivity") or request.method != "POST":
            return super()._control(request)
        try:
            # Of another type a page of any site could send it.
            given = request.get_json()
            if what == "interactivity":
                with self.lock:
                    self.state["interactivity_url"] = str(given["url"])
                answer: Json = {"url": given["url"]}
            else:
                answer = acts[what](**given)
        except (HTTPException, KeyError, TypeError, ValueError) as error:
            return Response(json.dumps({"error": str(error)}), 400, content_type="application/json")
        return Response(json.dumps(answer), content_type="application/json")

    # --- keeping

    def _add(
        self, channel: Json, content: Json, *, user: str, thread_ts: str | None = None, webhook: bool = False
    ) -> Json:
        message: Json = {"type": "message", "user": user, "ts": self._next_ts(), **content}
        if user == BOT:
            message |= {"bot_id": HOOK, "app_id": APP}
        if thread_ts:
            message["thread_ts"] = thread_ts
        if webhook:
            message["webhook"] = True
        channel["messages"].append(message)
        return message

    def _keep(self, method: str, request: Request) -> None:
        received = self.state["received"]
        body = request.get_data(as_text=True)
        # The form's own escapes would hide what a test looks for.
        if request.mimetype == "application/x-www-form-urlencoded":
            body = urllib.parse.unquote_plus(body)
        parsed = _json_or(body, None)
        received.append({"method": method, "body": json.dumps(parsed, ensure_ascii=False) if parsed else body})
        del received[:-_KEPT]

    def _limit_rate(self, what: str) -> None:
        now = self.clock()
        if self.limits_rate and now - self._last_post.get(what, 0.0) < 1.0:
            raise Refusal(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "1"})
        self._last_post[what] = now

    def _trigger(self, user: str) -> str:
        trigger = f"{self._next()}.{TEAM}.twin"
        self.state["triggers"] = {**self.state["triggers"], trigger: {"at": self.clock(), "user": user, "used": False}}
        return trigger

    def _person(self, user: str) -> Json:
        about = self.state["users"].get(user)
        if about is None:
            raise ValueError(f"there is no user {user}")
        return {"id": user, "username": about["name"], "name": about["name"], "team_id": TEAM}

    def _next(self) -> int:
        self.state["sequence"] += 1
        return self.state["sequence"]

    def _next_ts(self) -> str:
        # Unique in a channel, as Slack's are: the sequence makes the microseconds.
        return f"{int(self.clock())}.{self._next() % 1_000_000:06d}"


def _channel(name: str, members: list[str], is_private: bool = False, is_archived: bool = False) -> Json:
    return {"name": name, "members": members, "is_private": is_private, "is_archived": is_archived, "messages": []}


def _user(name: str, real_name: str, is_bot: bool = False, deleted: bool = False, **more: Any) -> Json:
    profile = {"real_name": real_name, "display_name": real_name.split()[0], "email": f"{name}@example.com"}
    return {"name": name, "real_name": real_name, "profile": profile, "is_bot": is_bot, "deleted": deleted, **more}


def _no(error: str, **more: Any) -> Refusal:
    return Refusal(200, {"ok": False, "error": error, **more})


def _arguments(request: Request, takes_json: bool) -> Json:
    if request.mimetype == "application/json" and takes_json:
        try:
            given = json.loads(request.get_data() or b"{}")
        except ValueError as error:
            raise _no("invalid_json") from error
        if not isinstance(given, dict):
            raise _no("json_not_object")
        return given
    given = {**request.args.to_dict(), **request.form.to_dict()}
    return {name: _json_or(value, value) if name in ("blocks", "metadata") else value for name, value in given.items()}


def _content(given: Json) -> Json:
    """Text and blocks as they are kept."""
    text, blocks, attachments = given.get("text") or "", given.get("blocks"), given.get("attachments") or []
    if not isinstance(text, str) or not isinstance(attachments, list):
        raise _no("invalid_arguments")
    if not text and not blocks and not attachments:
        raise _no("no_text")
    if len(text) > MAX_TEXT:
        raise _no("msg_too_long")
    if len(attachments) > MAX_ATTACHMENTS:
        raise _no("too_many_attachments")
    content: Json = {"text": text}
    if attachments:
        content["attachments"] = attachments
    if blocks is not None:
        if not isinstance(blocks, list):
            raise _no("invalid_blocks_format")
        if problems := problems_of_message(blocks):
            plain = [problem.removeprefix("[ERROR] ") for problem in problems]
            raise _no("invalid_blocks", errors=plain, response_metadata={"messages": problems})
        if characters(blocks) > MAX_CHARACTERS_OF_BLOCKS:
            raise _no("msg_blocks_too_long")
        content["blocks"] = blocks
    return content


def _metadata(metadata: Any) -> Json:
    if not isinstance(metadata, dict) or not isinstance(metadata.get("event_payload"), dict):
        raise _no("invalid_metadata_format")
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,255}", str(metadata.get("event_type") or "")):
        raise _no("invalid_metadata_schema")
    if len(json.dumps(metadata)) > MAX_METADATA:
        raise _no("metadata_too_large")
    return metadata


def _shown(message: Json, with_metadata: bool) -> Json:
    hidden = {"webhook"} | (set() if with_metadata else {"metadata"})
    return {name: value for name, value in message.items() if name not in hidden}


def _find(channel: Json, ts: Any) -> Json | None:
    return next((message for message in channel["messages"] if message["ts"] == ts), None)


def _is_top(message: Json) -> bool:
    return message.get("thread_ts") in (None, message["ts"])


def _state_of(view: Json, values: Mapping[str, str]) -> Json:
    """What Slack tells of a window's fields; it lets nobody submit what is required and empty."""
    state: Json = {}
    for number, block in enumerate(view["blocks"]):
        if block["type"] != "input":
            continue
        block_id, element = block.get("block_id", f"b{number}"), block["element"]
        given = values.get(block_id, "")
        if not given and not block.get("optional"):
            raise ValueError(f"{block_id} is required")
        held: Json = {"type": element["type"]}
        if element["type"] == "static_select":
            options = [option for option in element["options"] if option["value"] == given]
            if given and not options:
                raise ValueError(f"{block_id} offers no {given!r}")
            held["selected_option"] = options[0] if options else None
        else:
            if len(given) > element.get("max_length", 3_000):
                raise ValueError(f"{block_id} is too long")
            held["value"] = given or None
        state[block_id] = {element.get("action_id", f"a{number}"): held}
    if unknown := values.keys() - state.keys():
        raise ValueError(f"the window has no {', '.join(sorted(unknown))}")
    return state


def _json_or(text: Any, otherwise: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return otherwise


def _words(text: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(text, status, headers, content_type="text/html; charset=utf-8")
