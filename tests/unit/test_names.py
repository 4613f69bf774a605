"""Distinct names on disk."""

from contextlib import closing

from watchfloor.names import DistinctNames


def test_names_are_kept_once_and_told_apart(tmp_path):
    with closing(DistinctNames(tmp_path)) as names:
        names.add(f"name {n % 2_500:05d}" for n in range(6_000))
        groups = list(names.groups())
        assert [len(group) for group in groups] == [1_000, 1_000, 500]
        assert [name for group in groups for name in group] == [f"name {n:05d}" for n in range(2_500)]
        names.mark_known(groups[0])
        names.add(["name 00000"])
        assert list(names.unknown()) == groups[1] + groups[2]


def test_names_of_any_text(tmp_path):
    odd = ["", "a\x00b", "ünïcode \U0001f600", "'; DROP TABLE names; --"]
    with closing(DistinctNames(tmp_path)) as names:
        names.add(odd)
        assert list(names.unknown()) == sorted(odd, key=str.encode)
