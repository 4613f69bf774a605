import datetime
import gzip
import io
import json
import time
from pathlib import Path

import orjson
import pytest

from watchfloor.errors import InvalidInputError
from watchfloor.formats import builtin_mappings, load_mapping
from watchfloor.intake import take_in

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "events" / "formats"


@pytest.fixture
def take(tmp_path):
    def take(content, file_name="alerts.json", **options):
        with take_in(io.BytesIO(content), file_name=file_name, work_dir=tmp_path, **options) as taken:
            rows = [orjson.loads(orjson.dumps(row)) for batch in taken.batches() for row in batch]
            rejected = [json.loads(line) for line in taken.rejected_path.read_bytes().splitlines()]
        return rows, rejected, taken

    return take


def brief(row):
    return row["src"], row["dst"], row["name"], row["tech"]


def at(text):
    return pytest.approx(datetime.datetime.fromisoformat(text).timestamp())


EXPECTED = {
    "suricata_eve.json": [
        ("203.0.113.77", "10.20.4.17", "ET SCAN Potential SSH Scan", []),
        ("10.20.4.17", "198.51.100.24", "ET INFO Observed DNS Query to .cloud TLD", ["T1071"]),
        ("10.20.4.17", "198.51.100.24", "ET MALWARE Observed Malicious SSL Cert (Cobalt Strike)", ["T1573"]),
    ],
    "elastic.json": [
        ("wks-0417", "wks-0417", "Suspicious MS Office Child Process", ["T1566", "T1566.001"]),
        (
            "10.20.4.17",
            "198.51.100.24",
            "Unusual Network Connection via RunDLL32",
            ["T1218", "T1071", "T1218.011", "T1071.001"],
        ),
        ("wks-0417", "wks-0417", "LSASS Memory Dump Creation", ["T1003", "T1003.001"]),
        ("10.20.4.17", "10.20.1.10", "Remotely Started Services via RPC", ["T1021"]),
    ],
    "splunk_notable.json": [
        ("203.0.113.77", "vpn-gw-01", "Brute Force Access Behavior Detected", ["T1110"]),
        (
            "10.20.4.17",
            "srv-file-01",
            "Windows Service Created with Suspicious Service Path",
            ["T1569", "T1569.002"],
        ),
        ("mjones", "mjones", "7 Day ATT&CK Tactic Threshold Exceeded", ["T1110", "T1569.002", "T1048"]),
    ],
    "cef.json": [
        ("10.20.4.17", "198.51.100.24", "THREAT spyware", ["T1573.002"]),
        ("10.20.4.17", "srv-file-01", "Eicar_test_file", []),
        ("10.20.4.17", "10.20.1.10", "utm:ips signature blocked", []),
    ],
    "aws_security_hub.json": [
        ("corp-finance-reports", "corp-finance-reports", "S3 bucket has block public access disabled", ["T1530"]),
        ("203.0.113.77", "i-0a1b2c3d4e5f60718", "UnauthorizedAccess:EC2-SSHBruteForce", []),
        ("i-0a1b2c3d4e5f60718", "198.51.100.24", "Backdoor:EC2-C&CActivity.B", []),
    ],
    "aws_guardduty.json": [
        ("203.0.113.77", "i-0a1b2c3d4e5f60718", "UnauthorizedAccess:EC2/SSHBruteForce", []),
        ("i-0a1b2c3d4e5f60718", "updates.badsite.example", "Backdoor:EC2/C&CActivity.B!DNS", []),
        (
            "203.0.113.77",
            "web-prod-role",
            "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS",
            [],
        ),
        (
            "203.0.113.77",
            "arn:aws:s3:::corp-finance-reports",
            "AttackSequence:IAM/CompromisedCredentials",
            ["T1526", "T1078.004"],
        ),
    ],
    "ocsf.json": [
        ("10.20.4.17", "10.20.4.17", "Office application spawned PowerShell", ["T1059", "T1059.001"]),
        ("10.20.4.17", "198.51.100.24", "Periodic HTTP beaconing", ["T1071", "T1071.001"]),
        ("10.20.4.17", "10.20.4.17", "LSASS memory read", ["T1003", "T1003.001"]),
    ],
}


def test_every_builtin_mapping_has_a_sample():
    assert {path.name for path in SAMPLES.iterdir()} == set(EXPECTED)
    assert len(builtin_mappings()) == len(EXPECTED)


@pytest.mark.parametrize("sample", EXPECTED)
def test_sample_of_a_format(take, sample):
    rows, rejected, taken = take((SAMPLES / sample).read_bytes(), sample)
    assert [brief(row) for row in rows] == EXPECTED[sample]
    assert rejected == []
    assert taken.dropped_technique_count == 0
    assert taken.ignored_count == {"suricata_eve.json": 2, "ocsf.json": 1}.get(sample, 0)
    for row in rows:
        assert row["raw"]
        assert 1 <= row["attributes"]["priority"] <= 5
        # 18 November 2026, the day of all samples.
        assert 1_794_960_000 <= row["time"] < 1_795_046_400


def test_the_forms_in_which_a_format_is_exported(take):
    """The same alerts as lines, in an array, in an envelope and packed."""
    for sample, expected in EXPECTED.items():
        content = (SAMPLES / sample).read_bytes()
        try:
            document = json.loads(content)
        except ValueError:
            document = [json.loads(line) for line in content.splitlines()]
        forms = [
            json.dumps(document).encode(),
            json.dumps(document, indent=1).encode(),
            gzip.compress(content),
        ]
        if isinstance(document, list):
            forms.append(b"".join(json.dumps(record).encode() + b"\n" for record in document))
        else:
            # Pages of results, the last one empty.
            forms.append(json.dumps(document).encode() + b'\n{"Findings": []}\n{"hits": {"total": 0, "hits": []}}')
        for form in forms:
            rows, rejected, _ = take(form)
            assert ([brief(row) for row in rows], rejected) == (expected, [])


def test_values_of_single_fields(take):
    rows, _, _ = take((SAMPLES / "suricata_eve.json").read_bytes())
    assert rows[2]["time"] == at("2026-11-18T09:32:10.004417+00:00")
    assert rows[2]["attributes"] == {
        "priority": 1.0,
        "port": 443,
        "url": "code.example.net",
        "cert": "C=US, O=jQuery, CN=code.example.net",
        "src_port": 49829,
        "proto": "TCP",
        "app_proto": "tls",
        "category": "Domain Observed Used for C2 Detected",
        "action": "blocked",
        "signature_id": 2028765,
        "flow_id": 552183009118274,
        "community_id": "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
    }
    rows, _, _ = take((SAMPLES / "elastic.json").read_bytes())
    assert rows[0]["time"] == at("2026-11-18T09:21:17.004+00:00")
    assert rows[0]["id"] == rows[0]["raw"]["_id"]
    assert rows[3]["raw"]["_index"] == ".internal.alerts-security.alerts-default-000004"
    rows, _, _ = take((SAMPLES / "cef.json").read_bytes())
    assert [row["time"] for row in rows] == [
        at("2026-11-18T09:32:10+00:00"),
        at("2026-11-18T09:33:32+00:00"),
        at("2026-11-18T09:44:01.218+00:00"),
    ]


def test_findings_wrapped_by_eventbridge(take):
    findings = json.loads((SAMPLES / "aws_security_hub.json").read_bytes())["Findings"]
    event = {"version": "0", "detail-type": "Security Hub Findings - Imported", "detail": {"findings": findings}}
    for content in (
        json.dumps(event).encode(),
        json.dumps([event]).encode(),
        json.dumps(event).encode() + b"\n" + json.dumps(event).encode(),
    ):
        rows, _, taken = take(content)
        assert [brief(row) for row in rows] == EXPECTED["aws_security_hub.json"]
    # Delivered twice is one alert.
    assert taken.rejected_count == 3


def test_findings_of_the_guardduty_api(take):
    def upper(value):
        if isinstance(value, dict):
            return {key[0].upper() + key[1:]: upper(item) for key, item in value.items()}
        return [upper(item) for item in value] if isinstance(value, list) else value

    lines = (SAMPLES / "aws_guardduty.json").read_bytes().splitlines()
    findings = [upper(json.loads(line)) for line in lines[:3]]
    rows, _, _ = take(json.dumps({"Findings": findings}).encode())
    assert [brief(row) for row in rows] == EXPECTED["aws_guardduty.json"][:3]
    assert rows[1]["attributes"]["private_ip"] == "10.20.4.17"


def test_a_mapped_record_without_a_field_is_rejected_with_the_mapping_named(take):
    record = {"event_type": "alert", "timestamp": "2026-11-18T09:12:05+0000", "alert": {"signature": "x"}}
    good = record | {"src_ip": "10.0.0.1"}
    rows, rejected, _ = take(json.dumps([record, good]).encode())
    assert len(rows) == 1
    assert rejected[0]["reason"] == (
        "src and dst are missing: at least one is needed (as read by the mapping suricata)"
    )


def test_file_of_other_events_only(take):
    with pytest.raises(InvalidInputError, match="has no alerts: its 1 records are other events"):
        take(b'{"event_type": "flow", "timestamp": "2026-11-18T09:12:05+0000"}')


def test_placeholder_hosts_and_ports_are_absent(take):
    lines = (SAMPLES / "splunk_notable.json").read_bytes().splitlines()
    record = json.loads(lines[0])
    record["result"] |= {"src": ["unknown", "198.51.100.9"], "dest": "-", "dest_port": "http", "urgency": "High"}
    rows, _, _ = take(json.dumps(record).encode())
    assert (rows[0]["src"], rows[0]["dst"]) == ("198.51.100.9", "198.51.100.9")
    assert "port" not in rows[0]["attributes"]
    assert rows[0]["attributes"]["priority"] == 2.0


OWN = """
name: my-sensor
title: Our sensor's log
match:
  all:
    - {path: vendor, equals: acme}
only:
  any:
    - {path: kind, in: [alert, block]}
records: [export.rows]
also_in: payload
fields:
  id: uuid
  time:
    - {path: ts_ms, unit: milliseconds}
    - {path: when, format: "%d/%m/%Y %H:%M:%S"}
  src: net.client
  dst: {path: net.server, pattern: "^([^:]+)"}
  name: {path: code, values: {10: Port scan, 11: Malware}}
  tech: notes
  attributes:
    port: {path: net.server, pattern: ":(\\\\d+)$"}
    zone: {path: zone, when: {path: kind, equals: block}}
"""


def own_record(**changes):
    return {
        "vendor": "acme",
        "kind": "alert",
        "uuid": "u1",
        "ts_ms": 1_700_000_000_250,
        "net": {"client": "10.0.0.1"},
        "net.server": "10.0.0.2:8443",
        "payload": {"code": 10, "notes": "see T1046, and https://attack.mitre.org/techniques/T1595/001/"},
        "zone": "dmz",
    } | changes


def test_a_users_own_mapping(take):
    mappings = [load_mapping(OWN), *builtin_mappings()]
    records = [
        own_record(),
        own_record(uuid="u2", kind="block", ts_ms=None, when="14/11/2023 22:13:21"),
        own_record(uuid="u3", kind="heartbeat"),
    ]
    for content in (json.dumps({"export": {"rows": records}}), "\n".join(map(json.dumps, records))):
        rows, rejected, taken = take(content.encode(), mappings=mappings)
        assert [row["time"] for row in rows] == [pytest.approx(1_700_000_000.25), 1_700_000_001]
        assert brief(rows[0]) == ("10.0.0.1", "10.0.0.2", "Port scan", ["T1046", "T1595.001"])
        assert [row["attributes"] for row in rows] == [{"port": 8443}, {"port": 8443, "zone": "dmz"}]
        assert taken.ignored_count == 1
        assert rejected == []


def test_a_users_own_mapping_comes_before_all_others(take):
    record = own_record(time=1, src="x", dst="y", name="n", id=1)
    assert take(json.dumps([record]).encode())[0][0]["name"] == "n"
    rows, _, _ = take(json.dumps([record]).encode(), mappings=[load_mapping(OWN), *builtin_mappings()])
    assert rows[0]["name"] == "Port scan"


def test_the_example_of_the_documentation(take):
    text = (ROOT / "docs" / "input-formats.md").read_text(encoding="utf-8")
    mapping = load_mapping(text.partition("```yaml\n")[2].partition("```")[0])
    record = {
        "vendor": "acme",
        "kind": "block",
        "when": "14/11/2023 22:13:20",
        "client": {"name": "pc-1"},
        "server": "10.0.0.2:8443",
        "alarm": {"code": 11, "attack": ["T1204"]},
        "zone": "dmz",
    }
    rows, _, _ = take(json.dumps([record]).encode(), mappings=[mapping])
    assert brief(rows[0]) == ("pc-1", "10.0.0.2", "Malware", ["T1204"])
    assert rows[0]["time"] == 1_700_000_000
    assert rows[0]["attributes"] == {"port": 8443, "zone": "dmz"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("name: my-sensor", "name: My Sensor"), "name: String should match pattern"),
        (("match:", "matches:"), "match: Field required; matches: Extra inputs are not permitted"),
        (("  id: uuid\n", ""), "fields.id: Field required"),
        (("id: uuid", "id: []"), "fields.id: Value should have at least 1 item"),
        (("unit: milliseconds", "unit: ms"), "fields.time.0.unit: Input should be 'seconds', 'milliseconds'"),
        (("id: uuid", "id: {hash: all}"), "fields.id.0.hash: Input should be 'record'"),
        (("id: uuid", "id: {pattern: x}"), "fields.id.0: give either path or hash"),
        (("id: uuid", "id: a..b"), "fields.id.0.path: 'a..b' is no dotted path"),
        (('pattern: "^([^:]+)"', 'pattern: "("'), "fields.dst.0.pattern: '(' is no regular expression"),
        (("    - {path: vendor, equals: acme}", "    []"), "match: give at least one condition under all or any"),
        (("name: my-sensor", "name: [my"), "The mapping is not YAML"),
    ],
)
def test_mistakes_in_a_mapping_are_named(change, expected):
    assert change[0] in OWN
    with pytest.raises(InvalidInputError) as error:
        load_mapping(OWN.replace(change[0], change[1], 1))
    assert expected in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "just text"])
def test_what_is_no_mapping_at_all(text):
    with pytest.raises(InvalidInputError, match="not a YAML mapping"):
        load_mapping(text)


def test_hostile_records_do_not_stop_the_run(take):
    def nested(depth):
        return b"[" * depth + b"]" * depth

    hostile = [
        b'{"event_type": "alert", "timestamp": ' + nested(900) + b"}",
        b'{"event_type": "alert", "timestamp": "2026-01-01", "src_ip": "a", "alert": {"signature": "\\ud800"}}',
        b'{"service": ' + nested(900) + b"}",
        b'{"class_uid": 2004, "metadata": {"version": 1e400}, "time": 1e400}',
        b'{"event_type": ["alert", {}], "timestamp": {"a": 1}}',
    ]
    good = b'{"id": 1, "time": 1, "src": "a", "name": "n"}'
    rows, rejected, _ = take(b"[" + b",".join([*hostile, good]) + b"]")
    assert len(rows) == 1
    assert len(rejected) == len(hostile)


def test_mapping_is_fast_enough():
    """A gigabyte of Elastic alerts has to be read within minutes: hence 1,000 alerts a second at the very least."""
    mapping = next(mapping for mapping in builtin_mappings() if mapping.name == "elastic")
    record = json.loads((SAMPLES / "elastic.json").read_bytes())["hits"]["hits"][0]
    started = time.process_time()
    for _ in range(500):
        mapping.apply(record)
    assert time.process_time() - started < 0.5
