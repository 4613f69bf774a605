import json

import pytest

from local.cloud.overlay.log_patterns import matches

RECORD = json.dumps({"level": "ERROR", "status": 503, "user": {"name": "ann lee"}, "tags": ["a", "b"], "note": None})


@pytest.mark.parametrize(
    ("pattern", "message", "expected"),
    [
        ("", "anything", True),
        ("ERROR timeout", "timeout then ERROR", True),
        ("ERROR timeout", "ERROR only", False),
        ('"two words"', "these two words", True),
        ('"two words"', "words two", False),
        ("ERROR -harmless", "ERROR but harmless", False),
        ("?one ?two", "only two", True),
        ("?one ?two", "three", False),
        ('{ $.level = "ERROR" }', RECORD, True),
        ("{ $.level = ERR* }", RECORD, True),
        ("{ $.level != ERROR }", RECORD, False),
        ("{ $.status >= 500 && $.status < 504 }", RECORD, True),
        ("{ $.status = 404 || $.user.name = \"ann *\" }", RECORD, True),
        ("{ ($.status = 503 || $.status = 504) && $.level = INFO }", RECORD, False),
        ("{ $.tags[1] = b }", RECORD, True),
        ("{ $.tags[5] = b }", RECORD, False),
        ("{ $.note IS NULL && $.gone NOT EXISTS }", RECORD, True),
        ("{ $.user IS TRUE }", RECORD, False),
        ("{ $.level = ERROR }", "not JSON with ERROR", False),
        ("[ip, user]", "1.2.3.4 ann", False),
        ("{ $.level ~ ERROR }", RECORD, False),
    ],
)  # fmt: skip
def test_matches(pattern, message, expected):
    assert matches(pattern, message) is expected
