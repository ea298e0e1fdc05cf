# SPDX-License-Identifier: Apache-2.0
"""Axes of other tools. Ours: x right, y down, z forward, for cameras and for the world (the first camera)."""

from __future__ import annotations

import numpy as np

# Cameras of OpenGL, Blender, glTF and nerfstudio look along -z with y up: world_from_cam @ OUR_FROM_GL.
OUR_FROM_GL = np.diag([1.0, -1.0, -1.0, 1.0])
# glTF's world has y up: half a turn about x.
GLTF_FROM_WORLD = np.diag([1.0, -1.0, -1.0, 1.0])
# nerfstudio's world has z up: x stays, our forward becomes y.
NERF_FROM_WORLD = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
