# SPDX-License-Identifier: Apache-2.0
"""Point3R against its plain twin, on random weights of sizes that the kit has not; and the twin against the kit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from case_files import KIT, worst
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kin_shapes import point3r_shapes, random_weights
from point3r_twin import PointTwin
from safetensors.torch import load_file
from torch import Tensor

from longtake.checkpoints.strict import load_strict
from longtake.families.point3r import Point3r, Point3rConfig
from longtake.families.point3r_keys import translate
from longtake.frame import Views
from longtake.memory.pointers import Memory

SIZES: dict[str, Any] = {  # heads of 8 and 12 and 6 channels: parts of 2 2 4, 4 4 4 and 2 2 2
    "enc_embed_dim": 16,
    "enc_depth": 1,
    "enc_num_heads": 2,
    "dec_embed_dim": 24,
    "dec_depth": 3,
    "dec_num_heads": 3,
    "memory_dec_num_heads": 2,
    "local_mem_size": 3,
    "value_enc_embed_dim": 8,
    "value_enc_depth": 2,
    "value_enc_num_heads": 1,
    "mlp_ratio": 2,
    "rope_base": 100.0,
    "rope3d_bases": [10.0, 100.0, 1000.0, 10000.0],
    "dpt_feature_dim": 6,
    "dpt_last_dim": 3,
    "dpt_layer_dims": [4, 3, 2, 5],
}
FIELDS = {"points_self": "pts3d_in_self_view", "points_world": "pts3d_in_other_view", "pose": "camera_pose"}


def model(sizes: dict[str, Any], weights: dict[str, Tensor], merge: bool, half: bool) -> Point3r:
    config = replace(Point3rConfig.from_official(sizes), rounded_rope=half)
    with torch.device("meta"):
        made = Point3r(config if merge else replace(config, merge_steps=None))
    load_strict(made, translate(weights), what="a twin's weights")
    return made.double().eval().requires_grad_(False)


def frames(seed: int, count: int, size: tuple[int, int]) -> list[Tensor]:
    """A slow pan over one random picture, so that old pointers are met again."""
    g = torch.Generator().manual_seed(seed)
    wide = torch.rand(3, size[0], size[1] + 16 * count, dtype=torch.float64, generator=g) * 2 - 1
    return [wide[:, :, 4 * i : 4 * i + size[1]] for i in range(count)]


def steady(walk: list[dict[str, Tensor]], other: list[dict[str, Tensor]]) -> bool:
    """Whether a hundredth of a part in 10**12 more light changes little. Every tenth draw of random weights is chaotic.

    There, a rounding error grows a thousandfold from frame to frame (positions of points turn the features of others),
    and no two programs agree to more digits than the twin does with itself.
    """
    pairs = [(a[name], b[name]) for a, b in zip(walk, other, strict=True) for name in a]
    return all(a.shape == b.shape and worst(a, b) < 1e-11 for a, b in pairs if a.is_floating_point())


@settings(deadline=None, max_examples=4)
@given(
    seed=st.integers(0, 10**6),
    size=st.sampled_from([(32, 48), (48, 32), (16, 64)]),
    merge=st.booleans(),
    memory_heads=st.sampled_from([2, 4]),
)
def test_views_and_pointers_are_the_twins(seed: int, size: tuple[int, int], merge: bool, memory_heads: int) -> None:
    sizes = SIZES | {"memory_dec_num_heads": memory_heads}
    weights = random_weights(point3r_shapes(sizes), seed)
    views = frames(seed, 3, size)
    wanted = PointTwin(sizes, weights).walk(views, merge)
    assume(steady(wanted, PointTwin(sizes, weights).walk([view * (1 + 1e-14) for view in views], merge)))
    net, memory = model(sizes, weights, merge, False), {}
    for view, fields in zip(views, wanted, strict=True):
        tokens = net.tokenize(Views(image=view[None]))
        exchange = net.exchange(memory, tokens)
        heads = net.detokenize(exchange)
        memory: Memory = net.commit(memory, exchange, heads)
        for ours, theirs in FIELDS.items():
            assert worst(getattr(heads, ours)[0], fields[theirs]) < 1e-10
        assert worst(exchange.pose_token_in[0], fields["pose_token_in"]) < 1e-10
        for ours, theirs in (("positions", "pointer_pos"), ("tokens", "pointer_feat"), ("patches", "patch_pos")):
            assert worst(memory[ours][0], fields[theirs]) < 1e-9
        assert worst(memory["pose_memory"][0], fields["mem_after"]) < 1e-10


def test_the_rounded_rotation_is_the_twins() -> None:
    weights = random_weights(point3r_shapes(SIZES), 3)
    (view,) = frames(3, 1, (32, 48))
    heads = {}
    for half in (True, False):
        net = model(SIZES, weights, True, half)
        heads[half] = net.detokenize(net.exchange({}, net.tokenize(Views(image=view[None])))).points_world[0]
        assert (
            worst(heads[half], PointTwin(SIZES, weights, half_rope=half).walk([view])[0][FIELDS["points_world"]]) < 1e-9
        )
    assert worst(heads[True], heads[False]) > 1e-6


@pytest.mark.parametrize("run", ["merge_P", "nomerge_L"])
def test_the_twin_reproduces_the_kits_goldens(run: str) -> None:
    folder: Path = KIT / "point3r_a"
    if not folder.is_dir():
        pytest.skip(f"no conformance kit at {folder}: the twin is compared with the library only")
    about = json.loads((folder / "case.json").read_text())
    entry = next(each for each in about["runs"] if each["name"] == run)
    images = load_file(folder / "inputs.safetensors")[entry["frames"]][:4]
    made = PointTwin(about["config"], load_file(folder / "weights.safetensors")).walk(list(images), entry["merge"])
    golden = load_file(folder / entry["file"])
    for i, fields in enumerate(made):
        assert worst(fields["camera_pose"], golden["camera_pose"][i]) < 1e-11
        assert worst(fields["pointer_pos"], golden[f"pointer_pos.{i}"]) < 1e-11
        assert worst(fields["pointer_feat"], golden[f"pointer_feat.{i}"]) < 1e-11
        assert worst(fields["mem_after"], golden["mem_after"][i]) < 1e-11
