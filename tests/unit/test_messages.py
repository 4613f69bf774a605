"""Messages keep Slack's limits whatever is in them, say first what matters first, and let no foreign text act."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.twins.block_kit_rules import problems_of_message, problems_of_view
from tests.reports import APPROVAL, REPORT, with_text
from watchfloor import messages
from watchfloor.block_kit import size_of
from watchfloor.foreign_text import Mrkdwn, one_line, safe_url, visible
from watchfloor.mails import MAX_MAIL_BYTES, incident_mail
from watchfloor.messages import (
    approval_message,
    decided_message,
    held_back_message,
    incident_message,
    merge_view,
    resolve_view,
)


def texts(message):
    """Every text of a message's blocks, in their order."""
    found = []
    for block in message["blocks"]:
        if "text" in block:
            found.append(block["text"]["text"])
        found += [element["text"] for element in block.get("elements", []) if isinstance(element.get("text"), str)]
    return found


def whole(message):
    return "\n".join(texts(message))


def index_of(message, words):
    return next(number for number, text in enumerate(texts(message)) if words in text)


def action_ids(message):
    return [
        element["action_id"]
        for block in message["blocks"]
        if block["type"] == "actions"
        for element in block["elements"]
    ]


# --- an incident


def test_incident_says_what_matters_first():
    message = incident_message(REPORT)
    order = ["KeyError: 'customer_id'", "/aws/lambda/orders-api", "*Cause*", "*Next steps*", "*Seen 412 times*"]
    order += [
        "*What happened*",
        "*The error*",
        "*Evidence*",
        "*Log around it*",
        "*Earlier incidents",
        "*Stack Overflow*",
    ]
    order += ["*Missing*", "*Limit reached*", "Fingerprint"]
    places = [index_of(message, words) for words in order]
    assert places == sorted(places)
    assert "`CONFIRMED` · in the application" in whole(message)
    assert "which names the field `customerId`." in whole(message)
    assert "1. Roll cart-service back." in whole(message)
    assert "`orders/charge.py:42 in charge`" in texts(message)[1]


def test_incident_keeps_slacks_rules():
    assert problems_of_message(incident_message(REPORT)["blocks"]) == []


def test_notification_is_useful_by_itself():
    text = incident_message(REPORT)["text"]
    for words in ("KeyError: 'customer_id' in orders-api", "/aws/lambda/orders-api", "412 times", "schema v3"):
        assert words in text
    assert len(text) <= 600


def test_times_are_shown_in_the_readers_own_zone():
    assert "first <!date^1795144380^{date_short_pretty} {time}|2026-11-20 03:13 UTC>" in whole(incident_message(REPORT))


def test_few_log_lines_with_the_error_in_the_middle():
    block = next(text for text in texts(incident_message(REPORT)) if text.startswith("*Log around it*"))
    lines = block.split("\n")[2:-1]
    assert len(lines) == 9
    assert lines[4] == "▶ L11 line 11"
    assert lines[0] == "  L7 line 7"


REQUEST = "522b0924-5528-4bc5-b356-ecf83f5e0229"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"[ERROR]\t2026-11-20T18:54:50.493Z\t{REQUEST}\tno order", "[ERROR] no order"),
        (f"2026-11-20T18:54:50.493Z\t{REQUEST}\tERROR\tno order", "[ERROR] no order"),
        (f"2026-11-20T18:54:50.493Z {REQUEST} Task timed out after 3.00 seconds", "Task timed out after 3.00 seconds"),
        ("2026-11-20T18:54:50.493Z no order", "2026-11-20T18:54:50.493Z no order"),
        ("[ERROR] no order", "[ERROR] no order"),
    ],
)
def test_what_lambda_puts_in_front_takes_no_room_on_a_phone(line, shown):
    report = {**REPORT, "context": [{"id": "L1", "text": line, "is_error": True}]}
    assert f"▶ L1 {shown}\n" in whole(incident_message(report))
    assert visible(line) in incident_mail(report)[1]


def test_of_a_trace_in_the_log_the_ends_are_shown():
    text = "[ERROR] no order\nTraceback\n  File 1\n  File 2\nKeyError: 'country'"
    report = {**REPORT, "context": [{"id": "L1", "text": text, "is_error": True}]}
    assert "▶ L1 [ERROR] no order\n    … 3 lines …\nKeyError: 'country'\n" in whole(incident_message(report))
    assert text in incident_mail(report)[1]


def test_facts_come_before_log_lines_of_the_same_request():
    rows = [{"kind": "request", "source": "same request", "text": f"line {n}"} for n in range(9)]
    deployment = {"kind": "deployment", "source": "function f", "text": "deployed"}
    said = whole(incident_message({**REPORT, "evidence": [*rows, deployment]}))
    assert said.index("function f: deployed") < said.index("same request: line 0")


def test_buttons_carry_the_fingerprint():
    (actions,) = (block for block in incident_message(REPORT)["blocks"] if block["type"] == "actions")
    by_id = {element["action_id"]: element for element in actions["elements"]}
    assert list(by_id) == ["incident_acknowledge", "incident_silence", "incident_merge", "incident_resolve"]
    assert by_id["incident_resolve"]["value"] == REPORT["fingerprint"]
    values = [option["value"] for option in by_id["incident_silence"]["options"]]
    assert values == [f"{REPORT['fingerprint']} {time}" for time in ("1h", "4h", "24h", "7d")]
    assert set(messages.SILENCES) == {"1h", "4h", "24h", "7d"}


def test_webhook_gets_no_buttons():
    assert action_ids(incident_message(REPORT, buttons=False)) == []


@pytest.mark.parametrize(
    ("state", "words", "buttons"),
    [
        ({"status": "acknowledged", "by": "ana"}, "Acknowledged by *ana*", 3),
        ({"status": "silenced", "by": "ana", "until": 1_795_150_000}, "Silenced by *ana* until <!date^1795150000^", 4),
        ({"status": "resolved", "by": "ana", "note": "rolled back"}, "Resolved by *ana*\nrolled back", 0),
        ({"status": "merged", "into": "ffff000011112222"}, "Merged into `ffff000011112222`", 0),
        ({"status": "reopened", "note": "Back after it was resolved."}, "It is back.*\nBack after it was", 4),
    ],
)
def test_state_goes_before_the_report(state, words, buttons):
    message = incident_message(REPORT, {**state, "count": 500})
    assert words in whole(message)
    assert len(action_ids(message)) == buttons
    assert "*Seen 500 times*" in whole(message)
    assert "*Seen 412 times*" in whole(incident_message(REPORT, {"count": None}))


def test_same_report_and_state_make_the_same_message():
    assert incident_message(REPORT, {"count": 7}) == incident_message(json.loads(json.dumps(REPORT)), {"count": 7})


def test_no_answer_says_so_and_shows_what_is_known():
    message = incident_message({**REPORT, "verdict": "NO_ANSWER", "answer": {}})
    assert "*Cause unknown* · `NO_ANSWER`\nNo usable answer from a model." in whole(message)
    assert "See whether it helps again: KeyError: 'sku': resolved by ana: rolled back" in whole(message)
    assert index_of(message, "KeyError: 'customer_id'\n```") == index_of(message, "*Cause unknown*")
    assert "*The error*\n```\n  at orders/charge.py:42 in charge\n" in whole(message)


def test_incident_that_nobody_resolved_is_no_next_step():
    left = {"kind": "earlier_incident", "source": "this error", "text": "nobody said what resolved it (seen once)"}
    report = {**REPORT, "verdict": "NO_ANSWER", "answer": {}, "evidence": [left]}
    assert "Next step" not in whole(incident_message(report))
    assert "nobody said what resolved it" in whole(incident_message(report))


def test_without_answer_and_precedent_a_deployment_is_the_next_thing_to_look_at():
    report = {**REPORT, "verdict": "NO_ANSWER", "answer": {}, "evidence": REPORT["evidence"][:1]}
    words = "*Next step*\nLook at what changed: function cart-service: deployed 2 minutes before"
    assert words in whole(incident_message(report))
    assert "Next step" not in whole(incident_message({**report, "evidence": []}))


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("orders/charge.py", "orders/charge.py:1 in f"),
        ("/var/task/orders/charge.py", "orders/charge.py:1 in f"),
        ("/home/app/with/folders/charge.py", "charge.py:1 in f"),
        ("Billing.java", "Billing.java:1 in f"),
    ],
)
def test_place_is_short(file, shown):
    error = {**REPORT["error"], "frames": [{"file": file, "function": "f", "line": 1, "in_app": True}]}
    assert f"`{shown}`" in texts(incident_message({**REPORT, "error": error}))[1]


def test_inconclusive_says_why():
    message = incident_message({**REPORT, "verdict": "INCONCLUSIVE", "doubts": ["no citation holds"]})
    assert "*Possible cause* · `INCONCLUSIVE`" in whole(message)
    assert "no citation holds" in whole(message)


def test_verdict_that_nobody_granted_is_not_shown():
    assert "SURE" not in whole(incident_message({**REPORT, "verdict": "SURE"}))


def test_links_that_a_model_made_up_are_not_shown():
    assert "example.com/invented" not in json.dumps(incident_message(REPORT))


def test_a_report_with_nothing_in_it_is_still_a_message():
    message = incident_message({"fingerprint": "a3f19c0d2e4b5a67", "title": "Something failed"})
    assert problems_of_message(message["blocks"]) == []
    assert "Something failed" in message["text"]


def test_long_texts_are_cut_with_a_link_to_the_report():
    message = incident_message(with_text("long words " * 2_000))
    assert problems_of_message(message["blocks"]) == []
    assert size_of(message["blocks"]) <= 13_000
    assert "Shortened. Everything is in <https://s3.example.com/report.json?a=1&amp;b=2|the whole report>." in whole(
        message
    )


def test_steps_that_do_not_fit_at_the_top_stand_further_down():
    steps = ["Roll back.", "x" * 200, "Look at the queue.", "Call its owner. " * 20, "Tell.", "y" * 200, "End."]
    message = incident_message({**REPORT, "answer": {**REPORT["answer"], "next_steps": steps}})
    top = next(text for text in texts(message) if text.startswith("*Next steps*"))
    more = next(text for text in texts(message) if text.startswith("*More on the next steps*"))
    assert [line[:2] for line in top.split("\n")[1:]] == ["1.", "2.", "3.", "4.", "5."]
    assert [line[:2] for line in more.split("\n")[1:]] == ["2.", "4.", "6.", "7."]
    assert "x" * 200 in more
    few = incident_message(
        {**REPORT, "answer": {**REPORT["answer"], "next_steps": ["One.", "Two.", "Three.", "Four."]}}
    )
    assert "4. Four." in whole(few) and "More on" not in whole(few)


def test_short_report_is_not_called_shortened():
    assert "Shortened" not in whole(incident_message({**REPORT, "context": REPORT["context"][:5]}))


# --- foreign text

HOSTILE = [
    "<!channel> <!here> <!everyone>",
    "<@U0ANA> <#C0WATCHFLOOR> <!subteam^S1>",
    "<http://evil.example|https://console.aws.amazon.com>",
    "http://evil.example and www.evil.example",
    "``` out of the block ``` `and the span`",
    "a & b < c > d &lt;!channel&gt;",
    "\x1b[31mred\x1b[0m \x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "\u202ereversed\u202c zero\u200bwidth \u2066isolated\u2069 \ufeff",
    "*bold* _italic_ ~gone~\n>quoted\n1. listed",
    "line\r\nend\x00\x07\x85\u2028",
    "|pipe> in <a|link>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_cannot_act(text):
    for message in (
        incident_message(with_text(text)),
        held_back_message({"limit": 5, "incidents": [{"title": text, "log_group": text, "count": 1}]}),
        approval_message({**APPROVAL, "script": text, "requested_by": text, "reason": text, "plan": [text]}),
        decided_message({**APPROVAL, "parameters": {text: text}, "decision": "refused", "by": text, "result": text}),
    ):
        assert problems_of_message(message["blocks"]) == []
        said = [message["text"], *(element["text"] for element in mrkdwns(message))]
        for written in said:
            # Nothing in angle brackets but links and times of ours.
            for inner in re.findall(r"<([^>]*)>", written):
                assert re.match(r"https://(s3|console|stackoverflow)\.|!date\^", inner), inner
            assert written.count("```") % 2 == 0
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", written)
            assert "://evil" not in written and "www." not in written
            assert re.fullmatch(r"(?:[^&]|&amp;|&lt;|&gt;)*", written), written
        assert all(element["verbatim"] for element in mrkdwns(message))


def mrkdwns(message):
    for block in message["blocks"]:
        for element in [block["text"]] if "text" in block else block.get("elements", []):
            if element.get("type") == "mrkdwn":
                yield element


def test_nothing_leaves_a_code_block():
    block = Mrkdwn().block(["before ``` after", "` one"], 500)
    assert block == "```\nbefore ''' after\n' one\n```"


def test_code_spans_of_prose_are_kept():
    assert Mrkdwn().prose("read `customer_id` or <b>", 100) == "read `customer_id` or &lt;b&gt;"
    assert Mrkdwn().prose("one ` alone ``two``", 100).count("`") % 2 == 0


def test_cut_text_never_ends_within_an_escape():
    for limit in range(2, 40):
        written = Mrkdwn().line("<>&" * 20, limit)
        assert len(written) <= limit
        assert re.fullmatch(r"(?:&amp;|&lt;|&gt;)*…", written)


def test_indentation_of_log_lines_stays():
    assert "\n    at b\n" in Mrkdwn().block(["a", "\tat b", "c"], 500)


def test_hidden_characters_do_not_split_words():
    assert one_line("pass\u200bword\u00ad") == "password"
    assert visible("a" + "\u0301" * 50).count("\u0301") == 3


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "https://",
        "file:///etc/passwd",
        "//evil.example",
        "https://good.example@evil.example/",
        "https://evil.example\\@good.example",
        "https://[broken",
        "https://a.example/ and words",
        "https://a.example/" + "a" * 2_000,
        None,
        "",
    ],
)
def test_what_is_no_address_is_not_linked_to(url):
    assert safe_url(url) == ""
    assert Mrkdwn().link(url, "text") == "text"


def test_links_are_encoded():
    assert Mrkdwn().link("https://a.example/x|z>?a=1&b=2", "a|b <c>") == (
        "<https://a.example/x%7Cz%3E?a=1&amp;b=2|a¦b &lt;c&gt;>"
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
foreign = (
    st.text(max_size=2_000) | st.sampled_from(HOSTILE) | st.sampled_from(['"\\' * 3_000, "&<>" * 2_000, "😀" * 4_000])
)


@settings(max_examples=60, deadline=None)
@given(foreign)
def test_limits_hold_for_any_text(text):
    report = with_text(text or "x")
    long_url = "https://console.example.com/" + "%25" * 650
    for links in (REPORT["links"], {name: long_url for name in ("report", "logs", "execution")}):
        message = incident_message({**report, "links": links})
        assert problems_of_message(message["blocks"]) == []
        assert len(message["blocks"]) <= 50
        assert size_of(message["blocks"]) <= 13_000
    subject, body = incident_mail(report)
    assert subject.isascii() and len(subject) <= 100 and "\n" not in subject
    assert len(body.encode()) <= MAX_MAIL_BYTES


# --- windows


def test_windows_keep_slacks_rules():
    others = [(f"{n:016x}", f"Incident {n} " + "x" * 200) for n in range(150)]
    merge = merge_view("a3f19c0d2e4b5a67", "<!channel> title", others, "C0WATCHFLOOR", "1.000001")
    for view in (merge, resolve_view("a3f19c0d2e4b5a67", "title"), merge_view("a3f19c0d2e4b5a67", "title", [])):
        assert problems_of_view(view) == []
    assert len(merge["blocks"][1]["element"]["options"]) == 100
    assert json.loads(merge["private_metadata"]) == {
        "value": "a3f19c0d2e4b5a67",
        "channel": "C0WATCHFLOOR",
        "message_ts": "1.000001",
    }
    assert "&lt;!channel&gt;" in merge["blocks"][0]["text"]["text"]


def test_an_incident_cannot_be_merged_into_itself():
    view = merge_view("aaaa", "title", [("aaaa", "itself"), ("bbbb", "another")])
    assert [option["value"] for option in view["blocks"][1]["element"]["options"]] == ["bbbb"]


# --- held back


def test_held_back_names_how_many_and_which():
    incidents = [{"fingerprint": f"{n:016x}", "title": f"Error {n}", "count": n + 1} for n in range(30)]
    message = held_back_message({"limit": 20, "incidents": incidents, "until": 1_795_150_000})
    assert "30 new incidents are held back" in message["text"] and "limit 20 an hour" in message["text"]
    said = whole(message)
    assert "• Error 0 · once" in said and "• Error 19 · 20 times" in said and "and 10 more" in said
    assert "Error 20" not in said
    assert problems_of_message(message["blocks"]) == []


# --- approvals


def test_approval_shows_the_plan_and_asks():
    message = approval_message(APPROVAL)
    said = whole(message)
    assert 'ecs.UpdateService(cluster="prod", force=true)' in said
    assert "(1 write call)" in said and 'token = "***"' in said and "Asked for by *ben*" in said
    assert action_ids(message) == ["approval_approve", "approval_refuse"]
    (actions,) = (block for block in message["blocks"] if block["type"] == "actions")
    assert {element["value"] for element in actions["elements"]} == {"approval-1"}
    assert all("confirm" in element for element in actions["elements"])
    assert problems_of_message(message["blocks"]) == []


def test_whole_plan_is_shown_or_it_cannot_be_approved():
    call = {"service": "sqs", "operation": "SendMessage", "parameters": {"QueueUrl": "https://q", "n": 1}}
    fits = approval_message({**APPROVAL, "plan": [call] * 100})
    assert whole(fits).count("sqs.SendMessage") == 100
    assert "approval_approve" in action_ids(fits)
    for plan in ([call] * 1_000, [{**call, "parameters": {"Body": "x" * 5_000}}]):
        message = approval_message({**APPROVAL, "plan": plan})
        assert action_ids(message) == ["approval_refuse"]
        assert "cannot be approved here" in whole(message)
        assert "watchfloor script approve approval-1" in whole(message)
        assert problems_of_message(message["blocks"]) == []
        assert size_of(message["blocks"]) <= 13_000


def test_nothing_to_write_is_said():
    assert "It would write nothing" in whole(approval_message({**APPROVAL, "plan": []}))


@pytest.mark.parametrize(
    ("decision", "words"),
    [("approved", "Approved by *ana*"), ("refused", "Refused by *ana*"), ("expired", "Expired, nobody decided")],
)
def test_decision_takes_the_buttons_away(decision, words):
    by = {"by": "ana"} if decision != "expired" else {}
    message = decided_message({**APPROVAL, "decision": decision, "at": 1_795_149_000, **by})
    assert words in whole(message)
    assert action_ids(message) == []
    assert "UpdateService" in whole(message)


def test_decision_shows_the_result():
    result = {"status": "ok", "changed": True, "result": {"service": "orders"}}
    message = decided_message({**APPROVAL, "decision": "approved", "by": "ana", "result": result})
    assert '"service": "orders"' in whole(message)
    assert message["text"] == "✅ oncall-restart-service: approved by ana, ok"
    huge = decided_message({**APPROVAL, "decision": "approved", "plan": ["p" * 400] * 500, "result": "r" * 50_000})
    assert problems_of_message(huge["blocks"]) == []
    assert size_of(huge["blocks"]) <= 13_000


# --- mail


def test_mail_is_complete():
    subject, body = incident_mail(REPORT)
    assert subject == "[CONFIRMED] KeyError: 'customer_id' in orders-api"
    order = [
        "Seen 412 times",
        "CAUSE (CONFIRMED)",
        "NEXT STEPS",
        "LINKS",
        "WHAT HAPPENED",
        "THE ERROR",
        "LOG AROUND IT",
    ]
    order += ["EARLIER INCIDENTS", "STACK OVERFLOW", "MISSING", "LIMITS REACHED", "Fingerprint"]
    assert [body.index(words) for words in order] == sorted(body.index(words) for words in order)
    assert all(f"L{n} line {n}\n" in body for n in range(1, 22))
    assert "https://s3.example.com/report.json?a=1&b=2" in body


@pytest.mark.parametrize("title", ["Grüße\nSubject: spam\r\nBcc: x", "错误 " * 100, "x" * 300, "\u202e\x00"])
def test_subject_is_one_short_line_of_ascii(title):
    subject, _ = incident_mail({**REPORT, "title": title})
    assert subject.isascii() and subject.isprintable() and len(subject) <= 99


def test_mail_without_an_answer_says_so():
    subject, body = incident_mail({**REPORT, "verdict": "NO_ANSWER", "answer": None})
    assert subject.startswith("[NO_ANSWER]")
    assert "No usable answer from a model." in body


def test_mail_makes_no_link_of_foreign_text():
    _, body = incident_mail(with_text("see http://evil.example or www.evil.example"))
    assert "://evil" not in body and "www." not in body
