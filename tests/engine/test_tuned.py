# SPDX-License-Identifier: Apache-2.0
"""Settings of an engine against the plain model: the same numbers up to the order of sums, and really in use."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend

from longtake.engine import Tuning, narrow, running, tune, tuning_of
from longtake.errors import CapabilityError
from longtake.families.cut3r import Cut3r
from longtake.memory.twin import TwinLayer
from longtake.nn import CrossAttention, Lanes
from longtake.nn.lora import adapt
from longtake.registry import find
from longtake.stream import Stream, Streams

ALL = Tuning(lanes=True, joint=True, tables=True, channels_last=True, benchmark=True, attention="math", color=False)
EACH = [
    Tuning(lanes=True),
    Tuning(joint=True),
    Tuning(tables=True),
    Tuning(channels_last=True),
    Tuning(benchmark=True),
    Tuning(attention="math"),
    Tuning(attention="cudnn"),
    Tuning(color=False),
    ALL,
]


def build(name: str = "cut3r-512") -> Cut3r:
    torch.manual_seed(5)
    return Cut3r(find(name).config.tiny()).eval().requires_grad_(False)


def picture(i: int, height: int = 36, width: int = 48) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("tuning", "precision"), [(each, "float32") for each in EACH] + [(ALL, "bf16")])
def test_a_tuned_model_says_what_the_plain_one_says(tuning: Tuning, precision: str) -> None:
    plain, tuned = narrow(build(), precision), tune(narrow(build(), precision), tuning)
    assert tuning_of(tuned) == tuning and tuning_of(plain) == Tuning()
    one, two = Streams(plain, 2, reset_every=3), Streams(tuned, 2, reset_every=3)
    bound = {"rtol": 1e-4, "atol": 1e-5} if precision == "float32" else {"rtol": 0.03, "atol": 0.03}
    for i in range(5):
        size = (36, 48) if i != 3 else (48, 36)
        frames = [picture(2 * i, *size), None if i == 1 else picture(2 * i + 1, *size)]
        for a, b in zip(one.step(frames), two.step(frames), strict=True):
            if a is not None and b is not None:
                torch.testing.assert_close(b.points, a.points, **bound)
                torch.testing.assert_close(b.points_world, a.points_world, **bound)
                torch.testing.assert_close(b.world_from_cam, a.world_from_cam, **bound)
                assert (b.color is None) is not tuning.color
    assert [*two.state.tensors()] == [*one.state.tensors()]


@pytest.mark.parametrize("name", ["longtake-small", "point3r", "dust3r"])
def test_other_models_can_be_tuned_too(name: str) -> None:
    plain, tuned = (
        type(entry.build())(entry.config.tiny()).eval().requires_grad_(False) for entry in (find(name), find(name))
    )
    tuned.load_state_dict(plain.state_dict())
    one, two = Stream(plain), Stream(tune(tuned, ALL))
    for i in range(3):
        a, b = one.step(picture(i, 48, 64)), two.step(picture(i, 48, 64))
        torch.testing.assert_close(b.points, a.points, rtol=1e-3, atol=1e-4)


def test_settings_reach_the_parts_and_can_be_undone() -> None:
    model = tune(build(), ALL)
    layers = [part for part in model.modules() if isinstance(part, TwinLayer)]
    lanes = {id(part.lanes) for part in (model, model.heads, *layers)}
    assert len(lanes) == 1 and isinstance(model.lanes, Lanes), "one set of CUDA streams for the whole model"
    assert all(part.joint is not None for part in model.modules() if isinstance(part, CrossAttention))
    convolution = model.heads.own.head_mid  # type: ignore[union-attr]
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    Stream(model).step(picture(0))
    assert model.memory.kept and model.image_encoder.kept and model.heads.world_tokens.kept  # type: ignore[union-attr]
    tune(model, Tuning())
    assert model.lanes is model.memory.kept is layers[0].lanes is layers[0].state.cross.joint is None
    assert convolution.weight.is_contiguous()


def test_keys_and_values_are_one_product_of_the_same_memory() -> None:
    plain = CrossAttention(32, 4).eval().requires_grad_(False)
    other = copy.deepcopy(plain)
    other.join_weights()
    assert other.joint is not None
    weight, _ = other.joint
    assert weight.untyped_storage().data_ptr() == other.value.weight.untyped_storage().data_ptr()
    assert all(torch.equal(t, plain.state_dict()[name]) for name, t in other.state_dict().items())
    x, y = torch.randn(2, 5, 32), torch.randn(2, 7, 32)
    torch.testing.assert_close(other(x, y, want_logit=True), plain(x, y, want_logit=True))
    for each in (plain, other):
        each.value.weight.mul_(2)
    torch.testing.assert_close(other(x, y)[0], plain(x, y)[0])
    assert other.double().joint is None, "the joint weights are float32"
    assert other(x.double(), y.double())[0].dtype == torch.float64


def test_adapters_are_not_passed_over() -> None:
    model = tune(build(), Tuning(joint=True))
    torch.manual_seed(1)
    adapt(model, 2)
    for name, parameter in model.named_parameters():
        if name.endswith("lora_up"):
            nn.init.normal_(parameter)
    plain = copy.deepcopy(model)
    tune(plain, Tuning())
    a, b = Stream(plain).step(picture(0)), Stream(model).step(picture(0))
    torch.testing.assert_close(b.points, a.points, rtol=1e-4, atol=1e-5)


def test_compiled_blocks_and_heads_are_traced_whole_and_say_the_same() -> None:
    """Traced, not translated: the translation takes a minute. In a process without this suite's checks of types."""
    program = f"""
import torch
from longtake.engine import Tuning, narrow, tune
from longtake.engine.compiled import compile_parts
from longtake.families.cut3r import Cut3r
from longtake.registry import find
from longtake.stream import Streams
def build():
    torch.manual_seed(5)
    return narrow(Cut3r(find("cut3r-512").config.tiny()).eval().requires_grad_(False), "bf16")
tuned = compile_parts(tune(build(), {ALL!r}), dense=True, backend="eager")
kinds = {{type(part).__name__ for part in tuned.modules() if part._compiled_call_impl is not None}}
assert kinds == {{"EncoderBlock", "DecoderBlock", "ConditionedBlock", "DptAdapter", "SurePoints"}}, kinds
one, two = Streams(build(), 2), Streams(tuned, 2)
for i in range(2):
    frames = list(torch.randint(0, 255, (2, 36, 48, 3), dtype=torch.uint8).numpy())
    for a, b in zip(one.step(frames), two.step(frames)):
        torch.testing.assert_close(b.points, a.points, rtol=0.03, atol=0.03)
        torch.testing.assert_close(b.points_world, a.points_world, rtol=0.03, atol=0.03)
counted = torch._dynamo.utils.counters
assert not counted["graph_break"], counted["graph_break"]
assert counted["frames"]["ok"] > 4 and not counted["recompiles"], counted
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_what_is_pytorchs_holds_only_while_the_model_runs() -> None:
    model = tune(build(), Tuning(attention="math", benchmark=True))
    before = (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cudnn.benchmark)
    with running(model):
        assert not torch.backends.cuda.flash_sdp_enabled() and torch.backends.cuda.math_sdp_enabled()
        assert torch.backends.cudnn.benchmark
    assert (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cudnn.benchmark) == before
    with pytest.raises(CapabilityError, match="attention='slow'.*cudnn"):
        tune(build(), Tuning(attention="slow"))
    assert SDPBackend.CUDNN_ATTENTION.value >= 0


def test_a_copy_has_lanes_of_its_own() -> None:
    model = tune(build(), ALL)
    other = copy.deepcopy(model)
    assert other.lanes is not model.lanes and isinstance(other.lanes, Lanes)
    assert tuning_of(other) == ALL
