import gzip
import io
import json
import math
import random
import tracemalloc

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchfloor import intake as intake_module
from watchfloor import json_records
from watchfloor.errors import InvalidInputError
from watchfloor.intake import take_in


def alert(number, **changes):
    return {
        "id": number,
        "time": 1.7e9 + number,
        "src": "a",
        "dst": "b",
        "name": f"alert {number}",
        "tech": [],
    } | changes


def document(*alerts, **more):
    return json.dumps({"input": alerts} | more).encode()


def lines(*records):
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@pytest.fixture
def take(tmp_path):
    """Take bytes in: (rows, rejected entries, the intake)."""

    def take(content, file_name="alerts.json", **options):
        source = io.BytesIO(content) if isinstance(content, bytes) else content
        with take_in(source, file_name=file_name, work_dir=tmp_path, **options) as taken:
            rows = [orjson.loads(orjson.dumps(row)) for batch in taken.batches() for row in batch]
            rejected = [json.loads(line) for line in taken.rejected_path.read_bytes().splitlines()]
        assert len(rows) == taken.alert_count
        assert len(rejected) == taken.rejected_count
        assert [row["i"] for row in rows] == list(range(len(rows)))
        assert rows == sorted(rows, key=lambda row: row["time"])
        assert list(tmp_path.iterdir()) == [taken.rejected_path]
        return rows, rejected, taken

    return take


def ids(rows):
    return [row["id"] for row in rows]


def message(take, content, **options):
    with pytest.raises(InvalidInputError) as error:
        take(content, **options)
    return str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        document(alert(1), alert(0)),
        b"\xef\xbb\xbf \n" + document(alert(1), alert(0)),
        json.dumps({"a": [1, {"b": "]}"}], "input": [alert(1), alert(0)], "z": None}, indent=2).encode(),
        json.dumps([alert(1), alert(0)]).encode(),
        json.dumps([alert(1), alert(0)], indent=4).replace("\n", "\r\n").encode(),
        lines(alert(1), alert(0)),
        lines(alert(1), alert(0)).rstrip(),
        b"\n \n" + lines(alert(1)) + b"\r\n" + lines(alert(0)),
        json.dumps(alert(1), indent=2).encode() + json.dumps(alert(0), indent=2).encode(),
        document(alert(1)) + b"\n" + document(alert(0)),
        b'{"input":[' + json.dumps(alert(1)).encode() + b"," + json.dumps(alert(0)).encode() + b" , ] }",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_forms_of_a_file(take, content, packed):
    rows, rejected, _ = take(gzip.compress(content) if packed else content)
    assert ids(rows) == [0, 1]
    assert rejected == []


def test_lines_by_name(take):
    rows, _, _ = take(lines(alert(0)), "alerts.jsonl")
    assert ids(rows) == [0]
    rows, _, _ = take(json.dumps([alert(0)], indent=1).encode(), "alerts.jsonl")
    assert ids(rows) == [0]
    rows, rejected, _ = take(gzip.compress(b"{broken\n" + lines(alert(0))), "alerts.ndjson.gz")
    assert ids(rows) == [0]
    assert rejected[0]["record"] == "{broken"


def test_gzip_of_several_members(take):
    packed = gzip.compress(lines(alert(0))) + gzip.compress(lines(alert(1))) + b"\0" * 512
    assert ids(take(packed)[0]) == [0, 1]


def test_a_row_is_complete_and_ids_are_kept_as_given(take):
    rows, _, _ = take(document(alert(2)))
    assert rows == [
        {"i": 0, "id": 2, "time": 1700000002.0, "src": "a", "dst": "b", "name": "alert 2", "tech": [], "attributes": {}}
    ]
    rows, _, _ = take(document(alert(7, id="007"), alert(8, sensor="eth0")))
    assert ids(rows) == ["007", 8]
    assert rows[1]["raw"]["sensor"] == "eth0"


def test_equal_times_keep_the_order_of_the_file(take, monkeypatch):
    monkeypatch.setattr(intake_module, "_RUN_BYTES", 2_000)
    rows, _, _ = take(document(*(alert(number, time=5) for number in range(100))))
    assert ids(rows) == list(range(100))


def test_batches_close_by_count_and_by_size(tmp_path):
    content = document(*(alert(number) for number in range(10)))

    def sizes(**options):
        with take_in(io.BytesIO(content), file_name="a.json", work_dir=tmp_path, **options) as taken:
            assert list(taken.batches()) == list(taken.batches())
            return [len(batch) for batch in taken.batches()]

    assert sizes() == [10]
    assert sizes(chunk_size=4) == [4, 4, 2]
    assert sizes(chunk_size=5) == [5, 5]
    assert sizes(chunk_bytes=1) == [1] * 10
    assert sizes(chunk_bytes=300) == [3, 3, 3, 1]


@pytest.mark.parametrize("run_bytes", [500, 10**6])
def test_shuffled_input_with_duplicates(take, monkeypatch, run_bytes):
    monkeypatch.setattr(intake_module, "_RUN_BYTES", run_bytes)
    monkeypatch.setattr(intake_module, "_ID_RUN_BYTES", run_bytes)
    order = list(range(300))
    random.Random(1).shuffle(order)
    again = [alert(number, time=1) for number in order[:50]] + [alert(1000, id="7")]
    rows, rejected, _ = take(document(*map(alert, order), *again))
    assert ids(rows) == list(range(300))
    assert {entry["reason"] for entry in rejected} == {"an earlier alert in the file has the same id"}
    assert [entry["id"] for entry in sorted(rejected, key=lambda entry: entry["position"])] == [*order[:50], "7"]
    assert min(entry["position"] for entry in rejected) == 301


def test_one_bad_alert_does_not_harm_the_others(take):
    rows, rejected, taken = take(document(alert(0), {"id": 1, "name": "x"}, "text", alert(3, tech=["T9999", "T1490"])))
    assert ids(rows) == [0, 3]
    assert taken.dropped_technique_count == 1
    assert rejected == [
        {
            "reason": "time is missing; src and dst are missing: at least one is needed",
            "id": 1,
            "record": {"id": 1, "name": "x"},
            "position": 2,
        },
        {"reason": "the record is not a JSON object", "record": "text", "position": 3},
    ]


BROKEN = [
    (b'{"id": 9, "time": NaN, "src": "a", "name": "n"}', "time is NaN or infinite"),
    (b'{"id": 9, "time": -Infinity, "src": "a", "name": "n"}', "time is NaN or infinite"),
    (b'{"id": 9, "time": 1e999, "src": "a", "name": "n"}', "time is NaN or infinite"),
    (b'{"id": 9, "time": 1, "src": "a", "name": "\xff\xfe"}', "not UTF-8: byte 0xff at byte 42 of the record"),
    (b'{"id": 9, "time": 1, "src": "a", "name": "\\ud800"}', "half a surrogate pair"),
    (b'{"id": "\\ud800", "time": 1, "src": "a", "name": "n"}', "half a surrogate pair"),
    (b'{"id": 9, "time": 1, "src": "a", "name": "a\\u0000b"}', "name holds a NUL character"),
    (b'{"id": 9, "time": 1, "src": "a", "name": "a\0b"}', "not JSON"),
    (b'{"id": 9, "time": 1, "src": "a", "name": "a\\x"}', "not JSON"),
    (b'{"id": 123456789012345678901, "time": 1, "src": "a", "name": "n"}', "id is a fraction, or beyond 64 bits"),
    (b'{"id": ' + b"9" * 5000 + b', "time": 1, "src": "a", "name": "n"}', "not JSON"),
    (b'{"id": 9, "time": 1, "src": "a", "name": "n", "x": ' + b"[" * 600 + b"]" * 600 + b"}", "250 nested levels"),
    (b'{"id": 9, "time": 1, "src": "a", "name": "n", "x": ' + b"[" * 90000 + b"]" * 90000 + b"}", "nested too deeply"),
    (b'{"id": 9, "time": 1, "src": "a", "name": "' + b"x" * 10_000_000 + b'"}', "name is longer than 10000 characters"),
    (b'{"id": 9, "time": 1, "src": "a", "name": "' + b"x" * 20_000_000 + b'"}', "the record is larger than 16 MB"),
    (
        b'{"id": 9, "time": 1, "src": "a", "name": "n", "x": "' + b"y" * 2_000_000 + b'"}',
        "the alert is larger than 1 MB",
    ),
    (b'{"id": 9, "time": 1, "src": "a", "name": "n" "x": 1}', "not JSON"),
    (b'{"id": 9}', "time is missing"),
    (b"nonsense", "not JSON"),
    (b"[[1]]", "the record is not a JSON object"),
]


@pytest.mark.parametrize(("record", "reason"), BROKEN, ids=[reason for _, reason in BROKEN])
@pytest.mark.parametrize("form", ["document", "lines"])
def test_broken_records_are_rejected_alone(take, record, reason, form):
    if form == "document":
        content = (
            b'{"input": [' + b", ".join([json.dumps(alert(0)).encode(), record, json.dumps(alert(1)).encode()]) + b"]}"
        )
    else:
        content = lines(alert(0)) + record + b"\n" + lines(alert(1))
    if record.startswith(b"[") and form == "lines":
        reason = "the record is not a JSON object"
    rows, rejected, _ = take(content)
    assert ids(rows) == [0, 1]
    assert len(rejected) == 1
    assert reason in rejected[0]["reason"]
    assert rejected[0]["position"] == 2
    assert len(json.dumps(rejected[0]["record"])) < 4_200


def test_rejected_lines_are_utf8_json_whatever_was_rejected(take, tmp_path):
    take(lines(alert(0), alert(1, name="\ud800"), alert(2, time=math.nan, name="ü")))
    for line in (tmp_path / "rejected.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "alerts.json is empty: it holds no alerts"),
        (b" \n\t", "alerts.json is empty: it holds no alerts"),
        (gzip.compress(b"", mtime=0), "alerts.json is empty: it holds no alerts"),
        (b"id,time,src\n1,2,3\n", "alerts.json is not JSON: at line 1, byte 1 a '{' or '[' should begin it, but there is 'id,time,"),
        (b"<html>", "alerts.json is not JSON but XML or HTML: export it as JSON"),
        (b"PK\x03\x04rest of it", "alerts.json is not JSON but a ZIP archive: unpack it, or use gzip"),
        ("[1]".encode("utf-16"), "alerts.json is not JSON but UTF-16 text: save it as UTF-8"),
        (b"null", "alerts.json is not JSON: at line 1, byte 1 a '{' or '[' should begin it, but there is 'null'"),
        (b'{"input": []}', "alerts.json has no alerts: its list is empty"),
        (b"[]", "alerts.json has no alerts: its list is empty"),
        (b'{"node_feature": {"a": {"b": 1}}}', "alerts.json has no alerts: its list is empty"),
        (b'[{"id": 1}\n{"id": 2}]', "alerts.json is not JSON: at line 2, byte 12 expected ',' or ']' after a record, but there is '{\"id\": 2}]'"),
        (b'{"input" [1]}', "at line 1, byte 10 expected ':' after a key, but there is '[1]}'"),
        (b'{"input": [1] "x": 2}', "expected ',' or '}' after a value, but there is '\"x\": 2}'"),
        (b"{input: [1]}", "expected a key in quotes or '}', but there is 'input: [1]}'"),
        (b'{"input": [{"id": 1]}', "at line 1, byte 20 expected the record's brackets to match (it begins at byte 12), but there is ']}'"),
        (b"[1] trailing", "expected the end of the file, '{' or '[', but there is 'trailing'"),
        (b"[,1]", "at line 1, byte 2 expected a value, but there is ',1]'"),
        (b'{"input": [{"id": 1}, {"id": 2', "alerts.json is incomplete: it ends at line 1, byte 31, inside the value that begins at byte 23"),
        (b'{"input": [{"id": 1}', "alerts.json is incomplete: it ends at line 1, byte 21, where ',' or ']' after a record is missing"),
        (b'{"input": [{"id": 1}]', "alerts.json is incomplete: it ends at line 1, byte 22, where ',' or '}' after a value is missing"),
        (b'{"input": [{"id": "1', "inside the value that begins at byte 12"),
        (b'{"inp', "inside the value that begins at byte 2"),
        (b"[", "where a value is missing"),
        (gzip.compress(b"[1]" * 999, mtime=0)[:-9], "alerts.json is incomplete: its gzip data ends at byte"),
        (gzip.compress(bytes(random.Random(1).choices(b"abc", k=9999)), mtime=0)[:500] + b"\xff" * 400, "alerts.json is damaged: its gzip data"),
        (gzip.compress(b"[1]", mtime=0) + b"garbage", "alerts.json is damaged: its gzip data"),
    ],
)  # fmt: skip
def test_unusable_files_say_where_and_why(take, content, expected):
    assert expected in message(take, content)


def test_input_that_is_no_list_is_explained(take):
    assert '"input" is not a list' in message(take, b'{"input": {"id": 1}}')


def test_no_usable_alert_names_the_most_frequent_reasons(take, tmp_path):
    told = message(take, document(*[alert(n, time=None) for n in range(3)], alert(4, name=""), 1, 2))
    assert told == (
        "alerts.json has no usable alert: all 6 were rejected. Most frequent reasons: time is missing (3 times); "
        "the record is not a JSON object (2 times); name is empty (1 times)"
    )
    assert len((tmp_path / "rejected.jsonl").read_text().splitlines()) == 6


def test_gzip_bomb_is_refused_early(tmp_path, take):
    bomb = gzip.compress(b'{"input": [' + b" " * 30_000_000)
    told = message(take, bomb, unpacked_limit=20_000_000)
    assert told == "alerts.json unpacks to more than 0.02 GB: split it"
    assert not list(tmp_path.glob("*.run"))


def test_node_feature_before_after_and_as_a_line(take):
    features = {"ServerA": {"OS": "Linux", "tags": ["a"]}}
    expected = {"ServerA": {"OS": "Linux", "tags": '["a"]'}}
    for content in (
        json.dumps({"node_feature": features, "input": [alert(0)]}).encode(),
        document(alert(0), node_feature=features),
        lines({"node_feature": features}, alert(0)),
        lines({"node_feature": features, "input": [alert(0)]}, {"input": [alert(1)]}),
    ):
        assert take(content)[2].node_feature == expected
    rows, _, taken = take(document(alert(0), node_feature={"a": 1}))
    assert taken.warnings == ["node_feature: 1 entries are not objects of plain values: ignored"]
    assert len(rows) == 1


def test_too_large_node_feature_is_refused(take):
    large = {"b": "x" * 9_000_000}
    for content in (
        document(alert(0), node_feature={"a": large, "b": large}),
        lines(alert(0), {"node_feature": {"a": large}}, {"node_feature": {"b": large}}),
    ):
        assert "more than 16 MB beside its alerts" in message(take, content)


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(intake_module, "_RUN_BYTES", 500_000)
    monkeypatch.setattr(intake_module, "_ID_RUN_BYTES", 500_000)
    monkeypatch.setattr(json_records, "BLOCK_BYTES", 50_000)

    def peak(count):
        content = document(*map(alert, range(count)))
        tracemalloc.start()
        with take_in(io.BytesIO(content), file_name="a.json", work_dir=tmp_path, chunk_size=100) as taken:
            assert sum(map(len, taken.batches())) == count
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    assert peak(20_000) < peak(4_000) + 3_000_000 < 6_000_000


def test_full_disk_is_explained(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(intake_module._SortedRuns, "flush", full)
    with pytest.raises(InvalidInputError, match="too large for the work space: split it"):
        take_in(io.BytesIO(document(alert(0))), file_name="a.json", work_dir=tmp_path)


def test_source_needs_only_read(take):
    class Body:
        def __init__(self, content):
            self.content = io.BytesIO(content)

        def read(self, size):
            return self.content.read(min(size, 3))

    assert ids(take(Body(gzip.compress(b"\xef\xbb\xbf" + document(alert(0)))))[0]) == [0]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
good_alerts = st.fixed_dictionaries(
    {
        "id": st.integers(0, 30)
        | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=3),
        "time": st.floats(0, 4e9) | st.integers(0, 5),
        "src": st.sampled_from(["a", "b"]),
        "name": st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9),
    },
    optional={"tech": st.lists(st.sampled_from(["T1490", "x"]), max_size=2), "other": json_values},
)
wild_alerts = st.dictionaries(
    st.sampled_from(["id", "time", "src", "dst", "name", "tech", "other_attributes_dict", "x", "event_type"]),
    json_values,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(good_alerts | wild_alerts | json_values, max_size=12),
    form=st.sampled_from(["document", "array", "indented", "lines"]),
    packed=st.booleans(),
    block=st.sampled_from([1, 7, 64, 1_000_000]),
    ascii_only=st.booleans(),
)
def test_every_record_is_in_a_batch_or_rejected(take, records, form, packed, block, ascii_only):
    def text(value, **options):
        return json.dumps(value, ensure_ascii=ascii_only, **options).encode("utf-8", "surrogatepass")

    content = {
        "document": lambda: text({"input": records}),
        "array": lambda: text(records),
        "indented": lambda: text({"input": records}, indent=2),
        "lines": lambda: b"".join(text(record) + b"\n" for record in records),
    }[form]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_records, "BLOCK_BYTES", block)
        patch.setattr(intake_module, "_RUN_BYTES", 300)
        patch.setattr(intake_module, "_ID_RUN_BYTES", 300)
        try:
            rows, rejected, taken = take(
                gzip.compress(content) if packed else content, f"a.{form}l".replace("linesl", "jsonl")
            )
        except InvalidInputError as error:
            assert "\n" not in str(error)
            return
    # A list on a line of its own is a list of records.
    expected = sum(len(record) if form == "lines" and isinstance(record, list) else 1 for record in records)
    assert len(rows) + len(rejected) + taken.ignored_count == expected
    assert len({str(row["id"]) for row in rows}) == len(rows)
    positions = [entry["position"] for entry in rejected]
    assert len(set(positions)) == len(positions)
    assert all(entry["reason"] for entry in rejected)
