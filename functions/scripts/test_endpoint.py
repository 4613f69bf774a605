"""Tests an HTTP endpoint: status, latency and where it goes, headers, body, certificate, redirects."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any, Literal

from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import Field, SecretStr

from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.clients.web import CertificateError, Limits, Page, Web, WebError
from watchfloor.expectations import Expectation, UnmetError, ValueCheck
from watchfloor.redaction import Redactor
from watchfloor.scripts import Parameters

_BODY_BYTES = 1_000_000
_SHOWN_CHARACTERS = 500


class Endpoint(Parameters):
    url: str = Field(min_length=8, max_length=2_000, pattern=r"^https?://", description="What to ask")
    method: Literal["GET", "HEAD", "OPTIONS"] = Field("GET", description="Methods that change nothing")
    headers: dict[str, SecretStr] = Field({}, description="Headers to send; their values are not recorded")
    status: list[int] = Field([200], min_length=1, max_length=20, description="Statuses that will do")
    max_ms: int | None = Field(None, ge=1, le=50_000, description="Milliseconds that the answer may take")
    body_contains: str | None = Field(None, max_length=2_000, description="Text that must stand in the body")
    json_checks: list[ValueCheck] = Field([], max_length=20, description="What must stand in a JSON body, and where")
    expected_headers: dict[str, str] = Field({}, description="Headers that must be there, and what they contain")
    min_certificate_days: int = Field(14, ge=0, le=400, description="Days that the certificate must be good for yet")
    follow_redirects: bool = Field(True, description="Whether to go where a redirect leads")
    timeout_seconds: int = Field(10, ge=1, le=50, description="Time for all of it")


def check_endpoint(parameters: Endpoint, run: ScriptRun) -> dict[str, Any]:
    web = Web(
        run.settings["ALLOWED_NETWORKS"].split(","),
        Limits(min(5, parameters.timeout_seconds), parameters.timeout_seconds, _BODY_BYTES),
    )
    headers = {name: value.get_secret_value() for name, value in parameters.headers.items()}
    now = dt.datetime.now(dt.UTC)
    try:
        page = web.fetch(parameters.url, parameters.method, headers, follow=parameters.follow_redirects)
    except WebError as error:
        raise UnmetError(str(error), unreached(error, now)) from error
    problems = Redactor().lines(
        expectation(parameters).problems(page.status, page.headers, page.text, page.timing.total)
    )
    if page.certificate and (days := page.certificate.days_left(now)) < parameters.min_certificate_days:
        problems.append(f"the certificate ends in {days:.0f} days, on {page.certificate.not_after:%Y-%m-%d}")
    result = {"findings": problems or [summary(page)], **shown(page, now)}
    if problems:
        raise UnmetError("; ".join(problems), result)
    return result


def expectation(parameters: Endpoint) -> Expectation:
    return Expectation.model_validate(
        {
            "status": parameters.status,
            "max_ms": parameters.max_ms,
            "headers": parameters.expected_headers,
            "body_contains": parameters.body_contains,
            "json": parameters.json_checks,
        }
    )


def summary(page: Page) -> str:
    return f"answered {page.status} in {page.timing.total:.0f} ms, as expected"


def shown(page: Page, now: dt.datetime) -> dict[str, Any]:
    """The answer, its body cut and without secrets."""
    return {
        "url": page.url,
        "status": page.status,
        "address": page.address,
        "timing": page.timing.to_json(),
        "redirects": [vars(hop) for hop in page.redirects],
        "certificate": {**page.certificate.to_json(now), "is_trusted": True} if page.certificate else None,
        "headers": Redactor().value(dict(list(page.headers.items())[:50])),
        "body_bytes": len(page.body),
        "body_is_cut": page.truncated,
        "body_start": Redactor().start(page.text, _SHOWN_CHARACTERS),
    }


def unreached(error: WebError, now: dt.datetime) -> dict[str, Any]:
    """How far it came, and what can be said of a certificate that is not trusted."""
    certificate = error.certificate if isinstance(error, CertificateError) else None
    return {
        "findings": [str(error)],
        "url": error.url,
        "failed_at": error.step,
        "certificate": {**certificate.to_json(now), "is_trusted": False} if certificate else None,
    }


script = Script("test-endpoint", Endpoint, check_endpoint, risk="low", environment=os.environ)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{parameters: {...}, requested_by?}`, or the parameters alone -> `{statusCode, body}`."""
    return script.answer(event, context)
