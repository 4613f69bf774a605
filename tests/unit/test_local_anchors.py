import pytest

from local.cloud import anchors


def test_anchors_are_those_of_the_pinned_version():
    anchors.check()


def test_a_changed_function_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(anchors.ANCHORS, "services.stepfunctions:_run_execution", "0" * 12)
    monkeypatch.setitem(anchors.ANCHORS, "services.stepfunctions:_gone", "0" * 12)
    with pytest.raises(anchors.AnchorError) as error:
        anchors.check()
    assert "services.stepfunctions:_run_execution, services.stepfunctions:_gone" in str(error.value)
    assert f"ministack=={anchors.PINNED_VERSION}" in str(error.value)


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(anchors, "PINNED_VERSION", "0.0.1")
    with pytest.raises(anchors.AnchorError, match="written for 0.0.1"):
        anchors.check()


def test_nothing_is_replaced_without_a_digest():
    with pytest.raises(anchors.AnchorError, match="without a digest"):
        anchors.replace("services.stepfunctions:_execute_wait", print)
