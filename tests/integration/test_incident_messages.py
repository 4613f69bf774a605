"""An incident's message in Slack: table and reports on moto, and the twin of Slack."""

import json
import time

import boto3
import pytest

from local.twins import SlackTwin, slack
from tests.machines.stack import REGION
from tests.unit.tables import table
from watchfloor.clients.documents import Documents
from watchfloor.clients.incident_messages import IncidentMessages
from watchfloor.clients.incident_table import IncidentTable
from watchfloor.clients.slack import Slack
from watchfloor.incidents import Incident
from watchfloor.layout import IncidentLayout

FINGERPRINT, MOVED_TO = "a3f19c0d2e4b5a67", "C0MOVEDTO"


class Channel:
    """A channel with a bot that tells of one incident, one generation after the other."""

    def __init__(self, twin: SlackTwin, incidents: IncidentTable, documents: Documents) -> None:
        self.twin, self._incidents, self._documents = twin, incidents, documents

    def tell(self, generation: int, **settings: str) -> str:
        incident = Incident(FINGERPRINT, generation=generation, since=1.0, last_seen=1.0, count=1, title="KeyError")
        self._incidents.change(FINGERPRINT, lambda row: incident)
        report = {"fingerprint": FINGERPRINT, "title": "KeyError", "generation": generation}
        self._documents.write_json(IncidentLayout(FINGERPRINT, generation).report, report)
        bot = Slack({**self.twin.secret, **settings}, timeout_seconds=2, sleep=time.sleep)
        return IncidentMessages(self._incidents, bot, self._documents).tell(FINGERPRINT, generation)


@pytest.fixture
def channel():
    with table("IncidentTable") as rows, SlackTwin() as twin:
        s3 = boto3.client("s3", region_name=REGION)
        s3.create_bucket(Bucket="data")
        yield Channel(twin, IncidentTable(rows), Documents(s3, "data"))


def test_next_generation_is_a_reply_in_the_thread(channel):
    assert [channel.tell(1), channel.tell(2), channel.tell(2)] == ["sent"] * 3
    (first,) = channel.twin.threads()
    assert len(channel.twin.replies(first["ts"])) == 1


@pytest.mark.parametrize("is_left", [False, True], ids=["both", "left"])
def test_other_channel_since_begins_a_thread_there(channel, is_left):
    channel.tell(1)
    channels = channel.twin.state["channels"]
    channels[MOVED_TO] = json.loads(json.dumps(channels[slack.CHANNEL])) | {"messages": []}
    if is_left:
        channels[slack.CHANNEL]["members"].remove(slack.BOT)
    assert channel.tell(2, channel=MOVED_TO) == "sent"
    assert channel.tell(3, channel=MOVED_TO) == "sent"
    (first,) = channel.twin.threads(MOVED_TO)
    assert len(channel.twin.replies(first["ts"], MOVED_TO)) == 1


def test_message_that_cannot_be_changed_any_more_keeps_no_other_back(channel):
    channel.tell(1)
    # The app was made anew, under another bot.
    channel.twin.state["channels"][slack.CHANNEL]["messages"][0]["user"] = "U0EARLIER"
    assert channel.tell(2) == "sent"
    assert channel.tell(3) == "sent"
    _, second = channel.twin.threads()
    assert len(channel.twin.replies(second["ts"])) == 1
