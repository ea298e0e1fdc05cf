# SPDX-License-Identifier: Apache-2.0
"""A stream is a value: constant in size, saved and resumed bit for bit, moved between devices."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stream_models import PUBLISHED, SMALL, build, picture

from longtake.engine import Tuning, narrow, pack, tune
from longtake.errors import CheckpointError, InputError, OutputError
from longtake.frame import Prediction
from longtake.rules import TTT3R, get_rule
from longtake.saved import fingerprint
from longtake.stream import Stream, Streams

models = pytest.mark.parametrize("config", [PUBLISHED, SMALL], ids=["published", "small"])
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
FIELDS = ("points", "confidence", "depth", "world_from_cam", "intrinsics", "points_world", "confidence_world")


def same(a: Prediction, b: Prediction) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


def same_state(a: Streams, b: Streams) -> bool:
    mine, theirs = a.state.tensors(), b.state.tensors()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("config", [SMALL, pytest.param(PUBLISHED, marks=pytest.mark.slow)], ids=["small", "published"])
def test_bytes_at_frame_1000_equal_those_at_frame_10(config: object) -> None:
    stream = Stream(build(config), reset_every=300)
    frames = [picture(i, 16, 32) for i in range(7)]
    sizes = {}
    for i in range(1, 1001):
        stream.step(frames[i % 7])
        if i in (1, 10, 300, 301, 1000):
            sizes[i] = stream.state_bytes
    assert len(set(sizes.values())) == 1
    assert sizes[1000] == sum(t.nbytes for t in (stream.state.tensors() | stream.watch.tensors()).values())
    assert all(t.isfinite().all() for name, t in stream.state.tensors().items() if name != "seen")


@devices
@models
@pytest.mark.parametrize("rule", ["ttt3r", "overwrite"])
def test_a_resumed_stream_is_the_uninterrupted_one(tmp_path: Path, config: object, rule: str, device: str) -> None:
    model = build(config).to(device)
    going = Stream(model, rule=rule, reset_every=4)
    for i in range(6):  # beyond a reset, in the middle of a chunk
        going.step(picture(i))
    going.save(tmp_path / "state.safetensors")
    resumed = Stream.resume(build(config).to(device), tmp_path / "state.safetensors")
    assert isinstance(resumed, Stream)
    assert same_state(resumed, going)
    assert (resumed.rule.name, resumed.reset_every, resumed.frames) == (rule, 4, [6])
    for i in range(6, 13):
        assert same(resumed.step(picture(i)), going.step(picture(i)))
    assert same_state(resumed, going)


def test_several_streams_are_saved_together(tmp_path: Path) -> None:
    going = Streams(build(SMALL), 3, reset_every=3)
    going.step([picture(0), None, picture(1)])
    going.step([picture(2), picture(3), picture(4)])
    going.save(tmp_path / "state.safetensors")
    resumed = Streams.resume(build(SMALL), tmp_path / "state.safetensors")
    assert type(resumed) is Streams
    assert resumed.frames == [2, 1, 2]
    frames = [picture(5), None, picture(6)]
    for a, b in zip(resumed.step(frames), going.step(frames), strict=True):
        assert (a is None and b is None) or (a is not None and b is not None and same(a, b))
    assert same_state(resumed, going)


@devices
def test_moving_keeps_every_bit(tmp_path: Path, device: str) -> None:
    stream = Stream(build(PUBLISHED))
    for i in range(3):
        stream.step(picture(i))
    before = {name: tensor.clone() for name, tensor in stream.state.tensors().items()}
    assert stream.to(device) is stream
    assert {tensor.device.type for tensor in stream.state.tensors().values()} == {device}
    assert stream.device.type == device
    stream.save(tmp_path / "state.safetensors")  # what is saved elsewhere continues here
    resumed = Stream.resume(build(PUBLISHED), tmp_path / "state.safetensors")
    assert resumed.device.type == "cpu"
    assert all(torch.equal(tensor, before[name]) for name, tensor in resumed.state.tensors().items())
    a, b = stream.step(picture(9)), resumed.step(picture(9))
    assert isinstance(b, Prediction)
    assert a.points.device.type == device
    torch.testing.assert_close(a.points.cpu(), b.points, rtol=1e-3, atol=1e-4)


def test_the_state_says_what_it_holds() -> None:
    stream = Stream(build(SMALL), name="tiny", reset_every=5)
    about = stream.describe()
    assert about["model"] == "tiny"
    assert about["rule"] == "ttt3r"
    assert (about["dtype"], about["device"], about["reset_every"]) == ("float32", "cpu", 5)
    assert about["state_bytes"] == stream.state_bytes


def test_resume_says_what_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    Stream(build(SMALL)).save(path)
    with pytest.raises(InputError, match="no such file"):
        Stream.resume(build(SMALL), tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="was saved by"):
        Stream.resume(build(replace(SMALL, state_size=7)), path)
    with pytest.raises(CheckpointError, match=r"float32.*float64"):
        Stream.resume(build(SMALL).double(), path)
    (tmp_path / "text.safetensors").write_text("not tensors")
    with pytest.raises(CheckpointError, match="not a readable state"):
        Stream.resume(build(SMALL), tmp_path / "text.safetensors")
    save_file({"x": torch.zeros(1)}, str(tmp_path / "weights.safetensors"))
    with pytest.raises(CheckpointError, match="no stream state"):
        Stream.resume(build(SMALL), tmp_path / "weights.safetensors")


def test_a_state_is_not_read_by_other_weights_or_in_another_precision(tmp_path: Path) -> None:
    """Its numbers mean nothing to them, and what they would make of it looks like an answer."""
    path = tmp_path / "state.safetensors"
    going = Stream(build(SMALL), name="tiny")
    going.step(picture(0))
    going.save(path)
    other = build(SMALL)
    with torch.no_grad():
        for weight in other.parameters():  # as one step of training moves them
            weight.add_(torch.randn_like(weight), alpha=1e-6)
    for model, said in (
        (other, r"tiny with other weights.*strict=False"),
        (narrow(build(SMALL), "bf16"), r"saved in float32 and this model runs in bf16.*strict=False"),
    ):
        with pytest.raises(CheckpointError, match=said):
            Stream.resume(model, path)
        assert Stream.resume(model, path, strict=False).frames == [1]
    tensors = load_file(path)
    with safe_open(str(path), "pt") as file:
        about = json.loads(file.metadata()["longtake"])
    earlier = {key: value for key, value in about.items() if key not in ("weights", "precision")}
    save_file(tensors, path, {"longtake": json.dumps(earlier)})
    assert Stream.resume(other, path).frames == [1], "files of earlier versions do not say, and go on"


def test_the_same_weights_are_known_again_however_they_lie(tmp_path: Path) -> None:
    model = build(PUBLISHED)
    said = fingerprint(model)
    assert said == fingerprint(pack(build(PUBLISHED)))
    tune(model, Tuning(joint=True, tables=True, channels_last=True, color=False))
    assert said == fingerprint(model)
    for name, _ in model.named_parameters():
        changed = build(PUBLISHED)
        with torch.no_grad():
            changed.get_parameter(name).mul_(1.001).add_(1e-6)
        assert fingerprint(changed) != said, name
    assert fingerprint(narrow(build(PUBLISHED), "bf16")) != said


class Counting(TTT3R):
    """A rule with a memory of its own."""

    name = "counting"

    def begin(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"count": tokens.new_zeros(len(tokens), 1)}

    def __call__(self, tokens, proposal, stats, buffers):  # type: ignore[no-untyped-def]
        step = super().__call__(tokens, proposal, stats, buffers)
        return replace(step, buffers={"count": buffers["count"] + 1})


def test_a_rules_buffers_are_part_of_the_state(tmp_path: Path) -> None:
    going = Stream(build(SMALL), rule=Counting())
    for i in range(3):
        going.step(picture(i), update=i != 1)
    assert going.state.rule["count"].item() == 2, "a view that does not write does not count"
    going.save(tmp_path / "state.safetensors")
    assert "rule.count" in load_file(tmp_path / "state.safetensors")
    resumed = Stream.resume(build(SMALL), tmp_path / "state.safetensors", rule=Counting())
    assert isinstance(resumed, Stream)
    assert same(resumed.step(picture(4)), going.step(picture(4)))
    assert same_state(resumed, going)
    going.step(picture(5), reset=True)
    assert going.state.rule["count"].item() == 1, "started over, then the overlap was counted"
    with pytest.raises(CheckpointError, match=r"rule counting.*rule ttt3r"):
        Stream.resume(build(SMALL), tmp_path / "state.safetensors", rule=get_rule("ttt3r"))


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no_folder.*cannot be saved"):
        Stream(build(SMALL)).save(tmp_path / "no_folder" / "state.safetensors")


def test_looking_without_writing() -> None:
    stream = Stream(build(PUBLISHED))
    stream.step(picture(0))
    kept = {name: tensor.clone() for name, tensor in stream.state.tensors().items()}
    looked = stream.step(picture(1), update=False)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in stream.state.tensors().items())
    assert stream.frames == [2]
    other = Stream(build(PUBLISHED))
    other.step(picture(0))
    assert same(other.step(picture(1)), looked), "outputs always come from the state before the view"


@pytest.mark.parametrize("options", [{"reset_every": 3}, {"reset_when": "spent:1:1"}], ids=["counted", "triggered"])
def test_looking_neither_starts_the_memory_over_nor_brings_that_nearer(options: dict[str, Any], tmp_path: Path) -> None:
    """A memory that a look started over would have no frame to go on from."""
    plain, looked = Stream(build(PUBLISHED), **options), Stream(build(PUBLISHED), **options)
    for i in range(8):
        if i == 4:  # what was counted is part of what is saved
            looked.save(tmp_path / "s.safetensors")
            resumed = Stream.resume(looked.model, tmp_path / "s.safetensors")
            assert isinstance(resumed, Stream) and (resumed.frames, resumed.written) == ([16], [4])
            looked = resumed
        assert same(looked.step(picture(i)), plain.step(picture(i)))
        for k in range(3):
            looked.step(picture(100 * i + k + 9), update=False)
    assert same_state(looked, plain)
    assert not torch.equal(plain.state.world_from_chunk[0], torch.eye(4)), "it did start over"


def test_pictures_come_as_frames_or_arrays() -> None:
    stream = Stream(build(SMALL))
    assert np.array_equal(stream.step(picture(0)).image.numpy().shape, (32, 48, 3))
    second = stream.step(picture(1))
    assert (second.index, second.time, second.name) == (1, 1.0, "")
