"""What people press in Slack: only what Slack signed is believed, and only what is in its form is read."""

import json
import time
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.signature import SignatureVerifier

from watchfloor.clients.slack import MAX_ACTION_BYTES, Slack, parse_action, verify_signature
from watchfloor.errors import AccessDeniedError, InvalidInputError

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
NOW = 1_795_144_860.0
BODY = "payload=%7B%7D"


def signed(body=BODY, at=NOW, secret=SECRET):
    timestamp = str(int(at))
    signature = SignatureVerifier(secret).generate_signature(timestamp=timestamp, body=body)
    return {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature}


# --- signature


def test_signature_of_the_documented_example_is_accepted():
    """The example of https://docs.slack.dev/authentication/verifying-requests-from-slack"""
    body = (
        "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        "&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        "&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        "&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    headers = {"x-slack-request-timestamp": "1531420618", "x-slack-signature": signature}
    verify_signature(SECRET, headers, body, now=1_531_420_618.0)


@pytest.mark.parametrize("seconds", [-299, 0, 299])
def test_five_minutes_either_way_are_borne(seconds):
    verify_signature(SECRET, signed(), BODY, NOW + seconds)
    verify_signature(SECRET, signed(), BODY.encode(), NOW + seconds)


@pytest.mark.parametrize("seconds", [-302, 302, 86_400])
def test_an_old_request_is_refused_though_it_is_signed(seconds):
    with pytest.raises(AccessDeniedError):
        verify_signature(SECRET, signed(), BODY, NOW + seconds)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Slack-Signature": signed()["X-Slack-Signature"]},
        {"X-Slack-Request-Timestamp": str(int(NOW))},
        {**signed(), "X-Slack-Signature": "v0=" + "0" * 64},
        {**signed(), "X-Slack-Signature": ""},
        {**signed(), "X-Slack-Signature": "v0=é"},
        {**signed(), "X-Slack-Signature": signed()["X-Slack-Signature"].upper()},
        {**signed(), "X-Slack-Request-Timestamp": "soon"},
        {**signed(), "X-Slack-Request-Timestamp": f"+{int(NOW)}"},
        {**signed(), "X-Slack-Request-Timestamp": f"{NOW}"},
        {**signed(), "X-Slack-Request-Timestamp": "9" * 400},
        {**signed(), "X-Slack-Request-Timestamp": "١٧٩٥١٤٤٨٦٠"},
        {**signed(), "X-Slack-Request-Timestamp": None},
        signed(secret="another"),
        signed(body=BODY + " "),
    ],
)
def test_anything_else_is_refused(headers):
    with pytest.raises(AccessDeniedError):
        verify_signature(SECRET, headers, BODY, NOW)


def test_body_that_is_no_text_is_refused():
    with pytest.raises(AccessDeniedError):
        verify_signature(SECRET, signed(), b"\xff\xfe", NOW)


@pytest.mark.parametrize("secret", ["", "  "])
def test_without_a_secret_nobody_is_let_in(secret):
    forged = {"X-Slack-Request-Timestamp": str(int(NOW)), "X-Slack-Signature": "v0="}
    with pytest.raises(AccessDeniedError):
        verify_signature(secret, forged, BODY, NOW)


# --- actions


def form(payload):
    return urlencode({"payload": json.dumps(payload)})


def pressed(action=None, **changes):
    action = action or {"type": "button", "action_id": "incident_resolve", "value": "a3f1"}
    return {
        "type": "block_actions",
        "user": {"id": "U0ANA", "username": "ana", "name": "ana", "team_id": "T1"},
        "container": {"type": "message", "message_ts": "1795144860.000100", "channel_id": "C0WATCHFLOOR"},
        "channel": {"id": "C0WATCHFLOOR", "name": "watchfloor"},
        "trigger_id": "1.2.3",
        "response_url": "https://hooks.slack.com/actions/1",
        "actions": [action],
        **changes,
    }


def submitted(**changes):
    view = {
        "callback_id": "incident_merge_chosen",
        "private_metadata": json.dumps({"value": "a3f1", "channel": "C0WATCHFLOOR", "message_ts": "1795144860.000100"}),
        "state": {
            "values": {
                "into": {"into": {"type": "static_select", "selected_option": {"value": "b4e2"}}},
                "note": {"note": {"type": "plain_text_input", "value": None}},
            }
        },
        **changes,
    }
    return {"type": "view_submission", "user": {"id": "U0BEN", "name": "ben"}, "trigger_id": "1.2.3", "view": view}


def test_button():
    action = parse_action(form(pressed()))
    assert (action.action_id, action.value, action.selected) == ("incident_resolve", "a3f1", "")
    assert (action.user_id, action.user_name) == ("U0ANA", "ana")
    assert (action.channel, action.message_ts) == ("C0WATCHFLOOR", "1795144860.000100")
    assert (action.trigger_id, action.response_url) == ("1.2.3", "https://hooks.slack.com/actions/1")
    assert parse_action(form(pressed()).encode()) == action


def test_choice_of_a_time():
    option = {"text": {"type": "plain_text", "text": "For 4 hours"}, "value": "a3f1 4h"}
    action = parse_action(
        form(pressed({"type": "static_select", "action_id": "incident_silence", "selected_option": option}))
    )
    assert (action.action_id, action.value, action.selected) == ("incident_silence", "a3f1", "4h")


def test_submitted_window():
    action = parse_action(form(submitted()))
    assert (action.action_id, action.value, action.selected) == ("incident_merge_chosen", "a3f1", "b4e2")
    assert action.inputs == {"into": "b4e2", "note": ""}
    assert (action.user_id, action.user_name, action.channel) == ("U0BEN", "ben", "C0WATCHFLOOR")


def test_response_url_stays_out_of_logs():
    assert "hooks.slack.com" not in repr(parse_action(form(pressed())))


HOSTILE = [
    "",
    "payload=",
    "payload=%7B",
    "payload=null",
    "payload=[]",
    "payload=1",
    "other=1",
    "payload=%7B%7D&payload=%7B%7D",
    "a=1&b=2&c=3&d=4&e=5&f=6&payload=%7B%7D",
    "payload=" + "[" * 100_000,
    "payload=" + "x" * MAX_ACTION_BYTES,
    b"\xff\xfe",
    form({"type": "view_closed"}),
    form({"type": ["block_actions"]}),
    form({"type": "block_actions"}),
    form(pressed(actions=[])),
    form(pressed(actions=[None])),
    form(pressed(actions="x")),
    form(pressed({"type": "button", "action_id": "incident_resolve"})),
    form(pressed({"type": "button", "action_id": "incident_resolve", "value": {"a": 1}})),
    form(pressed({"type": "button", "action_id": 5, "value": "a"})),
    form(pressed({"type": "button", "action_id": "incident_resolve", "value": "a" * 2_001})),
    form(pressed({"type": "static_select", "action_id": "incident_silence", "selected_option": None})),
    form(pressed(user={"id": "<@U0ANA>", "username": "ana"})),
    form(pressed(user={"id": "U0ANA", "username": ["ana"]})),
    form(pressed(user=None)),
    form(pressed(channel={"id": "../C0"})),
    form(pressed(container={"message_ts": "1 OR 1=1", "channel_id": "C0WATCHFLOOR"})),
    form(submitted(private_metadata="")),
    form(submitted(private_metadata="[1]")),
    form(submitted(private_metadata=json.dumps({"value": 5}))),
    form(submitted(state={"values": {"into": {}}})),
    form(submitted(state={"values": {"into": {"into": {"value": "x" * 3_001}}}})),
    form(submitted(callback_id=None)),
]


@pytest.mark.parametrize("body", HOSTILE)
def test_what_is_not_in_slacks_form_is_refused(body):
    with pytest.raises(InvalidInputError, match="no action of Slack's"):
        parse_action(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([pressed(), submitted()]), st.data())
def test_any_part_may_be_anything(payload, data):
    """Whatever stands in any place, the answer is an action or one error."""
    payload = json.loads(json.dumps(payload))
    node, key = payload, data.draw(st.sampled_from(sorted(payload)))
    while isinstance(node[key], dict) and node[key] and data.draw(st.booleans()):
        node = node[key]
        key = data.draw(st.sampled_from(sorted(node)))
    node[key] = data.draw(json_values)
    try:
        action = parse_action(form(payload))
    except InvalidInputError:
        return
    assert all(isinstance(value, str) for value in (action.action_id, action.value, action.selected, action.user_id))


# --- settings

BOT = {"bot_token": "xoxb-1", "channel": "C0WATCHFLOOR", "signing_secret": "s"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "needs bot_token and channel, or webhook_url"),
        ({"bot_token": "xoxb-1", "channel": "C0WATCHFLOOR"}, "lacks signing_secret"),
        ({"bot_token": "xoxb-1", "signing_secret": "s"}, "channel must be the channel's id"),
        ({"bot_token": "xoxb-1", "signing_secret": "s", "channel": "#ops"}, "channel must be the channel's id"),
    ],
)
def test_settings_that_do_not_suffice_are_named(settings, words):
    with pytest.raises(InvalidInputError, match=words) as caught:
        Slack(settings, "the secret of SlackSecretArn")
    assert "the secret of SlackSecretArn" in str(caught.value)


def test_only_a_bot_can_thread():
    assert Slack(BOT).can_thread
    assert not Slack({"webhook_url": "https://hooks.slack.com/services/1"}).can_thread


def test_nobody_listens_there():
    """Nothing was sent, so nothing was posted: it may be tried again as it is."""
    slack = Slack({**BOT, "api_url": "http://127.0.0.1:1/api/"})
    begun = time.monotonic()
    with pytest.raises(Exception, match="does not answer") as caught:
        slack.post({"text": "a", "blocks": []}, "key")
    assert type(caught.value).__name__ == "TransientError"
    assert time.monotonic() - begun < 2
