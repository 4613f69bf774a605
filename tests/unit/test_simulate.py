import json
from collections import Counter
from itertools import pairwise

import pytest

from bench import simulate
from bench.simulate import NOISE, PLAYBOOKS, START, Simulation, write
from watchfloor.attack import techniques


@pytest.fixture(scope="module")
def simulated():
    return simulate.simulate(4_000, seed=1, attackers=3)


def test_exactly_as_many_alerts_as_asked_for():
    for count in (1, 2, 50, 333, 1_000):
        document, truth = simulate.simulate(count, seed=2)
        assert len(document["input"]) == len(truth) == count


def test_same_seed_gives_the_same_and_another_seed_another():
    assert simulate.simulate(500, seed=5) == simulate.simulate(500, seed=5)
    assert simulate.simulate(500, seed=5) != simulate.simulate(500, seed=6)


def test_alerts_are_in_time_order_and_inside_the_period(simulated):
    times = [alert["time"] for alert in simulated[0]["input"]]
    assert times == sorted(times)
    assert START <= times[0] and times[-1] <= START + 3 * simulate.DAY


def test_period_starts_on_a_monday_at_midnight():
    assert (START % simulate.DAY, (START // simulate.DAY + 3) % 7) == (0, 0)


def test_ids_are_unique_and_truth_knows_each(simulated):
    document, truth = simulated
    ids = [str(alert["id"]) for alert in document["input"]]
    assert len(set(ids)) == len(ids)
    assert set(ids) == truth.keys()


def test_alerts_keep_the_input_contract(simulated):
    for alert in simulated[0]["input"]:
        assert set(alert) == {"id", "time", "src", "dst", "name", "tech", "other_attributes_dict"}
        assert alert["src"] and alert["dst"] and alert["name"]
        assert set(alert["tech"]) <= techniques().keys()


def test_every_technique_of_the_scenarios_is_a_live_one():
    signatures = [s for steps in PLAYBOOKS.values() for step in steps for s in step.signatures]
    signatures += [s for entries in simulate.NOISE_BY_ROLE.values() for s, _ in entries]
    assert {s.technique for s in signatures if s.technique} <= techniques().keys()


def test_most_alerts_carry_no_technique_and_some_do(simulated):
    share = sum(bool(alert["tech"]) for alert in simulated[0]["input"]) / 4_000
    assert 0.005 < share < 0.3


def test_each_attacker_takes_every_step_in_order_and_comes_back_to_the_same_hosts(simulated):
    document, truth = simulated
    by_step: dict[str, list[dict]] = {}
    for alert in document["input"]:
        label = truth[str(alert["id"])]
        if label != NOISE:
            by_step.setdefault(label, []).append(alert)
    labels = {label.split(".")[0]: label.split(".")[2] for label in by_step}
    assert len(labels) == 3
    for playbook, instance in labels.items():
        steps = [by_step[f"{playbook}.{n}.{instance}"] for n in range(1, len(PLAYBOOKS[playbook]) + 1)]
        for earlier, later in pairwise(steps):
            assert earlier[0]["time"] < later[0]["time"]
            hosts = {end for alert in earlier for end in (alert["src"], alert["dst"])}
            assert hosts & {end for step in steps if step is not earlier for a in step for end in (a["src"], a["dst"])}


def test_noise_is_the_largest_part_and_steady(simulated):
    document, truth = simulated
    noise = [alert for alert in document["input"] if truth[str(alert["id"])] == NOISE]
    assert len(noise) > 2_000
    days = Counter(int((alert["time"] - START) // simulate.DAY) for alert in noise)
    assert min(days.values()) > len(noise) / 6


def test_floods_grow_with_the_size(simulated):
    counts = Counter(simulated[1].values())
    assert max(count for label, count in counts.items() if label != NOISE) > 100


def test_hosts_have_features(simulated):
    features = simulated[0]["node_feature"]
    assert features["ws-0001"]["Internal/External"] == "Internal"
    inside = {alert["src"] for alert in simulated[0]["input"] if alert["src"].startswith(("ws-", "web-", "db-"))}
    assert inside <= features.keys()


def test_written_files_are_the_simulation(tmp_path):
    (path,) = write(Simulation(700, seed=3), tmp_path)
    document, truth = simulate.simulate(700, seed=3)
    assert json.loads(path.read_text()) == document
    assert json.loads((tmp_path / "truth.json").read_text()) == truth


def test_two_parts_split_an_attack_and_nothing_is_lost(tmp_path):
    paths = write(Simulation(2_000, seed=4), tmp_path, parts=2)
    assert [path.name for path in paths] == ["alerts-1.json", "alerts-2.json"]
    parts = [json.loads(path.read_text())["input"] for path in paths]
    truths = [json.loads((tmp_path / f"truth-{n}.json").read_text()) for n in (1, 2)]
    assert parts[0] + parts[1] == simulate.simulate(2_000, seed=4)[0]["input"]
    assert parts[0][-1]["time"] < parts[1][0]["time"]
    labels = [{label.split(".")[2] for label in truth.values() if label != NOISE} for truth in truths]
    assert "1" in labels[0] & labels[1]


def test_simulation_is_a_stream():
    alerts = Simulation(50_000_000, seed=1).alerts()
    assert next(alerts)[0]["id"] == 1


@pytest.mark.parametrize("wrong", [{"alerts": 0}, {"attackers": -1}, {"days": 0}])
def test_wrong_sizes_are_refused(wrong):
    with pytest.raises(ValueError):
        Simulation(**{"alerts": 10, "seed": 1} | wrong)


def test_no_attackers_is_only_noise():
    assert set(simulate.simulate(300, seed=1, attackers=0)[1].values()) == {NOISE}


def test_command_writes_and_tells(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["simulate", "--alerts", "100", "--out", str(tmp_path)])
    assert simulate.main() == 0
    assert "alerts.json" in capsys.readouterr().err


def test_command_refuses_wrong_usage(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["simulate", "--alerts", "0", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        simulate.main()
    assert stop.value.code == 2
