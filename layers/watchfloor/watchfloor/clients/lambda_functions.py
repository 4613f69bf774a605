"""What Lambda says about a function."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code, or_none, passing_errors
from watchfloor.errors import NotFoundError


class LambdaFunctions:
    """`functions` is a boto3 Lambda client."""

    def __init__(self, functions: Any) -> None:
        self._functions = functions

    def configuration(self, name: str) -> dict[str, Any]:
        """As `GetFunctionConfiguration` answers; NotFoundError where the function is gone."""
        try:
            with passing_errors():
                return self._functions.get_function_configuration(FunctionName=name)
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                raise NotFoundError(f"the function {name} is not there (any more)") from error
            raise

    def invoke_later(self, name: str, payload: bytes) -> None:
        """Have a function called, without waiting for it."""
        with passing_errors():
            self._functions.invoke(FunctionName=name, InvocationType="Event", Payload=payload)


class Concurrency:
    """What is kept for a function; `functions` is a boto3 Lambda client, its errors are named by who runs the script."""

    def __init__(self, functions: Any) -> None:
        self._functions = functions

    def reserved(self, name: str) -> int | None:
        """Concurrent executions; None where none are reserved."""
        return self._functions.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions")

    def provisioned(self, name: str, alias: str) -> dict[str, Any]:
        """As GetProvisionedConcurrencyConfig answers; empty where nothing is provisioned."""
        found = or_none(
            lambda: self._functions.get_provisioned_concurrency_config(FunctionName=name, Qualifier=alias),
            "ProvisionedConcurrencyConfigNotFoundException",
        )
        return found or {}
