# SPDX-License-Identifier: Apache-2.0
"""Threads: as many as a container grants, and never against what the user has set."""

from __future__ import annotations

from pathlib import Path

import pytest

from longtake import cores


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("max 100000\n", None), ("200000 100000\n", 2), ("150000 100000\n", 2), ("1000 100000\n", 1), ("nonsense", None)],
)
def test_a_quota_is_rounded_up_to_whole_cores(text: str, wanted: int | None, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert cores.granted_cores(tmp_path / "cpu.max") == wanted
    assert cores.granted_cores(tmp_path / "none") is None


def test_threads_follow_the_quota_unless_the_user_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "_usable", lambda: range(64))
    quota = tmp_path / "cpu.max"
    for text, given, wanted in (
        ("200000 100000", {}, "2"),
        ("200000 100000", {"OMP_NUM_THREADS": "7"}, "7"),
        ("max 100000", {}, None),
        ("6400000 100000", {}, None),
    ):
        quota.write_text(text)
        environment = dict(given)
        cores.set_threads(environment, quota)
        assert environment.get("OMP_NUM_THREADS") == wanted and environment["GOMP_SPINCOUNT"] == "1000"
