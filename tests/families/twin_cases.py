# SPDX-License-Identifier: Apache-2.0
"""Runs of a case.json through the plain twin: goldens in the conformance kit's own format, and section 8.2 on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from cut3r_twin import HEADS, Seen, Twin, View
from torch import Tensor

DENSE = set(HEADS) - {"camera_pose"}
FLOAT32 = {"state_proposal", "mem_proposal"} | DENSE  # section 2: stored in single precision


def views_of(run: Mapping[str, Any], views: list[dict[str, Any]], inputs: Mapping[str, Tensor]) -> list[View]:
    """Turn the views of a case.json into the twin's."""

    def view(v: Mapping[str, Any]) -> View:
        seq = v.get("seq", run["frames"])
        image = None if v["frame"] is None else inputs[seq][v["frame"]]
        rays = None if v["ray"] is None else inputs[run.get("raymaps") or seq.replace("frames", "raymaps")][v["ray"]]
        return View(image, rays, v["update"], v["reset"])

    return [view(v) for v in views]


def store(name: str, tensor: Tensor, stride: int) -> Tensor:
    """One tensor of one view as section 2 stores it."""
    if name in DENSE:
        tensor = tensor[::stride, ::stride]
    return tensor.to(torch.float32) if name in FLOAT32 else tensor


def stacked(out: list[Seen], stride: int, mixed: bool) -> dict[str, Tensor]:
    """All views of a run; head outputs as FIELD.i where sizes differ."""
    goldens: dict[str, Tensor] = {}
    for name in out[0].fields:
        tensors = [store(name, seen.fields[name], stride) for seen in out]
        if mixed and name in HEADS:
            goldens |= {f"{name}.{i}": tensor for i, tensor in enumerate(tensors)}
        else:
            goldens[name] = torch.stack(tensors)
    return goldens


def goldens(twin: Twin, run: Mapping[str, Any], inputs: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the run's files: `file`, and `debug_file` and `post_file` where the run has them."""
    stride, start = run["pixel_stride"], {"state_init": twin.state_init, "mem_init": twin.mem_init}
    if run["entry"] == "forward":
        samples = [views_of(run, views, inputs) for views in run["batch_views"]]
        fill = any(view.rays is not None for views in samples for view in views)
        each = [twin.run(views, run["update_type"], plain=True, fill=fill) for views in samples]
        parts = [stacked(out, stride, False) for out in each]
        return {"file": {name: torch.stack([part[name] for part in parts], 1) for name in parts[0]}}
    out = twin.run(views_of(run, run["views"], inputs), run["update_type"])
    if run["entry"] == "ray_query":
        state, mem = out[-1].fields["state_after"], out[-1].fields["mem_after"]
        made = {"state_feat": state, "mem": mem, "state_pos": twin.state_pos}
        for group in ("L", "P"):
            for i, rays in enumerate(inputs.get(f"raymaps_{group}", ())):
                made |= {f"{group}{i}.{k}": store(k, t, stride) for k, t in twin.ask(rays, state, mem).items()}
        return {"file": made}
    files = {"file": stacked(out, stride, "seq" in run["views"][0]) | start | {"state_pos": twin.state_pos}}
    if run.get("debug_file"):
        debug = {f"frame{i}.{name}": t for i, seen in enumerate(out[:2]) for name, t in seen.debug.items()}
        files["debug_file"] = {name: t.to(torch.float32) if t.is_floating_point() else t for name, t in debug.items()}
    if run.get("post_file"):
        files["post_file"] = post(out, [view["reset"] for view in run["views"]], stride)
    return files


def matrix(pose: Tensor) -> Tensor:
    """Section 8.4: camera-to-world (4, 4) of translation and unit quaternion (7), by rotating the axes one by one."""
    t, (w, *v) = pose[:3], pose[3:]
    vector = torch.stack(v)
    out = torch.eye(4, dtype=pose.dtype)
    for axis in range(3):
        e = torch.eye(3, dtype=pose.dtype)[axis]
        cross = torch.linalg.cross(vector, e)
        out[:3, axis] = e + 2 * (w * cross + torch.linalg.cross(vector, cross))
    out[:3, 3] = t
    return out


def chain(poses: Tensor, resets: list[bool]) -> tuple[Tensor, list[int]]:
    """Section 8.2: global poses (K, 4, 4) of the kept views, and which they are."""
    kept = [i for i in range(len(resets)) if i == 0 or not resets[i - 1]]
    base, out = torch.eye(4, dtype=poses.dtype), []
    for i in kept:
        out.append(base @ matrix(poses[i]))
        if resets[i]:
            base = out[-1]
    return torch.stack(out), kept


def weiszfeld(points: Tensor) -> Tensor:
    """Section 8.3 with the demo's principal point (W div 2, H div 2) on one point map (H, W, 3)."""
    height, width = points.shape[:2]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    q = torch.stack((u - width // 2, v - height // 2), -1).to(points.dtype)
    s = (points[..., :2] / points[..., 2:]).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    dot = lambda a, b: (a * b).sum(-1)  # noqa: E731
    f = dot(s, q).mean() / dot(s, s).mean()
    for _ in range(10):
        w = 1 / (q - f * s).square().sum(-1).sqrt().clamp(min=1e-8)
        f = (w * dot(s, q)).mean() / (w * dot(s, s)).mean()
    return f.clamp(min=0)


def post(out: list[Seen], resets: list[bool], stride: int) -> dict[str, Tensor]:
    """Section 8.2 on what the views gave: the files post_*."""
    c2w, kept = chain(torch.stack([seen.fields["camera_pose"] for seen in out]), resets)
    points = [out[i].fields["pts3d_in_self_view"] for i in kept]
    height, width = points[0].shape[:2]
    focal = torch.stack([weiszfeld(p) for p in points])
    pp = torch.tensor([width // 2, height // 2], dtype=c2w.dtype).expand(len(kept), 2)
    k = torch.zeros(len(kept), 3, 3, dtype=c2w.dtype)
    k[:, 0, 0], k[:, 1, 1], k[:, :2, 2], k[:, 2, 2] = focal, focal, pp, 1
    world = torch.stack([p @ m[:3, :3].T + m[:3, 3] for p, m in zip(points, c2w, strict=True)])
    confidence = torch.stack([out[i].fields["conf_self"] for i in kept])
    return {
        "c2w": c2w,
        "focal": focal,
        "pp": pp.clone(),
        "intrinsics": k,
        "pts3d_world": world[:, ::stride, ::stride].clone(),
        "conf": confidence[:, ::stride, ::stride].clone(),
    }
