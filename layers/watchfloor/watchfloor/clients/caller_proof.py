"""Who somebody is by AWS's word: they sign a GetCallerIdentity, and we send it.

Only the owner of the credentials can make the signature, and it covers a header with what they ask for, so that it is
good for nothing else. The way of Vault's and Kubernetes' AWS authentication.
https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from watchfloor.errors import AccessDeniedError, TransientError

_BODY = b"Action=GetCallerIdentity&Version=2011-06-15"
_BOUND = "X-Watchfloor-Request"
_HEADERS = ("Authorization", "Content-Type", "X-Amz-Date", "X-Amz-Security-Token", _BOUND)
# One reading of it, and no other: what was signed is what is looked at.
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=\w+/\d{8}/[a-z0-9-]+/sts/aws4_request, SignedHeaders=([a-z0-9;-]+),"
    r" Signature=[0-9a-f]{64}"
)
_VALUE = re.compile(r"[ -~]{1,16000}")
_TIMEOUT_SECONDS, _MAX_ANSWER_BYTES = 10, 20_000


def prove(credentials: Any, endpoint_url: str, region: str, digest: str) -> dict[str, str]:
    """Headers that say by AWS's word who asks for what `digest` stands for; good for some minutes.

    Parameters
    ----------
    credentials
        botocore's, frozen.
    endpoint_url, region
        Of the STS that will be asked.
    """
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        _BOUND: digest,
        "Host": urlsplit(endpoint_url).netloc,
    }
    request = AWSRequest("POST", _url(endpoint_url), headers=headers, data=_BODY)
    SigV4Auth(credentials, "sts", region).add_auth(request)
    return {name: str(request.headers[name]) for name in _HEADERS if request.headers.get(name)}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What STS says counts, not what somebody says whom it names."""

    def redirect_request(self, *_: Any) -> None:
        return None


_sts = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())


def verified_arn(proof: Any, endpoint_url: str, digest: str) -> str:
    """The ARN of who signed.

    Raises
    ------
    AccessDeniedError
        The proof is for something else, or AWS does not accept it.
    """
    given = proof if isinstance(proof, Mapping) else {}
    headers = {name: given[name] for name in _HEADERS if given.get(name)}
    are_plain = all(isinstance(value, str) and _VALUE.fullmatch(value) for value in headers.values())
    signed = _AUTHORIZATION.fullmatch(headers.get("Authorization", "")) if are_plain else None
    if not signed or headers.get(_BOUND) != digest or _BOUND.lower() not in signed[1].split(";"):
        raise AccessDeniedError("the proof of identity is not for this request")
    request = urllib.request.Request(_url(endpoint_url), data=_BODY, headers=headers, method="POST")
    try:
        with _sts.open(request, timeout=_TIMEOUT_SECONDS) as answer:
            text = answer.read(_MAX_ANSWER_BYTES)
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise TransientError(f"STS answered {error.code}") from error
        raise AccessDeniedError(f"AWS does not accept the proof of identity ({error.code})") from error
    except OSError as error:
        raise TransientError(f"STS cannot be reached: {error}") from error
    found = ElementTree.fromstring(text).find(".//{*}Arn")
    if found is None or not found.text:
        raise AccessDeniedError("AWS did not say whose proof of identity it is")
    return found.text


def _url(endpoint_url: str) -> str:
    parts = urlsplit(endpoint_url)
    return f"{parts.scheme}://{parts.netloc}/"
