"""Subscription events, and the errors in them."""

import base64
import gzip
import json
import time
from pathlib import Path

import orjson
import pytest

from watchfloor.errors import InvalidInputError
from watchfloor.log_events import ErrorEvent, LogBatch, LogEvent, decode, encode, errors_in
from watchfloor.redaction import Redactor
from watchfloor.text_logs import plain

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "events/triage/errors"
REQUEST = "8f6a1c3e-0f0f-4a0a-9a0a-0123456789ab"
OTHER = "11111111-2222-4333-8444-555555555555"


def document(*messages: str, **fields) -> dict:
    return {
        "messageType": "DATA_MESSAGE",
        "owner": "123456789012",
        "logGroup": "/aws/lambda/orders",
        "logStream": "2026/11/01/[$LATEST]abc",
        "subscriptionFilters": ["errors"],
        "logEvents": [
            {"id": f"e{number}", "timestamp": 1_793_577_600_000 + number, "message": message}
            for number, message in enumerate(messages)
        ],
    } | fields


def found(*messages: str) -> list[ErrorEvent]:
    return errors_in(decode(encode(document(*messages))))


def only(*messages: str) -> ErrorEvent:
    errors = found(*messages)
    assert len(errors) == 1, errors
    return errors[0]


# --- the envelope ---------------------------------------------------------------------------------------------------


def test_decode_gives_every_log_event_with_its_time_in_seconds():
    batch = decode(encode(document("one", "two")))
    assert (batch.owner, batch.log_group, batch.filters) == ("123456789012", "/aws/lambda/orders", ["errors"])
    assert batch.events == [LogEvent("e0", 1_793_577_600.0, "one"), LogEvent("e1", 1_793_577_600.001, "two")]
    assert not batch.is_control


def test_decode_control_message_has_nothing_to_act_on():
    batch = decode(
        encode(
            document("CWL CONTROL MESSAGE: Checking health of destination Lambda.", messageType="CONTROL_MESSAGE")
            | {"logGroup": "", "logStream": ""}
        )
    )
    assert batch.is_control
    assert batch.events == [] and errors_in(batch) == []


def packed(raw: bytes) -> dict:
    return {"awslogs": {"data": base64.b64encode(raw).decode()}}


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (None, "not a cloudwatch logs subscription event"),
        ({}, "not a cloudwatch logs subscription event"),
        ({"awslogs": []}, "not a cloudwatch logs subscription event"),
        ({"awslogs": {"data": 7}}, "not a cloudwatch logs subscription event"),
        ({"awslogs": {"data": "§§§"}}, "no.* base64|not base64"),
        (packed(b"plain"), "not gzip"),
        (packed(gzip.compress(b"{}" * 100)[:-12]), "cut short|not gzip"),
        (packed(gzip.compress(b"{")), "no json"),
        (packed(gzip.compress(b"[]")), "no json object"),
        (encode({"messageType": "SOMETHING"}), "messagetype"),
        (encode(document() | {"logGroup": ""}), "loggroup"),
        (encode(document() | {"logGroup": 7}), "loggroup"),
        (encode(document() | {"logEvents": {}}), "logevents"),
        (encode(document() | {"logEvents": ["x"]}), r"logevents\[0\]"),
        (encode(document() | {"logEvents": [{"message": 1}]}), r"logevents\[0\]"),
        (encode(document() | {"logEvents": [{"message": "x", "timestamp": "now"}]}), r"logevents\[0\].timestamp"),
        (encode(document() | {"logEvents": [{"message": "x", "timestamp": 10**18}]}), r"logevents\[0\].timestamp"),
    ],
)
def test_decode_refuses_what_is_no_subscription_event_and_says_why(event, said):
    with pytest.raises(InvalidInputError, match=f"(?i){said}"):
        decode(event)


def test_decode_refuses_a_zip_bomb_without_unpacking_it():
    bomb = gzip.compress(b"\0" * 200_000_000, compresslevel=9)
    begun = time.perf_counter()
    with pytest.raises(InvalidInputError, match="more than 1000000 bytes"):
        decode(packed(bomb), max_bytes=1_000_000)
    assert time.perf_counter() - begun < 0.5


def test_decode_bound_holds_for_all_members_of_a_gzip_file():
    data = orjson.dumps(document("x" * 600))
    parts = gzip.compress(data[:500]) + gzip.compress(data[500:])
    assert decode(packed(parts), max_bytes=len(data)).events[0].message == "x" * 600
    with pytest.raises(InvalidInputError, match="more than"):
        decode(packed(parts), max_bytes=len(data) - 1)


# --- which records are errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        "INFO health check: 0 errors, error_rate=0.00",
        "INFO retry succeeded after 2 failed attempts",
        "errors=0 warnings=3",
        "errors: none",
        "failed=false took=3",
        "compiled 120 modules, no errors",
        "Loaded module error_pages",
        "Using request_timeout=30 for upstream",
        "[INFO]\t2026-11-01T00:00:00.000Z\t" + REQUEST + "\tregistered ErrorHandler for /errors",
        f"2026-11-01T10:00:00.000Z\t{REQUEST}\tinfo\tupload failed once, the second try went through",
        f"2026-11-01T10:00:00.000Z\t{REQUEST}\tdbug\tcould not read the cache",
        "WARN slow query took 1200 ms",
        "WARN connection failed: TimeoutError, retrying in 5 s",
        "DEBUG caught ValueError: falling back",
        "2026-11-01 10:00:00 INFO could be retried after it failed",
        "2026-11-01 10:00:00 WARN invalid option ignored",
        "[2026-11-01 10:00:00] production.INFO: Exception report job finished",
        '10.0.0.1 - - [01/Nov/2026:00:00:00 +0000] "GET /errors/404.html HTTP/1.1" 200 512',
        '[GIN] 2026/11/01 - 10:00:00 | 200 |   1.2ms | 10.0.0.1 | GET "/v1/errors"',
        '{"level":"info","message":"error budget at 99.98%"}',
        '{"level":30,"msg":"request completed","err":null}',
        '{"level":"debug","message":"falling back","exception":"ValueError: x"}',
        '{"errors":[],"ok":true}',
        f"START RequestId: {REQUEST} Version: $LATEST",
        f"END RequestId: {REQUEST}",
        f"REPORT RequestId: {REQUEST}\tDuration: 3.00 ms\tMemory Size: 128 MB\tMax Memory Used: 128 MB",
        '{"type":"platform.report","record":{"requestId":"x","status":"success"}}',
        "I1101 10:00:00.000000       1 controller.go:12] no errors found",
        "table orders already exists, skipping",
        "checked 7 trays, nothing wrong",
        "render: exit status 0",
        "deploy.sh: line 12: warning: here-document delimited by end-of-file",
        "2026-11-01 10:00:00 spooler INFO: could be retried after it failed",
        "",
        "   ",
    ],
)
def test_errors_in_leaves_out_lines_that_are_no_error(message):
    assert found(message) == []


@pytest.mark.parametrize(
    "message",
    [
        "upload failed: no route to host",
        "error: null pointer passed to render",
        "seat already taken",
        "deploy.sh: line 12: DB_HOST: unbound variable",
        "curl: (60) SSL certificate problem",
        "zip: not a valid zip file",
        "render: exit status 1: cover.html",
        "wrong number of fields in 7",
        "2026-11-01 10:00:00 spooler ERROR: tray 7 is empty",
        "JOB1 STEP2 PAYROLL ABEND CODE S0C7",
    ],
)
def test_errors_in_takes_a_word_of_failure_without_a_level_for_one(message):
    assert len(found(message)) == 1


@pytest.mark.parametrize(
    ("message", "level"),
    [
        ("ERROR could not save order", "ERROR"),
        ("2026-11-01 10:00:00,123 - app.orders - ERROR - could not save order", "ERROR"),
        ("ERROR:app.orders:could not save order", "ERROR"),
        ("2026-11-01 10:00:00.123 ERROR 1 --- [exec-1] c.a.Orders : could not save order", "ERROR"),
        ("10:00:00.123 [main] ERROR com.acme.Orders - could not save order", "ERROR"),
        ("E, [2026-11-01T12:00:00.123456 #7] ERROR -- : could not save order", "ERROR"),
        ("E1101 10:00:00.123456       1 orders.go:12] could not save order", "ERROR"),
        ("[2026-11-01 10:00:00,123: ERROR/ForkPoolWorker-1] could not save order", "ERROR"),
        ("[10:00:00 ERR] could not save order", "ERROR"),
        ("2026/11/01 10:00:00 [error] 31#31: *7 could not save order", "ERROR"),
        ("2026-11-01 10:00:00.000 UTC [12] app@shop ERROR:  could not save order", "ERROR"),
        ("[Nest] 12  - 11/01/2026, 10:00:00 AM   ERROR could not save order", "ERROR"),
        ('time="2026-11-01T10:00:00Z" level=error msg="could not save order"', "ERROR"),
        ("[2026-11-01T10:00:00.000+0000] {orders.py:12} ERROR - could not save order", "ERROR"),
        (f"2026-11-01T10:00:00.000Z\t{REQUEST}\tERROR\tcould not save order", "ERROR"),
        (f"[ERROR]\t2026-11-01T10:00:00.000Z\t{REQUEST}\tcould not save order", "ERROR"),
        (f"2026-11-01T10:00:00.000Z\t{REQUEST}\tfail\tcould not save order", "ERROR"),
        ("2026-11-01 10:00:00 ERROR could not save order", "ERROR"),
        ("01-Nov-2026 10:00:00.123 SEVERE [main] com.acme.Orders.run could not save order", "ERROR"),
        ("<11>1 2026-11-01T10:00:00.000Z host app 12 ID47 - ERROR could not save order", "ERROR"),
        ("1793577600.123 ERROR could not save order", "ERROR"),
        ("2026-11-01T10:00:00.123Z stderr F ERROR could not save order", "ERROR"),
        ("web.1  | ERROR could not save order", "ERROR"),
        ("E 2026-11-01T10:00:00Z could not save order", "ERROR"),
        ("2026-11-01 10:00:00 | ERROR    | acme.orders:run:12 - could not save order", "ERROR"),
        ("2026-11-01 10:00:00.1234|ERROR|Acme.Orders|could not save order", "ERROR"),
        ("2026-11-01T10:00:00.000Z ERROR acme::orders: could not save order", "ERROR"),
        ("E/AndroidRuntime( 1201): could not save order", "ERROR"),
        ("[2026-11-01 10:00:00] production.ERROR: could not save order", "ERROR"),
        ("2026/11/01 10:00:00 [E] could not save order", "ERROR"),
        ("2026-11-01 10:00:00.123 |E| could not save order", "ERROR"),
        ("2026-11-01 10:00:00.123 E could not save order", "ERROR"),
        ("could not save order", None),
    ],
)
def test_errors_in_takes_the_logger_s_prefix_off_a_line(message, level):
    error = only(message)
    assert (error.message, error.level) == ("could not save order", level)
    assert error.request_id == (REQUEST if REQUEST in message else None)


@pytest.mark.parametrize(
    ("record", "kind", "message"),
    [
        ({"level": "ERROR", "message": "no order"}, "", "no order"),
        ({"level": 50, "msg": "no order"}, "", "no order"),
        ({"severity": "CRITICAL", "message": "no order"}, "", "no order"),
        ({"@l": "Error", "@m": "no order"}, "", "no order"),
        ({"log.level": "error", "message": "m", "error.type": "E1Error", "error.message": "no"}, "E1Error", "no"),
        ({"level": "error", "event": "sync", "error": "no order"}, "", "sync: no order"),
        ({"level": "error", "msg": "m", "err": {"type": "NoOrder", "message": "no order"}}, "NoOrder", "no order"),
        ({"version": "1.1", "short_message": "no order", "level": 3}, "", "no order"),
        ({"severityText": "ERROR", "body": {"stringValue": "no order"}}, "", "no order"),
        ({"t": {"$date": "x"}, "s": "E", "msg": "no order"}, "", "no order"),
        ({"errorType": "Function<NoOrder>", "errorMessage": "no order", "stackTrace": []}, "NoOrder", "no order"),
        ({"level": "ERROR", "message": {"errorType": "NoOrder", "errorMessage": "no order"}}, "NoOrder", "no order"),
        ({"log": json.dumps({"level": "error", "msg": "no order"}) + "\n", "stream": "stderr"}, "", "no order"),
        ({"type": "TaskFailed", "details": {"cause": '{"errorType":"NoOrder","errorMessage":"no"}'}}, "NoOrder", "no"),
    ],
)
def test_errors_in_reads_the_fields_of_json_loggers(record, kind, message):
    error = only(json.dumps(record))
    assert (error.type, error.message) == (kind, message)


def test_errors_in_keep_all_keeps_what_is_no_error():
    batch = decode(encode(document("INFO fine", "ERROR not fine")))
    assert [error.message for error in errors_in(batch)] == ["not fine"]
    assert [error.message for error in errors_in(batch, keep_all=True)] == ["fine", "not fine"]


def test_errors_in_explicit_fingerprint_field():
    assert only('{"level":"error","message":"x","fingerprint":["import","header"]}').explicit == "import|header"
    assert only('{"level":"error","message":"x","fingerprint":"SHA256:abc"}').explicit is None
    assert only("ERROR x fingerprint=import-header").explicit == "import-header"


# --- Lambda's own messages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (f"2026-11-01T10:00:00.000Z {REQUEST} Task timed out after 3.00 seconds", "Lambda.Timeout"),
        (f"RequestId: {REQUEST} Error: Runtime exited with error: signal: killed", "Lambda.OutOfMemory"),
        (f"RequestId: {REQUEST} Error: Runtime exited with error: exit status 1", "Lambda.RuntimeExit"),
        (f"RequestId: {REQUEST} Process exited before completing request", "Lambda.RuntimeExit"),
        (
            "[ERROR] Runtime.ImportModuleError: Unable to import module 'app': No module named 'x'",
            "Runtime.ImportModuleError",
        ),
        (
            "INIT_REPORT Init Duration: 9.0 ms\tPhase: init\tStatus: error\tError Type: Runtime.Unknown",
            "Runtime.Unknown",
        ),
        (
            (
                f"REPORT RequestId: {REQUEST}\tDuration: 9 ms\tMemory Size: 128 MB\tMax Memory Used: 128 MB\t"
                "Status: error\tError Type: Runtime.ExitError"
            ),
            "Lambda.OutOfMemory",
        ),
        ('{"type":"platform.report","record":{"requestId":"x","status":"timeout"}}', "Lambda.Timeout"),
        (
            '{"type":"platform.runtimeDone","record":{"requestId":"x","status":"error","errorType":"Runtime.ExitError"}}',
            "Lambda.RuntimeExit",
        ),
    ],
)
def test_errors_in_platform_messages(message, kind):
    error = only(message)
    assert (error.type, error.is_platform) == (kind, True)


def test_errors_in_a_death_told_twice_counts_once():
    errors = found(
        f"2026-11-01T10:00:03.000Z {REQUEST} Task timed out after 3.00 seconds",
        f"REPORT RequestId: {REQUEST}\tDuration: 3000.00 ms\tMemory Size: 128 MB\tMax Memory Used: 40 MB\tStatus: timeout",
        f"2026-11-01T10:00:04.000Z {OTHER} Task timed out after 3.00 seconds",
    )
    assert [error.request_id for error in errors] == [REQUEST, OTHER]


# --- traces over several events -------------------------------------------------------------------------------------

JAVA = [
    "2026-11-01 10:00:00.000 ERROR [exec-1] com.acme.Pay - payment p1 failed",
    "com.acme.PayException: gateway said no",
    "\tat com.acme.Gateway.charge(Gateway.java:10)",
    "\tat com.acme.Pay.pay(Pay.java:20)",
    "Caused by: java.net.ConnectException: Connection refused",
    "\tat com.acme.Wire.open(Wire.java:7)",
    "\t... 2 more",
]
PYTHON = [
    "Traceback (most recent call last):",
    '  File "/app/a.py", line 1, in a',
    "    b()",
    '  File "/app/b.py", line 2, in b',
    "    return {}['x']",
    "KeyError: 'x'",
]
GO = [
    "panic: boom",
    "",
    "goroutine 1 [running]:",
    "main.work(0x1)",
    "\t/app/work.go:12 +0x1d",
    "main.main()",
    "\t/app/main.go:3 +0x2d",
    "exit status 2",
]


@pytest.mark.parametrize(
    ("lines", "kind", "function"),
    [(JAVA, "java.net.ConnectException", "open"), (PYTHON, "KeyError", "b"), (GO, "panic", "work")],
)
def test_errors_in_joins_a_trace_with_a_line_an_event(lines, kind, function):
    error = only(*lines)
    assert (error.type, error.frames[-1].function) == (kind, function)
    assert error.event_ids == tuple(f"e{number}" for number in range(len(lines)))


@pytest.mark.parametrize("lines", [JAVA, PYTHON])
def test_errors_in_other_lines_between_do_not_break_a_trace(lines):
    mixed = [part for line in lines for part in (line, "2026-11-01 10:00:00 INFO [exec-2] c.a.Web - GET /health 200")]
    error = only(*mixed)
    assert error.event_ids == tuple(f"e{2 * number}" for number in range(len(lines)))


def test_errors_in_cause_of_a_java_error_is_none_of_the_python_trace_before_it():
    python = (
        "[ERROR] BasketError: empty\nTraceback (most recent call last):\n"
        '  File "/var/task/app.py", line 20, in handler\n    raise BasketError("empty")'
    )
    java = "2026-11-20 10:15:00,123 [http-8080-exec-7] ERROR c.a.Orders - Caused by: java.io.IOException: 401 for you"
    assert [error.type for error in found(python, java)] == ["BasketError", "java.io.IOException"]


def test_errors_in_python_trace_that_went_into_the_jvm_keeps_its_cause():
    assert only(
        "Traceback (most recent call last):",
        '  File "/app/job.py", line 7, in load',
        '    frame = spark.read.load("s3://x")',
        "py4j.protocol.Py4JJavaError: An error occurred while calling o42.load.",
        "\tat org.apache.spark.sql.Reader.load(Reader.scala:42)",
        "Caused by: java.io.IOException: no such bucket",
        "\tat org.apache.hadoop.fs.S3.open(S3.java:7)",
    )


def test_errors_in_requests_that_fail_at_once_keep_their_lines():
    def lines(request, name):
        return [
            f"2026-11-01T10:00:00Z {request} ERROR {name} failed",
            f"2026-11-01T10:00:00Z {request} java.lang.IllegalStateException: {name}",
            f"2026-11-01T10:00:00Z {request} \tat com.acme.{name}.run({name}.java:1)",
        ]

    errors = found(
        *(line for pair in zip(lines(REQUEST, "First"), lines(OTHER, "Second"), strict=True) for line in pair)
    )
    assert [(error.message, error.frames[-1].module) for error in errors] == [
        ("First", "com.acme.First"),
        ("Second", "com.acme.Second"),
    ]


def test_errors_in_two_traces_one_after_the_other_stay_two():
    assert [error.type for error in found(*PYTHON, *PYTHON)] == ["KeyError", "KeyError"]
    whole = "\n".join(PYTHON)
    assert len(found(whole, whole, whole)) == 3
    java = "java.lang.IllegalStateException: x\n\tat com.acme.A.b(A.java:1)"
    assert len(found(f"2026-11-01 10:00:00 ERROR failed\n{java}", java, java)) == 3


def test_errors_in_a_whole_trace_in_one_event_is_no_part_of_the_line_before():
    java = "java.lang.IllegalStateException: x\n\tat com.acme.A.b(A.java:1)"
    assert [error.type for error in found("ERROR cache is cold", java)] == ["", "java.lang.IllegalStateException"]
    ruby = "/a/x.rb:1:in `total': no (RuntimeError)\n\tfrom /a/y.rb:2:in `run'"
    assert [error.type for error in found("ERROR cache is cold", ruby)] == ["", "RuntimeError"]


def test_errors_in_json_and_text_records_do_not_mix():
    errors = found(
        '{"level":"error","msg":"cache is cold"}', "java.lang.IllegalStateException: x", "\tat c.A.b(A.java:1)"
    )
    assert [len(error.event_ids) for error in errors] == [1, 2]


def test_errors_in_go_stack_without_a_panic():
    error = only(
        "could not load tenant t1",
        "github.com/acme/hub.(*Repo).Load",
        "\t/src/repo.go:31",
        "main.main",
        "\t/src/m.go:2",
    )
    assert [frame.function for frame in error.frames] == ["main", "(*Repo).Load"]


def test_errors_in_message_of_many_lines_before_its_trace():
    error = only(
        "[ERROR] ValidationError: 1 validation error for Booking",
        "seats",
        "  Input should be a valid integer",
        "Traceback (most recent call last):",
        '  File "/var/task/app.py", line 5, in handler',
        "    Booking(**event)",
    )
    assert (error.type, error.frames[-1].function, len(error.event_ids)) == ("ValidationError", "handler", 6)


def test_errors_in_lines_wrapped_by_a_log_driver():
    error = only(*(json.dumps({"log": line + "\n", "container_id": "c1"}) for line in PYTHON))
    assert (error.type, error.frames[-1].source) == ("KeyError", "return {}['x']")


def test_errors_in_a_trace_long_after_is_another_one():
    batch = LogBatch(
        "DATA_MESSAGE",
        "",
        "/g",
        "s",
        [],
        [LogEvent("a", 0.0, "ERROR failed"), LogEvent("b", 60.0, "\tat c.A.b(A.java:1)")],
    )
    assert [error.event_ids for error in errors_in(batch)] == [("a",), ("b",)]


def test_errors_in_carriage_returns_and_escaped_line_ends():
    for text in ("\r".join(["[ERROR] KeyError: 'x'", *PYTHON[:-1]]), "\\n".join(["ERROR failed", *PYTHON])):
        assert only(text).frames[-1].function == "b"


def test_what_is_down_failed_and_what_went_down_by_a_figure_did_not():
    assert only("lb01 haproxy[7]: Server tiles/t2 is DOWN, reason: Layer7 wrong status, code: 503")
    assert not found("traffic is down 20%", "latency went down to 5 ms", "load is down by half")


def test_level_behind_the_message_is_the_developers():
    assert only("2026/11/01 10:00:00 queue: refused (retry in 31s) level=error").level == "ERROR"
    assert not found("2026/11/01 10:00:00 queue: waiting (retry in 31s) level=info", "log level=error set successfully")


def test_error_event_survives_json():
    for error in (only("\n".join(JAVA)), only('{"level":"error","msg":"x","err":{"code":"ECONNRESET"}}')):
        assert ErrorEvent.from_dict(json.loads(json.dumps(error.to_dict()))) == error


def test_trace_that_lambda_indents_by_no_break_spaces_has_its_lines_of_code():
    trace = (
        "[ERROR] KeyError: 'x'\nTraceback (most recent call last):\n  File \"/var/task/a.py\", line 5, in f\n    v[x]"
    )
    assert only(trace.replace("  ", "\u00a0\u00a0")).frames[0].source == "v[x]"


def test_trace_whose_lines_rails_tags_with_the_request():
    lines = ["NoMethodError (undefined method `x' for nil):", "", "app/models/review.rb:21:in `normalise'"]
    error = only("F, [2026-11-01T10:00:00.1 #7] FATAL -- : " + "\n".join(f"[{REQUEST}] {line}" for line in lines))
    assert (error.type, error.request_id, error.frames[0].function) == ("NoMethodError", REQUEST, "normalise")


@pytest.mark.parametrize("wrapper", ["attributes", "payload", "context"])
def test_object_of_an_exception_is_found_in_whatever_it_stands(wrapper):
    exception = {"type": "IOError", "message": "no", "stacktrace": "a.rb:1:in `f'\nb.rb:2:in `g'"}
    error = only(json.dumps({"level": "error", "msg": "x", wrapper: {"exception": exception}}))
    assert (error.type, error.message, error.language) == ("IOError", "no", "ruby")


def test_stack_of_lambdas_java_runtime_has_frames_without_at():
    frames = ["com.acme.Orders.get(Orders.java:12)", "com.acme.Handler.handleRequest(Handler.java:8)"]
    error = only(
        json.dumps({"errorMessage": "gone", "errorType": "java.lang.IllegalStateException", "stackTrace": frames})
    )
    assert (error.language, [frame.function for frame in error.frames]) == ("java", ["handleRequest", "get"])


def test_exception_behind_a_bar_as_nlog_writes_it():
    error = only("2026-11-01 10:00:00.1|ERROR|Acme.Taps|tap 7|System.NullReferenceException: no\n   at Acme.Taps.Run()")
    assert error.type == "System.NullReferenceException"


def test_errors_in_cuts_long_texts_with_a_mark():
    error = only("ERROR " + "word " * 50_000)
    assert len(error.message) <= 4_000 and len(error.text) <= 16_000
    assert error.message.endswith("[cut]") and error.text.endswith("[cut]")


HOSTILE = {
    "blanks": " " * 1_000_000,
    "one word": "a" * 1_000_000,
    "quotes": "ERROR " + "'a " * 330_000,
    "escapes": "ERROR " + '"\\' * 500_000,
    "dots": "ERROR " + "a." * 500_000,
    "paths": "ERROR " + "/a" * 500_000,
    "folders": "ERROR " + "a/" * 500_000,
    "colons": "ERROR " + ":" * 1_000_000,
    "hex": "ERROR " + "0a" * 500_000,
    "braces": "{" * 1_000_000,
    "pairs": "ERROR " + "a=b " * 250_000,
    "half frames": "\n".join(["    at " + "a (" * 600] * 500),
    "half .NET frames": "\n".join(["   at " + "A.b(" * 400 + ") in x:line"] * 500),
    "half Ruby frames": "\n".join(["a" * 1_900 + ":1:in `"] * 500),
    "half Go frames": "\n".join(["a." * 900 + "\n\t/a.go:1"] * 500),
    "types": "ERROR " + "AError:" * 140_000,
    "bars": "\n".join(["  | " * 500] * 500),
    "line ends": "\r" * 1_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_errors_in_a_megabyte_of_anything_takes_no_time(name):
    begun = time.perf_counter()
    found(HOSTILE[name])
    assert time.perf_counter() - begun < 2


# --- what is cut ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", ["postgres://shop:Tr0ub4dor3xyz@db.example.com/orders", "4111 1111 1111 1111"])
@pytest.mark.parametrize("limit", [4_000, 16_000])
def test_what_is_cut_holds_no_half_secret(secret, limit):
    """Who looks for secrets later sees all of one, or nothing."""
    said = "cannot connect to "
    for inside in range(0, len(secret) + 45, 3):
        before = "word " * ((limit - 100 - inside) // 5)
        pad = "." * (limit - len("ValueError: " + said + before) - inside - 8)
        text = f"ValueError: {before}{said}{pad} {secret} " + "and so on " * 2_000
        (error,) = errors_in(decode(encode(document(f"Traceback (most recent call last):\n{text}"))))
        told = json.dumps(Redactor().value(error.to_dict()))
        assert "Tr0ub4" not in told and "4111 1" not in told, inside
        assert "and so on" in told or "[cut]" in told


def test_word_that_is_longer_than_any_secret_is_cut_anywhere():
    (error,) = errors_in(decode(encode(document("ERROR " + "a1b2" * 8_000))))
    assert len(error.text) == 16_000 and error.text.endswith("[cut]")


# --- samples --------------------------------------------------------------------------------------------------------

LANGUAGES = {"dotnet", "go", "java", "node", "php", "python", "ruby", "rust"}


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_sample_holds_what_stands_decoded_beside_it_and_is_one_error(path):
    event = orjson.loads(path.read_bytes())
    readable = orjson.loads((path.parent / "decoded" / path.name).read_bytes())
    assert orjson.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"]))) == readable
    assert decode(event) == decode(encode(readable))
    errors = errors_in(decode(event))
    assert len(errors) == 1
    if path.stem in LANGUAGES:
        assert errors[0].language == path.stem
        assert errors[0].type and any(frame.in_app for frame in errors[0].frames)
    else:
        assert errors[0].language is None


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-20 10:15:00,123 [exec-7] ERROR c.a.OrderService - spring.datasource.password: tiger-river",
        "2026-11-20 10:15:00,123 app-1 spring.datasource.password: tiger-river failed",
    ],
)
def test_name_of_a_secret_is_no_logger(line):
    # Without it, nobody who takes secrets out later would know one.
    assert "datasource.password: tiger-river" in plain(line).body


def test_rust_panic_split_over_events_keeps_its_message():
    (error,) = errors_in(decode(json.loads((SAMPLES / "rust.json").read_text())))
    assert error.message == "called `Result::unwrap()` on an `Err` value: ParseIntError { kind: InvalidDigit }"


@pytest.mark.parametrize("last", ["timeout: timed out", "interError: bad thing"])
def test_python_trace_split_over_events_ends_with_the_exception_whatever_its_name(last: str):
    error = only("Traceback (most recent call last):", '  File "/var/task/app.py", line 3, in read', "    read()", last)
    assert f"{error.type}: {error.message}" == last
    assert len(error.event_ids) == 4


def test_statement_of_many_lines_split_over_events_belongs_to_its_error():
    error = only(
        "Traceback (most recent call last):",
        '  File "/app/db.py", line 3, in load',
        "    session.execute(query)",
        "sqlalchemy.exc.ProgrammingError: column a.b does not exist",
        "[SQL: SELECT a.b ",
        "FROM a ",
        "WHERE a.id = %(id_1)s]",
        "(Background on this error at: https://sqlalche.me/e/20/f405)",
    )
    assert error.text.endswith("f405)") and len(error.event_ids) == 8


def test_message_split_over_events_belongs_to_the_type_above_it():
    error = only(
        "2026-11-10T17:53:05.715Z error: unhandled error in POST /api/users",
        "PrismaClientKnownRequestError: ",
        "Invalid `prisma.user.create()` invocation in",
        "/app/src/users.ts:92:35",
        "  85 const data = map(dto)",
        "→ 92 return this.prisma.user.create(",
        "Unique constraint failed on the fields: (`email`)",
        "    at async UsersService.create (/app/src/users.ts:92:12) {",
    )
    assert (error.type, error.message) == (
        "PrismaClientKnownRequestError",
        "Unique constraint failed on the fields: (`email`)",
    )
    assert error.frames[-1].function.endswith("UsersService.create")


def test_what_follows_a_statement_in_brackets_is_another_error():
    errors = found(
        "Traceback (most recent call last):",
        '  File "/app/db.py", line 3, in load',
        "    session.execute(query)",
        "sqlalchemy.exc.ProgrammingError: column a.b does not exist",
        "[SQL: SELECT a.b ",
        "FROM a]",
        "payment 12 failed",
    )
    assert [error.message.split("\n")[0] for error in errors] == ["column a.b does not exist", "payment 12 failed"]
