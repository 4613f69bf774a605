"""Proofs of identity against an STS that looks at who signs."""

import pytest
from botocore.credentials import ReadOnlyCredentials

from watchfloor.approvals import person_of_arn
from watchfloor.clients.caller_proof import prove, verified_arn
from watchfloor.errors import AccessDeniedError, TransientError


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
    person = person_of_arn(arn)
    assert person is not None
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


@pytest.mark.parametrize("proof", [{}, {"Authorization": "none"}, {"X-Watchfloor-Request": "x"}])
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
