# SPDX-License-Identifier: Apache-2.0
"""Point3R, Fast3R and DUSt3R from outside: keys, counts, and files of every form become the same model."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kin_shapes import KIN, random_weights
from safetensors.torch import save_file
from torch import Tensor, nn

import longtake
from longtake.checkpoints import convert
from longtake.checkpoints.convert import TRANSLATIONS, build_empty, read_any
from longtake.checkpoints.strict import load_strict
from longtake.errors import CapabilityError, CheckpointError

ROOT = Path(__file__).resolve().parents[2]
KEYS = {
    "point3r": ROOT.parent / "shared" / "kit" / "recurrent" / "official" / "point3r_512.keys.json",
    "fast3r": ROOT.parent / "shared" / "kit" / "fullattn" / "keys" / "fast3r_vitl512.keys.json",
}
COUNTS = {
    "point3r": 828_014_991,  # the kit's
    "fast3r": 647_551_368,  # the kit's
    # No golden: ViT-Large encoder, two ViT-Base decoders with cross-attention, two DPT heads, added up by hand below.
    "dust3r": 571_170_440,
}
families = pytest.mark.parametrize("family", KIN)


def dead(key: str) -> bool:
    return ".layer_rn." in key or "refinenet4.resConfUnit1" in key


def text_of(family: str, sizes: dict[str, Any]) -> str:
    values = ", ".join(f"{k}={v!r}" for k, v in sizes.items() if k.endswith("heads") or k == "mlp_ratio")
    modes = "depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), pos_embed='RoPE100', img_size=(64, 64)"
    if family == "point3r":
        return f"Point3R(Point3RConfig({values}, {modes}, head_type='dpt', output_mode='pts3d+pose'))"
    return f"AsymmetricCroCo3DStereo({values}, {modes}, head_type='dpt', output_mode='pts3d')"


def model_of(family: str, weights: dict[str, Tensor]) -> nn.Module:
    """The model as the library builds it, on a path of its own: shapes and sizes to configuration to module."""
    _, sizes, _ = KIN[family]
    translation = TRANSLATIONS[family]()
    config, _ = translation.configure({key: tuple(t.shape) for key, t in weights.items()}, sizes)
    model = build_empty(family, config | {"image_size": 64}, "a test")
    load_strict(model, translation.rename(weights), what="a test")
    return model


@families
def test_the_official_key_list_loads_strictly_and_has_the_right_count(family: str) -> None:
    shapes_of, _, sizes = KIN[family]
    shapes = shapes_of(sizes)
    translation = TRANSLATIONS[family]()
    on_meta = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    config, notes = translation.configure({key: tuple(shape) for key, shape in shapes.items()}, None)
    assert any("assumed the published values" in note for note in notes)
    named = translation.rename(on_meta)
    model = build_empty(family, config, "a test")
    load_strict(model, named, what="a test")
    assert len(named) + sum(map(dead, shapes)) == len(shapes)
    unread = sum(t.numel() for key, t in on_meta.items() if "resConfUnit1" in key and dead(key))
    assert sum(p.numel() for p in model.parameters()) + unread == COUNTS[family]


@pytest.mark.parametrize("family", KEYS)
def test_the_kit_has_the_same_key_list(family: str) -> None:
    if not KEYS[family].exists():
        pytest.skip(f"no key list at {KEYS[family]}: only the shapes from the sizes are checked")
    shapes_of, _, sizes = KIN[family]
    assert json.loads(KEYS[family].read_text()) == shapes_of(sizes)


def test_dust3rs_count_by_hand() -> None:
    d, e = 1024, 768
    encoder = 3 * 256 * d + d + 24 * (12 * d * d + 13 * d) + 2 * d
    decoder = 12 * (16 * e * e + 21 * e)  # self-attention 4, cross-attention 4, MLP 8; biases 4 + 4 + 5; norms 8
    joint = d * e + e + 2 * e

    def conv(wide: int, out: int, side: int, bias: bool = True) -> int:
        return wide * out * side * side + (out if bias else 0)

    f, last, dims = 256, 128, (96, 192, 384, 768)
    head = sum(conv(wide, out, 1) for wide, out in zip((d, e, e, e), dims, strict=True))
    head += conv(96, 96, 4) + conv(192, 192, 2) + conv(768, 768, 3)
    head += sum(conv(out, f, 3, bias=False) for out in dims)
    head += 4 * (4 * conv(f, f, 3) + conv(f, f, 1))
    head += conv(f, f // 2, 3) + conv(f // 2, last, 3) + conv(last, 4, 1)
    assert encoder + joint + 2 * decoder + 2 * head == COUNTS["dust3r"]


@families
def test_every_form_of_a_file_is_the_same_model(family: str, tmp_path: Path) -> None:
    shapes_of, sizes, _ = KIN[family]
    weights = random_weights(shapes_of(sizes))
    wanted = model_of(family, weights).state_dict()
    files = [tmp_path / "plain.safetensors"]
    save_file({key: t.clone() for key, t in weights.items()}, files[0])
    if family == "fast3r":
        torch.save({"state_dict": {f"net.{key}": t for key, t in weights.items()}}, tmp_path / "framework.ckpt")
        files.append(tmp_path / "framework.ckpt")
        overrides: dict[str, Any] = {"encoder": {"num_heads": 2}, "decoder": {"num_heads": 2}}
    else:
        overrides = {key: value for key, value in sizes.items() if key.endswith("heads")}
        content = {"args": Namespace(model=text_of(family, sizes)), "model": weights, "epoch": 3}
        torch.save(content, tmp_path / "official.pth")
        found = read_any(tmp_path / "official.pth", family=family)  # its arguments say how many heads there are
        assert found.tensors.keys() == wanted.keys()
    for path in files:
        report = convert(path, tmp_path / f"{path.stem}.ours.safetensors", overrides=overrides | {"img_size": 64})
        assert report.family == family
        model = longtake.load(family, weights=report.out, device="cpu")
        made = model.module.state_dict()
        assert made.keys() == wanted.keys()
        assert all(torch.equal(made[key], wanted[key]) for key in wanted)
        prediction = model.stream().step(np.zeros((48, 64, 3), np.uint8))
        assert prediction.points.isfinite().all()


@families
@pytest.mark.parametrize("spoil", ["missing", "left over", "shape"])
def test_files_that_do_not_fit_are_refused_by_name(family: str, spoil: str, tmp_path: Path) -> None:
    shapes_of, sizes, _ = KIN[family]
    weights = random_weights(shapes_of(sizes))
    key = next(key for key in weights if key.endswith("blocks.1.norm2.weight"))
    if spoil == "missing":
        del weights[key]
    elif spoil == "left over":
        weights[key.replace(".1.norm2", ".1.norm7")] = weights[key].clone()
    else:
        weights[key] = torch.zeros(3)
    save_file({name: t.clone() for name, t in weights.items()}, tmp_path / "w.safetensors")
    nested: dict[str, Any] = {"encoder": {"num_heads": 2}, "decoder": {"num_heads": 2}}
    overrides = nested if family == "fast3r" else {k: v for k, v in sizes.items() if k.endswith("heads")}
    with pytest.raises(CheckpointError, match="norm7" if spoil == "left over" else "norm2"):
        convert(tmp_path / "w.safetensors", overrides=overrides)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


@families
def test_a_file_that_does_not_say_its_heads_asks_for_them(family: str, tmp_path: Path) -> None:
    shapes_of, sizes, _ = KIN[family]
    save_file({key: t.clone() for key, t in random_weights(shapes_of(sizes)).items()}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"=16.*Say how many heads there are"):
        convert(tmp_path / "w.safetensors")


def test_a_cut_file_and_other_modes() -> None:
    for family, (shapes_of, sizes, _) in KIN.items():
        configure = TRANSLATIONS[family]().configure
        shapes = {key: tuple(shape) for key, shape in shapes_of(sizes).items() if "patch_embed" not in key}
        with pytest.raises(CheckpointError, match=r"not a whole .* state dict: .*patch_embed"):
            configure(shapes, sizes)
    shapes_of, sizes, _ = KIN["dust3r"]
    with pytest.raises(CheckpointError, match="conf_mode"):
        TRANSLATIONS["dust3r"]().configure(
            {key: tuple(s) for key, s in shapes_of(sizes).items()}, sizes | {"conf_mode": ("exp", 0, 1)}
        )


def test_fast3r_has_no_rounded_rotation(tmp_path: Path) -> None:
    shapes_of, sizes, _ = KIN["fast3r"]
    save_file({key: t.clone() for key, t in random_weights(shapes_of(sizes)).items()}, tmp_path / "w.safetensors")
    heads = {"encoder": {"num_heads": 2}, "decoder": {"num_heads": 2}}
    path = convert(tmp_path / "w.safetensors", overrides=heads).out
    with pytest.raises(CapabilityError, match="rounded_rope"):
        longtake.load("fast3r", weights=path, rounded_rope=True)
