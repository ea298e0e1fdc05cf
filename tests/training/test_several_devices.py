# SPDX-License-Identifier: Apache-2.0
"""Processes that train together: the same weights, reports at the same steps, whatever sizes each of them has."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import TINY

from longtake.errors import CapabilityError
from longtake.training import crew
from longtake.training.keep_going import _complaint, train_and_keep_going
from longtake.training.loop import TrainConfig, Trainer
from longtake.training.schedule import Stage


def test_two_processes_at_different_sizes_report_and_change_stages_together(tmp_path: Path) -> None:
    """One take of 64x96 has the pixels of eight of 32x24, so the two see unequal numbers of frames."""
    stages = (
        Stage(2, until=0.5, flow_below=1e9, sizes=((64, 96), (32, 32)), share=2.0),  # over at its first report
        Stage(4, until=1.0, sizes=((32, 32), (32, 48)), window=2),
    )
    config = TrainConfig(out=tmp_path, minutes=10.0, stages=stages, frames_per_step=1, held_out=1, look_every=5.0)
    train_and_keep_going(replace(config, warmup=2, max_steps=12), TINY, devices=2)
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert records[0]["event"] == "start" and records[0]["devices"] == 2
    assert records[-1]["event"] == "end", "all steps of both were done, or one would wait for ever"
    reports = [record for record in records if record["event"] == "train"]
    assert {record["take"] for record in reports} == {2, 4}
    assert len({record["frames"] for record in reports}) == len(reports) > 2
    assert not (tmp_path / "errors.txt").read_text(encoding="utf-8").count("Error")


@pytest.mark.parametrize(
    ("seen", "local", "wanted"),
    [(None, 1, "1"), ("", 1, "1"), ("4,6", 1, "6"), ("GPU-a,GPU-b", 0, "GPU-a"), ("7", 0, "7")],
)
def test_each_process_sees_its_own_device_alone(
    seen: str | None, local: int, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen or "")
    if seen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    crew._see_one_device(local)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == wanted


def test_where_one_of_two_fails_its_own_words_are_said(tmp_path: Path) -> None:
    config = TrainConfig(out=tmp_path, minutes=0.3, curriculum="toy", resume=tmp_path / "none.safetensors")
    with pytest.raises(CapabilityError, match=r"none\.safetensors"):
        train_and_keep_going(config, TINY, devices=2)


def test_the_launchers_words_are_not_taken_for_the_failure() -> None:
    said = "[rank1]: RuntimeError: CUDA out of memory\nE1124 torch/distributed/elastic/api.py:9] failed\n=====\n"
    assert _complaint(said) == "[rank1]: RuntimeError: CUDA out of memory"
    assert _complaint("Killed\n") == "Killed"
    assert _complaint("") == ""


def test_long_steps_report_after_fewer_of_them_and_all_devices_after_as_many(tmp_path: Path) -> None:
    """What one device is at does not count: two that report after different steps would wait for each other."""
    long = Stage(64, until=1.0, sizes=((32, 32), (64, 96)), share=8000.0, window=2)
    trainer = Trainer(TrainConfig(out=tmp_path, stages=(long,), frames_per_step=2), TINY)
    waits = set()
    for turn in range(4):
        trainer.crew.rank = turn
        waits.add(trainer.steps_to_report())
    assert waits == {3}
    trainer.frames_per_step = 100_000
    assert trainer.steps_to_report() == 1
    trainer.frames_per_step = 1  # of short takes
    trainer.schedule.stages = (Stage(2, until=1.0),)
    assert trainer.steps_to_report() == 5
