# SPDX-License-Identifier: Apache-2.0
"""Binary glTF 2.0 (Khronos specification): points, the camera's path, and a camera that flies along it.

glTF's world has y up and its cameras look along -z; vertex colours are linear, not sRGB. Points have no surface, so the
material is unlit (KHR_materials_unlit).
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from longtake.files import replacing
from longtake.outputs.colormap import PATH, look_up
from longtake.outputs.exports.axes import GLTF_FROM_WORLD, OUR_FROM_GL
from longtake.outputs.exports.points import Points
from longtake.outputs.take import Take, TakeFrame
from longtake.outputs.trajectory import quat_xyzw_from_matrix

_FLOAT = 5126  # glTF's number of float32
_POINTS, _LINES = 0, 1  # and of primitive modes; not every reader knows line strips
_FRUSTA = 24  # drawn along the path
_VERTICES = 34962  # the target of a buffer view that holds vertices


class _Document:
    """A glTF document that collects arrays in one binary chunk."""

    def __init__(self) -> None:
        self.chunk = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def array(self, values: np.ndarray, kind: str, *, vertices: bool = True, **more: Any) -> int:
        """Append float32 values; return the number of their accessor."""
        view = {"buffer": 0, "byteOffset": len(self.chunk), "byteLength": values.nbytes}
        self.views.append(view | ({"target": _VERTICES} if vertices else {}))
        self.chunk += np.ascontiguousarray(values).tobytes()
        accessor = {"bufferView": len(self.views) - 1, "count": len(values), "type": kind, "componentType": _FLOAT}
        accessor |= more
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def primitive(self, places: np.ndarray, colors: np.ndarray, mode: int) -> dict[str, Any]:
        """Return a primitive of (n, 3) world points with (n, 3) uint8 sRGB colours."""
        turned = (places @ GLTF_FROM_WORLD[:3, :3].T).astype(np.float32)
        bounds = {"min": turned.min(0).tolist(), "max": turned.max(0).tolist()}
        position = self.array(turned, "VEC3", **bounds)
        color = self.array(_linear(colors), "VEC3")
        return {"attributes": {"POSITION": position, "COLOR_0": color}, "mode": mode, "material": 0}

    def write(self, path: Path, document: dict[str, Any]) -> None:
        document |= {
            "bufferViews": self.views,
            "accessors": self.accessors,
            "buffers": [{"byteLength": len(self.chunk)}],
        }
        text = json.dumps(document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        self.chunk += bytes(-len(self.chunk) % 4)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft, open(draft, "wb") as file:
            file.write(struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(self.chunk)))
            file.write(struct.pack("<I4s", len(text), b"JSON") + text)
            file.write(struct.pack("<I4s", len(self.chunk), b"BIN\0"))
            file.write(self.chunk)


def write_glb(path: Path, take: Take, points: Points) -> None:
    """Write one .glb with nodes `points`, `path`, `cameras` and the animated camera `take`. Raises OSError."""
    document, meshes, nodes = _Document(), [], []

    def mesh(name: str, places: np.ndarray, colors: np.ndarray, mode: int) -> None:
        if len(places):
            meshes.append({"name": name, "primitives": [document.primitive(places, colors, mode)]})
            nodes.append({"name": name, "mesh": len(meshes) - 1})

    frames = take.posed
    poses = (
        np.stack([f.world_from_cam for f in frames if f.world_from_cam is not None]) if frames else np.zeros((0, 4, 4))
    )
    shades = look_up(PATH, np.linspace(0, 1, len(poses)))
    mesh("points", points.places, points.colors, _POINTS)
    if len(poses) > 1:
        mesh("path", np.repeat(poses[:, :3, 3], 2, 0)[1:-1], np.repeat(shades, 2, 0)[1:-1], _LINES)
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _FRUSTA)).round().astype(int)) if frames else []
    reach = frustum_length(points, poses)
    edges = [frustum_edges(frames[i], reach) for i in chosen]
    mesh("cameras", np.concatenate(edges or [np.zeros((0, 3))]), np.repeat(shades[chosen], 16, 0), _LINES)
    content: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "Longtake"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "materials": [{"name": "unlit", "extensions": {"KHR_materials_unlit": {}}}],
        "meshes": meshes,
    }
    if frames:
        content |= _camera(document, nodes, frames, poses)
    content |= {"nodes": nodes, "scenes": [{"nodes": list(range(len(nodes)))}], "scene": 0}
    document.write(path, {key: value for key, value in content.items() if value or key == "scene"})


def _camera(
    document: _Document, nodes: list[dict[str, Any]], frames: list[TakeFrame], poses: np.ndarray
) -> dict[str, Any]:
    """Add the camera of the take to the nodes and return its lens and its animation."""
    k, (width, height) = frames[0].intrinsics, frames[0].size
    assert k is not None
    turned = GLTF_FROM_WORLD @ poses @ OUR_FROM_GL
    quats = np.stack([quat_xyzw_from_matrix(pose[:3, :3]) for pose in turned])
    for i in range(1, len(quats)):  # q and -q are one turn: take the nearer, or players go the long way round
        quats[i] *= 1.0 if quats[i] @ quats[i - 1] >= 0 else -1.0
    nodes.append({"name": "take", "camera": 0, "translation": turned[0, :3, 3].tolist(), "rotation": quats[0].tolist()})
    times = np.array([f.time - frames[0].time for f in frames], np.float32)
    lens = {"yfov": 2 * math.atan(height / 2 / k[1, 1]), "aspectRatio": width / height, "znear": 0.01}
    cameras = {"cameras": [{"type": "perspective", "perspective": lens}]}
    if len(frames) < 2 or (np.diff(times) <= 0).any():  # glTF wants times that grow
        return cameras
    clock = document.array(times, "SCALAR", vertices=False, min=[float(times[0])], max=[float(times[-1])])
    moves = {
        "translation": document.array(turned[:, :3, 3].astype(np.float32), "VEC3", vertices=False),
        "rotation": document.array(quats.astype(np.float32), "VEC4", vertices=False),
    }
    samplers = [{"input": clock, "output": output, "interpolation": "LINEAR"} for output in moves.values()]
    targets = [{"sampler": i, "target": {"node": len(nodes) - 1, "path": path}} for i, path in enumerate(moves)]
    return cameras | {"animations": [{"name": "take", "samplers": samplers, "channels": targets}]}


def frustum_length(points: Points, poses: np.ndarray) -> float:
    """Return how long to draw a camera: a few percent of the scene."""
    places = np.concatenate([points.places[:: max(len(points) // 10_000, 1)], poses[:, :3, 3]])
    low, high = np.percentile(places, (2, 98), axis=0) if len(places) else (np.zeros(3), np.ones(3))
    return max(0.035 * float(np.linalg.norm(high - low)), 1e-3)


def frustum_edges(frame: TakeFrame, length: float) -> np.ndarray:
    """Return (16, 3) world points: the ends of the eight edges of a camera's pyramid."""
    k, (width, height), pose = frame.intrinsics, frame.size, frame.world_from_cam
    assert k is not None and pose is not None
    corners = np.array(
        [[-0.5, -0.5, 1], [width - 0.5, -0.5, 1], [width - 0.5, height - 0.5, 1], [-0.5, height - 0.5, 1]]
    )
    rays = corners @ np.linalg.inv(k).T * length
    own = np.concatenate([np.zeros((1, 3)), rays])
    order = [0, 1, 0, 2, 0, 3, 0, 4, 1, 2, 2, 3, 3, 4, 4, 1]
    return own[order] @ pose[:3, :3].T + pose[:3, 3]


def _linear(colors: np.ndarray) -> np.ndarray:
    """Return (n, 3) float32 linear RGB of (n, 3) uint8 sRGB (IEC 61966-2-1). Eight bits would band in the dark."""
    srgb = np.arange(256) / 255
    table = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return table.astype(np.float32)[colors]
