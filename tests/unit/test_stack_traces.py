"""Stack traces of each language as one kind of value."""

import pytest

from watchfloor.stack_frames import MAX_FRAMES, Frame, placed
from watchfloor.stack_traces import CAUSE, CONTEXT, MEMBER, OUTERMOST, Trace, language_of_line, parse
from watchfloor.trace_headers import header


def parsed(text: str) -> Trace:
    trace = parse(text)
    assert trace is not None
    return trace


def chain(trace: Trace) -> list[tuple[str, str]]:
    return [(raised.type, raised.relation) for raised in trace.exceptions]


def functions(trace: Trace) -> list[str]:
    return [frame.function for frame in trace.main.frames]


def own(trace: Trace) -> list[str]:
    return [frame.function for frame in trace.main.frames if frame.in_app]


def test_parse_no_trace():
    assert parse("ERROR could not save order 12 at 10:00") is None


def test_parse_python_frames_with_their_lines_of_code():
    trace = parsed(
        "before\nTraceback (most recent call last):\n"
        '  File "/var/task/app.py", line 5, in handler\n    save(event["id"])\n    ~~~~^^^^^^^^^^\n'
        '  File "/var/task/requests/api.py", line 9, in get\n    return request()\n'
        "app.SaveError: no\nsecond line\n\nafter"
    )
    assert trace.language == "python"
    assert (trace.main.type, trace.main.message) == ("app.SaveError", "no\nsecond line")
    assert trace.main.frames == (
        Frame("/var/task/app.py", "handler", 5, in_app=True, source='save(event["id"])'),
        Frame("/var/task/requests/api.py", "get", 9, in_app=False, source="return request()"),
    )


def test_parse_python_type_before_the_trace_as_lambda_prints_it():
    trace = parsed("KeyError: 'x'\nTraceback (most recent call last):\n  File \"/var/task/app.py\", line 5, in handler")
    assert (trace.main.type, trace.main.message) == ("KeyError", "'x'")


PYTHON_TWO = (
    'Traceback (most recent call last):\n  File "/app/a.py", line 9, in load\n    parse(text)\n'
    '  File "/app/b.py", line 3, in parse\n    return int(text)\nValueError: bad\n\n{}\n\n'
    'Traceback (most recent call last):\n  File "/app/main.py", line 1, in main\n    load()\n'
    '  File "/app/a.py", line 11, in load\n    raise LoadError()\na.LoadError: no'
)


def test_parse_python_declared_cause_is_the_main_exception_and_gets_its_callers():
    trace = parsed(PYTHON_TWO.format("The above exception was the direct cause of the following exception:"))
    assert chain(trace) == [("a.LoadError", OUTERMOST), ("ValueError", CAUSE)]
    assert trace.main.type == "ValueError"
    assert functions(trace) == ["main", "load", "parse"]


def test_parse_python_exception_while_handling_another_stands_for_itself():
    trace = parsed(PYTHON_TWO.format("During handling of the above exception, another exception occurred:"))
    assert chain(trace) == [("a.LoadError", OUTERMOST), ("ValueError", CONTEXT)]
    assert trace.main.type == "a.LoadError"


def test_parse_python_exception_group():
    trace = parsed(
        "  + Exception Group Traceback (most recent call last):\n"
        '  |   File "/app/a.py", line 3, in main\n  |     async with tg:\n'
        "  | ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)\n"
        "  +-+---------------- 1 ----------------\n"
        "    | Traceback (most recent call last):\n"
        '    |   File "/app/a.py", line 7, in one\n    |     raise ValueError(1)\n    | ValueError: 1\n'
        "    +---------------- 2 ----------------\n"
        "    | Traceback (most recent call last):\n"
        '    |   File "/app/a.py", line 9, in two\n    |     raise KeyError(2)\n    | KeyError: 2\n'
        "    +------------------------------------\n"
    )
    assert chain(trace) == [("ExceptionGroup", OUTERMOST), ("ValueError", MEMBER), ("KeyError", MEMBER)]
    assert [raised.frames[-1].function for raised in trace.exceptions] == ["main", "one", "two"]


def test_parse_java_causes_common_frames_and_suppressed():
    trace = parsed(
        "2026-11-01 ERROR c.a.Pay - payment failed\n"
        "com.acme.PayException: payment failed\n"
        "\tat com.acme.Pay.pay(Pay.java:20)\n\tat com.acme.Web.post(Web.java:30)\n"
        "\tSuppressed: java.io.IOException: closed\n\t\tat com.acme.Pay.close(Pay.java:90)\n\t\t... 2 more\n"
        "Caused by: java.net.ConnectException: Connection refused\n"
        "\tat java.base/sun.nio.ch.Net.connect(Native Method)\n"
        "\tat com.acme.Wire.open(Wire.java:7) ~[app.jar!/:1.2]\n\t... 2 more\n"
    )
    assert chain(trace) == [("com.acme.PayException", OUTERMOST), ("java.net.ConnectException", CAUSE)]
    assert trace.main.message == "Connection refused"
    assert functions(trace) == ["post", "pay", "open", "connect"]
    assert own(trace) == ["post", "pay", "open"]


def test_parse_java_cause_without_frames_is_where_its_wrapper_is():
    trace = parsed("a.Bad: x\n\tat com.acme.A.b(A.java:1)\nCaused by: a.Worse: y\n\t... 1 more")
    assert (trace.main.type, functions(trace)) == ("a.Worse", ["b"])


def test_parse_kotlin_scala_and_generated_code():
    trace = parsed(
        'Exception in thread "main" java.lang.IllegalStateException: no\n'
        "\tat com.acme.cart.CartService$checkout$2.invokeSuspend(CartService.kt:55)\n"
        "\tat com.acme.etl.Parse$.$anonfun$currency$1(Parse.scala:44)\n"
        "\tat com.acme.A$$FastClassBySpringCGLIB$$ab12.invoke(<generated>)\n"
        "\tat kotlin.coroutines.jvm.internal.BaseContinuationImpl.resumeWith(ContinuationImpl.kt:33)\n"
    )
    assert trace.main.type == "java.lang.IllegalStateException"
    assert own(trace) == ["$anonfun$currency$1", "invokeSuspend"]


def test_parse_node_cause_and_code():
    trace = parsed(
        "/app/x.js:10\n    throw error;\n    ^\n\n"
        "Error: cannot render\n    at render (/app/src/render.ts:40:9)\n    at async serve (/app/src/server.ts:12:3) {\n"
        "  [cause]: TypeError: fetch failed\n"
        "      at node:internal/deps/undici/undici:1:1\n      at load (/app/src/theme.ts:8:15)\n"
        "      at render (/app/src/render.ts:38:17) {\n    code: 'ECONNREFUSED'\n  }\n}\n"
    )
    assert chain(trace) == [("Error", OUTERMOST), ("TypeError", CAUSE)]
    assert (trace.main.message, trace.main.code) == ("fetch failed", "ECONNREFUSED")
    assert own(trace) == ["serve", "render", "load"]


def test_parse_browser_frames():
    trace = parsed(
        "TypeError: x is undefined\nrender@https://cdn.example/main.3fa2b1.js:2:99\n@https://cdn.example/a.js:1:1"
    )
    assert functions(trace) == ["<anonymous>", "render"]


def test_parse_go_panic_first_goroutine_only():
    trace = parsed(
        "panic: runtime error: index out of range [5] with length 3 [recovered]\n\n"
        "goroutine 7 [running]:\nmain.recovering(0x1)\n\t/app/r.go:1 +0x1\n"
        "panic({0x6f, 0xc0})\n\t/usr/local/go/src/runtime/panic.go:9 +0x2\n"
        "github.com/acme/shop/cart.(*Cart).Total(0x0)\n\t/src/cart/cart.go:31 +0x20\n"
        "net/http.HandlerFunc.ServeHTTP(0x9)\n\t/usr/local/go/src/net/http/server.go:2136 +0x29\n"
        "created by main.main in goroutine 1\n\t/src/main.go:5 +0x1\n\n"
        "goroutine 9 [select]:\nmain.other()\n\t/src/main.go:99 +0x1\n"
    )
    assert (trace.main.type, trace.main.message) == (
        "runtime error",
        "runtime error: index out of range [5] with length 3",
    )
    assert [(frame.module, frame.function, frame.in_app) for frame in trace.main.frames] == [
        ("net/http", "HandlerFunc.ServeHTTP", False),
        ("github.com/acme/shop/cart", "(*Cart).Total", True),
    ]


def test_parse_go_stack_of_gin_and_of_pkg_errors():
    gin = parsed(
        "[Recovery] panic recovered:\nboom\n/usr/local/go/src/runtime/panic.go:9 (0x1)\n\tgopanic: done()\n/src/auth/claims.go:18 (0x9a1)\n\t(*Claims).Subject: return c.raw\n"
    )
    assert (gin.main.type, gin.main.message, own(gin)) == ("panic", "boom", ["(*Claims).Subject"])
    wrapped = parsed(
        "no rows\ngithub.com/acme/hub/tenants.(*Repo).Load\n\t/go/src/hub/repo.go:31\nruntime.main\n\t/usr/local/go/src/runtime/proc.go:267"
    )
    assert (wrapped.main.message, own(wrapped)) == ("no rows", ["(*Repo).Load"])


def test_parse_dotnet_inner_exceptions():
    trace = parsed(
        "Unhandled exception. System.InvalidOperationException: Batch failed\n"
        " ---> System.IO.FileNotFoundException: Could not find file 'x'.\nFile name: 'x'\n"
        "   at System.IO.File.ReadAllText(String path)\n"
        "   at Acme.Templates.Load(String name) in /src/Templates.cs:line 14\n"
        "   at Acme.Runner.Run(Int32 id) in C:\\src\\Runner.cs:line 40\n"
        "   --- End of inner exception stack trace ---\n"
        "   at Acme.Runner.Run(Int32 id) in C:\\src\\Runner.cs:line 44\n"
        "--- End of stack trace from previous location ---\n"
        "   at Acme.Program.Main(String[] args) in C:\\src\\Program.cs:line 9\n"
    )
    assert chain(trace) == [("System.InvalidOperationException", OUTERMOST), ("System.IO.FileNotFoundException", CAUSE)]
    assert functions(trace) == ["Main", "Run", "Load", "ReadAllText"]
    assert own(trace) == ["Main", "Run", "Load"]


def test_parse_dotnet_in_the_machine_s_language():
    german = parsed(
        "System.FormatException: Falsches Format.\n   bei System.Int32.Parse(String s)\n   bei Acme.Csv.Read(String[] cells) in C:\\src\\Csv.cs:Zeile 30."
    )
    assert (german.language, own(german), german.main.frames[0].line) == ("dotnet", ["Read"], 30)


@pytest.mark.parametrize(
    "text",
    [
        "/srv/a.rb:20:in `fetch': key not found: \"x\" (KeyError)\n\tfrom /srv/a.rb:20:in `zone'\n\tfrom /srv/b.rb:40:in `block in quote'",
        (
            "Traceback (most recent call last):\n\t2: from /srv/b.rb:40:in `block in quote'\n\t1: from /srv/a.rb:20:in `zone'\n"
            '/srv/a.rb:20:in `fetch\': key not found: "x" (KeyError)'
        ),
        "KeyError (key not found: \"x\"):\n  \n/srv/a.rb:20:in `fetch'\n/srv/a.rb:20:in `zone'\n/srv/b.rb:40:in `block in quote'",
    ],
)
def test_parse_ruby_however_printed_and_without_methods_written_in_c(text):
    trace = parsed(text)
    assert (trace.main.type, trace.main.message) == ("KeyError", 'key not found: "x"')
    assert functions(trace) == ["block in quote", "zone"]


def test_parse_php_place_of_the_throw_comes_first():
    trace = parsed(
        "PHP Fatal error:  Uncaught TypeError: bad sku in /var/www/src/Cart.php:40\nStack trace:\n"
        "#0 /var/www/cart.php(12): Acme\\Cart->add(NULL)\n#1 {main}\n  thrown in /var/www/src/Cart.php on line 40"
    )
    assert (trace.main.type, trace.main.message) == ("TypeError", "bad sku")
    assert trace.main.frames[-1] == Frame("/var/www/src/Cart.php", "Acme\\Cart->add", 40, in_app=True)


def test_parse_rust_with_and_without_backtrace():
    head = "thread 'main' panicked at src/reading.rs:18:40:\ncalled `Option::unwrap()` on a `None` value\n"
    bare = parsed(head)
    assert (bare.main.type, bare.main.frames[-1].file) == ("panic", "src/reading.rs")
    full = parsed(
        head
        + "stack backtrace:\n   0: rust_begin_unwind\n             at /rustc/07dc/library/std/src/panicking.rs:645:5\n"
        "   1: meter::reading::parse\n             at ./src/reading.rs:18:40\n"
    )
    assert full.main.message == "called `Option::unwrap()` on a `None` value"
    assert own(full) == ["meter::reading::parse"]


def test_parse_elixir():
    trace = parsed(
        "[error] GenServer terminating\n** (MatchError) no match\n    (shop 0.1.0) lib/shop/stock.ex:31: Shop.Stock.reserve/2\n"
        "    (stdlib 5.0) gen_server.erl:1113: :gen_server.try_handle_call/4\n"
    )
    assert (trace.main.type, own(trace)) == ("MatchError", ["Shop.Stock.reserve"])


def test_parse_keeps_the_innermost_frames_of_a_deep_trace():
    lines = "".join(f"\tat com.acme.A.f{number}(A.java:{number})\n" for number in range(500))
    trace = parsed(f"a.B: x\n{lines}")
    assert len(trace.main.frames) == MAX_FRAMES
    assert (trace.main.frames[-1].function, trace.main.frames[0].function) == ("f0", "f499")


# --- whose code -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "file", "module", "expected"),
    [
        ("python", "/var/task/app.py", "", True),
        ("python", "app/orders.py", "", True),
        ("python", "/opt/python/shared/orders.py", "", True),
        ("python", "C:\\build\\orders.py", "", True),
        ("python", "/var/task/boto3/session.py", "", False),
        ("python", "/opt/python/pydantic/main.py", "", False),
        ("python", "/usr/local/lib/python3.12/json/decoder.py", "", False),
        ("python", "/home/ana/.venv/lib/python3.11/site-packages/x/y.py", "", False),
        ("python", "C:\\Python312\\Lib\\site-packages\\x.py", "", False),
        ("python", "<frozen importlib._bootstrap>", "", False),
        ("python", "/var/runtime/bootstrap.py", "", False),
        ("java", "A.java", "com.acme.A", True),
        ("java", "A.java", "org.springframework.web.A", False),
        ("java", "A.java", "java.util.ArrayList", False),
        ("java", "A.java", "com.acme.shaded.org.json.JSONObject", False),
        ("java", "Unknown Source", "com.sun.proxy.$Proxy12", False),
        ("java", "<generated>", "com.acme.A$$EnhancerBySpringCGLIB$$1a2b", False),
        ("node", "/var/task/lib/a.js", "", True),
        ("node", "file:///app/src/a.mjs", "", True),
        ("node", "webpack:///./src/a.ts", "", True),
        ("node", "/app/node_modules/x/a.js", "", False),
        ("node", "node:internal/process/task_queues", "", False),
        ("node", "events.js", "", False),
        ("node", "file:///var/runtime/index.mjs", "", False),
        ("go", "/src/internal/agg/window.go", "github.com/acme/ingest/internal/agg", True),
        ("go", "/app/main.go", "main", True),
        ("go", "/src/log/log.go", "log", True),
        ("go", "/usr/local/go/src/net/http/server.go", "net/http", False),
        ("go", "/go/pkg/mod/github.com/x/y@v1.2.3/z.go", "github.com/x/y", False),
        ("go", "/src/vendor/github.com/x/y/z.go", "github.com/x/y", False),
        ("go", "github.com/jackc/pgx/v5/conn.go", "github.com/jackc/pgx/v5", False),
        ("dotnet", "/src/A.cs", "Acme.A", True),
        ("dotnet", "", "System.IO.File", False),
        ("dotnet", "", "Microsoft.AspNetCore.Mvc.X", False),
        ("dotnet", "", "SystemAcme.Thing", True),
        ("ruby", "/var/task/lib/a.rb", "", True),
        ("ruby", "/app/vendor/bundle/ruby/3.3.0/gems/rack/a.rb", "", False),
        ("ruby", "/usr/lib/ruby/3.3.0/set.rb", "", False),
        ("ruby", "<internal:kernel>", "", False),
        ("php", "/var/www/app/A.php", "", True),
        ("php", "/var/www/vendor/laravel/A.php", "", False),
    ],
)
def test_in_app_is_the_team_s_own_code(language, file, module, expected):
    assert placed(language, Frame(file, "f", 1, module)).in_app is expected


@pytest.mark.parametrize(
    ("line", "language"),
    [
        ('  File "/a.py", line 3, in f', "python"),
        ("\tat com.acme.A.b(A.java:3)", "java"),
        ("\tat com.acme.A.b(Native Method)", "java"),
        ("    at f (/a/b.js:3:4)", "node"),
        ("    at async /a/b.js:3:4", "node"),
        ("   at Acme.A.B(String s) in /src/A.cs:line 3", "dotnet"),
        ("   at Acme.A.B()", "dotnet"),
        ("\t/src/a.go:3 +0x1d", "go"),
        ("\tfrom /a/b.rb:3:in `c'", "ruby"),
        ("/a/b.rb:3:in 'A#c'", "ruby"),
        ("#0 /a/b.php(3): c()", "php"),
        ("meet at noon (in the hall)", None),
        ("    at the end of the day", None),
        ("in /etc/hosts (line 3)", None),
        ("#1 priority: fix it", None),
    ],
)
def test_language_of_line(line, language):
    assert language_of_line(line) == language


@pytest.mark.parametrize(
    "name",
    [
        "ValueError",
        "botocore.exceptions.ClientError",
        "ActiveRecord::RecordInvalid",
        "Illuminate\\Database\\QueryException",
        "Acme.Store`1+MissingException",
        "com.acme.Http2ClientTLSHandshakeException",
        "SHA256WithRSAException",
    ],
)
def test_header_names_exceptions_of_every_language(name: str):
    assert header(f"{name}: no") == (name, "no")


@pytest.mark.parametrize(
    "line",
    [
        "c9AhA6tQxZ0bK2/Vn4sPq",
        "pT7w/QmErrBase/Ka",
        "dG9rZW4+Zm9vYmFyError",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36P",
        "MIIEpAIBAAKCAQEA7f9Kc2VxYzB0aGlzSXNBS2V5Error: x",
    ],
)
def test_header_pieces_of_keys_and_tokens_are_no_type(line: str):
    assert header(line) is None
    trace = parsed(f'Traceback (most recent call last):\n  File "/var/task/a.py", line 1, in f\n    x()\n{line}')
    assert trace.main.type == ""
