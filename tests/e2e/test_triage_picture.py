"""What the deployed error triage says in Slack, as a phone shows it."""

from __future__ import annotations

from local.slack_page import message_page
from tests.browser import PHONE, look
from tests.e2e.triage import Triage, trace


def test_message_on_a_phone(triage: Triage, tmp_path):
    """No horizontal scroll; cause and next step on the first screen."""
    before = ["INFO release 2026.11.20 serves", "WARN the ledger's host is down, trying to connect again"]
    error = trace("LedgerGoneError", "connection refused by ledger.internal, port 5432", "book")
    triage.log(*before, error, "INFO answered 500")
    report = triage.explained("LedgerGoneError")
    assert report["answer"]["likely_cause"]
    seen = look(message_page(triage.thread("LedgerGoneError")), tmp_path)
    assert seen.width == PHONE[0]
    assert seen.scroll_width <= PHONE[0]
    assert seen.right <= PHONE[0]
    assert seen.bottom_of("ause") <= PHONE[1]
    assert seen.bottom_of("Next step") <= PHONE[1]
