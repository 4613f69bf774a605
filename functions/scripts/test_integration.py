"""Runs a suite of requests with expectations against a service."""

from __future__ import annotations

import os
from typing import Annotated, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.clients.test_files import TestFiles
from watchfloor.clients.web import Limits, Page, Web, WebError
from watchfloor.scripts import Parameters
from watchfloor.suites import (
    MAX_BYTES,
    SecretReference,
    Step,
    Suite,
    about,
    answered,
    check_secret,
    plan,
    read_suite,
    secret_value,
    step_body,
    step_headers,
    step_url,
    unanswered,
    verdict,
)

_ENDINGS = (".yaml", ".yml", ".json")
_BODY_BYTES = 1_000_000

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}$")]


class SuiteRun(Parameters):
    service_name: Name = Field(description="The service to test")
    test_suite: Name = Field(description="Its suite: config/tests/<service_name>/<test_suite>.yaml in the data bucket")
    request_timeout_seconds: int = Field(10, ge=1, le=60, description="Time for each request")


def run_suite(parameters: SuiteRun, run: ScriptRun) -> dict[str, Any]:
    suite, place = load(parameters, run)
    seconds = parameters.request_timeout_seconds
    web = Web(run.settings["ALLOWED_NETWORKS"].split(","), Limits(min(5, seconds), seconds, _BODY_BYTES))
    web.check(suite.base_url)
    if run.dry_run:
        for step in suite.requests:
            if step.writes:
                run.step("http", step.method, about(suite, step), lambda: None)
        return plan(suite, place)
    secrets = {name: secret(run, reference) for name, reference in suite.secrets.items()}
    values: dict[str, Any] = {**suite.variables, **secrets}
    steps: list[dict[str, Any]] = []
    for step in suite.requests:
        result, found = send(step, suite, web, values, run)
        values |= found
        steps.append(result)
        if result["problems"] and suite.stop_at_failure:
            break
    return verdict(suite, place, steps, list(secrets.values()))


def load(parameters: SuiteRun, run: ScriptRun) -> tuple[Suite, str]:
    files = TestFiles(run.read("s3"), run.settings["DATA_BUCKET"])
    there = files.names(f"{parameters.service_name}/")
    wanted = [f"{parameters.test_suite}{ending}" for ending in _ENDINGS]
    name = next((name for name in wanted if name in there), wanted[0])
    place = f"{parameters.service_name}/{name}"
    return read_suite(files.read(place, MAX_BYTES), name), files.uri(place)


def secret(run: ScriptRun, reference: SecretReference) -> str:
    check_secret(reference, run.settings["SECRET_PREFIX"])
    text = run.read("secretsmanager").get_secret_value(SecretId=reference.secret)["SecretString"]
    return secret_value(reference, text)


def send(
    step: Step, suite: Suite, web: Web, values: dict[str, Any], run: ScriptRun
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What came of a request, and the values it captured."""
    url, headers, body = step_url(suite, step, values), step_headers(suite, step, values), step_body(step, values)

    def fetch() -> Page:
        return web.fetch(url, step.method, headers, body, follow=step.follow_redirects)

    try:
        page = run.step("http", step.method, about(suite, step), fetch) if step.writes else fetch()
    except WebError as error:
        return unanswered(step, str(error)), {}
    return answered(step, page.status, page.headers, page.text, page.timing.total)


script = Script("test-integration", SuiteRun, run_suite, risk="medium", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, dry_run?, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
