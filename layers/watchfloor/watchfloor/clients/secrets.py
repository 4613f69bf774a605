"""Settings of outside services, kept as JSON in Secrets Manager."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError, TransformParameterError
from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code, passing_errors
from watchfloor.errors import AccessDeniedError, InvalidInputError

# A rotated secret is in use after this long, without a new deployment.
_CACHE_SECONDS = 60


def read_secret(arn: str, parameter: str) -> dict[str, Any]:
    """The secret's JSON object. `parameter` is the stack parameter that names it, for messages."""
    try:
        value = _read(arn)
    except (AccessDeniedError, ClientError) as error:
        why = error_code(error) if isinstance(error, ClientError) else "AccessDenied"
        raise InvalidInputError(
            f"the secret of {parameter} cannot be read ({why}); is {arn} there, and may this function's"
            " role (and the key's policy) read it?"
        ) from error
    except TransformParameterError as error:
        raise InvalidInputError(
            f"the secret of {parameter} is not JSON; docs/integrations.md shows its form"
        ) from error
    if not isinstance(value, dict):
        raise InvalidInputError(f"the secret of {parameter} is no JSON object; docs/integrations.md shows its form")
    return value


def _read(arn: str) -> Any:
    with passing_errors():
        try:
            return parameters.get_secret(arn, transform="json", max_age=_CACHE_SECONDS)
        except GetParameterError as error:
            # Powertools hides what boto3 raised in the context.
            raise error.__context__ or error from error
