"""What tests are made of: suites and events below config/tests/ of the data bucket."""

from __future__ import annotations

from typing import Any

from watchfloor.errors import InvalidInputError, NotFoundError

PREFIX = "config/tests/"
_MAX_NAMES = 1_000


class TestFiles:
    """Objects below `config/tests/`; `s3` is a boto3 S3 client."""

    __test__ = False  # for pytest

    def __init__(self, s3: Any, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def uri(self, name: str) -> str:
        return f"s3://{self._bucket}/{PREFIX}{name}"

    def names(self, folder: str) -> list[str]:
        """Names in a folder, which ends with a slash."""
        prefix = f"{PREFIX}{folder}"
        page = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=prefix, MaxKeys=_MAX_NAMES)
        return [item["Key"].removeprefix(prefix) for item in page.get("Contents", []) if item["Size"]]

    def read(self, name: str, max_bytes: int) -> bytes:
        """
        Raises
        ------
        NotFoundError
            There is no such file; the message names those that are there.
        InvalidInputError
            It is too large.
        """
        folder, _, last = name.rpartition("/")
        there = self.names(f"{folder}/" if folder else "")
        if last not in there:
            shown = ", ".join(there[:20]) or "nothing"
            raise NotFoundError(f"there is no {self.uri(name)}; beside it there is {shown}")
        body = self._s3.get_object(Bucket=self._bucket, Key=f"{PREFIX}{name}")["Body"].read(max_bytes + 1)
        if len(body) > max_bytes:
            raise InvalidInputError(f"{self.uri(name)} has more than {max_bytes:,} bytes")
        return body
