from pathlib import Path

import pytest

from local import asl

PASS = {"Type": "Pass", "End": True}
TASK = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True}
MACHINES = sorted(Path(__file__).parents[2].glob("statemachines/*.asl.yaml"))


def machine(states, **fields):
    return {"Comment": "for a test", "StartAt": next(iter(states)), "States": states, **fields}


def found(definition, check=asl.problems):
    return [str(problem) for problem in check(definition)]


def test_a_sound_machine_has_no_problems():
    choice = {
        "Type": "Choice",
        "Choices": [
            {"And": [{"Variable": "$.n", "NumericLessThanPath": "$.m"}, {"Variable": "$.s", "IsPresent": True}],
             "Next": "Work"}
        ],
        "Default": "Done",
    }  # fmt: skip
    work = {
        "Type": "Task",
        "Resource": "${FunctionArn}",
        "Parameters": {"a.$": "$.list[0]['key']", "b.$": "States.Format('{}', $.x)", "c": "literal"},
        "ResultPath": "$.result",
        "TimeoutSeconds": "${Timeout}",
        "Retry": [{"ErrorEquals": ["X"], "MaxAttempts": 0}, {"ErrorEquals": ["States.ALL"], "JitterStrategy": "FULL"}],
        "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": "Done"}],
        "Next": "Which",
    }
    states = {"Which": choice, "Work": work, "Done": {"Type": "Succeed"}}
    assert found(machine(states, TimeoutSeconds=60), asl.lint) == []


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ({"A": {"Type": "Pass", "Next": "B"}}, "A: it leads to 'B', which is no state here"),
        ({"A": PASS, "B": PASS}, "B: it is not reachable"),
        ({"A": {"Type": "Pass"}}, "A: it needs either Next or End: true"),
        ({"A": {"Type": "Pass", "Next": "A", "End": True}}, "A: it needs either Next or End: true"),
        ({"A": {"Type": "Nap", "End": True}}, "A: the Type 'Nap' does not exist"),
        ({"A": PASS | {"Resource": "x"}}, "A: the field Resource is not supported in a Pass state"),
        ({"A": {"Type": "Task", "End": True}}, "A: it has no Resource"),
        ({"A": TASK | {"TimeoutSeconds": 0}}, "A: TimeoutSeconds is 0, it must be a whole number from 1"),
        (
            {"A": TASK | {"TimeoutSeconds": 5, "HeartbeatSeconds": 5}},
            "A: HeartbeatSeconds is not smaller than TimeoutSeconds",
        ),
        (
            {"A": TASK | {"Retry": [{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["X"]}]}},
            "A: States.ALL must stand alone, in the last Retry or Catch",
        ),
        ({"A": TASK | {"Retry": [{"MaxAttempts": 1}]}}, "A: a Retry or Catch has no ErrorEquals"),
        (
            {"A": TASK | {"Retry": [{"ErrorEquals": ["X"], "Next": "A"}]}},
            "A: the field Next is not supported in a Retry",
        ),
        ({"A": TASK | {"Catch": [{"ErrorEquals": ["X"]}]}}, "A: a Catch has no Next"),
        ({"A": TASK | {"ResultPath": "$.a[0]"}}, "A: ResultPath '$.a[0]' is not a reference path"),
        ({"A": TASK | {"InputPath": "$..a"}}, "A: InputPath '$..a' is not a path the local cloud knows"),
        (
            {"A": TASK | {"Parameters": {"x": {"y.$": "a.b"}}}},
            "A: Parameters.x.y.$ is 'a.b', neither a path the local cloud knows nor a function",
        ),
        ({"A": PASS | {"Assign": {}}}, "A: the local cloud does not offer Assign (variables)"),
        ({"A": PASS | {"QueryLanguage": "JSONata"}}, "A: the local cloud runs JSONPath only, not JSONata"),
        ({"A": {"Type": "Wait", "End": True}}, "A: it needs exactly one of Seconds"),
        ({"A": {"Type": "Choice", "Choices": []}}, "A: it has no Choices"),
        (
            {"A": {"Type": "Choice", "Choices": [{"Variable": "$.x", "StringLike": "y", "Next": "A"}]}},
            "A: a choice needs exactly one comparison, not ['StringLike']",
        ),
        ({"A": {"Type": "Parallel", "Branches": [], "End": True}}, "A: it has no Branches"),
        (
            {"A": {"Type": "Parallel", "Branches": [machine({"A": PASS})], "End": True}},
            "A: another state of this machine has the same name",
        ),
        (
            {"A": {"Type": "Map", "ItemProcessor": machine({"B": PASS}), "ItemBatcher": {}, "End": True}},
            "A: the local cloud does not offer ItemBatcher (batches of items)",
        ),
    ],
)
def test_problems(states, message):
    assert any(problem.startswith(message) for problem in found(machine(states)))


def test_problems_of_the_machine():
    assert "machine: StartAt names 'B', which is no state" in found({"StartAt": "B", "States": {"A": PASS}})
    assert "machine: the field Start is not supported" in found(machine({"A": PASS}, Start="A"))
    assert found({}) == ["machine: it has no States"]


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ({"A": TASK}, "A: a Task without TimeoutSeconds waits for a year"),
        ({"A": TASK}, "A: a Task without Retry gives up on the first hiccup"),
        (
            {"A": TASK | {"Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken"}},
            "A: a wait for a callback without HeartbeatSeconds notices a lost one late",
        ),
        ({"A": {"Type": "Pass", "Next": "A"}}, "A: no end of the machine can be reached from it"),
        (
            {"A": TASK | {"Parameters": {"list": [{"id": "$.id"}]}}},
            "A: Parameters.list[0].id is the text '$.id': its key lacks the .$",
        ),
    ],
)
def test_house_rules(states, message):
    definition = machine(states)
    assert message in found(definition, asl.lint)
    assert message not in found(definition)


def test_a_key_twice_is_refused():
    with pytest.raises(ValueError, match="'A' is there twice"):
        asl.load("StartAt: A\nStates:\n  A: {Type: Succeed}\n  A: {Type: Fail}\n")


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.name)
def test_our_machines(path: Path):
    assert found(asl.load(path.read_text()), asl.lint) == []


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    bad = tmp_path / "bad.asl.yaml"
    bad.write_text("Comment: x\nStartAt: A\nStates: {A: {Type: Pass, Next: B}}\n")
    assert asl.main([str(bad)]) == 1
    assert capsys.readouterr().out.startswith(f"{bad}:A: ")
    assert asl.main([str(tmp_path / "missing")]) == 1
    assert asl.main([]) == 2
    good = tmp_path / "good.asl.yaml"
    good.write_text("Comment: x\nStartAt: A\nStates: {A: {Type: Succeed}}\n")
    assert asl.main([str(good)]) == 0
