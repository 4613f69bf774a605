"""Which errors are one problem, by which rule, and what a person is told."""

import time

import pytest

from watchfloor.failure_kinds import kinds
from watchfloor.fingerprints import SPLITS, Fingerprint, fingerprint
from watchfloor.log_events import ErrorEvent, LogBatch, LogEvent, errors_in
from watchfloor.message_templates import symbols, template


def error_of(message: str, log_group: str = "/aws/lambda/orders") -> ErrorEvent:
    errors = errors_in(LogBatch("DATA_MESSAGE", "", log_group, "s", [], [LogEvent("e", 0.0, message)]))
    assert len(errors) == 1, message
    return errors[0]


def of(message: str, log_group: str = "/aws/lambda/orders") -> Fingerprint:
    return fingerprint(error_of(message, log_group))


def python(kind="KeyError", message="'x'", *, root="/var/task", line=5, function="price", source="return PRICES[sku]"):
    return (
        f"[ERROR] {kind}: {message}\nTraceback (most recent call last):\n"
        f'  File "{root}/handler.py", line {line}, in handler\n    return price(event)\n'
        f'  File "{root}/prices.py", line {line + 9}, in {function}\n    {source}'
    )


def java(kind="java.lang.IllegalStateException", message="no", *, method="reserve", line=5, owner="com.acme.Stock"):
    return (
        f"{kind}: {message}\n\tat java.base/java.util.Objects.check(Objects.java:1)\n"
        f"\tat {owner}.{method}(Stock.java:{line})\n\tat com.acme.Orders.place(Orders.java:{line})\n"
    )


def node(function="load", file="/var/task/lib/a.js", message="TypeError: x is not a function", line=4):
    return f"{message}\n    at {function} ({file}:{line}:9)\n    at exports.handler (/var/task/index.js:{line}:2)"


# --- rules ----------------------------------------------------------------------------------------------------------


def test_fingerprint_is_16_hex_digits_and_the_same_everywhere():
    assert of(python()).value == of(python()).value
    # Values that were given out stay: an upgrade must not open every incident anew unless CHANGELOG says so.
    assert of("ERROR could not connect to 10.0.0.1:5432").value == "1522aa49f7480f78"


@pytest.mark.parametrize(
    ("message", "rule", "said"),
    [
        ('{"level":"error","message":"x","fingerprint":"billing-overlap"}', "explicit", "billing-overlap"),
        (python(), "frames", "KeyError in price (/var/task/prices.py), whoever calls it, at “return PRICES[sku]”"),
        ("ERROR redis.ConnectionError: Error 111 connecting to 10.0.0.9:6379", "message", "connecting to *"),
        ("redis.exceptions.ConnectionError: lost 10.0.0.9:6379", "type", "redis.exceptions.ConnectionError “lost *”"),
        ("ERROR order 12 of user 'ann' lost", "message", "order * of user * lost"),
        ("RequestId: 1 Error: Runtime exited with error: signal: killed", "type", "/aws/lambda/orders"),
    ],
)
def test_fingerprint_says_which_rule_and_why(message, rule, said):
    given = of(message)
    assert given.rule == rule or (rule == "message" and given.rule == "type")
    assert said in given.reason
    assert given.basis


def called_by(caller: str, kind: str, source: str, file: str = "prices.py") -> str:
    return (
        f'Traceback (most recent call last):\n  File "/var/task/{caller}.py", line 5, in {caller}\n    price(sku)\n'
        f'  File "/var/task/{file}", line 9, in price\n    {source}\n{kind}: no'
    )


def test_defect_belongs_to_its_function_whoever_calls_it():
    assert of(called_by("cart", "KeyError", "return PRICES[sku]")).value == (
        of(called_by("invoice", "KeyError", "return PRICES[sku]")).value
    )


@pytest.mark.parametrize(
    ("kind", "source", "file"),
    [
        ("SoldOutError", "check(sku)", "prices.py"),
        ("KeyError", "raise KeyError(sku)", "prices.py"),
        ("KeyError", "return data[key]", "json_utils.py"),
    ],
)
def test_what_is_raised_on_purpose_or_in_shared_code_belongs_to_the_caller_too(kind, source, file):
    one, other = (of(called_by(caller, kind, source, file)) for caller in ("cart", "invoice"))
    assert one.value != other.value
    assert "called by" in one.reason


def test_error_of_the_languages_collections_is_a_defect():
    trace = (
        "java.lang.IllegalStateException: no\n\tat java.base/java.util.Scanner.ensureOpen(Scanner.java:1)\n"
        "\tat com.acme.Stock.read(Stock.java:9)\n\tat com.acme.{}.run(X.java:3)\n"
    )
    assert of(trace.format("Import")).value == of(trace.format("Export")).value


def test_full_heap_of_node_is_one_problem_wherever_v8_noticed():
    one = (
        "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n 1: 0xb9c1f0 node::Abort()"
    )
    assert of(one).value == of(one.replace("Reached", "Ineffective mark-compacts near")).value


def test_cause_within_a_library_is_placed_by_the_exception_around_it():
    trace = (
        "Error: order failed\n    at place (/var/task/orders.js:5:11) {{\n  [cause]: Error: getaddrinfo ENOTFOUND pay.example\n"
        "      at GetAddrInfoReqWrap.onlookup [as oncomplete] (node:dns:107:26)\n      at async {} (/var/task/{}.js:7:15)\n}}"
    )
    inner = trace.replace("\n      at async {} (/var/task/{}.js:7:15)", "").format()
    assert of(inner).rule == "frames" and "place" in of(inner).reason
    assert of(inner).value != of(inner.replace("orders.js", "refunds.js")).value
    assert of(trace.format("pay", "pay")).value != of(inner).value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "ERROR rpc /stock.v1.Stock/Reserve from web-01 failed",
            "ERROR rpc /stock.v1.Stock/Release from web-01 failed",
        ),
        ("ERROR tile server answered 503", "ERROR tile server answered 403"),
        ("ERROR sms to +4915112 not sent (reason 30007)", "ERROR sms to +4915112 not sent (reason 30006)"),
        ("ERROR a.service: Failed with result 'exit-code'", "ERROR a.service: Failed with result 'oom-kill'"),
    ],
)
def test_methods_reasons_and_results_tell_problems_apart(one, other):
    assert of(one).value != of(other).value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ERROR deployment to prod-eu rolled back", "ERROR deployment to staging rolled back"),
        ("ERROR crew for flight KL1 AMS-CDG missing", "ERROR crew for flight KL2 JFK-LHR missing"),
        ("ERROR bag 12 not seen at AMS in time", "ERROR bag 12 not seen at JFK in time"),
        ("ERROR no map of Hill Street 5 Springfield", "ERROR no map of 10 Downing Street"),
        ("ERROR exam Algebra II has no rubric", "ERROR exam History has no rubric"),
        ("ERROR invitation in team red seat limit reached", "ERROR invitation in team blue seat limit reached"),
    ],
)
def test_environments_pairs_of_codes_and_whose_it_is_are_values(one, other):
    assert of(one).value == of(other).value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ERROR limit for user registration reached", "ERROR limit for user deletion reached"),
        ("ERROR staging table is missing", "ERROR audit table is missing"),
    ],
)
def test_what_only_looks_like_a_name_is_none(one, other):
    assert of(one).value != of(other).value


def test_number_of_a_sockets_error_is_none_of_its_message():
    trace = "System.Net.Sockets.SocketException ({}): {}\n   at Acme.Link.Open(String host) in /src/Link.cs:line 4"
    refused = trace.format(111, "Connection refused")
    assert error_of(refused).message == "Connection refused"
    assert of(refused).value != of(trace.format(113, "No route to host")).value


@pytest.mark.parametrize(
    "message", ["interface conversion: any is float64, not string", "assignment to entry in nil map"]
)
def test_panic_of_gos_runtime_is_a_defect(message):
    trace = f"panic: {message}\n\ngoroutine 1 [running]:\nmain.parse()\n\t/src/parse.go:4 +0x1\nmain.%s()\n\t/src/main.go:9 +0x2"
    assert of(trace % "upload").value == of(trace % "replay").value


def test_panics_of_gos_runtime_at_one_place_are_told_apart_as_by_type():
    trace = "panic: {}\n\ngoroutine 1 [running]:\nmain.parse()\n\t/src/parse.go:4 +0x1"
    index = "runtime error: index out of range [{}] with length 3"
    nil = "runtime error: invalid memory address or nil pointer dereference"
    assert of(trace.format(index.format(7))).value == of(trace.format(index.format(9))).value
    values = {of(trace.format(message)).value for message in (index, nil, "assignment to entry in nil map")}
    assert len(values) == 3
    assert "told apart by: index out of range" in of(trace.format(index)).reason


@pytest.mark.parametrize(
    "line",
    [
        '{{"ts":"2026-11-01T10:00:00Z","lvl":"ERROR","ctx":{{"class":"{}","jid":"a1b2"}},"msg":"Net::ReadTimeout"}}',
        '{{"level":"error","class":"{}","jid":"a1b2","message":"Net::ReadTimeout"}}',
        "2026-11-01T10:00:00Z pid=1 tid=abc class={} jid=a1b2 ERROR: Net::ReadTimeout",
    ],
)
def test_which_job_of_a_queue_failed_where_no_trace_says(line):
    assert of(line.format("FilingJob")).value != of(line.format("Tax::RefundJob")).value
    assert of(line.format("FilingJob")).value == of(line.format("FilingJob").replace("a1b2", "c3d4")).value


def test_kind_of_failure_tells_problems_of_one_place_and_type_apart():
    trace = "JsonWebTokenError: {}\n    at verify (/var/task/node_modules/jsonwebtoken/verify.js:70:17)\n    at authorize (/var/task/auth.js:9:20)"
    assert of(trace.format("invalid signature")).value != of(trace.format("jwt malformed")).value


def test_unreadable_text_is_one_problem_whatever_is_wrong_with_it():
    texts = (
        "Expecting value: line 1 column 1",
        "Extra data: line 9",
        "Unterminated string",
        "Invalid control character",
    )
    assert len({of(python("json.decoder.JSONDecodeError", text)).value for text in texts}) == 1


def test_name_with_an_apostrophe_is_a_name():
    assert of("ERROR reminder for John O'Neill skipped").value == of("ERROR reminder for Anna McGrath skipped").value


def test_explicit_field_wins_over_everything():
    with_trace = '{{"level":"error","fingerprint":"one","message":"{}","stack_trace":"{}"}}'
    first = of(with_trace.format("a", "a.BadError: x\\n\\tat com.acme.A.b(A.java:1)"))
    second = of(with_trace.format("b", "a.WorseError: x\\n\\tat com.acme.C.d(C.java:1)"))
    assert first.value == second.value and first.rule == "explicit"


# --- the same problem -----------------------------------------------------------------------------------------------

RECURSIVE = (
    'Traceback (most recent call last):\n  File "/app/a.py", line 1, in main\n    walk(root)\n{}'
    '  File "/app/t.py", line 9, in leaf\n    raise ValueError(node)\nValueError: n'
)
STEP = '  File "/app/t.py", line 5, in walk\n    walk(child)\n'

ASKED = (
    "System.Net.Http.HttpRequestException: status code does not indicate success: 503 (Service Unavailable).\n"
    "   at System.Net.Http.HttpResponseMessage.EnsureSuccessStatusCode()\n   at Acme.{}() in /src/T.cs:line 27\n"
    "   at Acme.{}.RunAsync() in /src/B.cs:line 61"
)
QUERY = (
    'Traceback (most recent call last):\n  File "/app/.venv/lib/python3.12/site-packages/sqlalchemy/default.py", line 9, in'
    " do_execute\n    cursor.execute(statement)\npsycopg2.errors.UndefinedColumn: column orders.{0} does not exist\n\n"
    "The above exception was the direct cause of the following exception:\n\nTraceback (most recent call last):\n"
    '  File "/app/api.py", line 4, in {1}\n    load()\n  File "/app/db.py", line 3, in load\n    session.execute(query)\n'
    '  File "/app/.venv/lib/python3.12/site-packages/sqlalchemy/default.py", line 9, in do_execute\n'
    "    cursor.execute(statement)\nsqlalchemy.exc.ProgrammingError: (psycopg2.errors.UndefinedColumn) column orders.{0} "
    "does not exist"
)
GO_PANIC = (
    '{{"errorMessage":"runtime error: invalid memory address or nil pointer dereference","errorType":"errorString",'
    '"stackTrace":[{{"path":"codebuild/output/src{}/src/quote/price.go","line":8,"label":"(*Pricer).Quote"}},'
    '{{"path":"codebuild/output/src{}/src/quote/{}.go","line":3,"label":"run"}}]}}'
)
PRISMA = (
    "PrismaClientKnownRequestError: \nInvalid `prisma.user.create()` invocation in\n/app/src/users.ts:{0}:31\n\n"
    "  85 const data = map(dto)\n→ {0} return this.prisma.user.create(\nUnique constraint failed on the fields: (`{1}`)\n"
    "    at async UsersService.create (/app/src/users.ts:{0}:12) {{\n  code: 'P2002'\n}}"
)
RAILS = (
    "ActionView::Template::Error (undefined method `{}' for nil:NilClass\n\n    order.{}\n         ^^^^^^^^^):\n"
    "app/helpers/price_helper.rb:{}:in `price_tag'"
)

LOGGED = (
    '{{"level":"error","msg":"load order","error":"query order: no rows","stacktrace":"github.com/acme/shop/{0}.Load\\n'
    '\\t/src/{1}.go:61\\ngithub.com/acme/shop/web.{2}\\n\\t/src/web.go:40"}}'
)

SAME = {
    "who calls what logs in Go": (
        LOGGED.format("orders.(*Repo)", "orders", "Get"),
        LOGGED.format("orders.(*Repo)", "orders", "Cancel"),
    ),
    "who else calls what asks a service": (
        ASKED.format("TaxClient.LookupAsync", "Basket"),
        ASKED.format("TaxClient.LookupAsync", "Quote"),
    ),
    "who else calls a query that cannot be": (QUERY.format("tier", "show"), QUERY.format("tier", "list")),
    "who else calls a defect in Go, and where it was built": (GO_PANIC.format(1, 1, "a"), GO_PANIC.format(72, 72, "b")),
    "another value": (python(message="'A-100'"), python(message="'B-7'")),
    "another deployment": (python(), python(root="/opt/app/releases/42", line=90)),
    "a developer's machine": (python(), python(root="C:\\Users\\ana\\src\\orders")),
    "the module printed or not": (python("app.errors.NoPrice"), python("NoPrice")),
    "another line of Java": (java(line=5), java(line=50)),
    "a build's lambda number": (java(method="lambda$reserve$0"), java(method="lambda$reserve$7")),
    "an anonymous class": (java(owner="com.acme.Stock$1"), java(owner="com.acme.Stock$2")),
    "the depth of a recursion": (RECURSIVE.format(STEP), RECURSIVE.format(STEP * 7)),
    "compiled and source": (node(file="/app/dist/lib/a.js"), node(file="/app/src/lib/a.ts", line=99)),
    "how Node names an export": (node("load"), node("Object.load [as handler]")),
    "a bundle's hash": (node(file="https://cdn/app.3fa2b1c9.js"), node(file="https://cdn/app.77be00aa.js")),
    "a closure's number": (
        "panic: x\n\ngoroutine 1 [running]:\nmain.work.func1()\n\t/app/a.go:1 +0x1",
        "panic: x\n\ngoroutine 9 [running]:\nmain.work.func2.1()\n\t/src/a.go:8 +0x2",
    ),
    "an async state machine's number": (
        "System.FormatException: x\n   at Acme.A.<GetAsync>d__4.MoveNext() in /src/A.cs:line 1",
        "System.FormatException: y\n   at Acme.A.<GetAsync>d__9.MoveNext() in C:\\b\\A.cs:line 7",
    ),
    "a block in Ruby": (
        "/a/x.rb:1:in `total': no (RuntimeError)",
        "/b/x.rb:9:in 'block (2 levels) in Order#total': no (RuntimeError)",
    ),
    "attempts, times and addresses": (
        "2026-11-01 ERROR attempt 3 of 5 to reach 10.0.0.1:443 failed after 12ms",
        "2026-12-24 ERROR attempt 5 of 5 to reach [2001:db8::7]:443 failed after 3.5 seconds",
    ),
    "one value or two": ("ERROR 1 row skipped: bad", "ERROR 12 rows skipped: bad"),
}


@pytest.mark.parametrize("name", SAME)
def test_fingerprint_stays_the_same_with(name):
    first, second = SAME[name]
    assert of(first).basis == of(second).basis
    assert of(first).value == of(second).value


BOTO = "botocore.exceptions.ClientError: An error occurred ({}) when calling the GetItem operation: no"
CAUSED = "com.acme.ApiException: rejected\n\tat com.acme.Api.submit(Api.java:7)\nCaused by: {}\n\tat com.acme.{}(X.java:3)\n\t... 1 more"

OTHER = {
    "another caller of what asks for anybody": (
        ASKED.format("Client.GetAsync", "Basket"),
        ASKED.format("Client.GetAsync", "Quote"),
    ),
    "another caller of what publishes for anybody": (
        ASKED.format("KafkaPublisher.Publish", "Basket"),
        ASKED.format("KafkaPublisher.Publish", "Quote"),
    ),
    "a column without quotes": (QUERY.format("tier", "show"), QUERY.format("note", "show")),
    "a field below lines of code": (PRISMA.format(88, "email"), PRISMA.format(88, "handle")),
    "a method in a message of several lines": (RAILS.format("name", "n", 1), RAILS.format("currency", "c", 1)),
    "a column behind a number of .NET": (
        "worker: Microsoft.Data.SqlClient.SqlException (0x80131904): Invalid column name 'Sku'.\n   at Acme.A.B() in /s/A.cs:line 1",
        "worker: Microsoft.Data.SqlClient.SqlException (0x80131904): Invalid column name 'Ean'.\n   at Acme.A.B() in /s/A.cs:line 1",
    ),
    "why Active Directory refuses": (
        "ERROR ldap: 80090308: LdapErr: DSID-0C09042A, comment: AcceptSecurityContext error, data 52e, v4563",
        "ERROR ldap: 80090308: LdapErr: DSID-0C09042A, comment: AcceptSecurityContext error, data 775, v4563",
    ),
    "who calls what logs for anybody in Go": (
        LOGGED.format("client.(*Client)", "client", "Get"),
        LOGGED.format("client.(*Client)", "client", "Cancel"),
    ),
    "what Rails did not find": (
        "/app/x.rb:3:in `call': Couldn't find Plan with 'id'=4 (ActiveRecord::RecordNotFound)",
        "/app/x.rb:3:in `call': Couldn't find User with 'id'=4 (ActiveRecord::RecordNotFound)",
    ),
    "what Django did not find": (
        python("app.DoesNotExist", "Plan matching query does not exist."),
        python("app.DoesNotExist", "User matching query does not exist."),
    ),
    "what Hibernate did not find": (
        java("jakarta.persistence.EntityNotFoundException", "Unable to find com.acme.Plan with id 4"),
        java("jakarta.persistence.EntityNotFoundException", "Unable to find com.acme.User with id 4"),
    ),
    "a placeholder of the configuration": (
        java(message="Could not resolve placeholder 'pay.url' in value \"${pay.url}\""),
        java(message="Could not resolve placeholder 'pay.key' in value \"${pay.key}\""),
    ),
    "what Mongoose could not cast": (
        node(message='CastError: Cast to ObjectId failed for value "x1" (type string) at path "_id" for model "Plan"'),
        node(message='CastError: Cast to ObjectId failed for value "x1" (type string) at path "_id" for model "User"'),
    ),
    "what Laravel did not find": (
        java(message="No query results for model [App\\Plan] 4"),
        java(message="No query results for model [App\\User] 4"),
    ),
    "a property of the configuration": (
        java("java.util.NoSuchElementException", "SRCFG00014: The config property pay.url is required but not found"),
        java("java.util.NoSuchElementException", "SRCFG00014: The config property pay.key is required but not found"),
    ),
    "an action of a Rails controller": (
        "method=POST path=/orders/4 controller=OrdersController action=cancel status=500 error='Boom' duration=4.1",
        "method=POST path=/orders/7 controller=OrdersController action=refund status=500 error='Boom' duration=2.0",
    ),
    "a missing symbol": (
        "/app/x.rb:3:in `total': key not found: :branch (KeyError)",
        "/app/x.rb:3:in `total': key not found: :amount (KeyError)",
    ),
    "a unique index of MongoDB": (
        'MongoServerError: E11000 duplicate key error collection: a.b index: serial_1 dup key: { serial: "X1" }',
        'MongoServerError: E11000 duplicate key error collection: a.b index: mail_1 dup key: { mail: "X1" }',
    ),
    "the reason in a field of its own": (
        'level=error client=4 msg="connection closed" reason="certificate not registered" remote=10.0.0.1:1',
        'level=error client=9 msg="connection closed" reason="keep alive timeout" remote=10.0.0.1:1',
    ),
    "another place": (python(), python(function="discount")),
    "another line of code in one function": (python(), python(source='rate = RATES[order["vat"]]')),
    "another type at one place": (python(), python("TypeError")),
    "another type with one message": (
        "com.acme.NoStockException: article 1 is gone",
        "com.acme.NoPriceException: article 1 is gone",
    ),
    "another root below one wrapper": (
        CAUSED.format("java.net.ConnectException: refused", "Wire.open"),
        CAUSED.format("com.acme.NoStock: no", "Stock.take"),
    ),
    "an AWS error code": (BOTO.format("AccessDeniedException"), BOTO.format("ThrottlingException")),
    "an HTTP status": ("ERROR answered with status 401 to us", "ERROR answered with status 503 to us"),
    "a missing module": ("ModuleNotFoundError: No module named 'lxml'", "ModuleNotFoundError: No module named 'numpy'"),
    "a property": (
        node(message="TypeError: Cannot read properties of undefined (reading 'id')"),
        node(message="TypeError: Cannot read properties of undefined (reading 'email')"),
    ),
    "a general type's way of failing": (
        node(message="Error: order 1 is out of stock"),
        node(message="Error: order 1 timed out"),
    ),
    "an error code beside the message": (
        '{"level":"error","msg":"resolver failed","err":{"message":"no","code":"NO_STOCK"}}',
        '{"level":"error","msg":"resolver failed","err":{"message":"no","code":"NO_PRICE"}}',
    ),
    "a key without a trace": ("KeyError: 'user_id'", "KeyError: 'amount'"),
    "two services of Lambda": (
        ("Task timed out after 3.00 seconds", "/aws/lambda/a"),
        ("Task timed out after 3.00 seconds", "/aws/lambda/b"),
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_fingerprint_differs_with(name):
    first, second = (text if isinstance(text, tuple) else (text,) for text in OTHER[name])
    assert of(*first).value != of(*second).value


def test_fingerprint_log_group_tells_only_lambda_s_own_messages_apart():
    assert of(python(), "/aws/lambda/a").value == of(python(), "/aws/lambda/b").value
    assert of("ERROR no stock", "/aws/lambda/a").value == of("ERROR no stock", "/aws/lambda/b").value


def test_fingerprint_library_frames_do_not_count():
    text = (
        'Traceback (most recent call last):\n  File "/app/a.py", line 1, in load\n    requests.get(url)\n{}'
        "requests.exceptions.ConnectTimeout: slow"
    )
    old = '  File "/usr/lib/python3.11/site-packages/requests/api.py", line 1, in get\n    return request()\n'
    new = '  File "/usr/lib/python3.12/site-packages/requests/sessions.py", line 9, in send\n    raise error\n'
    assert of(text.format(old)).value == of(text.format(new * 3)).value


def test_fingerprint_one_helper_called_from_two_places_is_two_problems_and_one_way_further_out_is_one():
    text = (
        'Traceback (most recent call last):\n  File "/app/{0}.py", line 1, in {0}\n    {1}()\n'
        '  File "/app/{1}.py", line 2, in {1}\n    get_json()\n  File "/app/http.py", line 3, in get_json\n    send()\nIOError: no'
    )
    assert of(text.format("web", "prices")).value != of(text.format("web", "weather")).value
    assert of(text.format("web", "prices")).value == of(text.format("mobile", "prices")).value


def test_fingerprint_endless_recursion_whatever_frame_it_ends_in():
    def overflow(*methods):
        return "java.lang.StackOverflowError\n" + "".join(
            f"\tat com.acme.Tree.{name}(Tree.java:1)\n" for name in methods
        )

    assert of(overflow("a", "b", "a", "b")).value == of(overflow("b", "a", "b", "a", "b")).value
    assert of(overflow("a", "b", "a", "b")).value != of(overflow("c", "d", "c", "d")).value


def test_fingerprint_exception_group_is_the_set_of_its_members():
    def group(*members):
        text = '  + Exception Group Traceback (most recent call last):\n  |   File "/app/a.py", line 3, in main\n  | ExceptionGroup: x\n'
        for number, (kind, function) in enumerate(members, 1):
            text += (
                f"  +-+---------------- {number} ----------------\n    | Traceback (most recent call last):\n"
                f'    |   File "/app/a.py", line 7, in {function}\n    |     go()\n    | {kind}: 1\n'
            )
        return text + "    +------------------------------------"

    a, b = ("ValueError", "one"), ("KeyError", "two")
    assert of(group(a)).value == of(group(a, a)).value
    assert of(group(a, b)).value == of(group(b, a)).value
    assert of(group(a)).value != of(group(b)).value


HANDLED = (
    "Traceback (most recent call last):\n{first}\n\nDuring handling of the above exception, another exception occurred:\n\n"
    'Traceback (most recent call last):\n  File "/app/a.py", line 9, in load\n    {line}\n{rest}'
)


def test_fingerprint_own_exception_raised_over_another_is_told_apart_by_it():
    def over(kind):
        return of(
            HANDLED.format(
                first=f'  File "/app/a.py", line 7, in load\n    get()\n{kind}: x',
                line="raise LoadError()",
                rest="a.LoadError: no",
            )
        ).value

    assert over("KeyError") == over("KeyError") != over("TimeoutError")


def test_fingerprint_a_library_s_own_handling_says_nothing():
    def within(kind):
        rest = '  File "/usr/lib/python3.11/site-packages/requests/api.py", line 1, in get\n    raise e\nrequests.ConnectTimeout: slow'
        return of(
            HANDLED.format(
                first=f'  File "/usr/lib/python3.11/socket.py", line 7, in open\n    x()\n{kind}: x',
                line="get()",
                rest=rest,
            )
        ).value

    assert within("socket.timeout") == within("TimeoutError")


# --- by hand --------------------------------------------------------------------------------------------------------


def test_fingerprint_split_by_hand_is_deterministic_and_said():
    first, second = error_of(python(message="'a' of 1")), error_of(python(message="other 2"))
    assert fingerprint(first).value == fingerprint(second).value
    split = fingerprint(first, split_by=("message",))
    assert split.value == fingerprint(first, split_by=("message",)).value
    assert len({fingerprint(first).value, split.value, fingerprint(second, split_by=("message",)).value}) == 3
    assert "Split by hand by message" in split.reason


@pytest.mark.parametrize("name", SPLITS)
def test_fingerprint_every_way_to_split(name):
    error = error_of(python())
    assert fingerprint(error, split_by=(name,)).value != fingerprint(error).value


def test_fingerprint_unknown_way_to_split():
    with pytest.raises(ValueError, match="No way to split by 'colour'"):
        fingerprint(error_of(python()), split_by=("colour",))


# --- messages without their values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("order 12 failed", "order * failed"),
        ("order 0d9f1c9a-52aa-4b1a-8f0e-5f0a1b2c3d4e failed", "order * failed"),
        ("order ord_9f8e7d6c failed", "order * failed"),
        ("took 12ms, limit 3.5 seconds", "took * limit *"),
        ("at 2026-11-01T10:00:00.123Z and 10:00:00", "at * and *"),
        ("peer 10.0.0.1:443, peer [2001:db8::1]:443, peer fe80::1%eth0", "peer * peer * peer *"),
        ("mail to ann@acme.example bounced", "mail to * bounced"),
        ("no access to arn:aws:s3:::bucket/key", "no access to *"),
        ("GET https://a.example/x?y=1 failed", "get * failed"),
        ("cannot open /var/lib/x/a.lock", "cannot open *"),
        ("cannot open C:\\Temp\\a.lock", "cannot open *"),
        ("user 'ann lee' and \"bob\" and `li`", "user * and * and *"),
        ("sha256 9f86d081884c7d659a2feaa0c55ad015 of s3 object", "sha256 * of s3 object"),
        ("token eyJhbGciOiJIUzI1NiJ9abcDEF123 bad", "token * bad"),
        ("retry=3 user=ann code=NO_STOCK", "retry=* user=* code=no_stock"),
        ('body {"id": 7, "a": {"b": 1}} refused', "body * refused"),
        ("values [1, 2, 3] refused", "values * refused"),
        ("node web-7d9c5b8f6d-x2k9p is gone", "node * is gone"),
        ("host shop.acme.example is down", "host * is down"),
        ("task reports.monthly[0d9f1c9a-52aa-4b1a-8f0e-5f0a1b2c3d4e] died", "task reports.monthly died"),
        ("user alice not found", "user * not found"),
        ("user session expired", "user session expired"),
        ("queue consumer stopped", "queue consumer stopped"),
        ("SQLSTATE 23505 at 12", "sqlstate 23505 at *"),
        ("[Errno 111] refused", "errno 111 refused"),
        ("exit status 137 after 3s", "exit status 137 after *"),
        ("No module named 'numpy'", "no module named numpy"),
        ('relation "users" does not exist', "relation users does not exist"),
        ("'user_id'", "user_id"),
        ("'A-100'", "*"),
        ("\n\n  second line 2", "second line *"),
        ("upload of Anna Schmidt failed", "upload of * failed"),
        ("Olga could not log in", "* could not log in"),
        ("report requested by mkowalski rejected", "report requested by * rejected"),
        ("report requested by admin rejected", "report requested by admin rejected"),
        ("connection closed by peer", "connection closed by peer"),
        ("denied for o.haddad and svc-mail", "denied for * and *"),
        ("s.length of null", "s.length of null"),
        ("no flight from Denver to Lyon in October", "no flight from * to * in *"),
        ("cannot connect to Redis", "cannot connect to redis"),
        ("no handler for Invoice", "no handler for invoice"),
        ("Failed To Connect To Primary", "failed to connect to primary"),
        ("sync for Brunhilde stopped", "sync for * stopped"),
        ("webhook for acme and index globex_products lost", "webhook for * and index * lost"),
        ("room copper booked by Ann and Grace", "room * booked by * and *"),
        ('"email" is required', "email is required"),
        ("Unknown option 'retries' in 7", "unknown option retries in *"),
        ("Column 'email' cannot be null", "column email cannot be null"),
        ("server orion rejected the mail", "server * rejected the mail"),
        ("server certificate rejected", "server certificate rejected"),
        ("provider returned error 2014 for 7", "provider returned error 2014 for *"),
        ("job nightly_export failed", "job nightly_export failed"),
        ("no tax rate for BR", "no tax rate for *"),
        ("no TLS for IO", "no tls for io"),
        ("warehouse Denver is full", "warehouse * is full"),
        ("account of user bob.miller locked", "account of user * locked"),
        ("truck copper stuck, printer hall offline", "truck * stuck printer * offline"),
        ("customer manager failed", "customer manager failed"),
        ("queue refunds has 7 messages", "queue refunds has * message"),
        ("cannot print invoice: font not found", "cannot print invoice font not found"),
        ("stock of SHIRT-M-BLUE is negative", "stock of * is negative"),
        ("pool is empty (total=10, idle=0)", "pool is empty"),
        ("pool is empty (reason=leak)", "pool is empty reason=leak"),
        ("deadlock detected at character 15", "deadlock detected"),
        ("upload of lease 452.pdf failed", "upload of * failed"),
        ("failed writing 452.pdf", "failed writing *"),
        ("answered with code 51", "answered with code 51"),
        ("declined with code IND-181-01 after 7s", "declined with code ind-181-01 after *"),
        ("error code: E1234 for 7", "error code: e1234 for *"),
        ("no coupon code SAVE20", "no coupon code *"),
        ("killed by signal 9", "killed by signal 9"),
        ("lost contact with signal 98", "lost contact with signal *"),
        ("lost contact with signal 4795", "lost contact with signal *"),
        ("login of t-hayashi (t.h@acme.example) refused", "login of * refused"),
        ("login refused (t.h@acme.example)", "login refused *"),
        ("Value cannot be null. (Parameter 'address')", "value cannot be null parameter address"),
        ('relation "invoices_2026_03" does not exist', "relation invoices_* does not exist"),
        ('relation "log_y2026m03_pkey" does not exist', "relation log_*_pkey does not exist"),
        ("Invalid object name 'moves_202601'.", "invalid object name moves_*"),
        ('relation "users_v2" does not exist', "relation users_v2 does not exist"),
        ("volume / is full", "volume * is full"),
        ("printer KITCHEN out of paper", "printer * out of paper"),
        ("printer front out of paper", "printer * out of paper"),
        ("host ECONNREFUSED and session TIMEDOUT", "host econnrefused and session timedout"),
        ("timed out for nas:/export/scans", "timed out for *"),
        ("no port for endpoint web (7fa3c01b22)", "no port for endpoint *"),
        ("open batch monday: no rows", "open batch * no row"),
        ("batch processing stopped", "batch processing stopped"),
        ("", ""),
    ],
)
def test_template_masks_values_and_keeps_the_program_s_words(message, expected):
    assert template(message) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("importer: ERROR: no rows in 7", "2026-11-01 10:00:00 ERROR importer: no rows in 8"),
        ("backup[712]: ERROR no space in 7", "Nov 01 10:00:00 web03 backup[713]: error: no space in 8"),
        ("ERROR pay-service - card 7 declined", "ERROR card 8 declined"),
        ("2026-11-01 10:00:00 spooler ERROR: tray 7 is empty", "2026-11-02 10:00:00 spooler ERR tray 8 is empty"),
    ],
)
def test_fingerprint_wherever_a_program_names_itself(one, other):
    assert of(one).value == of(other).value


def test_fingerprint_node_error_behind_what_was_done():
    assert (
        of(f"ERROR: avatar of bob: {node(message='Error: no image')}").value
        == of(node(message="Error: no image")).value
    )


def test_fingerprint_systemd_units_are_told_apart():
    line = "Nov 01 10:00:00 web03 systemd[1]: {}.service: Failed with result 'exit-code'."
    assert of(line.format("nginx")).value != of(line.format("redis")).value
    assert of(line.format("nginx")).value == of(line.format("nginx").replace("web03", "web04")).value


def test_fingerprint_long_numbers_in_the_line_of_code_are_values():
    assert of(python(source="raise Lost(id=80112)")).value == of(python(source="raise Lost(id=9311204)")).value
    assert of(python(source="wait(30)")).value != of(python(source="wait(60)")).value


def test_fingerprint_missing_key_that_the_line_of_code_names():
    source = 'return order["price"] * order["count"]'
    assert of(python(message="'price'", source=source)).value != of(python(message="'count'", source=source)).value
    assert of(python(message="'A1'", source=source)).value == of(python(message="'B2'", source=source)).value


def test_template_of_a_template_is_itself():
    for message in ("order 12 failed: status 503", "user alice not found"):
        assert template(template(message)) == template(message)


def test_symbols_and_kinds():
    assert symbols("Cannot read properties of undefined (reading 'email')") == ["email"]
    assert symbols("order 12 failed") == []
    assert kinds("connect to 'timeout.example' refused") == ["refused"]


def test_ten_thousand_errors_take_seconds():
    messages = [python(message=f"'A-{number}'") for number in range(10_000)]
    begun = time.perf_counter()
    events = [LogEvent(str(number), number / 1000, message) for number, message in enumerate(messages)]
    batches = [LogBatch("DATA_MESSAGE", "", "/g", "s", [], events[at : at + 100]) for at in range(0, 10_000, 100)]
    values = [fingerprint(error).value for batch in batches for error in errors_in(batch)]
    assert len(values) == 10_000 and len(set(values)) == 1
    assert time.perf_counter() - begun < 10


def test_fingerprint_what_a_record_s_own_fields_name_is_a_value_of_its_message():
    def logged(key, name):
        return of(f'{{"level":"error","{key}":"{name}","message":"cannot open {name} now"}}').value

    assert logged("shelf", "fiction") == logged("shelf", "local history")
    assert logged("context.customer_name", "Acme") == logged("customer", "fjord")
    assert logged("upstream", "billing") != logged("upstream", "stock")
    named = '{"level":"error","tribe":"%s","message":"tribe %s has no scout"}'
    assert of(named % ("red", "red")).value == of(named % ("blue", "blue")).value
    assert of(named % ("-", "red")).value != of(named % ("-", "blue")).value
    part = named.replace("tribe", "upstream")
    assert of(part % ("billing", "billing")).value != of(part % ("stock", "stock")).value
    line = '2026-11-01T10:00:00Z\tERROR\tloader.go:7\tgave up\t{"shelf": "%s", "error": "load %s: bad connection"}'
    assert of(line % ("fiction", "fiction")).value == of(line % ("maps", "maps")).value
    logfmt = 'level=error msg="loading %s: no rows" shelf=%s'
    assert of(logfmt % ("fiction", "fiction")).value == of(logfmt % ("maps", "maps")).value
