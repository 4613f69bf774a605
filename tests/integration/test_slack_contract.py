"""Slack: our client and the twin keep Slack's rules, and a message is posted once."""

import json
import logging
import re
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from local.twins import SlackTwin, slack
from tests.slack_app import SlackApp
from watchfloor.block_kit import context, header, section
from watchfloor.clients.slack import Posted, Slack, SlackUser, UnknownOutcomeError, approvers, verify_signature
from watchfloor.errors import AccessDeniedError, InvalidInputError, TransientError
from watchfloor.messages import approval_message, incident_message, merge_view, resolve_view

FINGERPRINT = "a3f19c0d2e4b5a67"
MESSAGE = {"text": "It failed", "blocks": [header("It failed"), section("Here")]}
CHANGED = {"text": "It failed twice", "blocks": [header("It failed twice")]}
INCIDENT = incident_message({"fingerprint": FINGERPRINT, "title": "It failed"})


@pytest.fixture
def twin():
    with SlackTwin() as running:
        yield running


class Sleeps(list):
    def __call__(self, seconds):
        self.append(seconds)


@pytest.fixture
def sleeps():
    return Sleeps()


@pytest.fixture
def bot(twin, sleeps):
    return Slack(twin.secret, "the secret", timeout_seconds=2, sleep=sleeps)


@pytest.fixture
def webhook(twin, sleeps):
    return Slack(twin.webhook_secret, "the secret", timeout_seconds=2, sleep=sleeps)


@pytest.fixture
def app(twin):
    with SlackApp() as running:
        twin.state["interactivity_url"] = running.url
        yield running


# --- a bot's messages


def test_post_update_and_thread(twin, bot):
    posted = bot.post(MESSAGE, "incident-1")
    assert posted == Posted(slack.CHANNEL, posted.ts)
    reply = bot.post(CHANGED, "incident-1-reopened", posted.ts)
    assert bot.update(posted.channel, posted.ts, CHANGED) is True
    (top,) = twin.threads()
    assert (top["ts"], top["text"], top["blocks"]) == (posted.ts, "It failed twice", CHANGED["blocks"])
    assert [message["ts"] for message in twin.replies(posted.ts)] == [reply.ts]


def test_message_of_an_incident_and_an_approval_are_taken(twin, bot):
    bot.post(INCIDENT, "incident")
    bot.post(approval_message({"id": "a-1", "script": "oncall-x", "plan": [{"service": "s", "operation": "O"}]}), "a-1")
    assert len(twin.threads()) == 2


def test_nothing_is_unfurled_or_linked(twin, bot):
    bot.post(MESSAGE, "key")
    sent = json.loads(twin.state["received"][-1]["body"])
    assert (sent["unfurl_links"], sent["unfurl_media"], sent["parse"], sent["link_names"]) == (
        False,
        False,
        "none",
        False,
    )
    bot.update(slack.CHANNEL, twin.threads()[0]["ts"], CHANGED)
    assert json.loads(twin.state["received"][-1]["body"])["parse"] == "none"


def test_find_by_key(twin, bot):
    first = bot.post(MESSAGE, "first")
    inside = bot.post(MESSAGE, "inside", first.ts)
    assert bot.find("first") == first
    assert bot.find("inside", first.ts) == inside
    assert bot.find("inside") is None
    assert bot.find("other") is None


def test_find_looks_at_a_thousand_messages_and_no_further(twin, bot):
    old = bot.post(MESSAGE, "old")
    for _ in range(950):
        twin.say("chatter")
    assert bot.find("old") == old
    for _ in range(100):
        twin.say("chatter")
    assert bot.find("old") is None


def test_updated_message_is_still_found(twin, bot):
    posted = bot.post(MESSAGE, "key")
    bot.update(posted.channel, posted.ts, CHANGED)
    assert bot.find("key") == posted


def test_update_of_a_deleted_message_says_so(twin, bot):
    posted = bot.post(MESSAGE, "key")
    twin.delete(posted.ts)
    assert bot.update(posted.channel, posted.ts, CHANGED) is False


def test_update_of_a_persons_message_is_refused(twin, bot):
    ts = twin.say("mine")
    with pytest.raises(InvalidInputError, match="cant_update_message"):
        bot.update(slack.CHANNEL, ts, CHANGED)


def test_whisper_is_seen_by_one_person(twin, bot):
    bot.tell(slack.CHANNEL, slack.BEN, "You asked for it, so somebody else approves.")
    (whisper,) = twin.state["ephemeral"]
    assert whisper["user"] == slack.BEN
    assert twin.messages() == []


def test_user(twin, bot):
    assert bot.user(slack.ANA) == SlackUser(slack.ANA, "Ana", "ana@example.com", is_person=True, team=slack.TEAM)
    assert not bot.user(slack.BOT).is_person
    assert not bot.user("U0GONE").is_person
    with pytest.raises(InvalidInputError, match="user_not_found"):
        bot.user("U0NOBODY")
    twin.scopes.discard("users:read.email")
    assert bot.user(slack.ANA).email == ""


@pytest.mark.parametrize("user_id", [slack.ANA, slack.SISTER])
def test_colleague(bot, user_id):
    assert bot.colleague(user_id).id == user_id


@pytest.mark.parametrize("user_id", [slack.BOT, "U0GONE", slack.GUEST, slack.PARTNER])
def test_who_only_sees_the_channel_is_no_colleague(bot, user_id):
    with pytest.raises(AccessDeniedError, match="no full member"):
        bot.colleague(user_id)


@pytest.mark.parametrize("kind", ["is_restricted", "is_ultra_restricted", "is_stranger"])
def test_guest_of_any_kind_is_no_colleague(twin, bot, kind):
    twin.state["users"][slack.ANA][kind] = True
    with pytest.raises(AccessDeniedError, match="no full member"):
        bot.colleague(slack.ANA)


def test_approvers_are_all_or_those_that_are_named():
    assert approvers({}) is None
    assert approvers({"approvers": ["U0ANA"]}) == ["U0ANA"]
    assert approvers({"approvers": []}) == []
    for wrong in ("U0ANA", ["ana"], [5]):
        with pytest.raises(InvalidInputError, match="list of user ids"):
            approvers({"approvers": wrong})


# --- once


def test_lost_answer_is_found_and_not_repeated(twin, bot, sleeps):
    twin.fail("commit-then-drop", path="chat.postMessage")
    posted = bot.post(MESSAGE, "key")
    assert [message["ts"] for message in twin.messages()] == [posted.ts]
    assert sleeps == [2.0]


@pytest.mark.parametrize("kind", ["down", "500", "garbage"])
def test_post_that_may_have_happened_is_not_repeated_blindly(twin, bot, kind):
    twin.fail(kind, path="chat.postMessage")
    with pytest.raises(UnknownOutcomeError):
        bot.post(MESSAGE, "key")
    assert twin.messages() == []
    posted = bot.post(MESSAGE, "key", again=True)
    assert [message["ts"] for message in twin.messages()] == [posted.ts]


def test_slow_post_is_found_at_the_next_try(twin, bot):
    quick = Slack(twin.secret, timeout_seconds=1, sleep=lambda seconds: None)
    twin.fail("slow", path="chat.postMessage", seconds=1.5)
    with pytest.raises(UnknownOutcomeError):
        quick.post(MESSAGE, "key")
    while not twin.messages():
        time.sleep(0.05)
    assert bot.post(MESSAGE, "key", again=True).ts == twin.messages()[0]["ts"]
    assert len(twin.messages()) == 1


def test_reply_whose_answer_was_lost_is_found_in_its_thread(twin, bot):
    top = bot.post(MESSAGE, "top")
    twin.fail("commit-then-drop", path="chat.postMessage")
    reply = bot.post(MESSAGE, "reply", top.ts)
    assert [message["ts"] for message in twin.replies(top.ts)] == [reply.ts]


def test_again_finds_what_an_earlier_try_posted(twin, bot):
    posted = bot.post(MESSAGE, "key")
    assert bot.post(MESSAGE, "key", again=True) == posted
    assert len(twin.messages()) == 1


@pytest.mark.parametrize("kind", ["down", "500", "garbage", "429"])
def test_while_nobody_can_look_nothing_is_posted_again(twin, bot, kind):
    twin.fail("commit-then-drop", path="chat.postMessage")
    twin.fail(kind, path="conversations.history", count=200)
    for again in (False, True, True):
        with pytest.raises(UnknownOutcomeError):
            bot.post(MESSAGE, "key", again=again)
    twin.faults.clear()
    assert bot.post(MESSAGE, "key", again=True).ts == twin.messages()[0]["ts"]
    assert len(twin.messages()) == 1


def test_bot_that_may_not_look_does_not_post_again(twin, bot):
    twin.scopes.discard("channels:history")
    twin.fail("commit-then-drop", path="chat.postMessage")
    for again in (False, True):
        with pytest.raises(InvalidInputError, match="channels:history"):
            bot.post(MESSAGE, "key", again=again)
    assert len(twin.messages()) == 1


def test_refused_post_is_no_unknown_outcome(twin, bot):
    twin.fail("429", path="chat.postMessage", count=100)
    with pytest.raises(TransientError) as caught:
        bot.post(MESSAGE, "key")
    assert type(caught.value) is TransientError


# --- patience


def test_too_many_messages_a_second(twin, bot, sleeps):
    """The twin takes one message a second and channel, as Slack does, and the client waits as long as it is told to."""
    now = [1_795_144_860.0]
    twin.clock = lambda: now[0]
    twin.limits_rate = True

    def sleep(seconds):
        sleeps.append(seconds)
        now[0] += seconds

    patient = Slack(twin.secret, sleep=sleep)
    patient.post(MESSAGE, "one")
    patient.post(MESSAGE, "two")
    assert sleeps == [1.0]
    assert len(twin.messages()) == 2
    hook = Slack(twin.webhook_secret, sleep=sleep)
    hook.post(MESSAGE, "three")
    hook.post(MESSAGE, "four")
    assert sleeps == [1.0, 1.0]


def test_patience_ends(twin, sleeps):
    for settings in (twin.secret, twin.webhook_secret):
        client = Slack(settings, patience_seconds=3, sleep=sleeps)
        twin.fail("429", count=100)
        with pytest.raises(TransientError, match="wants .* later"):
            client.post(MESSAGE, "key")
        assert sum(sleeps) <= 3
        sleeps.clear()
        twin.faults.clear()
    assert twin.messages() == []


# --- refusals


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bot_token": "xoxb-wrong"}, "invalid_auth"),
        ({"bot_token": slack.USER_TOKEN}, "bot token .xoxb-. is needed"),
        ({"channel": slack.FOREIGN_CHANNEL}, "invite it there"),
        ({"channel": slack.PRIVATE_CHANNEL}, "unknown to the app"),
        ({"channel": "C0NOWHERE"}, "unknown to the app"),
        ({"channel": slack.ARCHIVED_CHANNEL}, "archived"),
    ],
)
def test_refusal_names_what_to_mend(twin, change, words):
    with pytest.raises(InvalidInputError, match=words) as caught:
        Slack({**twin.secret, **change}, "the secret of SlackSecretArn").post(MESSAGE, "key")
    assert "the secret of SlackSecretArn" in str(caught.value)
    assert "xoxb-" not in str(caught.value).replace("(xoxb-)", "")


@pytest.mark.parametrize(
    ("scope", "call"),
    [
        ("chat:write", lambda bot: bot.post(MESSAGE, "key")),
        ("channels:history", lambda bot: bot.find("key")),
        ("users:read", lambda bot: bot.user(slack.ANA)),
    ],
)
def test_missing_scope_is_named(twin, bot, scope, call):
    twin.scopes.discard(scope)
    with pytest.raises(InvalidInputError, match=f"lacks the scope {scope}"):
        call(bot)


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([section("x" * 3_001)], r"must be less than 3001 characters \[json-pointer:/blocks/0/text/text\]"),
        ([section("x")] * 51, "no more than 50 items allowed"),
        ([section("")], "must be more than 0 characters"),
        ([{**header("x"), "text": {"type": "mrkdwn", "text": "x"}}], "must be equal to plain_text"),
        ([{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}], "less than 151"),
        ([{"type": "poster"}], "unsupported type: poster"),
        ([context(*["x"] * 11)], "no more than 10 items allowed"),
        ([{"type": "actions", "elements": []}], "no fewer than 1 items allowed"),
        ([section("x" * 2_900)] * 5, "msg_blocks_too_long"),
    ],
)
def test_blocks_that_slack_would_refuse(bot, blocks, words):
    with pytest.raises(InvalidInputError, match=words):
        bot.post({"text": "t", "blocks": blocks}, "key")


def test_webhook_url_and_token_are_never_shown(twin, caplog):
    caplog.set_level(logging.DEBUG)
    for settings, secret in ((twin.secret, slack.BOT_TOKEN), (twin.webhook_secret, slack.HOOK_TOKEN)):
        client = Slack(settings, timeout_seconds=1, sleep=lambda seconds: None)
        shown = [repr(client)]
        client.post(MESSAGE, "a")
        for kind in ("down", "500", "garbage", "429"):
            twin.fail(kind, count=2)
            try:
                client.post(MESSAGE, "key")
            except TransientError as error:
                shown.append(f"{error!r} {error.__cause__!r}")
            twin.faults.clear()
        assert secret not in "".join(shown) + caplog.text


# --- webhooks


def test_webhook_posts(twin, webhook):
    assert webhook.post(MESSAGE, "key") == Posted()
    (message,) = twin.messages()
    assert message["blocks"] == MESSAGE["blocks"]


@pytest.mark.parametrize("kind", ["down", "commit-then-drop", "500", "garbage"])
def test_webhook_whose_answer_is_lost_is_unknown_and_not_repeated(twin, webhook, kind):
    twin.fail(kind)
    assert webhook.post(MESSAGE, "key") == Posted(is_certain=False)
    said = len(twin.messages())
    assert webhook.post(MESSAGE, "key", again=True) == Posted(is_certain=False)
    assert len(twin.messages()) == said <= 1


def test_webhook_cannot_look_or_change(webhook):
    for call in (
        lambda: webhook.find("key"),
        lambda: webhook.update("C0WATCHFLOOR", "1.000001", MESSAGE),
        lambda: webhook.open_view("1.2.3", {}),
        lambda: webhook.user(slack.ANA),
    ):
        with pytest.raises(InvalidInputError, match="store a bot_token"):
            call()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("T0TWIN/B0TWIN/wrong", "invalid_token"),
        ("T0TWIN/B0GONE/twin-webhook-token", "no_service"),
        ("T0GONE/B0TWIN/twin-webhook-token", "no_team"),
    ],
)
def test_webhook_refusal_names_what_to_mend(twin, path, words):
    with pytest.raises(InvalidInputError, match=words):
        Slack({"webhook_url": f"{twin.url}/services/{path}"}).post(MESSAGE, "key")


def test_webhook_of_an_archived_channel(twin, webhook):
    twin.state["channels"][slack.CHANNEL]["is_archived"] = True
    with pytest.raises(InvalidInputError, match="archived.*410"):
        webhook.post(MESSAGE, "key")


def test_webhook_refuses_blocks_as_slack_does(webhook):
    with pytest.raises(InvalidInputError, match="invalid_blocks"):
        webhook.post({"text": "t", "blocks": [section("x" * 3_001)]}, "key")


@pytest.mark.parametrize(
    ("body", "answer"), [(b"{", b"invalid_payload"), (b"[]", b"invalid_payload"), (b"{}", b"no_text")]
)
def test_webhook_payload_rules(twin, body, answer):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(twin.webhook_secret["webhook_url"], body))
    assert (caught.value.code, caught.value.read()) == (400, answer)


# --- people


def test_press_sends_what_slack_signs(twin, bot, app):
    posted = bot.post(INCIDENT, "key")
    assert twin.press("incident_acknowledge", posted.ts, user=slack.BEN) == {"status": 200, "body": "", "view_id": ""}
    ((headers, body),) = app.requests
    verify_signature(slack.SIGNING_SECRET, headers, body, twin.clock())
    with pytest.raises(AccessDeniedError):
        verify_signature("another secret", headers, body, twin.clock())
    (action,) = app.actions
    assert (action.action_id, action.value, action.user_id) == ("incident_acknowledge", FINGERPRINT, slack.BEN)
    assert (action.channel, action.message_ts) == (slack.CHANNEL, posted.ts)


def test_press_chooses_from_a_select(twin, bot, app):
    bot.post(INCIDENT, "key")
    twin.press("incident_silence", selected="4h")
    assert (app.actions[0].value, app.actions[0].selected) == (FINGERPRINT, "4h")
    with pytest.raises(ValueError, match="offers no"):
        twin.press("incident_silence", selected="9h")


def test_what_is_not_there_cannot_be_pressed(twin, bot, app):
    bot.post(MESSAGE, "key")
    with pytest.raises(ValueError, match="no message has incident_merge"):
        twin.press("incident_merge")


def test_window_opens_and_is_submitted(twin, bot, app):
    bot.post(INCIDENT, "key")

    def open_window(action):
        if action.action_id == "incident_merge":
            view = merge_view(action.value, "It failed", [("b4e2", "Other")], action.channel, action.message_ts)
            assert bot.open_view(action.trigger_id, view)
            assert not bot.open_view(action.trigger_id, view), "a trigger opens one window"

    app.then = open_window
    view_id = twin.press("incident_merge")["view_id"]
    with pytest.raises(ValueError, match="into is required"):
        twin.submit({}, view_id)
    assert twin.submit({"into": "b4e2"}, view_id)["status"] == 200
    action = app.actions[-1]
    assert (action.action_id, action.value, action.selected) == ("incident_merge_chosen", FINGERPRINT, "b4e2")
    assert (action.channel, action.user_id) == (slack.CHANNEL, slack.ANA)
    assert twin.state["views"] == {}


def test_window_comes_too_late(twin, bot, app):
    now = [1_795_144_860.0]
    twin.clock = lambda: now[0]
    bot.post(INCIDENT, "key")
    twin.press("incident_resolve")
    now[0] += 4
    assert not bot.open_view(app.actions[0].trigger_id, resolve_view(FINGERPRINT, "It failed"))


def test_note_of_who_resolves(twin, bot, app):
    bot.post(INCIDENT, "key")
    app.then = lambda action: (
        action.trigger_id
        and action.action_id == "incident_resolve"
        and bot.open_view(action.trigger_id, resolve_view(action.value, "It failed", action.channel, action.message_ts))
    )
    twin.press("incident_resolve")
    twin.submit({"note": "rolled <b>back</b>"})
    assert app.actions[-1].inputs == {"note": "rolled <b>back</b>"}
    assert app.actions[-1].action_id == "incident_resolve_noted"


def test_window_stays_open_when_the_app_says_so(twin, bot, app):
    bot.post(INCIDENT, "key")
    app.then = lambda action: (
        action.action_id == "incident_resolve"
        and bot.open_view(action.trigger_id, resolve_view(action.value, "It failed"))
    )
    twin.press("incident_resolve")
    app.answer = (200, b'{"response_action": "errors", "errors": {"note": "too short"}}')
    twin.submit({"note": "x"})
    assert len(twin.state["views"]) == 1


def test_press_over_http(twin, bot, app):
    bot.post(INCIDENT, "key")

    def control(what, body, content_type="application/json"):
        request = urllib.request.Request(
            f"{twin.url}/_twin/{what}", json.dumps(body).encode(), {"Content-Type": content_type}
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    assert control("interactivity", {"url": app.url}) == (200, {"url": app.url})
    assert control("press", {"action_id": "incident_acknowledge", "user": slack.BEN})[1]["status"] == 200
    assert app.actions[0].user_name == "ben"
    assert control("press", {"action_id": "nothing"})[0] == 400
    assert control("press", {"no": "such argument"})[0] == 400
    assert control("press", {"action_id": "incident_acknowledge"}, "text/plain")[0] == 400


def test_app_that_fails_or_is_gone(twin, bot, app):
    bot.post(INCIDENT, "key")
    app.answer = (500, b"oops")
    assert twin.press("incident_acknowledge")["status"] == 500
    assert twin.press("incident_acknowledge", url="http://127.0.0.1:1/")["status"] == 0


# --- what the documents say


def test_manifest_asks_for_the_scopes_that_are_used():
    text = (Path(__file__).parents[2] / "docs/integrations.md").read_text()
    (manifest,) = re.findall(r"```yaml\n(display_information.*?)```", text, re.DOTALL)
    app = yaml.safe_load(manifest)
    assert set(app["oauth_config"]["scopes"]["bot"]) == slack.SCOPES
    assert app["settings"]["interactivity"]["is_enabled"]


# --- the twin's own rules


def test_twin_speaks_as_slack_does(twin):
    client = WebClient(slack.BOT_TOKEN, base_url=f"{twin.url}/api/", retry_handlers=[])
    assert client.auth_test()["user_id"] == slack.BOT
    posted = client.chat_postMessage(channel="#watchfloor", text="hello")
    assert posted["channel"] == slack.CHANNEL
    history = client.conversations_history(channel=slack.CHANNEL, limit=1)
    assert [message["text"] for message in history["messages"]] == ["hello"]
    for call, error in (
        (lambda: client.chat_postMessage(channel=slack.CHANNEL, text="x" * 40_001), "msg_too_long"),
        (
            lambda: client.chat_postMessage(channel=slack.CHANNEL, text="x", attachments=[{}] * 101),
            "too_many_attachments",
        ),
        (lambda: client.chat_postMessage(channel=slack.CHANNEL, blocks="{", text="x"), "invalid_blocks_format"),
        (lambda: client.api_call("chat.postMessage", json={"channel": slack.CHANNEL}), "no_text"),
        (
            lambda: client.chat_postMessage(channel=slack.CHANNEL, text="x", metadata={"event_type": "a"}),
            "invalid_metadata_format",
        ),
        (lambda: client.chat_postMessage(channel=slack.CHANNEL, text="x", thread_ts="1.1"), "thread_not_found"),
        (lambda: client.chat_update(channel=slack.CHANNEL, ts="1.1", text="x"), "message_not_found"),
        (lambda: client.chat_postEphemeral(channel=slack.CHANNEL, user="U0GONE", text="x"), "user_not_in_channel"),
        (lambda: client.views_open(trigger_id="1", view=resolve_view("a", "b")), "invalid_trigger_id"),
        (lambda: client.api_call("chat.nonsense", json={}), "unknown_method"),
        (lambda: client.api_call("users.info", json={"user": slack.ANA}), "user_not_found"),
        (lambda: client.conversations_history(channel=slack.CHANNEL, limit=1_000), "invalid_limit"),
        (lambda: WebClient(base_url=f"{twin.url}/api/").auth_test(), "not_authed"),
    ):
        with pytest.raises(SlackApiError) as caught:
            call()
        assert caught.value.response["error"] == error


def test_metadata_is_shown_to_those_who_ask(twin, bot):
    bot.post(MESSAGE, "key")
    client = WebClient(slack.BOT_TOKEN, base_url=f"{twin.url}/api/")
    assert "metadata" not in client.conversations_history(channel=slack.CHANNEL)["messages"][0]
    shown = client.conversations_history(channel=slack.CHANNEL, include_all_metadata=True)["messages"][0]
    assert shown["metadata"]["event_payload"] == {"key": "key"}


def test_all_that_was_said_is_kept(twin, bot, webhook):
    posted = bot.post({**MESSAGE, "text": "secret one"}, "key")
    bot.update(posted.channel, posted.ts, CHANGED)
    webhook.post({**MESSAGE, "text": "secret two"}, "key")
    with pytest.raises(InvalidInputError):
        bot.post({"text": "secret three", "blocks": [section("x" * 3_001)]}, "key")
    assert all(f"secret {number}" in twin.everything_received() for number in ("one", "two", "three"))


def test_twin_remembers(tmp_path, bot):
    with SlackTwin(tmp_path / "slack.json") as first:
        posted = Slack(first.secret).post(MESSAGE, "key")
    with SlackTwin(tmp_path / "slack.json") as second:
        assert Slack(second.secret).find("key") == posted


def test_page_shows_channel_and_threads_and_runs_nothing_foreign(twin, bot):
    top = bot.post(incident_message({"fingerprint": FINGERPRINT, "title": "<script>alert(1)</script>"}), "key")
    bot.post(MESSAGE, "reply", top.ts)
    twin.say("<img src=x onerror=alert(1)> <!channel>")
    with urllib.request.urlopen(f"{twin.url}/_twin_page") as answer:
        policy, page = answer.headers["Content-Security-Policy"], answer.read().decode()
    assert "script-src 'nonce-" in policy and "default-src 'none'" in policy
    assert page.count("<script") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "1 reply" in page
    assert "<img" not in page
    assert 'data-action="incident_acknowledge"' in page
