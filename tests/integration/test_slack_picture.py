"""On a phone 390 pixels wide: no message scrolls sideways, cause and next step are on the first screen."""

import re
import struct
from functools import cache

import pytest

from local.slack_page import main, message_page
from local.twins import SlackTwin
from tests.browser import PHONE, look, picture, run_chromium
from tests.reports import APPROVAL, REPORT, with_text
from tests.slack_app import SlackApp
from watchfloor.clients.slack import Slack
from watchfloor.messages import approval_message, decided_message, held_back_message, incident_message, resolve_view

LONG = "The cart service answers with another schema since its last deployment, which nobody told this service about. "
UNBROKEN = "a/very/long/path/without/any/blank/" * 12
FULLEST = {
    **REPORT,
    "title": LONG * 2,
    "log_group": "/aws/lambda/" + "team-checkout-orders-api-production-" * 3,
    "status": "reopened",
    "note": LONG * 5,
    "error": {**REPORT["error"], "frames": [{"file": UNBROKEN, "function": "handler", "line": 1, "in_app": True}]},
    "answer": {
        **REPORT["answer"],
        "likely_cause": LONG * 10,
        "next_steps": [LONG * 4] * 8,
    },
    "per_day": {f"2026-11-{day:02}": 10_000 for day in range(1, 21)},
}
MESSAGES = {
    "usual": incident_message(REPORT),
    "fullest": incident_message(FULLEST),
    "many steps": incident_message(
        {**FULLEST, "answer": {**FULLEST["answer"], "next_steps": [LONG[:48]] * 8}}
    ),
    "no answer": incident_message({**REPORT, "verdict": "NO_ANSWER", "answer": {}}),
    "unbroken": incident_message(with_text("x" * 5_000)),
    "unbroken links": incident_message({**REPORT, "title": UNBROKEN, "evidence": [
        {"kind": "stack_overflow", "source": UNBROKEN, "text": UNBROKEN, "url": f"https://stackoverflow.com/{UNBROKEN}"},
        {"kind": "alarm", "source": UNBROKEN, "text": UNBROKEN, "url": ""},
    ]}),
    "held back": held_back_message({"limit": 20, "incidents": [{"title": UNBROKEN, "log_group": UNBROKEN}] * 30}),
    "approval": approval_message({**APPROVAL, "plan": [{"service": "s3", "operation": "P", "parameters": {"K": UNBROKEN}}]}),
    "decided": decided_message({**APPROVAL, "decision": "approved", "by": "ana", "result": {"x": UNBROKEN}}),
}  # fmt: skip


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Measures of a message by its name, in a font; each is looked at once."""

    @cache
    def measured(name, font="Lato"):
        page = message_page(MESSAGES[name]).replace("font:15px/1.4 Lato", f'font:15px/1.4 "{font}"')
        return look(page, tmp_path_factory.mktemp("page"))

    return measured


@pytest.mark.parametrize("name", MESSAGES)
def test_nothing_scrolls_sideways(name, seen):
    assert seen(name).width == PHONE[0]
    assert seen(name).scroll_width <= PHONE[0]
    assert seen(name).right <= PHONE[0]
    assert seen(name).inner == []


# The second is what Debian shows without more fonts, and wider than what Slack has.
@pytest.mark.parametrize("font", ["Lato", "DejaVu Sans"])
@pytest.mark.parametrize(
    ("name", "cause"),
    [("usual", "Cause"), ("fullest", "Cause"), ("many steps", "Cause"), ("no answer", "Cause unknown")],
)
def test_cause_and_next_step_are_on_the_first_screen(name, cause, font, seen):
    assert seen(name, font).bottom_of(cause) <= PHONE[1]
    assert seen(name, font).bottom_of("Next step") <= PHONE[1]


def test_buttons_of_the_usual_message_are_on_the_first_screen(seen):
    assert seen("usual").bottom_of("Acknowledge") <= PHONE[1]


def test_page_of_a_message_from_the_command_line(tmp_path, capsys):
    source, out = tmp_path / "message.json", tmp_path / "out.html"
    source.write_text(
        '{"text": "t", "blocks": [{"type": "header", "text": {"type": "plain_text", "text": "<b>It</b>"}}]}'
    )
    assert main([str(source), "--out", str(out), "--theme", "dark"]) == 0
    assert "&lt;b&gt;It&lt;/b&gt;" in out.read_text()
    assert main([str(source)]) == 0
    assert 'data-theme=""' in capsys.readouterr().out


def test_picture_is_as_wide_as_the_phone(tmp_path):
    png = picture(message_page(MESSAGES["usual"], "dark"), tmp_path, tmp_path / "slack.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert struct.unpack(">II", png[16:24]) == PHONE


class Visited(SlackTwin):
    """The twin with somebody at its page: a script of the test's runs there."""

    visitor = ""

    def _page(self, request):
        answer = super()._page(request)
        (nonce,) = re.findall(r"'nonce-([^']+)'", answer.headers["Content-Security-Policy"])
        script = f'<script nonce="{nonce}">{self.visitor}</script></body>'
        answer.set_data(answer.get_data(as_text=True).replace("</body>", script))
        return answer


def test_buttons_and_windows_of_the_twins_page_work(tmp_path):
    with Visited() as twin, SlackApp() as app:
        twin.state["interactivity_url"] = app.url
        bot = Slack(twin.secret)
        bot.post(MESSAGES["usual"], "key")

        def answer(action):
            if action.action_id == "incident_resolve":
                bot.open_view(action.trigger_id, resolve_view(action.value, "title"))

        app.then = answer
        twin.visitor = """
          const at = id => document.querySelector(`[data-action=${id}]`);
          document.getElementById("user").value = "U0BEN";
          at("incident_acknowledge").click();
          at("incident_silence").value = at("incident_silence").options[2].value;
          at("incident_silence").dispatchEvent(new Event("change", {bubbles: true}));
          at("incident_resolve").click();
          const wait = setInterval(async () => {
            await refresh();
            const form = document.querySelector("form.window");
            if (!form) return;
            clearInterval(wait);
            form.querySelector("textarea").value = "rolled back";
            form.requestSubmit();
          }, 200);"""
        run_chromium(tmp_path, PHONE, "--virtual-time-budget=8000", "--dump-dom", f"{twin.url}/_twin_page")
        pressed = {action.action_id: action for action in app.actions}
        assert pressed.keys() == {
            "incident_acknowledge",
            "incident_silence",
            "incident_resolve",
            "incident_resolve_noted",
        }
        assert {action.user_name for action in app.actions} == {"ben"}
        assert pressed["incident_silence"].selected == "4h"
        assert pressed["incident_resolve_noted"].inputs == {"note": "rolled back"}
        assert twin.state["views"] == {}
