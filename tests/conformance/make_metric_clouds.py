# SPDX-License-Identifier: Apache-2.0
"""Write tests/data/metrics/points again: two small clouds in the metrics kit's format, judged by a plain twin.

    python tests/conformance/make_metric_clouds.py

The twin holds the table of all distances and walks through the protocol's text without any code of the library.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from make_metric_cases import OUT, Json, turn, walk, write

H, W, T = 18, 24, 2
K = np.array([[22.0, 0, 11], [0, 21.0, 9], [0, 0, 1]], np.float32)


def lower(values: np.ndarray) -> float:
    """Element floor((n - 1) / 2) of the sorted values."""
    return float(np.sort(values)[(len(values) - 1) // 2])


def moved(points: np.ndarray, pose: np.ndarray) -> np.ndarray:
    return points @ pose[:3, :3].T + pose[:3, 3]


def table(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """All distances (n, m)."""
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))


def icp(p: np.ndarray, g: np.ndarray, reach: float) -> tuple[np.ndarray, Json]:
    """Round by round, with all distances at hand."""
    total, before, source = np.eye(4), None, p
    for update in range(31):
        distance, partner = table(source, g).min(1), table(source, g).argmin(1)
        kept = distance <= reach
        fitness, rmse = kept.mean(), np.sqrt((distance[kept] ** 2).mean())
        if (before and abs(before[0] - fitness) < 1e-6 and abs(before[1] - rmse) < 1e-6) or update == 30:
            break
        before = (fitness, rmse)
        x, y = source[kept], g[partner[kept]]
        u, _, vt = np.linalg.svd((y - y.mean(0)).T @ (x - x.mean(0)))
        r = u @ np.diag([1, 1, np.linalg.det(u) * np.linalg.det(vt)]) @ vt
        step = np.eye(4)
        step[:3, :3], step[:3, 3] = r, y.mean(0) - r @ x.mean(0)
        total = step @ total
        source = moved(p, total)
    about = {"icp_transformation": total.tolist(), "icp_fitness": fitness, "icp_inlier_rmse": rmse}
    return source, about | {"icp_correspondences": int(kept.sum())}


def normals(points: np.ndarray) -> np.ndarray:
    """The direction of least spread of the 30 nearest points, point by point."""
    nearest = table(points, points).argsort(1, kind="stable")[:, :30]
    return np.stack([np.linalg.eigh(np.cov(points[each].T))[1][:, 0] for each in nearest])


def judge(p: np.ndarray, g: np.ndarray) -> tuple[Json, np.ndarray, np.ndarray]:
    """Distances and normals both ways."""
    a, b, distance = normals(p), normals(g), table(p, g)
    out: Json = {}
    for name, axis, dots in (("acc", 1, np.abs((a * b[distance.argmin(1)]).sum(-1))),
                             ("comp", 0, np.abs((b * a[distance.argmin(0)]).sum(-1)))):  # fmt: skip
        near, nc = distance.min(axis), "nc1" if axis else "nc2"
        out |= {name: near.mean(), f"{name}_med": np.median(near), nc: dots.mean(), f"{nc}_med": np.median(dots)}
    out |= {"nc": (out["nc1"] + out["nc2"]) / 2, "nc_med": (out["nc1_med"] + out["nc2_med"]) / 2}
    return out | {"chamfer": (out["acc"] + out["comp"]) / 2}, a, b


def make(folder: Path, name: str, seed: int) -> Json:
    """Write one case and return its row."""
    rng = np.random.default_rng(seed)
    v, u = np.indices((H, W))
    true = walk(rng, T).astype(np.float32)
    z = np.stack([2 + 0.5 * i + 0.03 * u + 0.02 * v + 0.4 * (u > 12) for i in range(T)])
    mm = np.where(rng.random(z.shape) < 0.1, 0, z * 1000).astype(np.uint16)
    mm[0, 0, 0] = 12_000  # beyond the limit
    z = np.where(mm > 10_000, 0, mm.astype(np.float32) / 1000).astype(np.float64)
    own = np.stack([(u - K[0, 2]) * z / K[0, 0], (v - K[1, 2]) * z / K[1, 1], z], -1)
    noisy = (0.5 * np.where(z[..., None] > 0, own * rng.normal(1, 0.01, (*z.shape, 1)), 1) + [0, 0, 0.1]).astype(
        np.float16
    )
    first = np.linalg.inv(true[0].astype(np.float64))
    poses = []
    for i in range(T):
        m = first @ true[i].astype(np.float64)
        r = m[:3, :3] @ turn(rng, 0.6)
        q = np.array([1 + np.trace(r), r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
        poses.append([*(0.5 * m[:3, 3] + 0.005 * rng.normal(size=3)), *(q / np.linalg.norm(q))])
    pose = np.array(poses, np.float32)
    np.savez_compressed(
        folder / f"{name}.npz", gt_depth_mm=mm, intrinsics=K, gt_c2w=true, pred_pts_self=noisy, pred_pose=pose
    )
    g_all, p_all = [], []
    for i in range(T):
        w, x, y, s = pose[i, 3:].astype(np.float64) / np.linalg.norm(pose[i, 3:].astype(np.float64))
        m = np.eye(4)
        m[:3, :3] = [[1 - 2 * (y * y + s * s), 2 * (x * y - s * w), 2 * (x * s + y * w)],
                     [2 * (x * y + s * w), 1 - 2 * (x * x + s * s), 2 * (y * s - x * w)],
                     [2 * (x * s - y * w), 2 * (y * s + x * w), 1 - 2 * (x * x + y * y)]]  # fmt: skip
        m[:3, 3] = pose[i, :3]
        keep = z[i] > 0
        p_all.append(moved(noisy[i][keep].astype(np.float64), m))
        g_all.append(moved(own[i][keep], first @ true[i].astype(np.float64)))
    p, g = np.concatenate(p_all), np.concatenate(g_all)
    shifts = lower(g[:, 2]), lower(p[:, 2])
    g, p = g - [0, 0, shifts[0]], p - [0, 0, shifts[1]]
    sizes = [lower(np.linalg.norm(c - [lower(c[:, a]) for a in range(3)], axis=1)) for c in (g, p)]
    p, g = (moved(c + [0, 0, shifts[0]], true[0].astype(np.float64)) for c in (p * sizes[0] / sizes[1], g))
    before, *_ = judge(p, g)
    after, about = icp(p, g, 0.1)
    result, a, b = judge(after, g)
    index = np.arange(0, len(p), 97)
    np.savez_compressed(
        folder / f"{name}_check.npz", index=index, pred_before_icp=p[index], gt=g[index],
        pred_after_icp=after[index], pred_normals=a[index], gt_normals=b[index],
    )  # fmt: skip
    return {
        "crop_rows": [0, H - 1], "crop_cols": [0, W - 1], "valid_pixels_full": (z > 0).sum((1, 2)).tolist(),
        "n_points_in_crop": len(p), "gt_shift_z": shifts[0], "pred_shift_z": shifts[1], "gt_scale": sizes[0],
        "pred_scale": sizes[1], "applied_pred_multiplier": sizes[0] / sizes[1], "result": result, "icp": about,
        "without_icp": before,
        "cloud_before_icp": {"pred_mean": p.mean(0).tolist(), "pred_std": p.std(0).tolist(),
                             "gt_mean": g.mean(0).tolist(), "gt_std": g.std(0).tolist()},
    }  # fmt: skip


if __name__ == "__main__":
    points = OUT / "points"
    points.mkdir(parents=True, exist_ok=True)
    cases = {name: make(points, name, seed) for name, seed in (("walls", 3), ("other", 4))}
    write(points / "points_metrics.json", {"icp_threshold": 0.1, "cases": cases})
