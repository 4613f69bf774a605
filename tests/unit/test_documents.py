"""Documents in S3: whole, line by line, and while they are still being made."""

import io

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, IncompleteReadError, ResponseStreamingError
from moto import mock_aws

from watchfloor.clients.documents import Documents
from watchfloor.errors import AccessDeniedError, InvalidInputError, TransientError

BUCKET = "data"


@pytest.fixture
def s3():
    with mock_aws():
        client = boto3.client("s3", "us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def documents(s3):
    return Documents(s3, BUCKET)


class FailingS3:
    """An S3 whose call, or whose body's first read, fails."""

    def __init__(self, error, on_read=False):
        self.error, self.on_read = error, on_read

    def get_object(self, **_):
        if not self.on_read:
            raise self.error
        return {"Body": self}

    def read(self, *_):
        raise self.error

    def iter_lines(self, **_):
        yield b"{}"
        raise self.error

    def close(self):
        pass


def body(s3, key):
    return s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()


def test_json_comes_back_as_it_went(documents, s3):
    documents.write_json("a.json", {"name": "ü", "list": [1, 2.5, None]})
    assert documents.read_json("a.json") == {"name": "ü", "list": [1, 2.5, None]}
    assert s3.head_object(Bucket=BUCKET, Key="a.json")["ContentType"] == "application/json"


def test_internal_ids_may_be_keys(documents):
    documents.write_json("a.json", {7: "seven"})
    assert documents.read_json("a.json") == {"7": "seven"}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_lines_come_back_one_by_one(documents, count):
    rows = [{"i": i, "text": "line\nbreak"} for i in range(count)]
    assert documents.write_lines("a.jsonl", iter(rows)) == count
    assert list(documents.read_lines("a.jsonl")) == rows


def test_long_lines_are_read_whole(documents):
    rows = [{"text": "x" * 3_000_000}, {"text": "y"}]
    documents.write_lines("a.jsonl", rows)
    assert list(documents.read_lines("a.jsonl")) == rows


@pytest.mark.parametrize("count", [0, 1, 3])
def test_array_is_written_as_it_comes(documents, count):
    rows = [{"i": i} for i in range(count)]
    assert documents.write_array("a.json", iter(rows)) == count
    assert documents.read_json("a.json") == rows


@pytest.mark.parametrize("count", [0, 1, 3])
def test_object_with_a_long_array_is_written_as_it_comes(documents, count):
    rows = [{"i": i} for i in range(count)]
    assert documents.write_object("a.json", {"run_id": "r1"}, "clusters", iter(rows)) == count
    assert documents.read_json("a.json") == {"run_id": "r1", "clusters": rows}


def test_document_larger_than_its_spool_is_written_whole(documents, monkeypatch):
    monkeypatch.setattr("watchfloor.clients.documents._SPOOL_BYTES", 100)
    rows = [{"text": "x" * 100} for _ in range(50)]
    documents.write_lines("a.jsonl", rows)
    assert list(documents.read_lines("a.jsonl")) == rows


def test_failure_while_rows_are_made_writes_nothing(documents, s3):
    def rows():
        yield {"i": 0}
        raise RuntimeError("out of the blue")

    with pytest.raises(RuntimeError):
        documents.write_array("a.json", rows())
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


def test_file_is_uploaded_with_its_type(documents, s3):
    documents.upload("rejected/r1.jsonl", io.BytesIO(b"{}\n"), "application/jsonlines")
    assert body(s3, "rejected/r1.jsonl") == b"{}\n"
    assert s3.head_object(Bucket=BUCKET, Key="rejected/r1.jsonl")["ContentType"] == "application/jsonlines"


def test_texts_below_a_prefix_come_by_name(documents, s3):
    for key, text in (("config/b.yaml", "b: ü"), ("config/a.yaml", "a"), ("config/", ""), ("other/c.yaml", "c")):
        s3.put_object(Bucket=BUCKET, Key=key, Body=text.encode())
    assert list(documents.texts("config/")) == ["a", "b: ü"]
    assert list(documents.texts("nothing/")) == []


def test_named_version_is_read(documents, s3):
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=BUCKET, Key="a", Body=b"first")["VersionId"]
    s3.put_object(Bucket=BUCKET, Key="a", Body=b"second")
    assert documents.open("a", first).read() == b"first"
    assert documents.open("a").read() == b"second"


def test_etag_changes_with_the_content(documents):
    etags = set()
    for value in (1, 2, 1):
        documents.write_json("a.json", value)
        etags.add(documents.etag("a.json"))
    assert len(etags) == 2
    assert not any('"' in etag for etag in etags)


@pytest.mark.parametrize("read", ["open", "read_json", "read_lines"])
def test_missing_document_is_named(documents, read):
    with pytest.raises(InvalidInputError, match="s3://data/a.json does not exist"):
        list(getattr(documents, read)("a.json"))


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "SlowDown"}}, "GetObject"),
        ClientError({"Error": {"Code": "InternalError"}}, "GetObject"),
        ClientError({"Error": {"Code": "503"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "HeadObject"),  # type: ignore[typeddict-item]
        ConnectTimeoutError(endpoint_url="https://s3"),
    ],
)
def test_passing_error_is_named_so(error):
    with pytest.raises(TransientError):
        Documents(FailingS3(error), BUCKET).read_json("a.json")


@pytest.mark.parametrize(
    "error",
    [ResponseStreamingError(error="connection reset"), IncompleteReadError(actual_bytes=1, expected_bytes=2)],
)
@pytest.mark.parametrize("read", ["open", "read_json", "read_lines"])
def test_connection_that_breaks_while_reading_is_a_passing_error(error, read):
    documents = Documents(FailingS3(error, on_read=True), BUCKET)
    with pytest.raises(TransientError):
        if read == "open":
            documents.open("a.json").read(10)
        else:
            list(getattr(documents, read)("a.json"))


def test_what_s3_denies_may_be_gone():
    """Without the right to list the bucket, a missing object is answered as a forbidden one."""
    error = ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject")
    with pytest.raises(AccessDeniedError, match="s3://data/a.json is not there .*, or may not be read"):
        Documents(FailingS3(error), BUCKET).read_json("a.json")


def test_other_error_stays_as_it_is():
    error = ClientError({"Error": {"Code": "InvalidObjectState"}}, "GetObject")
    with pytest.raises(ClientError) as raised:
        Documents(FailingS3(error), BUCKET).read_json("a.json")
    assert raised.value is error
