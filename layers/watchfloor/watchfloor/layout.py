"""Where a run keeps what, inside the data bucket, and how a run gets its name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import quote

INPUT_PREFIX = "input/"
DEFAULT_STREAM = "default"
# Mappings of other alert formats that users add, one YAML file each.
MAPPING_PREFIX = "config/mappings/"


def run_id_of(bucket: str, key: str, version: str) -> str:
    """16 hex digits that name the run of one S3 object; `version` is its version id, or its sequencer."""
    return hashlib.sha256(f"{bucket}\n{key}\n{version}".encode()).hexdigest()[:16]


def stream_of(key: str) -> str:
    """The first folder below `input/`; files right in it belong to the stream `default`."""
    folder, slash, _ = key.removeprefix(INPUT_PREFIX).partition("/")
    return folder if slash and folder else DEFAULT_STREAM


@dataclass(frozen=True)
class RunLayout:
    """S3 keys of one run; `batch` counts from 0."""

    run_id: str

    # what SageMaker reads and writes

    @property
    def technique_input(self) -> str:
        return f"intermediate/{self.run_id}/input_classification.jsonl"

    @property
    def technique_output_prefix(self) -> str:
        return f"response/classification_out/{self.run_id}/"

    @property
    def technique_output(self) -> str:
        return f"{self.technique_output_prefix}input_classification.jsonl.out"

    def cluster_input(self, batch: int) -> str:
        return f"intermediate/{self.run_id}/cluster/{batch:06d}.json"

    @property
    def cluster_output_prefix(self) -> str:
        return f"response/cluster_out/{self.run_id}/"

    def cluster_output(self, batch: int) -> str:
        return f"{self.cluster_output_prefix}{batch:06d}.json.out"

    @property
    def flow_input(self) -> str:
        return f"intermediate/{self.run_id}/input_flow.json"

    @property
    def flow_output_prefix(self) -> str:
        return f"response/flow_out/{self.run_id}/"

    @property
    def flow_output(self) -> str:
        return f"{self.flow_output_prefix}input_flow.json.out"

    # what one state leaves for the next

    def alerts(self, batch: int) -> str:
        return f"scratch/{self.run_id}/alerts/{batch:06d}.jsonl"

    def id_map(self, batch: int) -> str:
        return f"scratch/{self.run_id}/id_map/{batch:06d}.json"

    @property
    def node_feature(self) -> str:
        return f"scratch/{self.run_id}/node_feature.json"

    @property
    def known_techniques(self) -> str:
        return f"scratch/{self.run_id}/known_techniques.jsonl"

    @property
    def learned_techniques(self) -> str:
        return f"scratch/{self.run_id}/learned_techniques.jsonl"

    @property
    def techniques(self) -> str:
        return f"scratch/{self.run_id}/techniques.json"

    def batch_clusters(self, batch: int) -> str:
        return f"scratch/{self.run_id}/batch_clusters/{batch:06d}.json"

    @property
    def agg_alert(self) -> str:
        return f"scratch/{self.run_id}/agg_alert.json"

    @property
    def scratch_cluster(self) -> str:
        return f"scratch/{self.run_id}/cluster.json"

    @property
    def scratch_flow(self) -> str:
        return f"scratch/{self.run_id}/flow_output.json"

    @property
    def enrich_alert_input(self) -> str:
        return f"scratch/{self.run_id}/enrich_alert_input.json"

    # what users get

    @property
    def rejected(self) -> str:
        return f"rejected/{self.run_id}.jsonl"

    def output(self, name: str) -> str:
        return f"output/{self.run_id}/{name}"

    def state(self, stream: str, model: str) -> str:
        return f"state/{quote(stream, safe='')}/{self.run_id}/{model}.json"


@dataclass(frozen=True)
class IncidentLayout:
    """S3 keys of one generation of an incident (error triage)."""

    fingerprint: str
    generation: int

    def _key(self, name: str) -> str:
        return f"triage/{self.fingerprint}/{self.generation}/{name}.json"

    # what stays inside the account, and not for ever

    @property
    def raw(self) -> str:
        return f"unredacted/{self.fingerprint}/{self.generation}/raw.json"

    @property
    def redacted(self) -> str:
        return f"unredacted/{self.fingerprint}/{self.generation}/redacted.json"

    # what holds no secrets any more

    @property
    def error(self) -> str:
        return self._key("error")

    @property
    def context(self) -> str:
        return self._key("context")

    @property
    def evidence_stack_overflow(self) -> str:
        return self._key("evidence_stack_overflow")

    @property
    def evidence_earlier_incidents(self) -> str:
        return self._key("evidence_earlier_incidents")

    @property
    def answer(self) -> str:
        return self._key("answer")

    @property
    def report(self) -> str:
        return self._key("report")
