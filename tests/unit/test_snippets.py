"""Wrapped snippets: bounded, without secrets, and what they are given stays data."""

import json
import time

import pytest
from pydantic import Field, SecretStr

from watchfloor.clients.snippets import MAX_OUTPUT_BYTES, SnippetError, run_snippet
from watchfloor.errors import DeadlineError
from watchfloor.scripts import Parameters


class Example(Parameters):
    target: str = "shop"
    count: int = 3
    names: list[str] = Field(["a", "b"], max_length=5)
    password: SecretStr | None = None


@pytest.fixture
def snippet(tmp_path):
    def write(text, suffix=".sh"):
        path = tmp_path / f"snippet{suffix}"
        path.write_text(text)
        return path

    return write


def run(path, seconds=10.0, **parameters):
    return run_snippet(path, Example(**parameters), timeout_seconds=seconds)


def test_shell_snippet_gets_its_parameters_as_variables(snippet):
    done = run(snippet('echo "$PARAM_TARGET $PARAM_COUNT $PARAM_NAMES"; echo err >&2'))
    assert (done["exit_code"], done["is_cut"]) == (0, False)
    assert done["output"] == 'shop 3 ["a", "b"]\nerr\n'


def test_python_snippet_gets_its_parameters_as_json(snippet):
    done = run(snippet("import json, sys; print(json.load(sys.stdin)['names'])", ".py"))
    assert done["output"] == "['a', 'b']\n"


@pytest.mark.parametrize("target", ["$(touch /tmp/owned)", "; exit 3", "`id`", "' \" \\ \n"])
def test_what_a_snippet_is_given_is_data(snippet, target):
    assert run(snippet('printf %s "$PARAM_TARGET"'), target=target)["output"] == target


def test_snippet_sees_nothing_of_the_functions_environment(snippet, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter22")
    seen = run(snippet("env"), password=SecretStr("hunter33"))["output"]
    assert "hunter" not in seen
    assert "AWS_" not in seen
    given = run(snippet("cat"), password=SecretStr("hunter33"))["output"]
    assert json.loads(given)["password"] == "hunter33"


def test_snippet_that_fails_says_why(snippet):
    with pytest.raises(SnippetError, match="exit code 3: no such thing"):
        run(snippet("echo no such thing; exit 3"))


def test_snippet_that_hangs_is_killed_with_its_children(snippet, tmp_path):
    began = time.monotonic()
    with pytest.raises(DeadlineError):
        run(snippet(f"(sleep 2; touch {tmp_path}/late) & sleep 60"), seconds=0.5)
    assert time.monotonic() - began < 2
    time.sleep(2)
    assert not (tmp_path / "late").exists()


def test_snippet_that_prints_without_end_is_cut_and_stopped(snippet):
    done = run(snippet("head -c 1000000 /dev/zero | tr '\\0' x"))
    assert (len(done["output"]), done["is_cut"]) == (MAX_OUTPUT_BYTES, True)
    with pytest.raises(DeadlineError):
        run(snippet("yes"), seconds=0.5)


def test_snippet_that_does_not_read_its_input_is_no_error(snippet):
    assert run(snippet("exec 0<&-; echo done"), target="x" * 100_000)["output"] == "done\n"
