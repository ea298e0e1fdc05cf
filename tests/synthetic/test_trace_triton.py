# SPDX-License-Identifier: Apache-2.0
"""The hand-written kernel draws what its plain twin `trace` draws, on a GPU and in triton's interpreter.

The interpreter is a choice made when triton is imported, so it gets a process of its own: this file, run as a program.
"""

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise

import pytest
import torch

from longtake.errors import CapabilityError
from longtake.synthetic.config import BODIES, BOXES, ELLIPSOIDS, MESH, ROOM, WorldConfig, worlds
from longtake.synthetic.meshcast import closer
from longtake.synthetic.meshes import load_meshes
from longtake.synthetic.raycast import hits, nearest, pixel_rays
from longtake.synthetic.textures import load_textures
from longtake.synthetic.uniforms import Uniforms, draw_uniforms
from longtake.synthetic.world import Plan, make_batch, plan_takes, render, trace


def world(device: str, takes: int, frames: int, height: int, width: int, seed: int) -> Plan:
    """Takes of the whole mixture, with reflections and lattices in every second one."""
    config = replace(worlds()["mixture"], mesh_share=0.5, people_share=0.6, clearance=0.25)
    u = Uniforms(draw_uniforms(takes, frames, "cpu", seeded(seed)).to(device))
    plan = plan_takes(u, config, load_textures(device), load_meshes(device), frames, height, width)
    s = plan.scenes
    half = torch.arange(takes, device=device) % 2
    faces = s.faces.clone()
    faces[:, ::7, :, 13:] = torch.tensor([2.5, 3.5, 0.4, 1.0, 0.3, 1.0], device=device)
    gloss = u.uniform(s.gloss.shape[1]) * half[:, None]
    return replace(plan, scenes=replace(s, gloss=gloss, faces=faces, shadowed=half.float()))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def compare(device: str, takes: int, frames: int, height: int, width: int, shadows: bool, seed: int) -> None:
    """Draw random worlds twice and ask for the same depth and light, save for single pixels at silhouettes."""
    from longtake.synthetic.trace_triton import trace_triton

    texels, plan = load_textures(device).texels, world(device, takes, frames, height, width, seed)
    scenes, poses, lens, meshes = plan.scenes, plan.room_from_cam, plan.intrinsics, plan.meshes
    assert meshes is not None
    warp = 0.05 * torch.randn(takes, frames, 5, generator=seeded(seed)).to(device)
    rays = pixel_rays(scenes, poses, lens, height, width, warp)
    focal = lens[:, 0, 0].repeat_interleave(frames)
    light, depth = trace(scenes, rays, poses.flatten(0, 1), focal, texels, meshes, shadows)
    ours, z = trace_triton(scenes, poses, lens, height, width, texels, shadows, meshes, warp)
    assert ours.shape == light.shape and z.shape == depth.shape and ours.dtype == z.dtype == torch.float32
    assert ours.isfinite().all() and z.isfinite().all()
    # colours within less than a step of 8 bits: a reflection magnifies the rounding of a small triangle's normal
    depth_off, light_off = (z - depth).abs() > 1e-4 * depth, ((ours - light).abs() > 3e-3 * (1 + light)).any(1)
    assert depth_off.float().mean() < 0.005 and light_off.float().mean() < 0.005
    index = closer(scenes, rays, hits(scenes, rays, nearest(rays)), meshes).index
    edges = (0, BOXES, BOXES + ELLIPSOIDS, MESH, ROOM, BODIES)
    for low, high in pairwise(edges):
        kind = (index >= low) & (index < high)
        assert kind.sum() > 20, "boxes, ellipsoids, cylinders, meshes and the room are all in sight"
        assert (depth_off | light_off)[kind].float().mean() < 0.02
    print(f"{depth_off.float().mean():.5f} of depths and {light_off.float().mean():.5f} of colours differ")


@pytest.mark.skipif(find_spec("triton") is None, reason="needs triton, which PyTorch for the CPU lacks")
@pytest.mark.parametrize("shadows", ["", "shadows"])
def test_the_interpreted_kernel_draws_what_its_twin_draws(shadows: str) -> None:
    """Odd sizes: the last block of a frame is not full, and rooms differ from frames."""
    run = subprocess.run(
        [sys.executable, __file__, shadows],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("shadows", [False, True])
def test_the_kernel_draws_what_its_twin_draws(shadows: bool) -> None:
    with torch.no_grad():
        compare("cuda", 24, 2, 96, 128, shadows, seed=1)
        compare("cuda", 18, 3, 51, 67, shadows, seed=2)


@pytest.mark.gpu
def test_a_graph_holds_the_kernel() -> None:
    """A replay draws what the cameras see that stand in its memory by then."""
    textures, meshes = load_textures("cuda"), load_meshes("cuda")
    plan = world("cuda", 4, 2, 48, 64, seed=3)
    scenes, poses, lens = plan.scenes, plan.room_from_cam, plan.intrinsics
    with torch.no_grad():
        render(scenes, poses, lens, 48, 64, textures, fast=True, meshes=meshes)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            light, depth = render(scenes, poses, lens, 48, 64, textures, fast=True, meshes=meshes)
        poses[..., :3, 3] += 0.1
        graph.replay()
        light_now, depth_now = render(scenes, poses, lens, 48, 64, textures, fast=True, meshes=meshes)
        assert torch.equal(depth, depth_now) and torch.equal(light, light_now)


def test_compiled_drawing_off_a_gpu_is_a_named_error() -> None:
    with pytest.raises(CapabilityError, match="CUDA device, not on cpu"):
        make_batch(WorldConfig(), 1, 1, 8, 8, "cpu", fast=True)


if __name__ == "__main__":
    compare("cpu", 6, 1, 21, 27, "shadows" in sys.argv, seed=57)
