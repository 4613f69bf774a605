"""What a ticket says, and that alerts cannot say it in our name."""

import csv
import html
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.unit.enriched import ATTACKER, DB, WEB, alert, cluster, flow, intrusion
from watchfloor.markup import Foreign, Section, clean, length, to_adf, to_markdown, to_wiki
from watchfloor.tickets import (
    MAX_DESCRIPTION_CHARACTERS,
    MAX_TITLE_CHARACTERS,
    Draft,
    Thresholds,
    Ticket,
    case_is_open,
    issue_is_open,
    label_of,
    merge_comment,
    merge_sentence,
    plain_id,
)

WRITERS = [to_markdown, to_wiki, to_adf]
NASTY = (
    "h1. {color:red}[~admin] !http://evil.example/x.png! [click|http://evil.example] @admin `x` <script> \\{x} ![a](b)"
)


def spread() -> Draft:
    document = intrusion()
    return Draft(document["clusters"][2], document["flows"][0], "https://console.example/")


def text_of(description: object) -> str:
    return description if isinstance(description, str) else json.dumps(description, ensure_ascii=False)


# --- title


def test_title_names_cluster_worst_tactic_count_and_hosts():
    assert spread().title == f"Cluster c-spread: Exfiltration, 2 alerts on {DB}, 203.0.113.9"


def test_title_of_one_alert_without_tactic():
    one = cluster("c1", [alert("1", 0.0, WEB, WEB, "odd")])
    assert Draft(one).title == f"Cluster c1: Unknown, 1 alert on {WEB}"


def test_title_counts_alerts_of_all_runs_and_further_hosts():
    many = cluster("c1", [alert(str(n), n, ATTACKER, f"host-{n}", "scan", "T1595") for n in range(5)])
    many["total_alert_count"] = 1234
    assert Draft(many).title == "Cluster c1: Reconnaissance, 1234 alerts on host-0, host-1, host-2 and 2 more"


@given(hosts=st.lists(st.text(min_size=1), min_size=1, max_size=5))
def test_title_is_one_line_of_at_most_160_characters(hosts):
    title = Draft(cluster("c1", [alert("1", 0.0, host, host, "x", "T1595") for host in hosts])).title
    assert length(title) <= MAX_TITLE_CHARACTERS
    assert not re.search(r"[\x00-\x1f\x7f\u2028\u2029\u202e]", title)


# --- description


@pytest.mark.parametrize("write", WRITERS)
def test_description_holds_every_part_of_the_contract(write):
    text = text_of(spread().description(write)).replace("\\", "")
    for part in (
        "c-spread",  # the cluster
        "c-scan",  # the others of its campaign
        "c-entry",
        "run-1-l1",  # input alerts
        "SMB admin share access",
        "T1021.002 SMB/Windows Admin Shares",  # techniques by id and name
        "Lateral Movement",  # tactics
        WEB,  # entities
        DB,
        "2026-09-21 14:43:20 UTC to 2026-09-21 15:13:20 UTC",  # timeframe
        "https://console.example/campaigns/f-1",  # campaign
    ):
        assert part in text, part


def test_description_names_identifiers_of_alerts():
    text = Draft(intrusion()["clusters"][1]).description(to_markdown)
    assert "`curl/8.5.0`" in text
    assert "`" + "a1" * 32 + "`" in text
    assert "`http[:]//203.0.113.9/drop/stage1.sh`" in text


def test_description_without_console_says_how_to_see_the_campaign():
    document = intrusion()
    text = Draft(document["clusters"][2], document["flows"][0]).description(to_markdown)
    assert "watchfloor campaign show f-1" in text
    assert "](http" not in text


def test_description_shows_the_first_100_alert_ids():
    many = cluster("c1", [alert(n, float(n), ATTACKER, WEB, "scan", "T1595") for n in range(1000, 1250)])
    text = Draft(many).description(to_markdown)
    assert "`" + ", ".join(str(n) for n in range(1000, 1100)) + "` and 150 more" in text
    assert "1100" not in text


@pytest.mark.parametrize("write", WRITERS)
def test_description_of_a_monstrous_cluster_is_at_most_30000_characters(write):
    monster = cluster(
        "c1",
        [
            alert(
                "{" * 500 + str(n),
                n,
                "[" * 300 + str(n),
                "𝒳" * 300 + str(n),
                "`{" * 5_000 + str(n),
                "T1595",
                **{f"*a{n}": "_" * 9_000},
            )
            for n in range(1_000)
        ],
    )
    monster["techniques"] = [f"T{n}" for n in range(1000, 1700)]
    text = Draft(monster, flow("f", [monster], [])).description(write)
    assert 5_000 < length(text_of(text)) <= MAX_DESCRIPTION_CHARACTERS


def test_fingerprint_is_the_same_for_the_same_and_another_for_more_alerts():
    draft, again = spread(), spread()
    assert draft.fingerprint == again.fingerprint
    more = {**draft.cluster, "total_alert_count": 3}
    assert Draft(more, draft.flow).fingerprint != draft.fingerprint


# --- foreign text


@given(st.text(min_size=1, max_size=300) | st.text(alphabet="\\`*_{}[]()#+-.!|<>~@ hw/:1", min_size=1, max_size=60))
def test_foreign_text_in_markdown_is_code_and_nothing_else(text):
    shown = MarkdownIt("commonmark").render(to_markdown([Section("S", [[Foreign(text)]])]))
    found = re.fullmatch(r"<h3>S</h3>\n<ul>\n<li><code>(.*)</code></li>\n</ul>\n", shown)
    assert found, shown
    assert html.unescape(found[1]) in (str(Foreign(text)), " ")


@given(st.text(min_size=1, max_size=300) | st.text(alphabet="\\*_{}[]()#+-!|?^~%@&; hw/:1", min_size=1, max_size=60))
def test_foreign_text_in_wiki_markup_has_no_live_character(text):
    line = to_wiki([Section("S", [["x ", Foreign(text)]])]).split("\n")[1]
    inner = line.removeprefix("* x ")
    # A backslash is live only before a special character, and special characters only without one.
    assert not re.search(r"\\\\", inner)
    assert not re.search(r"(?<!\\)[*_+^~|%{}\[\]()!@?-]", inner)
    assert not re.search(r"(?<!\\)#(?!92;)", inner)
    assert html.unescape(re.sub(r"\\(.)", r"\1", inner.replace("&amp;", "\0"))).replace("\0", "&") == str(Foreign(text))


@pytest.mark.parametrize("write", WRITERS)
def test_foreign_text_cannot_mention_link_or_embed(write):
    bad = cluster("c1", [alert(NASTY, 0.0, NASTY, NASTY, NASTY + "\n* item\nh2. heading", "T1595", url=NASTY)])
    description = Draft(bad).description(write)
    text = text_of(description)
    assert "://" not in text
    assert "\nh2." not in text
    if isinstance(description, dict):
        kinds = set(re.findall(r'"type": "(\w+)"', text))
        assert kinds == {"doc", "heading", "bulletList", "listItem", "paragraph", "text", "code"}
    elif write is to_wiki:
        assert "[~" not in text.replace("\\[", "")


def test_clean_takes_away_what_cannot_be_seen_and_what_pages_make_links_of():
    assert clean("a\u202eb\u200b\r\n\tc\x00") == "a b c"
    assert clean("see HTTPS://x.example and WWW.x.example") == "see HTTPS[:]//x.example and www[.]x.example"
    assert clean("x" * 10_000_000, 10) == "x" * 9 + "…"
    assert length(clean("𝒳" * 50, 21)) <= 21


# --- CSV


def rows_of(draft: Draft) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(draft.csv().decode(), newline="")))


def test_csv_has_the_alerts_with_their_attributes():
    row = rows_of(Draft(intrusion()["clusters"][1]))[0]
    assert row["id"] == "run-1-e1"
    assert row["time"] == "1790000600.0"
    assert row["time_utc"] == "2026-09-21 14:23:20 UTC"
    assert (row["src"], row["dst"]) == (ATTACKER, WEB)
    assert row["techniques"] == "T1190"
    assert row["tactics"] == "Initial Access"
    assert row["url"] == "http://203.0.113.9/drop/stage1.sh"


def test_csv_has_at_most_1000_rows():
    many = cluster("c1", [alert(n, float(n), ATTACKER, WEB, "scan") for n in range(1_001)])
    assert len(rows_of(Draft(many))) == 1_000


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "  =1",
        "\u00a0=1",
        "＝1",
        "＋1",
        "－1",
        "＠A",
        '=HYPERLINK("x")',
    ],
)
def test_csv_cell_that_a_spreadsheet_takes_for_a_formula_is_quoted(text):
    (row,) = rows_of(Draft(cluster("c1", [alert(text, 0.0, text, text, text, user_agent=text)])))
    assert row["id"] == row["src"] == row["name"] == row["user_agent"] == f"'{text}"


@given(st.text())
def test_csv_no_cell_begins_like_a_formula(text):
    (row,) = rows_of(Draft(cluster("c1", [alert("1", 0.0, "a", "b", text, url=text)])))
    assert not row["name"].strip().startswith(("=", "+", "-", "@"))
    assert row["name"].removeprefix("'") == text.replace("\0", "").removeprefix("'")


def test_csv_keeps_numbers_as_numbers():
    (row,) = rows_of(Draft(cluster("c1", [alert(-5, -12.5, "a", "b", "n", port=443)])))
    assert (row["id"], row["time"], row["port"]) == ("-5", "-12.5", "443")


# --- decisions


@pytest.mark.parametrize(
    ("status", "category", "is_open"),
    [
        ("Open", "", True),
        ("IN PROGRESS", "", True),
        ("In-Progress", "", True),
        ("to do", "", True),
        ("Triage", "indeterminate", True),
        ("Eingang", "new", True),
        ("Closed", "done", False),
        ("Won't Fix", "done", False),
        ("Reopened", "", False),
    ],
)
def test_issue_is_open_by_name_or_category(status, category, is_open):
    assert issue_is_open(status, category) is is_open


@pytest.mark.parametrize(
    ("status", "is_open"),
    [("open", True), ("in-progress", True), ("In Progress", True), ("closed", False), ("to do", False)],
)
def test_case_is_open_by_name(status, is_open):
    assert case_is_open(status) is is_open


def test_thresholds_count_alerts_of_all_runs_and_tactics():
    few = cluster("c1", [alert("1", 0.0, ATTACKER, WEB, "scan", "T1595")])
    assert not Thresholds().met_by(few)
    assert Thresholds().met_by({**few, "total_alert_count": 3})
    assert not Thresholds().met_by({**few, "total_alert_count": 3, "tactics": []})
    assert Thresholds(events=1, tactics=0).met_by({**few, "tactics": []})


def test_label_is_safe_in_queries_whatever_the_cluster_id():
    assert label_of("ab12-c") == "watchfloor-cluster-ab12-c"
    assert re.fullmatch(r"watchfloor-cluster-[0-9a-f]{32}", label_of('x" OR project = "SECRET'))
    assert plain_id("a b") != plain_id("a  b")


@pytest.mark.parametrize("write", WRITERS)
def test_merge_comment_names_both_and_leads_to_the_survivor(write):
    comment = merge_comment("c-2", "c-1", Ticket("SOC-7", "https://jira.example/browse/SOC-7", True))
    text = text_of(write(comment))
    assert (
        merge_sentence("c-2", "c-1") == "Cluster c-2 was merged into cluster c-1."
        and merge_sentence("c-2", "c-1") in text
    )
    assert "https://jira.example/browse/SOC-7" in text
