# SPDX-License-Identifier: Apache-2.0
"""Which attention is trained through, how large logits are, and what clipping them does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import TINY, tiny_learner
from torch import nn

from longtake.nn import DecoderBlock
from longtake.nn.attention import CrossAttention
from longtake.nn.rope import rope_table
from longtake.synthetic.config import WorldConfig
from longtake.training.attention import Logits, clip_logits, sound_attention
from longtake.training.flat import FlatParameters
from longtake.training.loop import TrainConfig, train
from longtake.training.losses import LossWeights
from longtake.training.shapes import Shape
from longtake.training.snapshot import save_learner
from longtake.training.step import Learner, Step

WORLD = WorldConfig(mesh_share=0.0, street_share=0.0, chunk=8)


class Two(nn.Module):
    """Two blocks whose cross-attentions are called in two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.turned = DecoderBlock(16, 2), DecoderBlock(16, 2)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        table_x, table_y = (rope_table(torch.arange(2 * len(z[0])).view(-1, 2), 8, z.dtype) for z in (x, y))
        x, _ = self.plain(x, y)
        return self.turned(x, y, table_x, table_y)[0]


def by_hand(block: DecoderBlock, x: torch.Tensor, y: torch.Tensor) -> float:
    """The largest logit of a block without positions, pair by pair."""
    x = x + block.attn(block.norm1(x))
    query, key = block.cross.query(block.norm2(x)), block.cross.key(block.norm_y(y))
    largest = 0.0
    for n in range(len(x)):
        for head in (slice(0, 8), slice(8, 16)):
            for q in query[n, :, head]:
                largest = max(largest, *(abs(float(q @ k)) / 8**0.5 for k in key[n, :, head]))
    return largest


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(2, 3, 16, generator=generator), torch.randn(2, 5, 16, generator=generator)


@torch.no_grad()
def test_the_largest_logit_is_that_of_all_pairs_in_all_calls(inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.manual_seed(0)
    model, (x, y) = Two(), inputs
    before = model(x, y)
    with Logits(model) as logits:
        assert torch.equal(model(x, y), before), "looking changes nothing"
        model(x, 3 * y)
    assert set(logits.largest) == {"plain.cross", "turned.cross"}
    wanted = max(by_hand(model.plain, x, y), by_hand(model.plain, x, 3 * y))
    assert float(logits.largest["plain.cross"]) == pytest.approx(wanted, rel=1e-5)
    assert all(not part._forward_pre_hooks and not part._forward_hooks for part in model.modules())


@torch.no_grad()
def test_clipping_scales_logits_and_nothing_else(inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.manual_seed(0)
    model = Two()
    with Logits(model) as before:
        model(*inputs)
    kept = {name: p.clone() for name, p in model.named_parameters()}
    clip_logits(model, {"plain.cross": 0.25})
    with Logits(model) as after:
        model(*inputs)
    ratio = after.largest["plain.cross"] / before.largest["plain.cross"]
    assert float(ratio) == pytest.approx(0.25, rel=1e-5)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, kept[name])}
    assert changed == {f"plain.cross.{layer}.{what}" for layer in ("query", "key") for what in ("weight", "bias")}


def test_a_run_begins_with_logits_at_the_limit_and_says_so(tmp_path: Path) -> None:
    learner = tiny_learner()
    name = "model.memory.pose_memory.read_blocks.0.cross"
    part = learner.get_submodule(name)
    assert isinstance(part, CrossAttention)
    with torch.no_grad():
        part.query.weight.mul_(3000.0)
    save_learner(learner, tmp_path / "large.safetensors")
    small = TrainConfig(out=tmp_path, curriculum="toy", frames_per_step=1, max_steps=1, held_out=1, world=WORLD)
    train(replace(small, resume=tmp_path / "large.safetensors", logits=20.0), TINY)
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    (clipped,) = [record for record in records if record["event"] == "clipped"]
    assert clipped["to"] == 20.0 and clipped[name] > 20.0
    others = [other for other in clipped if other.endswith(".cross") and other != name]
    assert not others, "attention below the limit stays as it is"


def test_training_leaves_the_kernel_out_whose_gradients_are_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch.backends.cuda.cudnn_sdp_enabled()
    with sound_attention():
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        assert torch.backends.cuda.flash_sdp_enabled() and torch.backends.cuda.math_sdp_enabled()
    assert torch.backends.cuda.cudnn_sdp_enabled()
    allowed: list[bool] = []
    walk = Learner.walk

    def looked(self: Learner, *given: object, **named: object) -> object:
        allowed.append(torch.backends.cuda.cudnn_sdp_enabled())
        return walk(self, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "walk", looked)
    learner = tiny_learner()
    flat = FlatParameters([learner])
    step = Step(learner, Shape(1, 2, 32, 48), WORLD, LossWeights(), flat.gradients, 0.5, precision=None)
    step.forward_backward()
    assert allowed and not any(allowed)


@pytest.mark.gpu
def test_gradients_are_finite_where_softmax_picks_one_key() -> None:
    """Shapes and logits are those of the pose memory at which cuDNN's gradients were nan."""
    generator = torch.Generator("cuda").manual_seed(0)
    query, key, value = (
        torch.randn(12, 4, n, 32, device="cuda", dtype=torch.bfloat16, generator=generator, requires_grad=True)
        for n in (1, 64, 64)
    )
    with sound_attention():
        made = torch.nn.functional.scaled_dot_product_attention(60 * query, 60 * key, value)
    made.float().square().sum().backward()
    for tensor in (query, key, value):
        assert tensor.grad is not None and bool(tensor.grad.isfinite().all())
