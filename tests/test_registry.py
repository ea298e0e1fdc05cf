# SPDX-License-Identifier: Apache-2.0
"""Loading by name: every form of file gives the same model, and what does not fit is named with a remedy."""

from __future__ import annotations

import builtins
import hashlib
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_files import OFFICIAL, OURS, module, official_file, official_weights, our_file
from safetensors.torch import save_file

import longtake
from longtake.checkpoints import convert, pack, write_safetensors
from longtake.errors import CapabilityError, CheckpointError, LongtakeError
from longtake.registry import MODELS, Model, model_table
from longtake.stream import Stream
from longtake.training.snapshot import save_learner
from longtake.training.step import Learner

FRAMES = np.random.default_rng(0).integers(0, 255, (3, 48, 64, 3), np.uint8)


def assert_weights(model: Model, expected: torch.nn.Module) -> None:
    found = model.module.state_dict()
    assert found.keys() == expected.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.state_dict().items())


def last_points(model: Model) -> torch.Tensor:
    stream = model.stream()
    return [stream.step(frame) for frame in FRAMES][-1].points


# Names


@pytest.mark.parametrize(
    ("name", "near"),
    [("longtake-smal", "longtake-small"), ("longtake", "longtake-small"), ("CUT3R_512", "cut3r-512")],
)  # fmt: skip
def test_a_near_name_is_suggested(name: str, near: str) -> None:
    with pytest.raises(CapabilityError, match=rf"{name}.*Did you mean '{near}.*There are: longtake-small, cut3r-512"):
        longtake.load(name)


def test_a_far_name_lists_what_there_is() -> None:
    with pytest.raises(CapabilityError) as caught:
        longtake.load("zzz")
    assert "Did you mean" not in str(caught.value)
    assert all(name in str(caught.value) for name in MODELS)


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if not entry.embedded])
def test_weights_that_are_not_in_the_package_are_asked_for(name: str) -> None:
    with pytest.raises(CheckpointError, match=rf"{MODELS[name].source}.*--weights FILE") as caught:
        longtake.load(name)
    assert MODELS[name].licence in str(caught.value)


def test_no_such_file_says_which_weights_belong_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent.pth: no such file. It should hold the weights of cut3r-224"):
        longtake.load("cut3r-224", weights=tmp_path / "absent.pth")


def test_a_file_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    our_file(tmp_path / "w.safetensors")
    assert longtake.load(weights="~/w.safetensors", device="cpu").weights == "w.safetensors"


# Forms of files


@pytest.mark.parametrize("form", ["zip", "legacy", "state dict", "safetensors", "converted"])
def test_every_form_of_an_official_file_is_the_same_model(tmp_path: Path, form: str) -> None:
    path = tmp_path / ("w.safetensors" if "safe" in form else "w.pth")
    if form == "safetensors":
        save_file(official_weights(), path)
    elif form == "state dict":
        torch.save(official_weights(), path)
    else:
        official_file(path, zipped=form != "legacy")
    if form in ("state dict", "safetensors"):  # the shapes do not say into how many heads a width is split
        with pytest.raises(CheckpointError, match="enc_num_heads=16.*Say how many heads"):
            longtake.load("cut3r-224", weights=path)
        heads = {f"{part}_num_heads": 2 for part in ("enc", "dec", "state_dec", "ray_enc")}
        path = convert(path, tmp_path / "new.safetensors", overrides=heads | {"img_size": 64}).out
    elif form == "converted":
        path = convert(path).out
    model = longtake.load("cut3r-224", weights=path, device="cpu")
    assert model.config == OFFICIAL
    assert_weights(model, module(OFFICIAL))
    assert (model.name, model.weights) == ("cut3r-224", path.name)
    assert model.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_our_own_file_has_its_configuration_inside(tmp_path: Path) -> None:
    model = longtake.load("longtake-small", weights=our_file(tmp_path / "w.safetensors"), device="cpu")
    assert model.config == OURS
    assert_weights(model, module(OURS))
    assert not model.module.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


@pytest.mark.parametrize("int8", [True, False])
def test_packed_weights_come_back_as_float32(tmp_path: Path, int8: bool) -> None:
    weights = module(OURS).state_dict()
    write_safetensors(tmp_path / "w.safetensors", pack(weights, 1024, int8=int8), OURS.to_dict(), "cut3r")
    model = longtake.load(weights=tmp_path / "w.safetensors", device="cpu")
    for name, tensor in model.module.state_dict().items():
        assert tensor.dtype == torch.float32
        assert (tensor - weights[name]).abs().max() <= weights[name].abs().max() / 127


def test_what_training_leaves_is_loaded_without_what_only_training_needs(tmp_path: Path) -> None:
    save_learner(Learner(module(OURS)), tmp_path / "average.safetensors")
    model = longtake.load(weights=tmp_path / "average.safetensors", device="cpu")
    assert_weights(model, module(OURS))


# The rounded rotary embedding of the official image encoder


def test_rounding_is_on_for_official_weights_and_can_be_switched(tmp_path: Path) -> None:
    path = official_file(tmp_path / "w.pth")
    for weights in (path, convert(path).out):
        rounded = longtake.load("cut3r-224", weights=weights, device="cpu")
        exact = longtake.load("cut3r-224", weights=weights, device="cpu", rounded_rope=False)
        again = longtake.load("cut3r-224", weights=weights, device="cpu", rounded_rope=True)
        assert (rounded.config.rounded_rope, exact.config.rounded_rope) == (True, False)
        assert torch.equal(last_points(rounded), last_points(again))
        difference = (last_points(rounded) - last_points(exact)).abs().max() / last_points(exact).abs().max()
        assert 0 < difference < 1e-2


def test_rounding_is_off_for_our_own_weights(tmp_path: Path) -> None:
    path = our_file(tmp_path / "w.safetensors")
    assert not longtake.load(weights=path, device="cpu").config.rounded_rope
    assert longtake.load(weights=path, device="cpu", rounded_rope=True).config.rounded_rope


# Sizes


@pytest.mark.parametrize(("size", "near"), [(0, 16), (-32, 16), (15, 16), (104, 96), (241, 240), (511, 512)])
def test_a_size_that_is_not_whole_patches(tmp_path: Path, size: int, near: int) -> None:
    path = our_file(tmp_path / "w.safetensors")
    with pytest.raises(CapabilityError, match=rf"size {size}: .* multiple of 16 pixels, such as {near}\."):
        longtake.load(weights=path, size=size)


def test_the_size_is_the_longer_side_that_the_model_sees(tmp_path: Path) -> None:
    path = our_file(tmp_path / "w.safetensors")
    for size, shape in ((None, (48, 64)), (96, (64, 96)), (32, (16, 32))):
        model = longtake.load(weights=path, size=size, device="cpu")
        assert model.stream().step(FRAMES[0]).depth.shape == shape


# What does not fit


def test_a_model_with_other_heads(tmp_path: Path) -> None:
    official, ours = official_file(tmp_path / "w.pth"), our_file(tmp_path / "w.safetensors")
    for name, path, heads in (
        ("longtake-small", official, ("linear", "conv")),
        ("cut3r-512", official, ("linear", "dpt")),
        ("cut3r-512", ours, ("conv", "dpt")),
        ("cut3r-224", ours, ("conv", "linear")),
    ):
        with pytest.raises(CheckpointError, match=f"with {heads[0]} heads; {name} has {heads[1]}.*longtake models"):
            longtake.load(name, weights=path, device="cpu")


def test_another_family(tmp_path: Path) -> None:
    names = ("enc_blocks.0.a", "dec_blocks.0.a", "dec_blocks2.0.a", "downstream_head1.a", "downstream_head2.a")
    torch.save({"model": {name: torch.zeros(2) for name in names}}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="holds dust3r weights; cut3r weights were wanted"):
        longtake.load("cut3r-512", weights=tmp_path / "w.pth")
    write_safetensors(tmp_path / "w.safetensors", {"a": torch.zeros(2)}, {}, "vggt")
    with pytest.raises(CheckpointError, match="holds vggt weights; cut3r weights were wanted"):
        longtake.load(weights=tmp_path / "w.safetensors")
    torch.save({"model": {"layer1.conv.weight": torch.zeros(2)}}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match="no family that Longtake knows"):
        longtake.load("cut3r-512", weights=tmp_path / "resnet.pth")


@pytest.mark.parametrize("converted", [False, True])
@pytest.mark.parametrize("missing", ["dec_blocks_state.1.mlp.fc2.bias", "downstream_head.rgb_proj.fc1.weight"])
def test_missing_keys(tmp_path: Path, missing: str, converted: bool) -> None:
    weights = {name: tensor for name, tensor in official_weights().items() if name != missing}
    path = official_file(tmp_path / "w.pth", weights)
    if converted:
        with pytest.raises(CheckpointError, match="1 missing in the file"):
            convert(path)
        assert not path.with_suffix(".safetensors").exists()
    else:
        with pytest.raises(CheckpointError, match=r"w.pth into cut3r-224: .*\n1 missing in the file:\n  .*\[32\]|fc1"):
            longtake.load("cut3r-224", weights=path, device="cpu")


def test_left_over_keys_and_other_shapes(tmp_path: Path) -> None:
    path = official_file(tmp_path / "w.pth", official_weights() | {"decoder_embed_memory.bias": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"1 left over, unknown to the model:\n  decoder_embed_memory.bias \[3\]"):
        longtake.load("cut3r-224", weights=path)
    path = our_file(tmp_path / "w.safetensors", pose_slots=5)
    with pytest.raises(CheckpointError, match=r"file \[1, 4, 64\], model \[1, 5, 64\]"):
        longtake.load(weights=path)


class Payload:
    """Runs code when a plain unpickler reads it."""

    def __init__(self, canary: Path) -> None:
        self.text = f"open({str(canary)!r}, 'w').close()"

    def __reduce__(self) -> tuple[Any, ...]:
        return builtins.eval, (self.text,)


@pytest.mark.parametrize("where", ["args", "weights"])
def test_a_pickle_that_tries_to_run_code(tmp_path: Path, where: str) -> None:
    payload = Payload(tmp_path / "canary")
    changes: dict[str, Any] = {"args": payload} if where == "args" else {"weights": official_weights() | {"x": payload}}
    path = official_file(tmp_path / "w.pth", **changes)
    for name in ("cut3r-224", "longtake-small"):
        with pytest.raises(CheckpointError, match="tries to run code.*Nothing was run"):
            longtake.load(name, weights=path)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder_heads": 0},
        {"head": "octopus"},
        {"stem": None},
        {"a_number_of_a_later_version": 1},
        {"conv_widths": [1, 2]},
        {"state_size": -1},
    ],
    ids=str,
)
def test_a_configuration_that_describes_no_model(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = our_file(tmp_path / "w.safetensors", **changes)
    with pytest.raises(CheckpointError, match="w.safetensors") as caught:
        longtake.load(weights=path, device="cpu")
    assert len(str(caught.value)) < 2000


def test_weights_that_are_not_numbers(tmp_path: Path) -> None:
    broken = module(OURS)
    with torch.no_grad():
        broken.memory.start[0, 0] = torch.nan
    write_safetensors(tmp_path / "f.safetensors", broken.state_dict(), OURS.to_dict(), "cut3r")
    with pytest.raises(CheckpointError, match=r"1 tensors hold numbers that are not finite \(memory.start\)"):
        longtake.load("longtake-small", tmp_path / "f.safetensors", device="cpu")


def test_a_device_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(CapabilityError, match="'cuda:99' is not on this machine"):
        longtake.load(weights=our_file(tmp_path / "w.safetensors"), device="cuda:99")


# The model


def test_a_model_may_be_loaded_and_used_in_inference_mode(tmp_path: Path) -> None:
    """As servers do; weights that cannot say when they change would be of no use to packed layers."""
    weights, image = our_file(tmp_path / "ours.safetensors"), np.zeros((32, 48, 3), np.uint8)
    with torch.inference_mode():
        model = longtake.load("longtake-small", weights, device="cpu")
        inside = model.stream().step(image)
    assert torch.equal(inside.points, model.stream().step(image).points)


def test_a_model_begins_streams_and_resumes_them(tmp_path: Path) -> None:
    model = longtake.load(weights=our_file(tmp_path / "w.safetensors"), device="cpu")
    stream = model.stream("overwrite", reset_every=2)
    stream.step(FRAMES[0])
    stream.save(tmp_path / "state.safetensors")
    resumed = model.resume(tmp_path / "state.safetensors")
    assert isinstance(resumed, Stream)
    assert resumed.describe() == stream.describe()
    assert resumed.describe()["model"] == "longtake-small"
    assert torch.equal(resumed.step(FRAMES[1]).points, stream.step(FRAMES[1]).points)
    both = model.streams(2, "ttt3r").step([FRAMES[0], FRAMES[1]])
    alone = model.stream("ttt3r").step(FRAMES[1])
    assert both[1] is not None
    assert torch.allclose(both[1].points, alone.points, atol=1e-5)
    assert model.to("cpu") is model
    assert (
        repr(model)
        == f"<longtake-small: {sum(p.numel() for p in model.module.parameters()) / 1e6:.1f} M parameters on cpu>"
    )
    with pytest.raises(LongtakeError, match="not on this machine"):
        model.to("cuda:99")


# The table


def test_counting_parameters_makes_none() -> None:
    for entry in MODELS.values():
        before = torch.get_default_device()
        assert entry.parameters > 1e6
        assert torch.get_default_device() == before
    made = module(OURS)
    assert type(MODELS["longtake-small"])(OURS, "", "").parameters == sum(p.numel() for p in made.parameters())


def test_the_documents_show_the_table(root: Path) -> None:
    every = (root / "docs/models.md").read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(every) if line.startswith("|"))
    lines = list(takewhile(lambda line: line.startswith("|"), every[first:]))
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == list(model_table()[0])
    assert cells[2:] == [list(row.values()) for row in model_table()]
