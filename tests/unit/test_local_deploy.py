import fcntl
import threading
from pathlib import Path

import pytest

from local import deploy


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "functions").mkdir()
    (tmp_path / "template.yaml").write_text("Globals: {Function: {Runtime: python3.13}}\n")
    (tmp_path / "functions/work.py").write_text("x = 1\n")
    return tmp_path


def test_digest_changes_with_what_is_built_only(root: Path):
    before = deploy._digest(root, "3.13")
    (root / "README.md").write_text("hello")
    (root / "functions/__pycache__").mkdir()
    (root / "functions/__pycache__/work.pyc").write_bytes(b"x")
    assert deploy._digest(root, "3.13") == before
    assert deploy._digest(root, "3.12") != before
    (root / "functions/work.py").write_text("x = 2\n")
    assert deploy._digest(root, "3.13") != before


def test_copy_declares_the_other_version(root: Path):
    copy = deploy._copy_for(root, "3.11")
    assert (copy / "template.yaml").read_text() == "Globals: {Function: {Runtime: python3.11}}\n"
    assert (copy / "functions/work.py").exists()
    assert "python3.13" in (root / "template.yaml").read_text()


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ("A=1 B='two words'", {"A": "1", "B": "two words"}),
        (["A=1", 'B="two words"'], {"A": "1", "B": "two words"}),
        ([], {}),
    ],
)
def test_overrides_of_the_configuration(configured, expected):
    assert deploy._overrides(configured) == expected


def test_what_a_failed_build_said_keeps_what_a_compiler_said():
    said = "  error: subprocess-exited-with-error\n  ╰─> [2 lines of output]\n      error: command 'gcc' failed\n"
    assert "command 'gcc' failed" in deploy._tail(said)


def test_what_a_failed_build_said_has_its_reason_and_no_frames():
    said = 'Traceback (most recent call last):\n  File "/x.py", line 1, in get\n    return f()\n           ^^^\nOSError: disk\n'
    assert deploy._tail(f"Building\n{said}\n[notice] A new release of pip\n") == "Building\nOSError: disk"


def test_values_are_quoted_for_sam():
    assert deploy._quoted("Key", 'say "hi" \\ bye') == 'Key="say \\"hi\\" \\\\ bye"'


def test_libraries_of_another_machine_are_replaced(tmp_path):
    python = tmp_path / "Pipeline" / "SomeLayer" / "python"
    python.mkdir(parents=True)
    (python / "six.py").write_text("raise ImportError('built for another machine')")
    (python / "requirements.txt").write_text("six==1.17.0\n")
    deploy._install_natively(tmp_path)
    assert '__version__ = "1.17.0"' in (python / "six.py").read_text()


def test_libraries_that_cannot_be_installed_are_named(tmp_path):
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "requirements.txt").write_text("six==no\n")
    with pytest.raises(deploy.BuildError, match="six==no"):
        deploy._install_natively(tmp_path)


def test_build_waits_until_what_was_built_is_deployed(root: Path):
    entered = threading.Event()
    told: list[str] = []

    def build() -> None:
        with deploy._folder_locked(root, fcntl.LOCK_EX, told.append):
            entered.set()

    with deploy._folder_locked(root, fcntl.LOCK_SH), deploy._folder_locked(root, fcntl.LOCK_SH):
        other = threading.Thread(target=build)
        other.start()
        assert not entered.wait(0.3)
        assert told == ["waiting for another command in this folder, which builds or deploys"]
    other.join(10)
    assert entered.is_set()
