import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from local import deploy
from local.cloud import LocalCloud
from tests.integration.sandbox import RUNTIME, Sandbox

FIXTURE = Path(__file__).parent / "fixtures" / "app"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(FIXTURE, tmp_path_factory.mktemp("project") / "app")


@pytest.fixture(scope="module")
def deployed(root: Path, local_cloud: LocalCloud) -> dict[str, str]:
    return deploy.deploy(local_cloud, deploy.build(root), "app")


def test_second_build_of_the_same_sources_is_skipped(root: Path):
    built = deploy.build(root)
    stamp = built.stat().st_mtime_ns
    started = time.monotonic()
    (root / "functions/greeter/__pycache__").mkdir(exist_ok=True)
    (root / "functions/greeter/__pycache__/greet.pyc").write_bytes(b"x")
    assert deploy.build(root).stat().st_mtime_ns == stamp
    assert time.monotonic() - started < 1


def test_deployed_application_works(deployed: dict[str, str], sandbox: Sandbox):
    assert sandbox.run(deployed["Machine"])["output"] == "good day!"
    model = sandbox.client("sagemaker").describe_model(ModelName=deployed["Model"])
    assert model["PrimaryContainer"]["Environment"] == {"WATCHFLOOR_MODEL": "technique"}
    functions = sandbox.client("lambda").list_functions()["Functions"]
    ours = {f["FunctionName"]: f["Runtime"] for f in functions if f["FunctionName"].startswith("app-")}
    assert set(ours.values()) == {RUNTIME}
    groups = sandbox.client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/app-")["logGroups"]
    assert {group["logGroupName"] for group in groups} == {f"/aws/lambda/{name}" for name in ours}
    assert {group["retentionInDays"] for group in groups} == {30}


def test_parameters_win_over_the_configuration_and_update(
    root: Path, deployed: dict[str, str], local_cloud: LocalCloud, sandbox: Sandbox
):
    again = deploy.deploy(local_cloud, deploy.build(root), "app", {"Greeting": "ahoy"})
    assert again == deployed
    assert sandbox.run(deployed["Machine"])["output"] == "ahoy!"


def test_list_of_log_groups_is_attached_and_detached(
    root: Path, deployed: dict[str, str], local_cloud: LocalCloud, sandbox: Sandbox
):
    logs, groups = sandbox.client("logs"), ("/aws/lambda/some-shop", "/ecs/web")
    for group in groups:
        logs.create_log_group(logGroupName=group)
    for attached in (groups, groups[1:], ()):
        deploy.deploy(local_cloud, deploy.build(root), "app", {"LogGroups": ",".join(attached)})
        filters = {
            group: logs.describe_subscription_filters(logGroupName=group)["subscriptionFilters"] for group in groups
        }
        assert [group for group in groups if filters[group]] == list(attached)


def test_condition_joins_a_list(sandbox: Sandbox):
    parameters = {"Names": {"Type": "CommaDelimitedList", "Default": ""}, "Stage": {"Type": "String", "Default": "dev"}}
    has_names = {"Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "Names"}]}, ""]}]}
    is_ours = {"Fn::Equals": [{"Fn::Join": ["-", ["shop", {"Ref": "Stage"}]]}, "shop-dev"]}
    topics = {name: {"Type": "AWS::SNS::Topic", "Condition": name} for name in ("HasNames", "IsOurs")}
    conditions = {"HasNames": has_names, "IsOurs": is_ours}
    body = json.dumps({"Parameters": parameters, "Conditions": conditions, "Resources": topics})
    stacks = sandbox.client("cloudformation")

    def resources(deploy: Callable[..., object], waiter: str, names: str) -> set[str]:
        given = [{"ParameterKey": "Names", "ParameterValue": names}]
        deploy(StackName="joined", TemplateBody=body, Parameters=given)
        stacks.get_waiter(waiter).wait(StackName="joined", WaiterConfig={"Delay": 1})
        return {
            row["LogicalResourceId"] for row in stacks.describe_stack_resources(StackName="joined")["StackResources"]
        }

    assert resources(stacks.create_stack, "stack_create_complete", "") == {"IsOurs"}
    assert resources(stacks.update_stack, "stack_update_complete", "a, b") == {"IsOurs", "HasNames"}


def test_failure_names_the_resource_and_the_reason(root: Path, tmp_path: Path, local_cloud: LocalCloud):
    broken = shutil.copytree(root, tmp_path / "app")
    machine = broken / "statemachines/work.asl.yaml"
    machine.write_text(machine.read_text().replace("End: true", "Next: Nowhere"))
    with pytest.raises(deploy.DeployError) as failure:
        deploy.deploy(local_cloud, deploy.build(broken), "broken")
    message = str(failure.value)
    assert "Machine (AWS::StepFunctions::StateMachine)" in message
    assert "'Nowhere', which is no state" in message
    assert len(message) < 600


def test_build_failure_says_why(root: Path, tmp_path: Path):
    broken = shutil.copytree(root, tmp_path / "app", ignore=shutil.ignore_patterns(deploy.WORK_FOLDER))
    (broken / "layers/shared/requirements.txt").write_text("-r missing.txt\n")
    with pytest.raises(deploy.BuildError, match="missing.txt"):
        deploy.build(broken)


def test_another_version_is_built_from_a_copy(root: Path):
    if shutil.which("python3.11") is None or RUNTIME == "python3.11":
        pytest.skip("no other interpreter here")
    built = deploy.build(root, "3.11")
    assert "python3.11" in (built.parent / "Work/template.yaml").read_text()
    assert "python3.13" in (root / "functions/greeter/template.yaml").read_text()
