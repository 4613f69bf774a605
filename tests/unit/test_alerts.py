import math

import pytest

from watchfloor.alerts import RejectedAlert, read_alert, read_node_features

GIVEN = {
    "id": 25485,
    "time": 1.2741,
    "src": "Internal_User_1",
    "dst": "ServerA",
    "name": " ET DNS Query for .cc TLD ",
    "tech": ["T1490"],
    "other_attributes_dict": {"priority": 1, "port": 53, "url": "http://a", "user_agent": "b", "cert": "c"},
}


def reasons(record):
    with pytest.raises(RejectedAlert) as rejected:
        read_alert(record)
    return rejected.value.reasons


def test_the_example_of_the_format():
    row, dropped = read_alert(GIVEN)
    assert row == {
        "id": 25485,
        "time": 1.2741,
        "src": "Internal_User_1",
        "dst": "ServerA",
        "name": "ET DNS Query for .cc TLD",
        "tech": ["T1490"],
        "attributes": {"priority": 1.0, "port": 53, "url": "http://a", "user_agent": "b", "cert": "c"},
    }
    assert isinstance(row["attributes"]["priority"], float)
    assert dropped == 0


def test_the_least_that_is_needed():
    row, _ = read_alert({"id": "a", "time": 0, "dst": " h ", "name": "n"})
    assert row == {"id": "a", "time": 0.0, "src": "h", "dst": "h", "name": "n", "tech": [], "attributes": {}}
    same, _ = read_alert(
        {"id": "a", "time": 0, "src": None, "dst": "h", "name": "n", "tech": None, "other_attributes_dict": None}
    )
    assert same == row


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (1_700_000_000, 1_700_000_000.0),
        (1_700_000_000.25, 1_700_000_000.25),
        ("2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("2023-11-14T22:13:20", 1_700_000_000.0),
        ("2023-11-14t22:13:20z", 1_700_000_000.0),
        ("2023-11-15 00:13:20.250+02:00", 1_700_000_000.25),
        ("2023-11-14T22:13:20.123456789+0000", 1_700_000_000.123456),
        ("20231114T221320Z", 1_700_000_000.0),
        ("2023-11-14", 1_699_920_000.0),
    ],
)
def test_times_become_seconds_in_utc(time, seconds):
    assert read_alert(GIVEN | {"time": time})[0]["time"] == seconds


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        (None, "time is missing"),
        (math.nan, "time is NaN or infinite"),
        (math.inf, "time is NaN or infinite"),
        (-1, "time is before 1970"),
        ("1969-12-31T23:59:59Z", "time is before 1970"),
        (5_000_000_000, "time is after the year 2099"),
        (1_700_000_000_000, "time is not in seconds: it looks like milliseconds since 1970"),
        (1_700_000_000_000_000, "time is not in seconds: it looks like microseconds since 1970"),
        (1_700_000_000_000_000_000, "time is not in seconds: it looks like nanoseconds since 1970"),
        (10**400, "time is not in seconds: it looks like nanoseconds since 1970"),
        (True, "time is neither a number nor ISO 8601 text"),
        ([1], "time is neither a number nor ISO 8601 text"),
        ("1700000000", "time is text but not ISO 8601, such as 2026-11-20T15:03:00Z"),
        ("20231114", "time is text but not ISO 8601, such as 2026-11-20T15:03:00Z"),
        ("yesterday", "time is text but not ISO 8601, such as 2026-11-20T15:03:00Z"),
        ("2023-02-30T00:00:00Z", "time is text but not ISO 8601, such as 2026-11-20T15:03:00Z"),
        ("", "time is text but not ISO 8601, such as 2026-11-20T15:03:00Z"),
    ],
)
def test_unusable_times(time, reason):
    assert reasons(GIVEN | {"time": time}) == [reason]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": None}, "id is missing"),
        ({"id": ""}, "id is empty"),
        ({"id": True}, "id is neither an integer nor text"),
        ({"id": ["a"]}, "id is neither an integer nor text"),
        ({"id": 1.5}, "id is a fraction, or beyond 64 bits: write it as text"),
        ({"id": "x" * 513}, "id is longer than 512 characters"),
        ({"id": "a\0b"}, "id holds a NUL character"),
        ({"src": None, "dst": None}, "src and dst are missing: at least one is needed"),
        ({"src": " ", "dst": ""}, "src and dst are missing: at least one is needed"),
        ({"src": 10}, "src is not text"),
        ({"dst": {"ip": "10.0.0.1"}}, "dst is not text"),
        ({"dst": "x" * 1025}, "dst is longer than 1024 characters"),
        ({"src": "a\0"}, "src holds a NUL character"),
        ({"name": None}, "name is missing"),
        ({"name": "  "}, "name is empty"),
        ({"name": 7}, "name is not text"),
        ({"name": "x" * 10_001}, "name is longer than 10000 characters"),
        ({"name": "a\0b"}, "name holds a NUL character"),
        ({"tech": "T1490"}, "tech is not a list of ATT&CK ids"),
        ({"other_attributes_dict": []}, "other_attributes_dict is not an object"),
        ({"other_attributes_dict": {"priority": "1"}}, "priority is not a finite number"),
        ({"other_attributes_dict": {"priority": True}}, "priority is not a finite number"),
        ({"other_attributes_dict": {"priority": math.inf}}, "priority is not a finite number"),
        ({"other_attributes_dict": {"priority": 10**400}}, "priority is not a finite number"),
        ({"other_attributes_dict": {"port": "53"}}, "port is not an integer"),
        ({"other_attributes_dict": {"port": 53.5}}, "port is not an integer"),
        ({"other_attributes_dict": {"port": True}}, "port is not an integer"),
        ({"other_attributes_dict": {"port": -1}}, "port is not between 0 and 65535"),
        ({"other_attributes_dict": {"port": 65536}}, "port is not between 0 and 65535"),
        ({"other_attributes_dict": {"url": 1}}, "url is not text"),
        ({"other_attributes_dict": {"cert": ["a"]}}, "cert is not text"),
        ({"other_attributes_dict": {"note": "x" * 65_536}}, "other_attributes_dict is longer than 65536 characters"),
    ],
)
def test_violations(changes, reason):
    assert reasons(GIVEN | changes) == [reason]


@pytest.mark.parametrize("record", [None, 1, "alert", [], [GIVEN]])
def test_what_is_no_object(record):
    assert reasons(record) == ["the record is not a JSON object"]


def test_what_is_no_alert_at_all():
    expected = "the record has none of an alert's fields (id, time, src, dst, name), and no mapping reads it"
    assert reasons({}) == reasons({"eventName": "x"}) == [expected]
    assert reasons({"input": {}}) == ['"input" is not a list of alerts']


def test_every_violation_is_named():
    assert reasons({"other_attributes_dict": {"port": 99_999}}) == [
        "id is missing",
        "time is missing",
        "src and dst are missing: at least one is needed",
        "name is missing",
        "port is not between 0 and 65535",
    ]


def test_unknown_techniques_are_dropped_and_counted():
    row, dropped = read_alert(GIVEN | {"tech": [" t1059.1 ", "T1059.001", "T9999", 1059, None, "T1002"]})
    assert row["tech"] == ["T1059.001"]
    assert dropped == 4


def test_attributes_are_scalars_and_null_is_absent():
    given = {
        "priority": None,
        "port": 53.0,
        "url": None,
        "score": math.nan,
        "blocked": False,
        "labels": ["a", "ü"],
        "geo": {"lat": 1.5},
        "count": 7,
    }
    row, _ = read_alert(GIVEN | {"other_attributes_dict": given})
    assert row["attributes"] == {
        "port": 53,
        "blocked": False,
        "labels": '["a","ü"]',
        "geo": '{"lat":1.5}',
        "count": 7,
    }


def test_attribute_that_json_cannot_carry_rejects():
    assert "half a surrogate pair" in reasons(GIVEN | {"other_attributes_dict": {"a": ["\ud800"]}})[0]


def test_unknown_fields_keep_the_record():
    record = GIVEN | {"sensor": "eth0"}
    assert read_alert(record)[0]["raw"] == record
    assert "raw" not in read_alert(GIVEN)[0]
    assert read_alert(GIVEN, raw={"a": 1})[0]["raw"] == {"a": 1}


def test_node_features_become_scalars():
    features, complaints = read_node_features(
        {
            " ServerA ": {"userid": "machine_1", "OS": "Linux", "cpu": 4, "tags": ["a"], "owner": None, "x": math.nan},
            "ServerB": "Linux",
            "ServerC": {"tags": ["\ud800"]},
            "ServerD": {"OS": "\ud800"},
            "\ud800": {"OS": "Linux"},
        }
    )
    assert features == {"ServerA": {"userid": "machine_1", "OS": "Linux", "cpu": 4, "tags": '["a"]'}}
    assert complaints == ["node_feature: 4 entries are not objects of plain values: ignored"]
    assert read_node_features([1]) == ({}, ["node_feature is not an object: ignored"])
