# SPDX-License-Identifier: Apache-2.0
"""Pack furniture models for the synthetic world: few triangles, corner colours, baked occlusion, attributions.

    apt-get download sweethome3d-furniture && dpkg-deb -x sweethome3d-furniture_*.deb furniture
    pip install open3d trimesh scipy
    python tools/build_furniture.py furniture [--out src/longtake/synthetic]

Writes `furniture.npz` and `FURNITURE.tsv`, one row a model in the same order, with its author and licence. Models that
lose their shape with so few triangles are left out. The same package and versions give the same files.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import open3d
import torch
from furniture_models import KINDS, Entry, Surface, read_catalogue, read_surface
from scipy.spatial import cKDTree

LEAF = 8  # triangles a leaf; the order of the triangles is that of the leaves
LOST = 0.03  # share of the diagonal that the shape may be off, root mean square
CREASE = 0.7  # cosine of the angle between faces that are shaded as one
# Two of the libraries ask for attribution in words of their own; the table names their authors.
LICENCES = {
    "BlendSwap-CC-0": "CC0-1.0",
    "BlendSwap-CC-BY": "CC-BY-3.0",
    "KatorLegaz": "CC-BY-3.0-US",
    "Reallusion": "CC-BY-3.0-US",
    "Scopia": "CC-BY-3.0",
}


def visible(surface: Surface, views: int = 60, cells: int = 96) -> np.ndarray:
    """Which sample points are seen from outside: splatted into depth maps of directions all round. (S,) bool."""
    points = surface.points
    seen = np.zeros(len(points), bool)
    k = np.arange(views) + 0.5
    z, angle = 1 - 2 * k / views, np.pi * (1 + 5**0.5) * k
    for way in np.stack([np.cos(angle) * (1 - z * z) ** 0.5, z, np.sin(angle) * (1 - z * z) ** 0.5], -1):
        across = np.cross(way, [0.3, 0.5, 0.8])
        across /= np.linalg.norm(across)
        up = np.cross(way, across)
        place = ((np.stack([points @ across, points @ up], -1) / 1.75 + 1) * cells / 2).astype(int).clip(0, cells - 1)
        cell, depth = place[:, 0] * cells + place[:, 1], points @ way
        front = np.full(cells * cells, np.inf)
        np.minimum.at(front, cell, depth)
        seen |= depth < front[cell] + 0.05
    return seen


def thin_out(surface: Surface, seen: np.ndarray, size: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Drop what nobody sees and collapse edges (Garland and Heckbert 1997) until about `count` triangles are left."""
    # by distance and not by face: small faces without a sample of their own must not leave holes
    away, _ = cKDTree(surface.points[seen]).query(surface.vertices[surface.faces].mean(1))
    wide = np.ptp(surface.vertices[surface.faces], axis=1).max(1)
    hidden = away > np.maximum(0.1, 0.7 * wide)
    faces = surface.faces[~hidden]
    key = np.round(surface.vertices * 4000).astype(np.int64)
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    vertices, faces = surface.vertices[first], inverse.reshape(-1)[faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])]
    _, once = np.unique(np.sort(faces, 1), axis=0, return_index=True)
    faces = faces[np.sort(once)]
    if len(faces) > count:
        scale = size / 2
        shape = open3d.geometry.TriangleMesh(
            open3d.utility.Vector3dVector(vertices * scale), open3d.utility.Vector3iVector(faces)
        ).simplify_quadric_decimation(count)
        vertices, faces = np.asarray(shape.vertices) / scale, np.asarray(shape.triangles)
    _, once = np.unique(np.sort(faces, 1), axis=0, return_index=True)
    faces = faces[np.sort(once)]  # thin sheets collapse to the same triangle twice
    a, b, c = (vertices[faces[:, i]] * size / 2 for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    faces, area = faces[area > 1e-8], area[area > 1e-8]
    if len(faces) > 1.1 * count:
        # many loose leaves, which do not collapse: some stay and grow to the area of all (Cook and others 2007)
        kept = np.sort(np.random.default_rng(0).choice(len(faces), count, replace=False, p=area / area.sum()))
        corners = vertices[faces[kept]]
        middle = corners.mean(1, keepdims=True)
        grow = min((area.sum() / area[kept].sum()) ** 0.5, 2.5)
        vertices, faces = (middle + grow * (corners - middle)).reshape(-1, 3), np.arange(3 * count).reshape(-1, 3)
    return vertices.clip(-1, 1), faces


def order(centres: np.ndarray) -> np.ndarray:
    """Order triangles so that each LEAF of them are neighbours, and each pair of halves too (see `meshes.tree`)."""

    def split(index: np.ndarray) -> list[np.ndarray]:
        leaves = -(-len(index) // LEAF)
        if leaves <= 1:
            return [index]
        axis = np.argmax(np.ptp(centres[index], axis=0))
        index = index[np.argsort(centres[index, axis], kind="stable")]
        middle = (leaves + 1) // 2 * LEAF
        return split(index[:middle]) + split(index[middle:])

    return np.concatenate(split(np.arange(len(centres))))


def corner_normals(corners: np.ndarray) -> np.ndarray:
    """Normals (F, 3, 3) at the corners (F, 3, 3): means over the faces that meet there at less than the crease."""
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    unit = cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-12)
    key = np.round(corners.reshape(-1, 3) * 2000).astype(np.int64)
    _, vertex = np.unique(key, axis=0, return_inverse=True)
    vertex = vertex.reshape(-1)
    face = np.repeat(np.arange(len(corners)), 3)
    out = np.zeros((len(vertex), 3))
    by_vertex = np.argsort(vertex, kind="stable")
    for group in np.split(by_vertex, np.nonzero(np.diff(vertex[by_vertex]))[0] + 1):
        mine = unit[face[group]]
        near = (mine @ mine.T).__abs__() > CREASE  # faces may be wound either way
        sign = np.sign(mine @ mine.T)
        out[group] = (near * sign) @ cross[face[group]]
    length = np.linalg.norm(out, axis=1, keepdims=True)
    return np.where(length > 1e-12, out / np.maximum(length, 1e-12), unit[face]).reshape(-1, 3, 3)


def occlusion(corners: np.ndarray, normals: np.ndarray, floor: bool, rays: int = 48, reach: float = 0.8) -> np.ndarray:
    """Share of the sky that corners (F, 3, 3) of a metric mesh see within `reach` metres on their lighter side."""
    g = torch.Generator().manual_seed(1)
    way = torch.nn.functional.normalize(torch.randn(rays, 3, generator=g), dim=-1)
    c = torch.from_numpy(corners).float()
    middle = c.mean(1, keepdim=True)
    start = (c + 0.15 * (middle - c)).reshape(-1, 3)
    normal = torch.from_numpy(normals).float().reshape(-1, 3)
    a, e1, e2 = c[:, 0], c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]
    cross = torch.linalg.cross(e1, e2)
    blocked = torch.zeros(2, len(start))
    weight = torch.zeros(2, len(start))
    bottom = c[..., 1].max() + 1e-3
    for w in way:
        side = (normal @ w > 0).long()  # 1: the outer side
        cosine = (normal @ w).abs()
        origin = start + w * 0.006
        det = cross @ w
        inverse = 1 / torch.where(det.abs() < 1e-9, -1e-9, -det)

        def plane(n: torch.Tensor) -> torch.Tensor:
            return (origin @ n.T - (a * n).sum(-1)) * inverse  # noqa: B023

        every = w.expand_as(e1)
        t, u, v = plane(cross), plane(torch.linalg.cross(every, e2)), plane(torch.linalg.cross(e1, every))
        hit = ((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0.004) & (t < reach) & (det.abs() > 1e-9)).any(1)
        if floor and w[1] > 0:
            hit = hit | (origin[:, 1] + reach * w[1] > bottom)
        row = torch.arange(len(start))
        blocked[side, row] += cosine * hit
        weight[side, row] += cosine
    sky = 1 - blocked / weight.clamp_min(1e-6)
    return sky.amax(0).reshape(-1, 3).numpy()


def pack(entry: Entry, count: int) -> dict[str, np.ndarray] | None:
    """Turn a model into arrays; None where it is empty or its shape is lost."""
    surface = read_surface(entry)
    if surface is None:
        return None
    seen = visible(surface)
    vertices, faces = thin_out(surface, seen, entry.size, count)
    if len(faces) < 4:
        return None
    scale = entry.size / 2
    faces = faces[order(vertices[faces].mean(1))]
    corners = vertices[faces]
    metric = corners * scale
    # the shape that is left, sampled: how far is what was seen from it?
    generator = np.random.default_rng(0)
    area = np.linalg.norm(np.cross(metric[:, 1] - metric[:, 0], metric[:, 2] - metric[:, 0]), axis=1)
    weights = generator.dirichlet([1, 1, 1], 8000)
    left = np.einsum("nk,nkc->nc", weights, metric[generator.choice(len(metric), 8000, p=area / area.sum())])
    outer = surface.points[seen] * scale
    far, _ = cKDTree(left).query(outer)
    lost = float(np.sqrt((far**2).mean()) / np.linalg.norm(entry.size))
    normals = corner_normals(metric)
    unit = np.cross(metric[:, 1] - metric[:, 0], metric[:, 2] - metric[:, 0])
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    # colours of the corners: means of the samples near a point drawn towards the middle of the face
    inward = metric + 0.3 * (metric.mean(1, keepdims=True) - metric)
    spread = 0.08 * np.linalg.norm(entry.size)
    tree = cKDTree(np.concatenate([outer, np.abs(surface.normals[seen]) * spread], 1))
    query = np.concatenate([inward, np.abs(np.repeat(unit[:, None], 3, 1)) * spread], -1).reshape(-1, 6)
    near = tree.query(query, k=min(5, len(outer)))[1]
    colors = surface.colors[seen][near].mean(1).reshape(-1, 3, 3)
    floor = entry.kind not in ("wall", "opening", "ceiling")
    sky = occlusion(metric, normals, floor)
    steps = np.round((corners + 1) * 32767.5).astype(np.uint16).reshape(-1, 3)
    points, index = np.unique(steps, axis=0, return_inverse=True)
    return {
        "points": points,
        "index": index.reshape(-1, 3).astype(np.uint16),
        "colors": np.round(colors.clip(0, 1) * 255).astype(np.uint8),
        "normals": np.round(normals * 127).astype(np.int8),
        "sky": np.round(sky.clip(0, 1) * 255).astype(np.uint8),
        "lost": np.array(lost),
    }


def main() -> None:
    """Pack all models and write the table of attributions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the unpacked package, or any folder of .sh3f files")
    parser.add_argument("--out", type=Path, default=Path("src/longtake/synthetic"))
    parser.add_argument("--triangles", type=int, default=360)
    parser.add_argument("--limit", type=int, default=0, help="only every model number divisible by this, for trials")
    options = parser.parse_args()
    torch.set_num_threads(1)
    packed, rows = [], []
    with tempfile.TemporaryDirectory() as temporary:
        for library in sorted(options.folder.rglob("*.sh3f")):
            place = Path(temporary) / library.stem
            with zipfile.ZipFile(library) as archive:
                archive.extractall(place)
            for n, entry in enumerate(read_catalogue(place, library.stem, LICENCES[library.stem])):
                if options.limit and n % options.limit:
                    continue
                try:
                    model = pack(entry, options.triangles)
                except (ValueError, IndexError, KeyError) as error:
                    print(f"left out {library.stem}/{entry.name}: {error}")
                    continue
                if model is None or model["lost"] > LOST:
                    print(f"left out {library.stem}/{entry.name}: {'empty' if model is None else 'shape lost'}")
                    continue
                packed.append((entry, model))
    packed.sort(key=lambda pair: KINDS.index(pair[0].kind))
    for entry, model in packed:
        original = str(entry.model).split(f"{entry.library}/", 1)[1]
        rows.append([entry.kind, entry.name, original, entry.creator, entry.library, entry.licence])
        del model["lost"]
    arrays = {name: np.concatenate([model[name] for _, model in packed]) for name in packed[0][1]}
    # bytes of one sort beside each other pack better
    arrays["points"] = np.stack([arrays["points"] & 255, arrays["points"] >> 8]).astype(np.uint8)
    arrays["index"] = np.stack([arrays["index"] & 255, arrays["index"] >> 8]).astype(np.uint8)
    arrays["point_count"] = np.array([len(model["points"]) for _, model in packed], np.int32)
    arrays["face_count"] = np.array([len(model["index"]) for _, model in packed], np.int32)
    arrays["extent"] = np.array([entry.size / 2 for entry, _ in packed], np.float32)
    arrays["place"] = np.array([[entry.elevation, entry.top] for entry, _ in packed], np.float32)
    np.savez_compressed(options.out / "furniture.npz", **arrays)
    with (options.out / "FURNITURE.tsv").open("w", encoding="utf-8", newline="") as file:
        file.write("kind\tname\toriginal\tauthor\tlibrary\tlicence\n")
        file.writelines("\t".join(row) + "\n" for row in rows)
    size = (options.out / "furniture.npz").stat().st_size / 1e6
    print(f"{len(packed)} models, {arrays['face_count'].sum()} triangles, {size:.2f} MB")
    print({kind: sum(row[0] == kind for row in rows) for kind in KINDS})


if __name__ == "__main__":
    main()
