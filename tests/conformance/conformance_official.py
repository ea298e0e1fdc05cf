# SPDX-License-Identifier: Apache-2.0
"""The official sizes: key lists loaded strictly on the meta device, and whole models with generated weights."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import conformance_fast3r
import conformance_point3r
import numpy as np
import torch
from conformance_play import DENSE, build, rule_named, stream
from conformance_point3r import numbers
from conformance_report import DTYPES, FAIL, NOT_BUILT, NOTE, PASS, Report
from conformance_vggt import check_vggt_keys
from safetensors.torch import load_file
from torch import Tensor, nn

from longtake.errors import CheckpointError
from longtake.families import cut3r_keys, fast3r_keys, point3r_keys
from longtake.frame import Views

Builder = Callable[[dict[str, Any], Mapping[str, Tensor], str], nn.Module]
Translate = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
FAMILIES: dict[str, tuple[Builder, Translate]] = {  # arch -> from official values, keys and a precision to a model
    "cut3r": (build, cut3r_keys.translate),
    "fast3r": (conformance_fast3r.build, fast3r_keys.translate),
    "point3r": (conformance_point3r.build, point3r_keys.translate),
}
TOKENS = (  # section 11.3 of the kit: parameters that are tokens, not weights of a layer
    "pose_token",
    "masked_img_token",
    "masked_ray_map_token",
    "register_tokens.weight",
    "pose_retriever.masked_token",
    "pose_retriever.mem",
)


def check_keys(report: Report, folder: Path, only: str | None = None) -> None:
    """Load every key list of official/ into its configuration on the meta device, and see that misfits are refused."""
    for path in sorted(folder.glob("*.keys.json")):
        name = path.name.removesuffix(".keys.json")
        if only not in (None, folder.name, name):
            continue
        config_file = path.with_name(f"{name}.config.json")
        if not config_file.exists():
            report.remark("official", name, "config", FAIL, f"no {config_file.name} beside the key list")
            continue
        if "causal" in json.loads(config_file.read_text()):  # the full attention kit says this of VGGT and StreamVGGT
            check_vggt_keys(report, name, json.loads(config_file.read_text()), json.loads(path.read_text()))
            continue
        about = _described(config_file)
        arch = about["config"].get("arch", "unknown")
        if arch not in FAMILIES:
            report.remark("official", name, "keys", NOT_BUILT, f"family {arch}")
            continue
        shapes = json.loads(path.read_text())
        try:
            _check_keys(report, name, about, shapes, *FAMILIES[arch])
        except CheckpointError as error:
            report.remark("official", name, "keys", FAIL, " ".join(str(error).split()), "meta")


def _described(config_file: Path) -> dict[str, Any]:
    """Return what is said of a key list, with the recurrent kit's names: config (arch in it), n_parameters, aliases."""
    about = json.loads(config_file.read_text())
    if "kit_config" not in about:
        return {"config": {"arch": about.get("model", "unknown")}} | about
    arch = re.split("[_-]", str(about.get("model", "unknown")))[0].lower()  # such as Fast3R_ViT_Large_512
    twins = config_file.with_name(config_file.name.replace(".config.", ".aliases."))
    aliases = json.loads(twins.read_text())["aliases"] if twins.exists() else {}
    return {
        "config": about["kit_config"] | {"arch": arch},
        "n_parameters": about["parameters"],
        "aliases": [[kept, alias] for alias, kept in aliases.items()],
    }


def _check_keys(
    report: Report,
    name: str,
    about: dict[str, Any],
    shapes: dict[str, list[int]],
    build: Builder,
    translate: Translate,
) -> None:
    on_meta = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    model = build(about["config"], on_meta, "float32")
    report.remark("official", name, "keys", PASS, f"{len(shapes)} keys load strictly", "meta")
    aliases = {twin for _, twin in about.get("aliases", [])}
    unread = [key for key in shapes if key not in aliases and not translate({key: on_meta[key]})]
    ours = sum(p.numel() for p in model.parameters()) + sum(on_meta[key].numel() for key in unread)
    status = PASS if ours == about["n_parameters"] else FAIL
    text = f"{ours} parameters ({len(unread)} keys that nothing reads included), the kit has {about['n_parameters']}"
    report.remark("official", name, "count", status, text, "meta")
    key = next(key for key in shapes if key.endswith("norm1.weight"))
    misfits: dict[str, dict[str, Tensor]] = {
        "missing key": {k: t for k, t in on_meta.items() if k != key},
        "left-over key": on_meta | {"enc_blocks.999.norm1.weight": on_meta[key]},
        "wrong shape": on_meta | {key: torch.empty(shapes[key][0] + 1, device="meta")},
    }
    for misfit, tensors in misfits.items():
        try:
            build(about["config"], tensors, "float32")
        except CheckpointError as error:
            told = "999" in str(error) or "norm1" in str(error)
            text = "refused, and the key is named" if told else f"refused without naming the key: {error}"
            report.remark("official", name, misfit, PASS if told else FAIL, text, "meta")
        else:
            report.remark("official", name, misfit, FAIL, "was loaded without complaint", "meta")


def generate(key: str, shape: list[int], salt: int, scales: Mapping[str, float]) -> Tensor:
    """Return the float32 weight that section 11.3 defines for an official key."""
    module, _, kind = key.rpartition(".")
    mean = 0.0
    if key in TOKENS:
        std = 0.7
    elif len(shape) == 1:
        std, mean = 0.1, 1.0 if kind == "weight" else 0.0
    elif len(shape) == 4 and key.endswith(("act_postprocess.0.1.weight", "act_postprocess.1.1.weight")):
        std = shape[0] ** -0.5
    elif len(shape) == 4:
        std = (shape[1] * shape[2] * shape[3]) ** -0.5
    else:
        std = (1.5 if module.split(".")[-1] in ("qkv", "projq", "projk") else 1.0) * shape[1] ** -0.5
    seed = zlib.crc32(key.encode()) ^ salt
    u = np.random.RandomState(seed & 0xFFFFFFFF).random_sample(int(np.prod(shape)))
    u *= 2
    u -= 1
    u *= np.sqrt(3) * std
    u += mean
    value = u.astype(np.float32).reshape(shape)
    return torch.from_numpy(value * np.float32(scales[module]) if module in scales else value)


def generate_all(shapes: Mapping[str, list[int]], salt: int, scales: Mapping[str, float]) -> dict[str, Tensor]:
    """Return the whole state dict; keys that alias another are left out."""
    alias = re.compile(r"\.scratch\.layer_rn\.\d\.")
    return {key: generate(key, shape, salt, scales) for key, shape in shapes.items() if not alias.search(key)}


def check_fullsize(report: Report, folder: Path, dtypes: list[str], *, full: bool, only: str | None = None) -> None:
    """Run the official sizes on generated weights, if `full`. Each takes minutes and 3.2 GB in float32."""
    for path in sorted(folder.glob("*.json")):
        about = json.loads(path.read_text())
        name = about["name"]
        if only not in (None, folder.name, name):
            continue
        official = folder.parent / "official"
        config_file = official / f"{name}.config.json"
        config = about.get("config") or (json.loads(config_file.read_text())["config"] if config_file.exists() else {})
        if config.get("arch") not in FULLSIZE:
            report.remark("fullsize", name, "*", NOT_BUILT, f"family {config.get('arch', 'unknown')}")
        elif not full:
            report.remark("fullsize", name, "*", NOTE, "not run; --full runs it (minutes, 3.2 GB in float32)")
        else:
            shapes = json.loads((official / f"{name}.keys.json").read_text())
            for dtype in dtypes:
                weights = generate_all(shapes, about["salt"], about["head_scales"])
                frames = load_file(folder / f"{name}.inputs.safetensors")["frames"].to(DTYPES[dtype])
                made = FULLSIZE[config["arch"]](about, config, weights, frames, dtype)
                golden = load_file(folder / f"{name}.run.safetensors") | numbers(about.get("info") or {})
                # 2e-5 of max |golden| in float32
                report.compare_all(f"fullsize {name}", "run", dtype, _thinned(made, golden), golden)


def _play_cut3r(
    about: dict[str, Any], config: dict[str, Any], weights: dict[str, Tensor], frames: Tensor, dtype: str
) -> dict[str, Tensor]:
    model, rule = build(config, weights, dtype), rule_named(about["update_type"])
    record, _ = stream(model, ((Views(image=frame[None]), True, False) for frame in frames), rule)
    with torch.no_grad():
        start = model.begin(1, rule)
    made = {"state_init": start.tokens[0], "mem_init": start.pose_memory[0]}
    return made | record.stacked(about["pixel_stride"])


def _play_point3r(
    about: dict[str, Any], config: dict[str, Any], weights: dict[str, Tensor], frames: Tensor, dtype: str
) -> dict[str, Tensor]:
    made, _ = conformance_point3r.walk(conformance_point3r.build(config, weights, dtype), frames, about["pixel_stride"])
    return made


Play = Callable[[dict[str, Any], dict[str, Any], dict[str, Tensor], Tensor, str], dict[str, Tensor]]
FULLSIZE: dict[str, Play] = {"cut3r": _play_cut3r, "point3r": _play_point3r}


def _thinned(made: dict[str, Tensor], golden: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """States and memories are stored with every 16th row and column, pointer features with every 16th channel."""
    out = dict(made)
    for key, wanted in golden.items():
        if key in made and key not in DENSE and made[key].shape != wanted.shape:
            channels = made[key][..., ::16]
            out[key] = channels if channels.shape == wanted.shape else channels[..., ::16, :]
    return out
