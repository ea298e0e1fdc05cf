# SPDX-License-Identifier: Apache-2.0
"""Write tests/data/metrics again: cases of our own in the metrics kit's format.

    python tests/conformance/make_metric_cases.py

Paths are judged by evo (pip install evo; GPL, so it is a tool of this script and no dependency), depth and clouds by
plain twins in this file: pixel by pixel, pair by pair, without any code of the library's metrics.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evo.core import metrics, sync, trajectory
from evo.core.geometry import GeometryException, umeyama_alignment

OUT = Path(__file__).resolve().parents[1] / "data" / "metrics"
Json = dict[str, Any]


def turn(rng: np.random.Generator, degrees: float) -> np.ndarray:
    """A rotation about a random axis."""
    x, y, z = (axis := rng.normal(size=3)) / np.linalg.norm(axis)
    k, a = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]), np.radians(degrees)
    return np.eye(3) + np.sin(a) * k + (1 - np.cos(a)) * k @ k


def walk(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n, 4, 4) poses of a wandering camera."""
    poses = np.tile(np.eye(4), (n, 1, 1))
    r, t = turn(rng, 70), rng.normal(size=3)
    for pose in poses:
        pose[:3, :3], pose[:3, 3] = r, t
        r, t = r @ turn(rng, rng.uniform(1, 12)), t + 0.2 * rng.normal(size=3)
    return poses


def write_path(path: Path, poses: np.ndarray, times: np.ndarray) -> Any:
    """Write a TUM file and return what evo makes of the printed numbers."""
    made = trajectory.PoseTrajectory3D(poses_se3=list(poses), timestamps=times)
    rows = np.column_stack([times, made.positions_xyz, made.orientations_quat_wxyz[:, [1, 2, 3, 0]]])
    np.savetxt(path, rows, fmt="%.9f")
    rows = np.loadtxt(path)
    quat = rows[:, [7, 4, 5, 6]] / np.linalg.norm(rows[:, 4:], axis=1, keepdims=True)
    return trajectory.PoseTrajectory3D(rows[:, 1:4], quat, rows[:, 0])


def judge(true: Any, predicted: Any) -> Json:
    """What evo says of one case, in the kit's names."""
    row: Json = {"n_gt": true.num_poses, "n_pred": predicted.num_poses, "status": "ok"}
    if true.num_poses == predicted.num_poses:
        predicted.timestamps = true.timestamps
    true, predicted = sync.associate_trajectories(true, predicted, max_diff=0.01)
    row["n_matched"] = true.num_poses

    def copy(how: str) -> Any:
        moved = trajectory.PoseTrajectory3D(
            poses_se3=[p.copy() for p in predicted.poses_se3], timestamps=true.timestamps
        )
        if how == "origin":
            moved.align_origin(true)
        elif how != "none":
            moved.align(true, correct_scale=how != "se3", correct_only_scale=how == "scale")
        return moved

    def error(how: str, relation: Any = None) -> metrics.PE:
        if relation is None:
            metric: metrics.PE = metrics.APE(metrics.PoseRelation.translation_part)
        else:
            metric = metrics.RPE(relation, delta=1, delta_unit=metrics.Unit.frames, all_pairs=True)
        metric.process_data((true, copy(how)))
        return metric

    for key, how in (("ate_origin", "origin"), ("ate_none", "none")):
        row[key] = error(how).get_all_statistics()["rmse"]
    try:
        found = {"ate": error("sim3"), "rpe_trans": error("sim3", metrics.PoseRelation.translation_part)}
    except GeometryException as refused:
        return row | {"status": "error", "error": str(refused), "ate_se3": None, "ate_se3_error": str(refused)}
    found["rpe_rot_deg"] = error("sim3", metrics.PoseRelation.rotation_angle_deg)
    for key, metric in found.items():
        stats = metric.get_all_statistics()
        row |= {
            key: stats["rmse"],
            f"{key}_stats": {k: stats[k] for k in ("rmse", "mean", "median", "std", "min", "max")},
        }
    row |= {"ate_error_per_frame": found["ate"].error.tolist(), "ate_se3": error("se3").get_all_statistics()["rmse"]}
    row["ate_scale_only"] = error("scale").get_all_statistics()["rmse"]
    row["rpe_trans_se3"] = error("se3", metrics.PoseRelation.translation_part).get_all_statistics()["rmse"]
    r, t, s = umeyama_alignment(predicted.positions_xyz.T, true.positions_xyz.T, with_scale=True)
    return row | {"sim3": {"scale": float(s), "rotation": r.tolist(), "translation": t.tolist()}}


def make_paths(folder: Path) -> None:
    """Cases that the kit has not: three poses, a longer prediction, half turns, one that does not move."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, cases = np.random.default_rng(7), {}
    for name, n_true, n_predicted in (("three", 3, 3), ("longer", 31, 64), ("turns", 45, 45), ("still", 6, 6)):
        true = walk(rng, n_true)
        times = np.arange(n_true) * 0.1 + 1e3
        chosen, stamps = true, times
        if n_predicted > n_true:  # twice as many, half of them out of reach
            chosen = np.repeat(true, 3, 0)[:n_predicted]
            stamps = np.sort(np.repeat(times, 3)[:n_predicted] + np.tile([0.003, 0.04, 0.06], 22)[:n_predicted])
        predicted = chosen @ walk(rng, 1)[0]
        predicted[:, :3, 3] = 0.4 * chosen[:, :3, 3] + 0.03 * rng.normal(size=(len(chosen), 3)).cumsum(0)
        if name == "turns":
            predicted[::5, :3, :3] = predicted[::5, :3, :3] @ np.diag([1, -1, -1])
        if name == "still":
            predicted[:] = predicted[0]
        pair = (
            write_path(folder / f"{name}_gt.txt", true, times),
            write_path(folder / f"{name}_pred.txt", predicted, stamps),
        )
        cases[name] = judge(*pair)
    write(folder / "pose_metrics.json", {"reference": "evo", "cases": cases})


def resize(image: np.ndarray, size: tuple[int, int], a: float = -0.75) -> np.ndarray:
    """Cubic, tap by tap."""

    def kernel(x: float) -> float:
        x = abs(x)
        return (a + 2) * x**3 - (a + 3) * x**2 + 1 if x <= 1 else max(0, 2 - x) and a * (x**3 - 5 * x**2 + 8 * x - 4)

    (h, w), out = image.shape, np.zeros(size)
    for i, j in np.ndindex(size):
        y, x = (i + 0.5) * h / size[0] - 0.5, (j + 0.5) * w / size[1] - 0.5
        for r in range(int(np.floor(y)) - 1, int(np.floor(y)) + 3):
            for c in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
                out[i, j] += kernel(y - r) * kernel(x - c) * image[min(max(r, 0), h - 1), min(max(c, 0), w - 1)]
    return out


def errors(p: np.ndarray, g: np.ndarray, s: float, t: float, cap: float | None) -> Json:
    """Figures by a loop over pixels."""
    rows = []
    for each, true in zip(p, g, strict=True):
        a = min(s * each + t, cap) if cap else s * each + t
        b = max(a, 1e-5)
        r = max(b / true, true / b)
        rows.append([abs(a - true) / true, (a - true) ** 2 / true, (a - true) ** 2, (np.log(b) - np.log(true)) ** 2,
                     r < 1.25, r < 1.25**2, r < 1.25**3])  # fmt: skip
    m = np.mean(np.array(rows, float), 0)
    names = ("abs_rel", "sq_rel", "rmse", "log_rmse", "delta1", "delta2", "delta3")
    values = dict(zip(names, [m[0], m[1], m[2] ** 0.5, m[3] ** 0.5, *m[4:]], strict=True))
    return values | {"valid_pixels": len(g), "scale": s, "shift": t}


def adam(p: np.ndarray, g: np.ndarray, start: float) -> tuple[float, float]:
    """torch's own Adam."""
    theta, before = torch.tensor([start, 0.0], dtype=torch.float64, requires_grad=True), None
    optimiser = torch.optim.Adam([theta], lr=1e-4)
    for _ in range(1000):
        optimiser.zero_grad()
        loss = (theta[0] * torch.from_numpy(p) + theta[1] - torch.from_numpy(g)).abs().sum()
        loss.backward()
        optimiser.step()
        if before is not None and abs(loss.item() - before) < 1e-6:
            break
        before = loss.item()
    return tuple(theta.tolist())  # type: ignore[return-value]


def make_depth(folder: Path) -> None:
    """One sequence with limits and a cap and one without; tiny, so that every pair of pixels can be tried."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(11)
    limits: Json = {
        "capped": {"max_depth": 30, "clip_aligned_prediction_at": 30, "gt": "float metres"},
        "open": {"max_depth": None, "clip_aligned_prediction_at": None, "gt": "uint16 / 500, 0 = invalid"},
    }
    listing: Json = {"conventions": limits, "sequences": {}, "dataset_average": {}, "extras": {}, "scale_iterates": {}}
    for name, about in limits.items():
        true = rng.uniform(1, 40, (3, 9, 11)) * (rng.random((3, 9, 11)) > 0.2)
        stored: Json = (
            {"gt": true.astype(np.float32)} if name == "capped" else {"gt_raw": (true * 500).astype(np.uint16)}
        )
        true = stored["gt"].astype(np.float64) if name == "capped" else stored["gt_raw"] / 500.0
        small = np.stack([resize(np.where(frame > 0, frame, 8), (6, 14)) for frame in true])
        predicted = (0.6 * small * rng.uniform(0.7, 1.4, small.shape) + 1).astype(np.float32)
        resized = np.stack([resize(frame.astype(np.float64), (9, 11)) for frame in predicted]).astype(np.float32)
        np.savez_compressed(folder / f"{name}_x.npz", pred=predicted, pred_resized=resized, **stored)
        limit, cap = about["max_depth"], about["clip_aligned_prediction_at"]
        mask = (true > 0) & (true < (limit or np.inf))
        p, g = resized.astype(np.float64)[mask], true[mask]
        steps = [g.mean() / p.mean()]
        for _ in range(10):
            w = [1 / (abs(steps[-1] * a - b) + 1e-8) for a, b in zip(p, g, strict=True)]
            steps.append(sum(w * p * g) / sum(w * p * p))
        start = float(np.sort(g)[(len(g) - 1) // 2] / np.sort(p)[(len(p) - 1) // 2])
        row = {"metric": errors(p, g, 1.0, 0.0, cap), "scale": errors(p, g, max(steps[-1], 1e-3), 0.0, cap)}
        row["scale&shift"] = errors(p, g, *adam(p, g, start), cap) | {"scale_init": start}
        listing["sequences"][f"{name}_x"] = {"convention": name, **row}
        listing["dataset_average"][name] = {k: {m: v[m] for m in ("abs_rel", "rmse", "delta1")} for k, v in row.items()}
        listing["scale_iterates"][f"{name}_x"] = {"float64": [float(s) for s in steps]}
        s1 = min(g / p, key=lambda s: np.abs(s * p - g).sum())
        i, j = np.triu_indices(len(p), 1)
        s = (g[i] - g[j]) / (p[i] - p[j])
        t = g[i] - s * p[i]
        best = min(range(len(s)), key=lambda k: np.abs(s[k] * p + t[k] - g).sum())
        line = np.linalg.lstsq(np.stack([p, np.ones_like(p)], 1), g, rcond=None)[0].tolist()
        listing["extras"][f"{name}_x"] = {
            "median_scaling": errors(p, g, start, 0.0, cap),
            "lstsq_scale_shift": errors(p, g, *line, cap),
            "exact_lad_scale": {"scale": s1, "mean_abs_error": np.abs(s1 * p - g).mean()},
            "exact_lad_scale_shift": {
                "scale": s[best], "shift": t[best], "mean_abs_error": np.abs(s[best] * p + t[best] - g).mean()
            },
        }  # fmt: skip
    write(folder / "depth_metrics.json", listing)


def write(path: Path, value: Json) -> None:
    """Write JSON with numpy's numbers as plain ones."""
    path.write_text(json.dumps(value, indent=1, default=lambda number: number.item()) + "\n")


if __name__ == "__main__":
    make_paths(OUT / "pose")
    make_depth(OUT / "depth")
