"""Which version of a function its callers are led back to."""

import pytest

from watchfloor.errors import ConflictError, NotFoundError
from watchfloor.releases import earlier_version, rollback

VERSIONS = {
    "$LATEST": {"CodeSha256": "c"},
    "1": {"CodeSha256": "a", "Description": "first", "LastModified": "2026-11-01"},
    "2": {"CodeSha256": "b"},
    "3": {"CodeSha256": "b"},
    "9": {},
    "10": {},
}


@pytest.mark.parametrize(
    ("version", "split", "given", "expected"),
    [
        ("3", {}, None, "2"),
        ("10", {}, None, "9"),
        ("$LATEST", {}, None, "10"),
        ("9", {"10": 0.1}, None, "9"),
        ("10", {"9": 0.1}, None, "9"),
        ("10", {"9": 0.1}, "2", "2"),
        ("10", {"9": 0.1}, "10", "10"),
        ("1", {}, None, NotFoundError),
        ("2", {}, "2", ConflictError),
    ],
)
def test_which_version_it_is(version, split, given, expected):
    alias = {"Name": "live", "FunctionVersion": version, "RoutingConfig": {"AdditionalVersionWeights": split}}
    if isinstance(expected, str):
        assert earlier_version("f", alias, VERSIONS, given) == expected
    else:
        with pytest.raises(expected):
            earlier_version("f", alias, VERSIONS, given)


def test_version_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(NotFoundError, match="f has no version 7; there are 1, 2, 3, 9, 10"):
        earlier_version("f", {"Name": "live", "FunctionVersion": "3"}, VERSIONS, "7")
    with pytest.raises(NotFoundError, match="there are none at all"):
        earlier_version("f", {"Name": "live", "FunctionVersion": "$LATEST"}, {"$LATEST": {}}, None)


def test_rollback_tells_what_is_left_and_whether_it_is_the_same_code():
    told = rollback({"FunctionVersion": "3"}, VERSIONS, "1")
    assert (told["from_version"], told["from_weights"], told["to_version"]) == ("3", {}, "1")
    assert (told["to_description"], told["to_published"], told["is_same_code"]) == ("first", "2026-11-01", False)
    assert rollback({"FunctionVersion": "3"}, VERSIONS, "2")["is_same_code"]
