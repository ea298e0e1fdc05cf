# SPDX-License-Identifier: Apache-2.0
"""The configuration of CUT3R-shaped models: round trips, what is refused, what the published sizes imply."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from case_files import DATA, NAMES, read_case

from longtake.errors import CheckpointError
from longtake.families.cut3r import Cut3r, Cut3rConfig
from longtake.families.cut3r_keys import ours, translate
from longtake.registry import SMALL
from longtake.stream import Stream


@pytest.mark.parametrize("config", [Cut3rConfig(), SMALL], ids=["official", "small"])
def test_round_trip_through_json(config: Cut3rConfig) -> None:
    assert Cut3rConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_entries_are_named() -> None:
    with pytest.raises(CheckpointError, match="depht"):
        Cut3rConfig.from_dict({"depht": 3})


@pytest.mark.parametrize(
    "odd",
    [
        {"pos_embed": "RoPE10"},
        {"patch_size": 14},
        {"pose_head": False},
        {"conf_mode": ("exp", 0, math.inf)},
        {"depth_mode": ["square", "-inf", "inf"]},
        {"output_mode": "pts3d"},
    ],
    ids=str,
)
def test_modes_that_are_not_published_are_refused(odd: dict) -> None:
    (name,) = odd
    with pytest.raises(CheckpointError, match=name):
        Cut3rConfig.from_official(odd)


def test_infinities_may_be_numbers_or_text() -> None:
    numbers = {"depth_mode": ("exp", -math.inf, math.inf), "conf_mode": ("exp", 1, math.inf)}
    text = {"depth_mode": ["exp", "-inf", "inf"], "conf_mode": ["exp", 1, "inf"]}
    assert Cut3rConfig.from_official(numbers) == Cut3rConfig.from_official(text) == Cut3rConfig()


@pytest.mark.parametrize("head", ["dense", "conv"])
def test_heads_that_cannot_be_built_are_named(head: str) -> None:
    with pytest.raises(CheckpointError, match=head):
        Cut3r(replace(read_case(DATA / NAMES[0]).model().config, head=head))


@pytest.mark.parametrize("key", ["module.x", "enc_blocks.0.norm9.weight", "downstream_head.unknown.weight", "bias"])
def test_unknown_keys_stay_visible(key: str) -> None:
    assert ours(key) is not None  # so that strict loading can name it


@pytest.mark.parametrize("name", NAMES)
def test_every_official_key_has_a_place_of_its_own(name: str) -> None:
    case = read_case(DATA / name)
    named = translate(case.weights)
    model = case.model().state_dict()
    assert named.keys() == model.keys()
    dropped = [key for key in case.weights if ours(key) is None]
    assert len(named) + len(dropped) == len(case.weights)
    assert all("layer_rn." in key or "refinenet4.resConfUnit1" in key for key in dropped)


def test_the_224_model_sees_the_middle_square_and_others_the_whole_picture() -> None:
    wide = np.zeros((60, 160, 3), np.uint8)
    for size, shape in (((224, 224), (224, 224, 3)), ((512, 512), (192, 512, 3))):
        config = Cut3rConfig.from_official(read_case(DATA / "linear_b").about["config"] | {"img_size": size})
        prediction = Stream(Cut3r(replace(config, rounded_rope=False))).step(wide)
        assert prediction.image.shape == shape
        centre = prediction.intrinsics[:2, 2]
        assert torch.equal(centre, torch.tensor([shape[1] // 2, shape[0] // 2]).to(centre.dtype))
