# SPDX-License-Identifier: Apache-2.0
"""Read the libraries of Debian's package sweethome3d-furniture: catalogue, meshes, colours of their surface."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh

SAMPLES = 24_000  # points at which a model's colour and visibility are taken
KINDS = ("floor", "table", "seat", "top", "wall", "opening", "ceiling", "person", "outside", "vehicle")


@dataclass
class Entry:
    """One model of a catalogue. Lengths in metres."""

    library: str
    name: str
    creator: str
    category: str
    licence: str
    model: Path
    size: np.ndarray  # (3,) width, height, depth
    elevation: float  # of its underside above the floor
    top: float  # height of the surface that carries things, 0 where there is none
    opening: bool  # a door or a window
    rotation: np.ndarray  # (3, 3)

    @property
    def kind(self) -> str:
        """Where it belongs in a room: one of KINDS."""
        width, height, depth = self.size
        words = self.name.lower()
        if self.opening:
            return "opening"
        if self.category == "Characters":
            return "person" if 1.2 < height < 2.1 and max(width, depth) < 1.2 else "top"
        if self.category == "Vehicles":
            return "vehicle"
        if self.elevation > 1.7 or (self.category == "Lights" and self.elevation > 1.2):
            return "ceiling"
        if self.elevation > 0.25:
            return "wall"
        if self.category == "Exterior" or max(self.size) > 3.4:
            return "outside"
        if height < 0.55 and max(width, depth) < 0.5:
            return "top"
        if re.search(r"chair|stool|fauteuil", words) and max(width, depth) < 0.9:
            return "seat"
        if re.search(r"table|desk", words) and 0.6 < height < 0.95 and self.top > 0.5:
            return "table"
        return "floor"


def read_catalogue(folder: Path, library: str, licence: str) -> list[Entry]:
    """All models that an unpacked library lists."""
    fields: dict[int, dict[str, str]] = {}
    text = (folder / "PluginFurnitureCatalog.properties").read_text(encoding="latin-1")
    for line in text.splitlines():
        if found := re.match(r"(\w+)#(\d+)\s*=\s*(.*)", line):
            fields.setdefault(int(found[2]), {})[found[1]] = found[3].strip()
    entries = []
    for _, f in sorted(fields.items()):
        turn = np.array([float(x) for x in f.get("modelRotation", "1 0 0 0 1 0 0 0 1").split()]).reshape(3, 3)
        size = np.array([float(f[k]) for k in ("width", "height", "depth")]) / 100
        drop = float(f.get("dropOnTopElevation", f["height"])) / 100
        entries.append(
            Entry(
                library=library,
                name=f.get("name") or f["id"].split("#")[-1],
                creator=f["creator"],
                category=f["category"],
                licence=licence,
                model=folder / f["model"].lstrip("/"),
                size=size,
                elevation=float(f.get("elevation", 0)) / 100,
                top=max(drop, 0.0),
                opening=f["doorOrWindow"] == "true",
                rotation=turn,
            )
        )
    return entries


@dataclass
class Surface:
    """A model's triangles in its box [-1, 1]^3 (x right, y down, z to the back) and points on it."""

    vertices: np.ndarray  # (V, 3)
    faces: np.ndarray  # (F, 3)
    points: np.ndarray  # (S, 3)
    normals: np.ndarray  # (S, 3) of the metric shape
    colors: np.ndarray  # (S, 3) display space, 0 to 1
    face: np.ndarray  # (S,) the triangle that each point lies on


def read_surface(entry: Entry, seed: int = 0) -> Surface | None:
    """Read a model with its colours; None where nothing opaque is left."""
    scene = trimesh.load(entry.model, process=False, force="scene")
    generator = np.random.default_rng(seed)
    parts = [m for m in scene.geometry.values() if isinstance(m, trimesh.Trimesh) and len(m.faces)]
    if entry.kind != "vehicle":  # nobody should look into a car
        parts = [m for m in parts if opacity(m) > 0.6] or parts
    if not parts:
        return None
    vertices = np.concatenate([np.asarray(m.vertices, float) for m in parts]) @ entry.rotation.T
    low, high = vertices.min(0), vertices.max(0)
    vertices = (vertices - (low + high) / 2) / np.maximum((high - low) / 2, 1e-9)
    vertices = vertices * np.array([1.0, -1.0, -1.0])  # y up, front at +z: turned about x
    offsets = np.cumsum([0] + [len(m.vertices) for m in parts])
    faces = np.concatenate([np.asarray(m.faces) + o for m, o in zip(parts, offsets[:-1], strict=True)])
    which = np.repeat(np.arange(len(parts)), [len(m.faces) for m in parts])
    first = np.cumsum([0] + [len(m.faces) for m in parts])
    metric = vertices * entry.size / 2
    a, b, c = (metric[faces[:, i]] for i in range(3))
    cross = np.cross(b - a, c - a)
    area = np.linalg.norm(cross, axis=1)
    if area.sum() <= 0:
        return None
    # every triangle gets a few points, large ones more
    chosen = generator.choice(len(faces), SAMPLES, p=area / area.sum())
    u, v = generator.random((2, SAMPLES))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
    weights = np.stack([1 - u - v, u, v], -1)
    points = (vertices[faces[chosen]] * weights[..., None]).sum(1)
    normals = cross[chosen] / np.maximum(area[chosen, None], 1e-12)
    colors, alpha = np.full((SAMPLES, 3), 0.6), np.ones(SAMPLES)
    for i, part in enumerate(parts):
        mine = np.nonzero(which[chosen] == i)[0]
        colors[mine], alpha[mine] = paint(part, chosen[mine] - first[i], weights[mine])
    keep = alpha > 0.5
    if keep.sum() < 500:
        keep[:] = True
    return Surface(vertices, faces, points[keep], normals[keep], colors[keep], chosen[keep])


def opacity(mesh: trimesh.Trimesh) -> float:
    """Opacity of a mesh's material; glass and water are left out of models."""
    properties = getattr(getattr(mesh.visual, "material", None), "kwargs", None) or {}
    value = properties.get("d", [1.0])
    value = float(np.ravel(np.asarray(value, float))[0]) if len(np.ravel(value)) else 1.0
    return value


def paint(mesh: trimesh.Trimesh, faces: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours (n, 3) and alpha (n,) of points given by triangle and barycentric weights."""
    material = getattr(mesh.visual, "material", None)
    image, uv = getattr(material, "image", None), getattr(mesh.visual, "uv", None)
    if image is None or uv is None:
        color = getattr(material, "diffuse", None)
        color = np.array([160, 160, 160, 255]) if color is None else np.asarray(color)
        return np.repeat(color[None, :3] / 255.0, len(faces), 0), np.ones(len(faces))
    picture = image.convert("RGBA")
    picture.thumbnail((512, 512))
    texels = np.asarray(picture, float) / 255
    place = (np.asarray(uv)[np.asarray(mesh.faces)[faces]] * weights[..., None]).sum(1)
    place = np.nan_to_num(place)
    height, width = texels.shape[:2]
    column = ((place[:, 0] % 1.0) * width).astype(int).clip(0, width - 1)
    line = (((1 - place[:, 1]) % 1.0) * height).astype(int).clip(0, height - 1)
    found = texels[line, column]
    return found[:, :3], found[:, 3]
