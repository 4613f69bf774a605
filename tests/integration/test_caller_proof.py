"""Proofs of identity against an STS that looks at who signs."""

import http.server
import threading
from contextlib import contextmanager

import pytest
from botocore.credentials import ReadOnlyCredentials

from watchfloor.approvals import account_of, person_of_arn
from watchfloor.clients.caller_proof import prove, verified_arn
from watchfloor.errors import AccessDeniedError, TransientError


@contextmanager
def plain_server(status, headers):
    """Answers everything alike."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def sts_url(local_cloud):
    return local_cloud.session().client("sts").meta.endpoint_url


@pytest.fixture(scope="module")
def alice(local_cloud):
    iam = local_cloud.session().client("iam")
    iam.create_user(UserName="proof-alice")
    key = iam.create_access_key(UserName="proof-alice")["AccessKey"]
    return ReadOnlyCredentials(key["AccessKeyId"], key["SecretAccessKey"], None)


def test_proof_says_who_signed(alice, sts_url):
    arn = verified_arn(prove(alice, sts_url, "us-east-1", "what is asked for"), sts_url, "what is asked for")
    person = person_of_arn(arn, account_of(arn))
    assert (person.shown, person.is_proven) == ("proof-alice", True)


def test_proof_for_something_else_is_refused(alice, sts_url):
    proof = prove(alice, sts_url, "us-east-1", "what is asked for")
    with pytest.raises(AccessDeniedError, match="not for this request"):
        verified_arn(proof, sts_url, "something else")


def test_proof_whose_header_is_not_signed_is_refused(alice, sts_url):
    """Otherwise a signature made for anything could be bound to everything."""
    proof = prove(alice, sts_url, "us-east-1", "x")
    proof["Authorization"] = proof["Authorization"].replace(";x-watchfloor-request", "")
    with pytest.raises(AccessDeniedError, match="not for this request"):
        verified_arn(proof, sts_url, "x")


def test_second_list_of_signed_headers_does_not_count(alice, sts_url):
    """STS may take another one of the two than we."""
    proof = prove(alice, sts_url, "us-east-1", "x")
    real = proof["Authorization"]
    other = real.replace(";x-watchfloor-request", "")
    for authorization in (
        f"{real}, {other}",
        f"{other}, {real}",
        real.replace("SignedHeaders", "SignedHeaders=host;x-watchfloor-request, SignedHeaders"),
        real.replace("/sts/", "/s3/"),
        f" {real}",
    ):
        with pytest.raises(AccessDeniedError, match="not for this request"):
            verified_arn({**proof, "Authorization": authorization}, sts_url, "x")


def test_nobody_is_asked_whom_sts_or_the_environment_points_to(alice, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with plain_server(302, {"Location": "http://127.0.0.1:9/"}) as url, pytest.raises(AccessDeniedError, match="302"):
        verified_arn(prove(alice, url, "us-east-1", "x"), url, "x")


@pytest.mark.parametrize("proof", [{}, None, "proof", [], {"Authorization": "none"}, {"X-Watchfloor-Request": "x"}])
def test_proof_that_is_none_is_refused(proof, sts_url):
    with pytest.raises(AccessDeniedError):
        verified_arn(proof, sts_url, "x")


def test_proof_says_nothing_else_to_aws_than_who_one_is(alice, sts_url):
    proof = prove(alice, sts_url, "us-east-1", "x")
    assert set(proof) == {"Authorization", "Content-Type", "X-Amz-Date", "X-Watchfloor-Request"}


def test_sts_that_is_not_there_is_tried_again_later(alice):
    nowhere = "http://127.0.0.1:9"
    with pytest.raises(TransientError):
        verified_arn(prove(alice, nowhere, "us-east-1", "x"), nowhere, "x")
