"""Takes permissions away from the deployed roles, one at a time, and sees the application fail without each.

    python -m tests.permissions                       every statement of every role
    python -m tests.permissions --parts               also every action and every resource of a statement by itself
    python -m tests.permissions --stack Pipeline      the roles of one child stack only
    python -m tests.permissions --function FinishRun  one role only
    python -m tests.permissions --sample 6 --seed x   some of them

A permission that nothing misses is more than the role needs; it fails the check unless `EXEMPT` says why it cannot be
missed here. A failing check is repeated by the same command: the order and the sample depend on nothing but the seed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from typing import Any
from unittest.mock import patch

from local import sandbox
from tests import scenarios, script_scenarios, triage_scenarios
from tests.scenarios import Floor, Missing, adopted, dead_letter

Scenario = Callable[[Floor], object]

# Retries wait a hundredth of their time: what fails for want of a permission fails each time.
SETTINGS = {"SFN_WAIT_SCALE": "0.01", "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.05"}
# A policy has to allow something.
NOTHING = {"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}


def _jobs_of(role: str, model: str) -> list[tuple[str, str, tuple[Scenario, ...]]]:
    return [
        (role, "states:SendTaskSuccess", (adopted(model, "completed"),)),
        (role, "states:SendTaskFailure", (adopted(model, "failed"),)),
        (role, "states:SendTaskHeartbeat", (adopted(model, "running"),)),
        (role, "sagemaker:Describe*", (adopted(model, "completed"),)),
    ]


# Role, action, scenarios; the first line that fits counts.
_PIPELINE: list[tuple[str, str, tuple[Scenario, ...]]] = [
    ("ClaimRun", "states:*", (scenarios.taken_over,)),
    ("ClaimRun", "*", (scenarios.whole_run, scenarios.taken_over)),
    *_jobs_of("CreateTechnique", "technique"),
    *_jobs_of("CreateCluster", "cluster"),
    *_jobs_of("CreateFlow", "flow"),
    ("AcquireLease", "dynamodb:DeleteItem", (scenarios.abandoned_lease,)),
    ("FinishRun", "sns:*", (scenarios.failing_branch,)),
    ("FinishRun", "states:*", (scenarios.two_files_at_once,)),
    ("FinishRun", "*", (scenarios.whole_run, scenarios.two_files_at_once)),
    ("ResumeTransform", "sqs:*", (dead_letter("ResumeTransform"),)),
    ("SweepCallbacks", "sqs:*", (dead_letter("SweepCallbacks"),)),
    ("ReportFailure", "sqs:*", (dead_letter("ReportFailure"),)),
    ("ResumeTransform", "states:SendTaskFailure", (scenarios.failing_run,)),
    ("ResumeTransform", "states:SendTaskHeartbeat", (scenarios.told_early,)),
    ("SweepCallbacks", "states:SendTaskFailure", (scenarios.lost_failure,)),
    ("SweepCallbacks", "*", (scenarios.lost_events,)),
    ("ReportFailure", "*", (scenarios.failing_run, scenarios.reported_again)),
    ("*", "events:*", (scenarios.deployed_again,)),
    ("*", "logs:*", (scenarios.deployed_again,)),
    ("*", "*", (scenarios.whole_run,)),
]


@cache
def _in_shop(scenario: script_scenarios.Scenario) -> Scenario:
    """An ops script's scenario, on this floor."""

    def run(floor: Floor) -> None:
        scenario(script_scenarios.shop(floor.deployment))

    run.__name__ = scenario.__name__
    return run


_SCRIPTS: list[tuple[str, str, tuple[Scenario, ...]]] = [
    *((role, action, tuple(map(_in_shop, some))) for role, action, some in script_scenarios.MISSED_BY),
    ("*", "logs:*", (scenarios.deployed_again,)),
]

# Which scenario misses what, by child stack of the template.
MISSED_BY = {
    "Models": _PIPELINE,
    "Pipeline": _PIPELINE,
    "Scripts": _SCRIPTS,
    "Triage": triage_scenarios.MISSED_BY,
}

# What cannot be missed on the local cloud, or at all: role, action, resource, reason.
_PIPELINE_EXEMPT = [
    ("Model", "logs:*", "*", "the local cloud writes the container's log in SageMaker's own name"),
    ("Model", "ecr:*", "*", "no image is pulled: the model server runs as a process"),
    ("Model", "cloudwatch:*", "*", "SageMaker's own metrics of a container are not made here"),
    ("EnrichWithTechnique", "s3:GetObjectVersion", "*", "the local cloud asks for s3:GetObject instead"),
    ("*", "s3:AbortMultipartUpload", "*", "asked for only when a part of a large upload fails"),
    ("AlertPipeline", "states:StopExecution", "*", "the local cloud ends a child execution without asking"),
    ("AlertPipeline", "lambda:*", "*-ReportFailure*", "the rule on the execution's status reports a failure too"),
]
EXEMPT = {
    "Models": _PIPELINE_EXEMPT,
    "Pipeline": _PIPELINE_EXEMPT,
    "Scripts": script_scenarios.EXEMPT,
    "Triage": triage_scenarios.EXEMPT,
}
# What a stack's scenarios find ready.
PREPARED = [scenarios.prepare, triage_scenarios.prepare]


@dataclass(frozen=True)
class Permission:
    """A statement of a role's inline policy or of a policy that roles share, or a single action or resource of it.

    `role_name` is empty where roles share the policy; `role` is its logical id without Policy then, `policy` its ARN.
    """

    stack: str
    role: str
    role_name: str
    policy: str
    index: int
    statement: str  # JSON
    action: str = ""
    resource: str = ""

    @property
    def actions(self) -> list[str]:
        return [self.action] if self.action else _listed(json.loads(self.statement)["Action"])

    @property
    def resources(self) -> list[str]:
        return [self.resource] if self.resource else _listed(json.loads(self.statement)["Resource"])

    def title(self, names: Mapping[str, str]) -> str:
        """As short as a table needs: `dynamodb:GetItem UpdateItem on RunTable`; `names` are the template's."""
        service = self.actions[0].partition(":")[0]
        actions = [action.partition(":")[2] for action in self.actions]
        places = [_short(arn, names) for arn in self.resources]
        alone = " (alone)" if self.action or self.resource else ""
        return f"{service}:{_some(actions)} on {_some(places)}{alone}"

    @property
    def exempt(self) -> str:
        """Why nobody can miss it here, or nothing."""
        exempt = EXEMPT.get(self.stack, [])
        reasons = [
            next((why for *pattern, why in exempt if all(map(fnmatchcase, (self.role, action, resource), pattern))), "")
            for action in self.actions
            for resource in self.resources
        ]
        return reasons[0] if all(reasons) else ""

    @property
    def scenarios(self) -> list[Scenario]:
        found: dict[Scenario, None] = {}
        missed_by = MISSED_BY[self.stack]
        for action in self.actions:
            found |= dict.fromkeys(
                next(some for role, act, some in missed_by if fnmatchcase(self.role, role) and fnmatchcase(action, act))
            )
        return list(found)

    def without(self, document: dict[str, Any]) -> dict[str, Any]:
        """The policy document less this permission."""
        statements = document["Statement"][:]
        statement = dict(statements[self.index])
        if self.action or self.resource:
            name, gone = ("Action", self.action) if self.action else ("Resource", self.resource)
            statement[name] = [value for value in _listed(statement[name]) if value != gone]
            statements[self.index] = statement
        else:
            del statements[self.index]
        return {**document, "Statement": statements}


@dataclass(frozen=True)
class Outcome:
    permission: Permission
    scenario: str
    missed: str
    seconds: float

    @property
    def passed(self) -> bool:
        return bool(self.missed)


@contextmanager
def deployed(say: Callable[[str], None] = lambda text: None) -> Iterator[Floor]:
    """The application on a cloud of its own, with every integration on, and one file behind it."""
    log = sandbox.WORK / "permissions.log"
    with ExitStack() as stack:
        with patch.dict(os.environ, SETTINGS):
            parameters = {"ChunkSize": str(scenarios.CHUNK_SIZE), **triage_scenarios.PARAMETERS}
            parameters |= script_scenarios.PARAMETERS
            floor = Floor(stack.enter_context(sandbox.fresh(parameters, say, log=log)))
        for prepare in PREPARED:
            prepare(floor)
        yield floor


def permissions(floor: Floor, parts: bool = False) -> list[Permission]:
    """All that the roles' inline policies and the policies that they share grant, in the order of their names."""
    places = [
        (floor.stack_of[role], role, role_name, policy)
        for role, role_name in sorted(floor.roles.items())
        for policy in sorted(floor.iam.list_role_policies(RoleName=role_name)["PolicyNames"])
    ]
    places += [(floor.stack_of[f"{name}Policy"], name, "", arn) for name, arn in sorted(floor.policies.items())]
    found = []
    for place in places:
        if place[0] not in MISSED_BY:
            continue
        for index, statement in enumerate(_document(floor, *place[2:])["Statement"]):
            if statement["Effect"] == "Deny":
                continue  # nobody misses it; tests/unit/test_template.py looks at it
            whole = Permission(*place, index, json.dumps(statement))
            found.append(whole)
            if parts and len(whole.actions) > 1:
                found += [replace(whole, action=action) for action in whole.actions]
            if parts and len(whole.resources) > 1:
                found += [replace(whole, resource=resource) for resource in whole.resources]
    return found


def check(floor: Floor, taken: Iterable[Permission], say: Callable[[str], None]) -> list[Outcome]:
    """Take each permission away and back; the outcome says what was missed, and by which scenario.

    Raises
    ------
    Missing
        When a scenario fails though nothing is taken away, before or after.
    """
    taken = list(taken)
    needed = list(dict.fromkeys(scenario for permission in taken for scenario in permission.scenarios))
    for scenario in needed:
        say(f"with all permissions: {scenario.__name__}")
        _with_all(floor, scenario)
    outcomes = []
    for permission in taken:
        outcome = _outcome(floor, permission)
        say(
            f"{permission.role}: {permission.title(floor.names)}: {outcome.missed or 'NOT MISSED'} ({outcome.seconds:.1f} s)"
        )
        outcomes.append(outcome)
    for scenario in needed:
        say(f"with all permissions again: {scenario.__name__}")
        _with_all(floor, scenario)
    return outcomes


def _with_all(floor: Floor, scenario: Scenario) -> None:
    try:
        scenario(floor)
    except Missing as missing:
        raise Missing(f"{scenario.__name__} fails though no permission is taken away: {missing}") from missing
    finally:
        floor.tidy()


def _outcome(floor: Floor, permission: Permission) -> Outcome:
    began = time.monotonic()
    missed, name = "", ""
    with _taken_away(floor, permission):
        for scenario in permission.scenarios:
            name = scenario.__name__
            try:
                scenario(floor)
            except Missing as missing:
                missed = str(missing)
                break
    floor.tidy()
    return Outcome(permission, name, missed, time.monotonic() - began)


@contextmanager
def _taken_away(floor: Floor, permission: Permission) -> Iterator[None]:
    document = _document(floor, permission.role_name, permission.policy)
    _grant(floor, permission, permission.without(document))
    _forget_secrets(floor, permission)
    try:
        yield
    finally:
        _grant(floor, permission, document)


def _grant(floor: Floor, permission: Permission, document: dict[str, Any]) -> None:
    """Let the permission's policy be this document."""
    place = {"RoleName": permission.role_name, "PolicyName": permission.policy}
    if not permission.role_name:
        _replace_version(floor, permission.policy, document)
    elif document["Statement"]:
        floor.iam.put_role_policy(**place, PolicyDocument=json.dumps(document))
    else:
        floor.iam.delete_role_policy(**place)


def _replace_version(floor: Floor, arn: str, document: dict[str, Any]) -> None:
    """Let a policy that roles share say something else."""
    before = floor.iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    text = json.dumps(document if document["Statement"] else {**document, "Statement": [NOTHING]})
    floor.iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=True)
    floor.iam.delete_policy_version(PolicyArn=arn, VersionId=before)


def _forget_secrets(floor: Floor, permission: Permission) -> None:
    """Functions keep a secret for a minute; those whose configuration was touched read it again."""
    if permission.actions[0].startswith("secretsmanager:") and permission.role in floor.functions:
        name = floor.functions[permission.role]
        timeout = floor.lambda_.get_function_configuration(FunctionName=name)["Timeout"]
        floor.lambda_.update_function_configuration(FunctionName=name, Timeout=timeout)


def table(outcomes: list[Outcome], exempt: list[Permission], names: Mapping[str, str]) -> str:
    lines = [f"{'role':<30} {'permission':<78} {'missed by':<30} {'seconds':>7}  what was missed"]
    for outcome in outcomes:
        lines.append(
            f"{outcome.permission.role:<30} {outcome.permission.title(names)[:78]:<78} {outcome.scenario[:30]:<30} "
            f"{outcome.seconds:>7.1f}  {outcome.missed or 'NOTHING: more than the role needs'}"
        )
    for permission in exempt:
        lines.append(f"{permission.role:<30} {permission.title(names)[:78]:<78} exempt: {permission.exempt}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.permissions", description=__doc__.partition("\n")[0])
    parser.add_argument("--function", default="*", help="only this role, by its logical id without Function or Role")
    parser.add_argument("--stack", default="*", help=f"only the roles of this child stack: {', '.join(MISSED_BY)}")
    parser.add_argument("--parts", action="store_true", help="also actions and resources of a statement by themselves")
    parser.add_argument("--sample", type=int, help="only so many")
    parser.add_argument("--seed", default="1", help="which ones these are")
    options = parser.parse_args(arguments)
    with deployed(_say) as floor:
        found = [
            each
            for each in permissions(floor, options.parts)
            if fnmatchcase(each.role, options.function) and fnmatchcase(each.stack, options.stack)
        ]
        if not found:
            parser.error(f"no role {options.function} in {options.stack}; there are {', '.join(sorted(floor.roles))}")
        taken = [permission for permission in found if not permission.exempt]
        if options.sample:
            taken = sample(taken, options.sample, options.seed)
        try:
            outcomes = check(floor, taken, _say)
        except Missing as missing:
            print(missing, file=sys.stderr)
            return 1
    exempt = [] if options.sample else [permission for permission in found if permission.exempt]
    print(table(outcomes, exempt, floor.names))
    unmissed = [outcome for outcome in outcomes if not outcome.passed]
    print(f"{len(outcomes) - len(unmissed)} missed, {len(unmissed)} not missed, {len(exempt)} exempt")
    return 1 if unmissed else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def sample(taken: list[Permission], count: int, seed: str) -> list[Permission]:
    return random.Random(seed).sample(taken, min(count, len(taken)))


def _document(floor: Floor, role_name: str, policy: str) -> dict[str, Any]:
    if role_name:
        document = floor.iam.get_role_policy(RoleName=role_name, PolicyName=policy)["PolicyDocument"]
    else:
        version = floor.iam.get_policy(PolicyArn=policy)["Policy"]["DefaultVersionId"]
        found = floor.iam.get_policy_version(PolicyArn=policy, VersionId=version)["PolicyVersion"]
        document = found["Document"]
    return {**document, "Statement": _listed(document["Statement"])}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _some(words: list[str]) -> str:
    return " ".join(words[:4]) + (f" and {len(words) - 4} more" if len(words) > 4 else "")


def _short(arn: str, names: Mapping[str, str]) -> str:
    """The end of an ARN, by the name that the template has for the resource."""
    rest = arn.split(":", 5)[-1]
    for physical, logical in names.items():
        rest = rest.replace(physical, logical)
    for prefix in ("table/", "function:", "stateMachine:", "rule/", "DataBucket/"):
        rest = rest.removeprefix(prefix)
    return rest


if __name__ == "__main__":
    sys.exit(main())
