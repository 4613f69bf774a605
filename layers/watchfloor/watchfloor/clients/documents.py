"""Documents of a run in S3: JSON, JSON Lines and files, read and written whole or as a stream."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any, BinaryIO, cast

import orjson
from botocore.exceptions import ClientError

from watchfloor.clients.aws import error_code, passing_errors
from watchfloor.errors import AccessDeniedError, InvalidInputError

# Numeric keys (an alert's internal id) and NumPy-free plain types are all we write.
_OPTIONS = orjson.OPT_NON_STR_KEYS
_SPOOL_BYTES = 32_000_000


class Documents:
    """One bucket.

    Parameters
    ----------
    s3
        boto3 S3 client.
    bucket
        Name of the data bucket.
    """

    def __init__(self, s3: Any, bucket: str) -> None:
        self._s3 = s3
        self.bucket = bucket

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def open(self, key: str, version_id: str | None = None) -> BinaryIO:
        """The object as a stream of bytes to read and close; InvalidInputError where it does not exist."""
        return cast(BinaryIO, _Stream(self._get(key, version_id)))

    def _get(self, key: str, version_id: str | None = None) -> Any:
        version = {"VersionId": version_id} if version_id else {}
        try:
            with passing_errors():
                return self._s3.get_object(Bucket=self.bucket, Key=key, **version)["Body"]
        except AccessDeniedError as error:
            # S3 says so of a missing object too, unless the role may list the bucket.
            raise AccessDeniedError(f"{self.uri(key)} is not there (any more), or may not be read: {error}") from error
        except ClientError as error:
            if error_code(error) in ("NoSuchKey", "NoSuchVersion", "404"):
                raise InvalidInputError(f"{self.uri(key)} does not exist (any more)") from error
            raise

    def read_json(self, key: str) -> Any:
        with passing_errors(), closing(self._get(key)) as body:
            return orjson.loads(body.read())

    def write_json(self, key: str, value: Any) -> None:
        self._put(key, orjson.dumps(value, option=_OPTIONS), "application/json")

    def read_lines(self, key: str) -> Iterator[Any]:
        """Rows of a JSON Lines object, one at a time."""
        with passing_errors(), closing(self._get(key)) as body:
            for line in body.iter_lines(chunk_size=1_000_000):
                if line:
                    yield orjson.loads(line)

    def write_lines(self, key: str, rows: Iterable[Any]) -> int:
        """Write JSON Lines as they come, and return how many they were."""
        return self._spool(key, rows, b"", b"\n", b"", "application/jsonlines")

    def write_array(self, key: str, rows: Iterable[Any]) -> int:
        """Write one JSON array as its items come, and return how many they were."""
        return self._spool(key, rows, b"[", b",\n", b"]", "application/json")

    def write_object(self, key: str, fields: dict[str, Any], rows_name: str, rows: Iterable[Any]) -> int:
        """Write one JSON object of some fields and one long array, and return the array's length."""
        head = orjson.dumps(fields, option=_OPTIONS)[:-1] + f',"{rows_name}":['.encode()
        return self._spool(key, rows, head, b",\n", b"]}", "application/json")

    def texts(self, prefix: str) -> Iterator[str]:
        """Small text objects below a prefix, by name."""
        with passing_errors():
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for item in page.get("Contents", []):
                    if item["Size"]:
                        with closing(self._get(item["Key"])) as body:
                            yield body.read().decode()

    def upload(self, key: str, file: BinaryIO, content_type: str) -> None:
        """Store a file of any size (in parts where it is large)."""
        with passing_errors():
            self._s3.upload_fileobj(file, self.bucket, key, ExtraArgs={"ContentType": content_type})

    def etag(self, key: str) -> str:
        with passing_errors():
            return self._s3.head_object(Bucket=self.bucket, Key=key)["ETag"].strip('"')

    def _spool(self, key: str, rows: Iterable[Any], head: bytes, between: bytes, tail: bytes, content_type: str) -> int:
        count = 0
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as file:
            file.write(head)
            for row in rows:
                if count:
                    file.write(between)
                file.write(orjson.dumps(row, option=_OPTIONS))
                count += 1
            file.write(tail)
            file.seek(0)
            self.upload(key, file, content_type)  # type: ignore[arg-type]
        return count

    def _put(self, key: str, body: bytes, content_type: str) -> None:
        with passing_errors():
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type)


class _Stream:
    """S3's stream; a connection that breaks is a passing error here too."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        with passing_errors():
            return self._body.read(None if size < 0 else size)

    def close(self) -> None:
        self._body.close()
