"""Runs a suite of requests with expectations against a service."""

from __future__ import annotations

import os
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.clients.test_files import TestFiles
from watchfloor.clients.web import Limits, Page, Web, WebError
from watchfloor.errors import AccessDeniedError
from watchfloor.expectations import UnmetError
from watchfloor.redaction import Redactor
from watchfloor.scripts import Parameters
from watchfloor.suites import (
    MAX_BYTES,
    Step,
    Suite,
    captured,
    read_suite,
    secret_value,
    step_body,
    step_headers,
    step_url,
)

_ENDINGS = (".yaml", ".yml", ".json")
_BODY_BYTES = 1_000_000
_SHOWN_CHARACTERS = 300

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}$")]


class SuiteRun(Parameters):
    service_name: Name = Field(description="The service to test")
    test_suite: Name = Field(description="Its suite: config/tests/<service_name>/<test_suite>.yaml in the data bucket")
    request_timeout_seconds: int = Field(10, ge=1, le=60, description="Time for each request")


def run_suite(parameters: SuiteRun, run: ScriptRun) -> dict[str, Any]:
    suite, place = load(parameters, run)
    web = Web(
        run.settings["ALLOWED_NETWORKS"].split(","),
        Limits(min(5, parameters.request_timeout_seconds), parameters.request_timeout_seconds, _BODY_BYTES),
    )
    web.check(suite.base_url)
    if run.dry_run:
        steps = [planned(suite, step, run) for step in suite.requests]
        return {"findings": [f"{len(steps)} requests to {suite.base_url}"], "suite": place, "steps": steps}
    redactor = Redactor()
    secrets = {name: secret(run, reference) for name, reference in suite.secrets.items()}
    values: dict[str, Any] = {**suite.variables, **secrets}
    steps = []
    for step in suite.requests:
        outcome, found = one(step, suite, web, values, run)
        values |= found
        steps.append(without(outcome, list(secrets.values()), redactor))
        if outcome["problems"] and suite.stop_at_failure:
            break
    steps += [{"name": step.name, "status": "not run"} for step in suite.requests[len(steps) :]]
    return verdict(steps, suite, place)


def load(parameters: SuiteRun, run: ScriptRun) -> tuple[Suite, str]:
    files = TestFiles(run.read("s3"), run.settings["DATA_BUCKET"])
    there = files.names(f"{parameters.service_name}/")
    wanted = [f"{parameters.test_suite}{ending}" for ending in _ENDINGS]
    name = next((name for name in wanted if name in there), wanted[0])
    place = f"{parameters.service_name}/{name}"
    return read_suite(files.read(place, MAX_BYTES), name), files.uri(place)


def planned(suite: Suite, step: Step, run: ScriptRun) -> dict[str, Any]:
    """A request as it would be sent, as far as that is known before."""
    if step.writes:
        run.step("http", step.method, target(suite, step), lambda: None)
    return {"name": step.name, "method": step.method, "url": suite.base_url.rstrip("/") + step.path}


def target(suite: Suite, step: Step) -> dict[str, str]:
    """What the plan and the record say of a request that may change something: no values, which may be secret."""
    return {"request": step.name, "url": suite.base_url.rstrip("/") + step.path}


def secret(run: ScriptRun, reference: Any) -> str:
    prefix = run.settings["SECRET_PREFIX"]
    if not reference.secret.startswith(prefix):
        raise AccessDeniedError(f"suites may use secrets whose names begin with {prefix}, not {reference.secret}")
    text = run.read("secretsmanager").get_secret_value(SecretId=reference.secret)["SecretString"]
    return secret_value(reference, text)


def one(
    step: Step, suite: Suite, web: Web, values: dict[str, Any], run: ScriptRun
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Send a request; what came of it, and the values it captured."""
    url, headers, body = step_url(suite, step, values), step_headers(suite, step, values), step_body(step, values)

    def send() -> Page:
        return web.fetch(url, step.method, headers, body, follow=step.follow_redirects)

    try:
        page = run.step("http", step.method, target(suite, step), send) if step.writes else send()
    except WebError as error:
        return {**about(step), "status": "failed", "problems": [str(error)]}, {}
    text, milliseconds = page.text, page.timing.total
    problems = list(step.expect.problems(page.status, page.headers, text, milliseconds))
    found: dict[str, Any] = {}
    if not problems:
        found, problems = captured(step, text)
    outcome = {
        **about(step),
        "status": "failed" if problems else "passed",
        "answered": page.status,
        "duration_ms": round(milliseconds),
        "problems": problems[:10],
    }
    if problems:
        outcome["body_start"] = text[:_SHOWN_CHARACTERS]
    return outcome, found


def about(step: Step) -> dict[str, str]:
    return {"name": step.name, "request": f"{step.method} {step.path}"}


def without(outcome: dict[str, Any], secrets: list[str], redactor: Redactor) -> dict[str, Any]:
    """The outcome without the suite's secrets, which an answer may repeat, and without others."""

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            for each in secrets:
                value = value.replace(each, "***") if len(each) >= 4 else value
            return redactor.text(value)
        return [clean(item) for item in value] if isinstance(value, list) else value

    return {key: clean(value) for key, value in outcome.items()}


def verdict(steps: list[dict[str, Any]], suite: Suite, place: str) -> dict[str, Any]:
    counts = {status: sum(step["status"] == status for step in steps) for status in ("passed", "failed", "not run")}
    problems = [f"{step['name']}: {problem}" for step in steps for problem in step.get("problems", [])]
    total = f"{counts['passed']} of {len(steps)} requests passed"
    result = {
        "findings": [total, *problems[:20]],
        "suite": place,
        "base_url": suite.base_url,
        "passed": counts["passed"],
        "failed": counts["failed"],
        "not_run": counts["not run"],
        "steps": steps,
    }
    if problems:
        raise UnmetError("; ".join([total, *problems[:5]]), result)
    return result


script = Script("test-integration", SuiteRun, run_suite, risk="medium", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
