"""What Lambda says about a function."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code, passing_errors
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
