# SPDX-License-Identifier: Apache-2.0
"""Make the cases of tests/data/cut3r: new sizes, new sequences, goldens by the plain twin in float64.

    python tests/families/make_cases.py [FOLDER]

They have the format of the conformance kit (its section 2). The sequences `edges` and `blind` hold what no golden of
the kit covers (its section 13.9). Weights follow the rule of its section 11.3.
"""

from __future__ import annotations

import json
import math
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cut3r_twin import Twin
from official_shapes import official_shapes
from safetensors.torch import save_file
from torch import Tensor
from twin_cases import goldens

DATA = Path(__file__).resolve().parents[1] / "data" / "cut3r"
STRIDE = 5  # coprime to the patch: over the patches, every place of a patch is stored
COMMON = {
    "img_size": [80, 80],
    "enc_embed_dim": 64,  # the ray encoder's 16 heads of 4 channels
    "patch_size": 16,
    "pos_embed": "RoPE100",
    "rope_base": 100.0,
    "mlp_ratio": 4,
    "output_mode": "pts3d+pose",
    "pose_head": True,
    "rgb_head": True,
    "depth_mode": ["exp", "-inf", "inf"],
    "conf_mode": ["exp", 1, "inf"],
    "pose_mode": ["exp", "-inf", "inf"],
}
# Patch grids (rows, columns) of the landscape and the portrait sequences, and what the kit's two small cases have not:
# one encoder head, heads as narrow as 4 channels, odd grids (DPT's stride 2), one row of patches, '1d' state positions.
CASES: dict[str, tuple[dict[str, Any], tuple[int, int], tuple[int, int]]] = {
    "linear_b": (
        COMMON
        | {"head_type": "linear", "enc_depth": 2, "enc_num_heads": 1, "dec_embed_dim": 12, "dec_depth": 5}
        | {"dec_num_heads": 3, "state_dec_num_heads": 1, "state_size": 11, "local_mem_size": 3}
        | {"ray_enc_depth": 1, "state_pe": "2d"},
        (1, 4),
        (3, 2),
    ),
    "dpt_b": (
        COMMON
        | {"head_type": "dpt", "enc_depth": 1, "enc_num_heads": 16, "dec_embed_dim": 16, "dec_depth": 2}
        | {"dec_num_heads": 1, "state_dec_num_heads": 4, "state_size": 9, "local_mem_size": 5}
        | {"ray_enc_depth": 2, "state_pe": "1d", "dpt_feature_dim": 10, "dpt_last_dim": 5}
        | {"dpt_layer_dims": [6, 8, 10, 12]},
        (2, 3),
        (3, 1),
    ),
}


def view(frame: int | None = None, ray: int | None = None, *, seq: str | None = None, **flags: bool) -> dict[str, Any]:
    """One view of a run."""
    made = {"frame": frame, "ray": ray, "update": flags.get("update", True), "reset": flags.get("reset", False)}
    return made | {"overlap": flags.get("overlap", False)} | ({"seq": seq} if seq else {})


EDGES = [
    view(ray=0),  # a first view that is ray-only
    view(0),  # so this one is not the first: the pose token is read, ttt3r's rate applies
    view(1, update=False, reset=True),  # a reset on a view that does not update
    view(2, update=False),  # an image with update = false right after a reset
    view(3),
    view(4, reset=True),
    view(0, reset=True),  # two resets in a row
    view(ray=1, reset=True),  # and a third, on a ray-only view
    view(1, 2),
    view(2),
]
RESETS = [view(0), view(1, reset=True), view(1, overlap=True), view(2), view(3, reset=True), view(3, overlap=True)]
SAMPLE = [view(0), view(1, 0, reset=True), view(2), view(3)]
OTHER = [view(ray=1), view(4, update=False), view(3, 2), view(2, reset=True)]
RUNS: list[dict[str, Any]] = [
    {"name": "cut3r_L", "update_type": "cut3r", "views": [view(i) for i in range(4)], "debug": True, "half": True},
    {
        "name": "ttt3r_reset_P",
        "frames": "frames_P",
        "update_type": "ttt3r",
        "views": RESETS,
        "post": True,
        "half": True,
    },
    {"name": "ttt3r_edges_L", "update_type": "ttt3r", "views": EDGES},
    {"name": "ttt3r_blind_P", "frames": "frames_P", "update_type": "ttt3r", "views": [view(0, update=False), view(1)]},
    {
        "name": "ttt3r_mixed",
        "frames": "mixed",
        "update_type": "ttt3r",
        "views": [view(i, seq=f"frames_{s}") for i, s in enumerate("LPPL")],
    },
    {"name": "ray_query", "entry": "ray_query", "update_type": "cut3r", "views": [view(0), view(1)]},
    {"name": "forward_batch", "entry": "forward", "update_type": "cut3r", "batch_views": [SAMPLE, OTHER]},
    {"name": "forward_ttt3r", "entry": "forward", "update_type": "ttt3r", "batch_views": [EDGES]},
    {"name": "forward_images", "entry": "forward", "update_type": "ttt3r", "batch_views": [RESETS]},
]


def weights(config: dict[str, Any], salt: int) -> dict[str, Tensor]:
    """Generated weights under the official names: the rule of section 11.3, without factors for the heads."""
    made = {}
    for key, shape in official_shapes(config).items():
        token = key in ("pose_token", "register_tokens.weight") or key.endswith(("_token", "retriever.mem"))
        fan = math.prod(shape[1:]) or 1
        mean = float(len(shape) == 1 and key.endswith(".weight"))
        std = 0.7 if token else 0.1 if len(shape) == 1 else fan**-0.5
        u = np.random.RandomState((zlib.crc32(key.encode()) ^ salt) & 0xFFFFFFFF).random_sample(math.prod(shape))
        made[key] = torch.from_numpy((mean + (2 * u - 1) * math.sqrt(3) * std).astype(np.float32).reshape(shape))
    for key in made:  # two names of one tensor
        if ".scratch.layer_rn." in key:
            head, index = key.split(".layer_rn.")
            made[key] = made[f"{head}.layer{int(index[0]) + 1}_rn.weight"].clone()
    return made


def ray_map(rng: np.random.RandomState, height: int, width: int) -> np.ndarray:
    """Section 8.5 for a random nearby camera: origin, and the normalised R K^-1 (u, v, 1) + t."""
    axis, angle = rng.standard_normal(3), 0.3
    kx, ky, kz = axis / np.linalg.norm(axis)
    k = np.array([[0, -kz, ky], [kz, 0, -kx], [-ky, kx, 0]])
    r, t = np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * k @ k, 0.4 * rng.standard_normal(3)
    v, u = np.mgrid[:height, :width]
    f = 0.9 * max(height, width)
    pixels = np.stack(((u - width // 2) / f, (v - height // 2) / f, np.ones_like(u, dtype=float)), -1)
    d = pixels @ r.T + t
    return np.concatenate((np.broadcast_to(t, d.shape), d / np.linalg.norm(d, axis=-1, keepdims=True)), -1)


def inputs(landscape: tuple[int, int], portrait: tuple[int, int], seed: int) -> dict[str, Tensor]:
    """Frames in [-1, 1] (waves and noise) and ray maps of both sequences, float32."""
    rng, made = np.random.RandomState(seed), {}
    for name, (rows, columns), count in (("L", landscape, 5), ("P", portrait, 4)):
        height, width = 16 * rows, 16 * columns
        v, u = np.mgrid[:height, :width]
        phase, speed = rng.uniform(0, 6, (count, 3, 1, 1)), rng.uniform(0.05, 0.4, (count, 3, 2, 1, 1))
        waves = np.sin(phase + speed[:, :, 0] * u + speed[:, :, 1] * v)
        frames = 0.7 * waves + rng.uniform(-0.3, 0.3, (count, 3, height, width))
        made[f"frames_{name}"] = frames
        made[f"raymaps_{name}"] = np.stack([ray_map(rng, height, width) for _ in range(3 if name == "L" else 1)])
    return {name: torch.from_numpy(array.astype(np.float32)) for name, array in made.items()}


def make(folder: Path, name: str) -> None:
    """Write one case."""
    config, landscape, portrait = CASES[name]
    seed = sorted(CASES).index(name) + 1
    w, x = weights(config, seed), inputs(landscape, portrait, seed)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(w, folder / "weights.safetensors")
    save_file(x, folder / "inputs.safetensors")
    twin, half = Twin(config, w), Twin(config, w, half_rope=True)
    runs = []
    for spec in RUNS:
        run = {"entry": "recurrent", "frames": "frames_L", "file": f"run_{spec['name']}.safetensors"}
        run |= {"raymaps": None if spec.get("frames") else "raymaps_L", "pixel_stride": STRIDE}
        run |= {key: value for key, value in spec.items() if key not in ("debug", "post", "half")}
        for kind in ("debug", "post"):
            if spec.get(kind):
                run[f"{kind}_file"] = f"{kind}_{spec['name']}.safetensors"
        files = goldens(twin, run, x)
        if spec.get("half"):
            run |= {"half_rope_file": f"run_{spec['name']}.half_rope.safetensors", "half_rope_pixel_stride": STRIDE}
            rounded = goldens(half, run, x)["file"]
            rounded = {k: t.float() for k, t in rounded.items() if t.is_floating_point() and "_init" not in k}
            moved = {k: float((t - files["file"][k]).abs().max()) for k, t in rounded.items()}
            run["half_rope_dev"] = {k: [by, by / float(rounded[k].abs().max())] for k, by in moved.items()}
            files["half_rope_file"] = rounded
        for key, tensors in files.items():
            save_file({k: t.contiguous() for k, t in tensors.items()}, folder / run[key])
        runs.append(run)
    about = {"arch": "cut3r", "dtype": "goldens by the plain twin of tests/families in float64", "config": config}
    text = json.dumps(about | {"runs": runs}, indent=1)
    (folder / "case.json").write_text(text + "\n")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    torch.set_num_threads(1)
    for case in CASES:
        make(target / case, case)
        total = sum(path.stat().st_size for path in (target / case).iterdir())
        print(f"{target / case}: {total / 1e6:.2f} MB")
