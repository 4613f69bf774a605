"""Transform jobs that fail, are refused, end unheard of, or are told of twice."""

from __future__ import annotations

import time

import pytest

from tests.machines.harness import Cloud, Fate, Fault
from tests.machines.samples import assert_complete, assert_failed, intrusion
from watchfloor.errors import TransientError

MODELS = ["technique", "cluster", "flow"]
TYPES = ["ml.m5.large", "ml.m5.xlarge", "ml.c5.xlarge", "ml.m4.xlarge"]


def types_asked(cloud: Cloud, model: str) -> list[str]:
    return [instance_type for name, instance_type in cloud.requests if f"-{model}-" in name]


@pytest.mark.parametrize("model", MODELS)
def test_model_error_ends_the_run(cloud: Cloud, model: str) -> None:
    cloud.fates[model].append(Fate(failure="ClientError: See job logs for more information"))
    run = cloud.upload("input/alerts.json", intrusion("a", 5))

    assert_failed(cloud, run, "ModelError", "See job logs")
    assert types_asked(cloud, model) == TYPES[:1]
    assert cloud.interpreter.waits == []
    assert "/aws/sagemaker/TransformJobs" in cloud.mails()[0][1]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "shortage",
    [
        Fate(failure="CapacityError: Unable to provision requested ML compute capacity."),
        Fate(refused="ResourceLimitExceeded"),
    ],
    ids=["capacity", "quota"],
)
def test_without_capacity_or_quota_the_next_instance_type_is_asked(cloud: Cloud, model: str, shortage: Fate) -> None:
    cloud.fates[model].extend([shortage, shortage])
    run = cloud.run("input/alerts.json", intrusion("a", 5))

    assert types_asked(cloud, model) == TYPES[:3]
    assert cloud.interpreter.waits == [30, 60]
    assert_complete(cloud, run, [f"a-{i}" for i in range(5)])


def test_capacity_that_never_comes_fails_the_run_after_all_types_were_asked_again(cloud: Cloud) -> None:
    cloud.fates["cluster"].extend(
        [Fate(failure="CapacityError: Unable to provision"), Fate(refused="ResourceLimitExceeded")] * 8
    )
    run = cloud.upload("input/alerts.json", intrusion("a", 5))

    assert_failed(cloud, run, "CapacityError", "Unable to provision")
    assert types_asked(cloud, "cluster") == TYPES * 2 + TYPES[:1]
    assert "higher quota" in cloud.mails()[0][1]


@pytest.mark.parametrize("model", MODELS)
def test_internal_error_is_tried_again_on_the_same_instance_type(cloud: Cloud, model: str) -> None:
    cloud.fates[model].append(Fate(failure="InternalServerError: We encountered an internal error. Please try again."))
    run = cloud.run("input/alerts.json", intrusion("a", 5))

    assert types_asked(cloud, model) == TYPES[:1] * 2
    assert cloud.interpreter.waits == [5]
    assert_complete(cloud, run, [f"a-{i}" for i in range(5)])


def test_stopped_job_ends_the_run(cloud: Cloud) -> None:
    cloud.fates["flow"].append(Fate(status="Stopped"))
    run = cloud.upload("input/alerts.json", intrusion("a", 5))

    assert_failed(cloud, run, "ModelError", "the job was stopped")


def test_answer_outside_the_contract_ends_the_run(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.serve.respond", lambda *_: b'{"clusters": [], "state": {}}')
    run = cloud.upload("input/alerts.json", [alert | {"tech": ["T1046"]} for alert in intrusion("a", 5)])

    assert_failed(cloud, run, "ModelError", "placed 0 alerts")


@pytest.mark.parametrize("model", MODELS)
def test_sweeper_resumes_where_the_event_was_lost(cloud: Cloud, model: str) -> None:
    cloud.fates[model].append(Fate(events=0))
    run = cloud.upload("input/alerts.json", intrusion("a", 5))
    cloud.until(lambda: types_asked(cloud, model))
    cloud.settle()

    assert cloud.sweep() == {"jobs": {"Completed": 1}, "queued": 0}
    assert cloud.wait(run)["status"] == "SUCCEEDED"
    assert_complete(cloud, run, [f"a-{i}" for i in range(5)])
    assert cloud.sweep() == {"jobs": {}, "queued": 0}


def test_sweeper_tells_of_a_failure_whose_event_was_lost(cloud: Cloud) -> None:
    cloud.fates["cluster"].append(Fate(failure="CapacityError: Unable to provision", events=0))
    run = cloud.upload("input/alerts.json", intrusion("a", 5))
    cloud.until(lambda: types_asked(cloud, "cluster"))
    cloud.settle()
    cloud.sweep()

    assert cloud.wait(run)["status"] == "SUCCEEDED"
    assert types_asked(cloud, "cluster") == TYPES[:2]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "fate", [Fate(events=2), Fate(failure="CapacityError: none left", events=2)], ids=["end", "failure"]
)
def test_event_that_comes_twice_does_no_harm(cloud: Cloud, model: str, fate: Fate) -> None:
    cloud.fates[model].append(fate)
    run = cloud.run("input/alerts.json", intrusion("a", 5))

    assert_complete(cloud, run, [f"a-{i}" for i in range(5)])
    assert types_asked(cloud, model) == TYPES[: 1 + bool(fate.failure)]
    assert cloud.dead_letters == []


def test_late_event_of_an_earlier_attempt_does_not_end_the_wait(cloud: Cloud) -> None:
    cloud.fates["cluster"].extend([Fate(failure="CapacityError: none left"), Fate(status="InProgress")])
    run = cloud.upload("input/alerts.json", intrusion("a", 5))
    cloud.until(lambda: len(types_asked(cloud, "cluster")) == 2)
    first, second = (name for name, _ in cloud.requests if "-cluster-" in name)
    cloud.deliver(cloud.job_event(first))
    assert cloud.describe(run)["status"] == "RUNNING"
    cloud.end_job(second)

    assert cloud.wait(run)["status"] == "SUCCEEDED"
    assert len(types_asked(cloud, "cluster")) == 2


def test_event_of_somebody_elses_job_is_left_alone(cloud: Cloud) -> None:
    run = cloud.run("input/alerts.json", intrusion("a", 5))
    event = cloud.job_event(cloud.requests[0][0])
    for name in ("1a2b3c4d-unknown-job-0", "another-stack-cluster-1-000000-0"):
        event["detail"]["TransformJobName"] = name
        cloud.deliver(event)

    assert cloud.dead_letters == []
    assert cloud.describe(run)["status"] == "SUCCEEDED"


@pytest.mark.parametrize("model", MODELS)
def test_task_that_missed_its_heartbeats_adopts_the_job(cloud: Cloud, model: str) -> None:
    cloud.fates[model].append(Fate(status="InProgress", cut_short=True))
    run = cloud.upload("input/alerts.json", intrusion("a", 5))
    cloud.until(lambda: cloud.interpreter.waits == [5])
    (name,) = (name for name, _ in cloud.requests if f"-{model}-" in name)
    cloud.end_job(name)

    # The wait after the one that was cut short is told; were it too early for that, the sweeper would do it.
    cloud.until(lambda: cloud.sweep()["jobs"] == {} or cloud.describe(run)["status"] != "RUNNING")
    assert cloud.wait(run)["status"] == "SUCCEEDED"
    assert types_asked(cloud, model) == TYPES[:1]
    assert_complete(cloud, run, [f"a-{i}" for i in range(5)])


def test_sweeper_keeps_a_long_job_alive(cloud: Cloud) -> None:
    cloud.interpreter.heartbeat_seconds = 3
    cloud.fates["technique"].append(Fate(status="InProgress"))
    run = cloud.upload("input/alerts.json", intrusion("a", 5))
    cloud.until(lambda: types_asked(cloud, "technique"))
    long_enough = time.monotonic() + 4
    while time.monotonic() < long_enough:
        assert cloud.sweep()["jobs"] == {"InProgress": 1}
        time.sleep(0.2)
    assert cloud.interpreter.waits == []
    cloud.end_job(cloud.requests[0][0])

    assert cloud.wait(run)["status"] == "SUCCEEDED"


@pytest.mark.parametrize("function", ["CreateTechnique", "CreateCluster", "CreateFlow"])
def test_function_that_died_after_it_made_the_job_adopts_it(cloud: Cloud, function: str) -> None:
    cloud.faults[function] = Fault(TransientError("connection lost"), times=1, after=True)
    model = function.removeprefix("Create").lower()
    cloud.fates[model].append(Fate(status="InProgress"))
    run = cloud.upload("input/alerts.json", intrusion("a", 5))
    cloud.until(lambda: cloud.interpreter.waits)
    cloud.end_job(next(name for name, _ in cloud.requests if f"-{model}-" in name))

    cloud.until(lambda: cloud.sweep()["jobs"] == {} or cloud.describe(run)["status"] != "RUNNING")
    assert cloud.wait(run)["status"] == "SUCCEEDED"
    assert types_asked(cloud, model) == TYPES[:1]
