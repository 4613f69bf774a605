"""What goes to the clustering model, batch by batch, and what of its answer the pipeline believes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, Field, ValidationError

from watchfloor.attack import normalise_technique
from watchfloor.errors import ModelError
from watchfloor.layout import DEFAULT_STREAM

# A batch closes at 40 MB of alerts, so that with its state it stays within 60 MB; a transform takes 100 MB at most.
ALERT_BYTES = 40_000_000
STATE_BYTES = 20_000_000

ModelId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,80}$")]


class ModelCluster(BaseModel):
    """One cluster in the clustering model's answer; `alerts` are internal ids of this batch."""

    cluster_id: ModelId
    alerts: list[int]
    status: Literal["new", "continued", "merged"]
    into: ModelId | None = None


class ClusterAnswer(BaseModel):
    clusters: list[ModelCluster]
    state: dict[str, Any]


class ScoredTechnique(BaseModel):
    id: str
    score: float = Field(ge=0, le=1)


class TechniqueAnswer(BaseModel):
    name: str
    techniques: list[ScoredTechnique]


def id_map(alerts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Internal ids of a batch (they follow each other) and the ids that their owner gave."""
    return {"first": alerts[0]["i"], "last": alerts[-1]["i"], "given_ids": [alert["id"] for alert in alerts]}


def techniques_above(scored: Iterable[Mapping[str, Any]], threshold: float) -> list[str]:
    """Ids of the scored techniques that are sure enough; ids that ATT&CK does not know are left out."""
    ids = (normalise_technique(item["id"]) for item in scored if item["score"] >= threshold)
    return list(dict.fromkeys(filter(None, ids)))


def read_technique_answers(names: Iterable[str], lines: Iterable[Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Names and their scored techniques; ModelError unless the model answered every name, in order."""
    try:
        for number, (name, line) in enumerate(zip(names, lines, strict=True), start=1):
            answer = TechniqueAnswer.model_validate(line)
            if answer.name.strip() != name.strip():
                raise ModelError(f"line {number} of the technique model's answer is not about the name that was asked")
            yield name, [item.model_dump() for item in answer.techniques]
    except ValidationError as error:
        raise ModelError(f"the technique model answered outside its contract: {error.errors()[0]['msg']}") from error
    except orjson.JSONDecodeError as error:
        raise ModelError("the technique model answered with a line that is not JSON") from error
    except ValueError as error:
        raise ModelError("the technique model did not answer as many names as it was asked") from error


def cluster_request(
    alerts: Sequence[Mapping[str, Any]],
    techniques: Mapping[str, list[str]],
    node_feature: Mapping[str, Any],
    state: dict[str, Any] | None,
    *,
    final: bool,
) -> dict[str, Any]:
    """The clustering model's input for one batch.

    Parameters
    ----------
    alerts
        Alert rows of the batch, in time order.
    techniques
        Techniques by alert name, for alerts that came without.
    node_feature
        Features by host or user; those of the batch's own are passed on.
    state
        The model's last answer's state; None at the start of a stream.
    final
        Whether it is the run's last batch, so that the model need not leave its latest alerts undecided.

    Raises
    ------
    ModelError
        The state has outgrown its bound, which the contract forbids the model.
    """
    if state is not None and len(orjson.dumps(state)) > STATE_BYTES:
        raise ModelError(f"the clustering model's state is larger than {STATE_BYTES:,} bytes")
    nodes = {node for alert in alerts for node in (alert["src"], alert["dst"])}
    return {
        "alerts": [
            {
                "i": alert["i"],
                "time": alert["time"],
                "src": alert["src"],
                "dst": alert["dst"],
                "name": alert["name"],
                "tech": techniques_of(alert, techniques),
                "attributes": alert["attributes"],
            }
            for alert in alerts
        ],
        "node_feature": {node: node_feature[node] for node in sorted(nodes & node_feature.keys())},
        "state": state,
        "final": final,
    }


def techniques_of(alert: Mapping[str, Any], techniques: Mapping[str, list[str]]) -> list[str]:
    """The alert's own techniques, else those of its name."""
    return alert["tech"] or techniques.get(alert["name"], [])


def stream_prefix(stream: str) -> str:
    """Keeps the cluster and flow ids of streams apart, since each stream's models count for themselves."""
    return "" if stream == DEFAULT_STREAM else hashlib.sha256(stream.encode()).hexdigest()[:6] + "-"


def read_cluster_answer(answer: Any, alerts: Sequence[Mapping[str, Any]]) -> ClusterAnswer:
    """The answer, if it keeps the contract: every alert of the batch in exactly one cluster."""
    try:
        checked = ClusterAnswer.model_validate(answer)
    except ValidationError as error:
        raise ModelError(f"the clustering model answered outside its contract: {error.errors()[0]['msg']}") from error
    placed = [i for cluster in checked.clusters for i in cluster.alerts]
    expected = {alert["i"] for alert in alerts}
    if len(placed) != len(expected) or set(placed) != expected:
        raise ModelError(
            f"the clustering model placed {len(placed)} alerts ({len(set(placed) & expected)} of the batch's) "
            f"where the batch has {len(expected)}"
        )
    if len({cluster.cluster_id for cluster in checked.clusters}) != len(checked.clusters):
        raise ModelError("the clustering model named a cluster twice")
    if any(cluster.status == "merged" and cluster.into in (None, cluster.cluster_id) for cluster in checked.clusters):
        raise ModelError("the clustering model merged a cluster without saying into which other one")
    return checked
