# SPDX-License-Identifier: Apache-2.0
"""Each rule in the library's own loop, against its formula done with loops and full attention maps."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from rule_twins import TWINS, Moment, twin
from torch import Tensor

from longtake.families.cut3r import Cut3r, Cut3rConfig
from longtake.frame import Exchange, Flags, Views
from longtake.nn.attention import CrossAttention, split_heads
from longtake.nn.rope import rotate
from longtake.rules import get_rule, rule_names
from longtake.stream import absorb

BUILT_IN = rule_names()  # as imported: other tests may register more
NAMES = [
    *BUILT_IN,
    "constant:0.4",
    "ttt3r-calibrated:0.5",
    "memix:0.4",
    "ttt3r+memix:0.6",
    "filt3r+memix:0.6+keyframe",
    "ortho+memix:0.6",
]
CONFIG = Cut3rConfig(
    head="linear",
    image_size=64,
    encoder_width=24,
    encoder_depth=1,
    encoder_heads=2,
    decoder_width=16,
    decoder_depth=3,
    image_heads=2,
    state_heads=4,
    state_size=9,
    pose_slots=3,
    pose_width=16,
    ray_depth=0,
    color=False,
    rounded_rope=False,
    square_ok=True,
)
# Six frames for two streams: picture sizes, who is there, who may write, who starts over after.
SIZES = [(32, 48), (32, 48), (32, 48), (48, 32), (48, 32), (48, 32), (32, 64)]
ACTIVE = [(1, 1), (1, 1), (1, 1), (0, 1), (1, 1), (1, 1), (1, 1)]
UPDATE = [(1, 1), (1, 1), (1, 0), (1, 1), (1, 1), (1, 1), (1, 1)]
RESET = [(0, 0), (0, 0), (0, 0), (0, 0), (0, 1), (0, 0), (0, 0)]


def build() -> Cut3r:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Cut3r(CONFIG).double().eval().requires_grad_(False)
        for layer in model.memory.layers:  # louder attention, so that no statistic is flat
            layer.state.cross.query.weight.mul_(6)  # type: ignore[union-attr,operator]
    return model


class Maps:
    """The scaled logits of the state's cross-attention in every layer, made the plain way from what went in."""

    def __init__(self, model: Cut3r) -> None:
        self.layers: list[Tensor] = []
        for layer in model.memory.layers:
            layer.state.cross.register_forward_pre_hook(self._see)  # type: ignore[union-attr]

    def _see(self, cross: CrossAttention, args: tuple[Any, ...]) -> None:  # type: ignore[override]
        x, y, table_x, table_y = args[:4]
        q, k = (split_heads(part(t), cross.heads) for part, t in ((cross.query, x), (cross.key, y)))
        q, k = rotate(q, table_x), rotate(k, table_y)
        self.layers.append(torch.einsum("nhsd,nhkd->nhsk", q, k) / q.shape[-1] ** 0.5)

    def take(self) -> list[Tensor]:
        seen, self.layers = self.layers, []
        return seen


def moment(state: Tensor, exchange: Exchange, maps: list[Tensor], grid: tuple[int, int], i: int) -> Moment:
    assert exchange.stats.image_in is not None
    return Moment(
        state=state[i].numpy(),
        proposal=exchange.proposal[i].numpy(),
        maps=[layer[i].numpy() for layer in maps],
        features=exchange.layers[0][i].numpy(),
        grid=grid,
        before=exchange.stats.image_in[i].numpy(),
        after=exchange.layers[-1][i].numpy(),
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_loop_does_what_the_formula_says(name: str) -> None:
    model, rule = build(), get_rule(name)
    assert rule.name == name
    maps = Maps(model)
    state = model.begin(2, rule)
    start = state.tokens[0].numpy()
    states: list[np.ndarray] = [start, start]
    memories: list[dict] = [{}, {}]
    seen = [False, False]
    rates = []
    for t, size in enumerate(SIZES):
        picture = torch.rand(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(t)) * 2 - 1
        flags = Flags(*(torch.tensor(row[t], dtype=torch.bool) for row in (ACTIVE, UPDATE, RESET)))
        before = state.tokens
        exchange, state = absorb(model, state, model.tokenize(Views(image=picture)), rule, flags)
        layers = maps.take()
        for i in range(2):
            if not ACTIVE[t][i]:
                continue
            kept = deepcopy(memories[i])
            m = moment(before, exchange, layers, (size[0] // 16, size[1] // 16), i)
            rate, direction = twin(name, m, kept)
            if not seen[i]:
                rate, direction = [1.0] * len(rate), m.proposal - m.state
            if UPDATE[t][i]:
                states[i] = states[i] + np.array(rate)[:, None] * direction
                memories[i] = kept
                rates.append(rate)
            seen[i] = True
            if RESET[t][i]:
                states[i], memories[i], seen[i] = start, {}, False
        for i in range(2):
            assert np.abs(state.tokens[i].numpy() - states[i]).max() < 1e-9, f"frame {t}, stream {i}"
    later = np.array(rates[2:])
    assert later.min() >= 0
    assert later.max() <= 1
    if name not in ("overwrite", "constant", "constant:0.4"):
        assert len(np.unique(later.round(12))) > 1, "a rate that never moves would prove nothing"


def test_every_rule_has_a_twin() -> None:
    assert set(TWINS) == set(BUILT_IN)
