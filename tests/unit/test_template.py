"""One stem for one thing, in handlers, templates, state machines and sample events; and no right without its reason."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.machines.stack import ROOT, Stack, machine, template

GROUPS = sorted(path.parent.name for path in ROOT.glob("functions/*/template.yaml"))
TEMPLATES = ["template.yaml", "models/template.yaml", *(f"functions/{group}/template.yaml" for group in GROUPS)]
# Who does not import the vendors' libraries is started faster without them.
VENDORS = {
    ("pipeline", "create_jira"),
    ("pipeline", "create_case"),
    ("triage", "search_stack_overflow"),
    ("triage", "ask_model"),
    ("triage", "send_slack"),
    ("triage", "refresh_messages"),
    ("triage", "receive_action"),
    ("scripts", "ask_approval"),
    ("scripts", "report_script"),
}
# What all functions of a stack may do, or many scripts, and what no script may.
SHARED_POLICIES = [
    {"Ref": name}
    for name in (
        *("UseKeyPolicy", "RecordCallPolicy", "UseApprovalPolicy"),
        *("UseScriptKeysPolicy", "SpareWatchfloorPolicy"),
    )
]
# Their function is the script that is asked for.
ANY_SCRIPT = {"PlanScript", "RunScript"}


def resources(group: str, kind: str) -> dict[str, dict[str, Any]]:
    """Logical id -> properties, as they stand in the group's template."""
    found = template(f"functions/{group}/template.yaml")["Resources"]
    plain = {key: value for key, value in found.items() if not key.startswith("Fn::")}
    return {key: value["Properties"] for key, value in plain.items() if value["Type"] == kind}


def watched(group: str) -> list[str]:
    """Functions that have their log group and their alarm."""
    return template(f"functions/{group}/template.yaml")["Resources"]["Fn::ForEach::Watched"][1]


def stems(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / f"functions/{group}").glob("*.py"))


HANDLERS = [(group, stem) for group in GROUPS for stem in stems(group)]
# Functions' names are told apart over all groups, so a Task's name says whose it is.
FUNCTIONS = {
    name: properties for group in GROUPS for name, properties in resources(group, "AWS::Serverless::Function").items()
}
MACHINES = {
    properties["DefinitionUri"].rpartition("/")[2].removesuffix(".asl.yaml"): properties
    for group in GROUPS
    for properties in resources(group, "AWS::Serverless::StateMachine").values()
}


def camel(stem: str) -> str:
    return "".join(word.capitalize() for word in stem.split("_"))


def tasks(states: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every Task below, those of branches included."""
    found = {}
    for name, state in states.items():
        if state["Type"] == "Task":
            found[name] = state
        for branch in state.get("Branches", []):
            found |= tasks(branch["States"])
    return found


TASKS = {name: state for stem in MACHINES for name, state in tasks(machine(stem)["States"]).items()}


def environment_read(path: Path) -> set[str]:
    """Names that a handler reads by `os.environ[...]` or `os.environ.get(...)`, a script by `run.settings`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("os.environ", "run.settings"):
            names.add(ast.literal_eval(node.slice))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "os.environ.get",
            "os.getenv",
            "run.settings.get",
        ):
            names.add(ast.literal_eval(node.args[0]))
    return names


# --- one stem for one thing


def test_function_is_in_one_group_only():
    names = [name for group in GROUPS for name in resources(group, "AWS::Serverless::Function")]
    assert sorted(names) == sorted(FUNCTIONS)


@pytest.mark.parametrize(("group", "stem"), HANDLERS)
def test_handler_has_its_function_its_event_its_logs_and_its_alarm(group, stem):
    assert resources(group, "AWS::Serverless::Function")[f"{camel(stem)}Function"]["Handler"] == (
        f"{stem}.lambda_handler"
    )
    assert camel(stem) in watched(group)
    json.loads((ROOT / f"events/{group}/{stem}.json").read_text())
    defined = ast.parse((ROOT / f"functions/{group}/{stem}.py").read_text()).body
    assert "lambda_handler" in [node.name for node in defined if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("group", GROUPS)
def test_function_has_its_handler_and_nothing_else_is_watched(group):
    functions = resources(group, "AWS::Serverless::Function")
    assert set(functions) == {f"{camel(stem)}Function" for stem in stems(group)}
    assert watched(group) == [name.removesuffix("Function") for name in functions]
    assert {path.stem for path in (ROOT / f"events/{group}").glob("*.json")} == set(stems(group))


@pytest.mark.parametrize(("group", "stem"), HANDLERS)
def test_function_is_given_what_its_handler_reads(group, stem):
    given = FUNCTIONS[f"{camel(stem)}Function"].get("Environment", {}).get("Variables", {})
    shared = template(f"functions/{group}/template.yaml")["Globals"]["Function"]["Environment"]["Variables"]
    read = environment_read(ROOT / f"functions/{group}/{stem}.py")
    # Lambda itself gives every function its region.
    assert set(given) == read - {"AWS_REGION"} - set(shared)


@pytest.mark.parametrize(("group", "stem"), HANDLERS)
def test_vendors_libraries_are_where_a_handler_needs_them(group, stem):
    """The layer is large; who does not import it is started faster without."""
    layers = FUNCTIONS[f"{camel(stem)}Function"].get("Layers", [])
    assert ({"Ref": "VendorsLayer"} in layers) == ((group, stem) in VENDORS)


@pytest.mark.parametrize("name", TASKS)
def test_task_calls_the_function_of_its_name(name):
    parameters = TASKS[name]["Parameters"]
    if "StateMachineArn" in parameters:
        assert (name, parameters["StateMachineArn"]) == ("ClusterBatches", "${ClusterBatchesArn}")
    elif name in ANY_SCRIPT:
        assert parameters["FunctionName.$"] == "$.request.function"
    else:
        assert parameters["FunctionName"] == f"${{{name}FunctionArn}}"


@pytest.mark.parametrize("stem", MACHINES)
def test_substitutions_are_those_of_the_definition(stem):
    text = (ROOT / f"statemachines/{stem}.asl.yaml").read_text()
    given = MACHINES[stem]["DefinitionSubstitutions"]
    assert set(re.findall(r"\$\{(\w+)}", text)) == set(given)
    for name, value in given.items():
        logical_id = name.removesuffix("Arn")
        assert value in ({"Fn::GetAtt": [logical_id, "Arn"]}, {"Ref": logical_id}, {"Ref": f"AWS::{name}"})


@pytest.mark.parametrize("path", [*TEMPLATES, *(f"statemachines/{stem}.asl.yaml" for stem in MACHINES)])
def test_partition_is_left_open(path):
    assert not re.search(r"\barn:aws\b", (ROOT / path).read_text())


@pytest.mark.parametrize("stem", MACHINES)
def test_machine_may_invoke_the_functions_it_calls_and_no_others(stem):
    called = [name for name, task in tasks(machine(stem)["States"]).items() if "FunctionName" in task["Parameters"]]
    statements = [statement for policy in MACHINES[stem]["Policies"] for statement in policy["Statement"]]
    (invoke,) = (statement for statement in statements if statement["Action"] == "lambda:InvokeFunction")
    assert sorted(resource["Fn::GetAtt"][0] for resource in invoke["Resource"] if "Fn::GetAtt" in resource) == sorted(
        f"{name}Function" for name in called
    )


def test_every_definition_is_deployed():
    assert {path.name for path in (ROOT / "statemachines").glob("*")} >= {f"{stem}.asl.yaml" for stem in MACHINES}
    assert {path.name.partition(".")[0] for path in (ROOT / "statemachines").glob("*.asl.yaml")} == set(MACHINES)


@pytest.mark.parametrize("path", TEMPLATES)
def test_parameters_are_used_and_child_stacks_get_theirs(path):
    declared, text = template(path)["Parameters"], (ROOT / path).read_text()
    for name in declared:
        assert re.search(rf"(!Ref |Ref: |\$\{{){name}\b", text), f"{name} is not used"
    for name, resource in template(path)["Resources"].items():
        if not name.startswith("Fn::") and resource["Type"] == "AWS::Serverless::Application":
            assert set(resource["Properties"]["Parameters"]) == set(
                template(resource["Properties"]["Location"])["Parameters"]
            )


@pytest.mark.parametrize("path", TEMPLATES)
def test_condition_of_a_list_joins_it(path):
    # Index 0 of an empty list is an error, and AWS does not say whether the list of '' is empty.
    assert "Fn::Select" not in json.dumps(template(path).get("Conditions", {}))


# --- nothing waits for ever, nothing fails unseen


@pytest.mark.parametrize("name", TASKS)
def test_task_is_bounded_and_retries_what_passes(name):
    task = TASKS[name]
    assert task["TimeoutSeconds"] > task.get("HeartbeatSeconds", 0)
    retried = {error for retrier in task["Retry"] for error in retrier["ErrorEquals"]}
    if "StateMachineArn" in task["Parameters"]:
        return
    if name == "RunScript":
        # Of any other error nobody knows whether the script ran, and its approval is good for one run.
        assert retried == {"Lambda.TooManyRequestsException"}
        return
    assert {"TransientError", "Lambda.ServiceException", "Lambda.TooManyRequestsException"} <= retried
    assert not {"InvalidInputError", "ModelError", "ConflictError", "States.ALL", "States.TaskFailed"} & retried
    if "HeartbeatSecondsPath" in task:
        # Nobody sends heartbeats for people: theirs is the time they have, and its end is no failure.
        assert "States.HeartbeatTimeout" in task["Catch"][0]["ErrorEquals"]
    elif ".waitForTaskToken" in task["Resource"]:
        assert "HeartbeatSeconds" in task
        assert "States.HeartbeatTimeout" in retried
        assert ("CapacityError" in retried) == (
            "INSTANCE_TYPES" in FUNCTIONS[f"{name}Function"]["Environment"]["Variables"]
        )


@pytest.mark.parametrize("name", [name for name in TASKS if "FunctionName" in TASKS[name]["Parameters"]])
def test_task_waits_as_long_as_its_function_may_take(name):
    (group,) = (group for group in GROUPS if f"{name}Function" in resources(group, "AWS::Serverless::Function"))
    usual = template(f"functions/{group}/template.yaml")["Globals"]["Function"]["Timeout"]
    assert TASKS[name]["TimeoutSeconds"] >= FUNCTIONS[f"{name}Function"].get("Timeout", usual)


@pytest.mark.parametrize("stem", ["error_triage", "script_approval"])
def test_machine_has_time_for_the_slowest_way_through(stem):
    limits = template("template.yaml")["Parameters"]
    asked_seconds = limits["ApprovalTimeoutMinutes"]["MaxValue"] * 60

    def seconds(state):
        if "Branches" in state:
            return max(sum(map(seconds, branch["States"].values())) for branch in state["Branches"])
        if state["Type"] == "Wait":
            return limits["TriageContextWaitSeconds"]["MaxValue"]
        if state["Type"] != "Task":
            return 0
        (retry,) = state["Retry"]
        waits = sum(retry["IntervalSeconds"] * retry["BackoffRate"] ** number for number in range(retry["MaxAttempts"]))
        if "HeartbeatSecondsPath" in state:
            # Only a function that asks is tried again, not the people.
            return asked_seconds + waits + retry["MaxAttempts"] * 60
        return state["TimeoutSeconds"] * (retry["MaxAttempts"] + 1) + waits

    definition = machine(stem)
    assert definition["TimeoutSeconds"] >= sum(map(seconds, definition["States"].values()))


@pytest.mark.parametrize("name", tasks(machine("alert_pipeline")["States"]))
def test_task_of_the_pipeline_has_one_way_out(name):
    (catch,) = TASKS[name]["Catch"]
    assert catch["ErrorEquals"] == ["States.ALL"]
    after = {
        "CreateCampaign": "CampaignFailed",
        "CreateJira": "JiraFailed",
        "CreateCase": "CaseFailed",
        "ReportFailure": "RunFailed",
    }
    assert catch["Next"] == after.get(name, "ReportFailure")


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if "Events" in FUNCTIONS[name]])
def test_function_that_events_call_has_dead_letters_on_both_edges(name):
    assert FUNCTIONS[name]["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]["Destination"] == {
        "Fn::GetAtt": ["DeadLetterQueue", "Arn"]
    }
    for source in FUNCTIONS[name]["Events"].values():
        assert source["Properties"]["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}}


def test_pattern_of_the_transform_jobs_takes_the_names_that_handlers_give():
    root = Stack("template.yaml", ModelImage="models")
    prefix = root.resources("AWS::Serverless::Application")["Pipeline"]["Parameters"]["JobPrefix"]
    assert re.fullmatch(r"[a-z0-9]{8}", prefix)
    detail = FUNCTIONS["ResumeTransformFunction"]["Events"]["TransformJobChanged"]["Properties"]["Pattern"]["detail"]
    assert detail["TransformJobName"] == [{"prefix": {"Fn::Sub": "${JobPrefix}-"}}]
    assert set(detail["TransformJobStatus"]) == {"Completed", "Failed", "Stopped"}


# --- no right without its reason


def scalars(node: yaml.Node | None, allows: bool = True, key: str = "") -> list[tuple[str, str, int]]:
    """(key, value, line) of every Action and Resource of a template that does not only deny."""
    found: list[tuple[str, str, int]] = []
    if isinstance(node, yaml.MappingNode):
        pairs = [(name.value, value) for name, value in node.value]
        if any(name == "Effect" and value.value == "Deny" for name, value in pairs):
            allows = False
        for name, value in pairs:
            found += scalars(value, allows, name if name in ("Action", "NotAction", "Resource", "NotResource") else "")
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            found += scalars(item, allows, key)
    elif isinstance(node, yaml.ScalarNode) and key and allows:
        found.append((key, node.value, node.start_mark.line))
    return found


@pytest.mark.parametrize("path", TEMPLATES)
def test_star_stands_only_with_its_reason_beside_it(path):
    lines = (ROOT / path).read_text().splitlines()
    for key, value, line in scalars(yaml.compose("\n".join(lines))):
        if value == "*" or (key == "Action" and value.endswith("*")):
            assert "  # " in lines[line], f"{path}:{line + 1} {key} {value} gives no reason"


@pytest.mark.parametrize("path", TEMPLATES)
def test_nothing_is_allowed_by_exception(path):
    assert not [item for item in scalars(yaml.compose((ROOT / path).read_text())) if item[0].startswith("Not")]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_has_rights_of_its_own_on_named_resources(name):
    """No managed policy, no SAM policy template; each statement names its resources."""
    for policy in FUNCTIONS[name]["Policies"]:
        if "Fn::If" in policy:
            policy = policy["Fn::If"][1]
        if policy in SHARED_POLICIES:
            continue
        assert set(policy) == {"Version", "Statement"}
        assert all(statement["Effect"] == "Allow" and statement["Resource"] for statement in policy["Statement"])


# --- Watchfloor is no target of its own scripts


def matches(pattern: str, arn: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), arn) is not None


def denied(action: str, arn: str) -> bool:
    """Whether the policy of all scripts denies it, in the stack `floor`."""
    names = {
        "AWS::Partition": "aws",
        "AWS::Region": "eu-central-1",
        "AWS::AccountId": "123456789012",
        "AppName": "floor",
        "ScriptPrefix": "ops-",
    }
    policy = resources("scripts", "AWS::IAM::ManagedPolicy")["SpareWatchfloorPolicy"]["PolicyDocument"]
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Deny"
        actions, places = (
            value if isinstance(value, list) else [value] for value in (statement["Action"], statement["Resource"])
        )
        patterns = [
            re.sub(r"\$\{([\w:.]+)\}", lambda found: names.get(found[1], found[1]), place.get("Fn::Sub", ""))
            for place in places
        ]
        if action in actions and any(pattern and matches(pattern, arn) for pattern in patterns):
            return True
    return False


HERE = "arn:aws:{}:eu-central-1:123456789012:{}".format


@pytest.mark.parametrize(
    ("action", "service", "own", "other"),
    [
        ("lambda:InvokeFunction", "lambda", "function:floor-Scripts-1-AskApprovalFunction-2", "function:floorball"),
        ("lambda:InvokeFunction", "lambda", "function:floor-Triage-1-ReceiveLogs-2:live", "function:checkout:live"),
        ("lambda:InvokeFunction", "lambda", "function:ops-oncall-restart-service", "function:oncall-rota"),
        ("lambda:PutFunctionConcurrency", "lambda", "function:floor-Triage-1-ReceiveLogs-2", "function:checkout"),
        (
            "lambda:PutProvisionedConcurrencyConfig",
            "lambda",
            "function:floor-Triage-1-X:live",
            "function:checkout:live",
        ),
        ("lambda:UpdateAlias", "lambda", "function:floor-Triage-1-X", "function:checkout"),
        ("cloudwatch:DisableAlarmActions", "cloudwatch", "alarm:floor-Pipeline-1-X", "alarm:checkout-5xx"),
        ("states:StartExecution", "states", "stateMachine:floor-script-approval", "stateMachine:orders"),
        ("states:RedriveExecution", "states", "execution:floor-alert-pipeline:1", "execution:orders:floor-1"),
        ("sqs:ReceiveMessage", "sqs", "floor-Triage-1-DeadLetterQueue-2", "orders-failed"),
    ],
)
def test_scripts_spare_watchfloor_itself(action, service, own, other):
    assert denied(action, HERE(service, own))
    assert not denied(action, HERE(service, other))


def test_approvals_are_asked_for_by_the_machine_only():
    """By the functions' own names too: the name of a stack that is long is cut in theirs."""
    policy = resources("scripts", "AWS::IAM::ManagedPolicy")["SpareWatchfloorPolicy"]["PolicyDocument"]
    spared = next(each["Resource"] for each in policy["Statement"] if "lambda:InvokeFunction" in each["Action"])
    functions = resources("scripts", "AWS::Serverless::Function")
    internal = {name for name, properties in functions.items() if "FunctionName" not in properties}
    assert internal == {place["Fn::GetAtt"][0] for place in spared if "Fn::GetAtt" in place}
    assert {f"${{{name}.Arn}}:*" for name in internal} <= {place.get("Fn::Sub") for place in spared}
    scripts = [properties for properties in functions.values() if "FunctionName" in properties]
    assert all({"Ref": "SpareWatchfloorPolicy"} in properties["Policies"] for properties in scripts)


# --- error triage: a flood, and what is lost of it


@pytest.mark.parametrize(("given", "reserved"), [("0", None), ("20", "20")])
def test_concurrency_is_reserved_where_it_is_asked_for(given, reserved):
    nested = Stack("template.yaml", ModelImage="models", TriageConcurrency=given)
    child = nested.resources("AWS::Serverless::Application")["Triage"]["Parameters"]
    functions = Stack("functions/triage/template.yaml", **child).resources("AWS::Serverless::Function")
    assert functions["ReceiveLogsFunction"].get("ReservedConcurrentExecutions") == reserved


@pytest.mark.parametrize("metric", ["DestinationDeliveryFailures", "AsyncEventsDropped"])
def test_log_events_that_are_lost_ring(metric):
    alarms = resources("triage", "AWS::CloudWatch::Alarm").values()
    (alarm,) = (alarm for alarm in alarms if alarm["MetricName"] == metric)
    assert alarm["AlarmActions"] == [{"Ref": "AlertTopicArn"}]
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": "ReceiveLogsFunction"}}]
