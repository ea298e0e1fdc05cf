# SPDX-License-Identifier: Apache-2.0
"""The furniture file, its attributions, its trees, and rays against its triangles."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longtake.synthetic.meshcast import cast, triangle
from longtake.synthetic.meshes import HERE, LEAF, credits, load_meshes, tree
from longtake.synthetic.raycast import FAR


def test_every_model_has_an_author_and_a_licence_that_lets_it_be_here() -> None:
    rows, meshes = credits(), load_meshes()
    assert len(rows) == len(meshes.extent) == len(meshes.first) - 1 >= 500
    for row in rows:
        assert row["kind"] and row["name"] and row["original"] and row["author"] and row["library"], row
    assert {row["licence"] for row in rows} <= {"CC0-1.0", "CC-BY-3.0", "CC-BY-3.0-US"}
    assert (HERE / "furniture.npz").stat().st_size <= 6e6


def test_furniture_has_the_size_of_furniture() -> None:
    meshes = load_meshes()
    assert (meshes.extent > 0).all() and meshes.extent.max() < 20
    low, high = meshes.ranges["person"]
    assert (2 * meshes.extent[low:high, 1] > 0.8).all() and (2 * meshes.extent[low:high, 1] < 2.1).all()
    low, high = meshes.ranges["table"]
    assert (meshes.top[low:high] > 0.4).all() and (meshes.top[low:high] < 1.1).all()
    low, high = meshes.ranges["seat"]
    assert (2 * meshes.extent[low:high].amax(-1) < 1.5).all()


@given(st.integers(1, 70))
def test_trees_are_threaded_depth_first(leaves: int) -> None:
    nodes = tree(leaves)
    assert len(nodes) == 2 * leaves - 1 and nodes[0] == (0, leaves, len(nodes))
    entered, here = [], 0
    while here < len(nodes):  # who enters everything sees each leaf once, in order
        low, high, _ = nodes[here]
        if high - low == 1:
            entered.append(low)
        here += 1
    assert entered == list(range(leaves))
    for here, (low, high, after) in enumerate(nodes):
        if after < len(nodes):
            assert nodes[after][0] == high  # who skips a branch goes on where it ends
        if high - low > 1:
            left, right = nodes[here + 1], nodes[nodes[here + 1][2]]
            assert (left[0], left[1], right[1]) == (low, right[0], high)


def test_boxes_hold_what_is_below_them() -> None:
    m = load_meshes()
    corner = torch.stack(
        [m.triangles[:, :3], m.triangles[:, :3] + m.triangles[:, 3:6], m.triangles[:, :3] + m.triangles[:, 6:]], 1
    )
    assert corner.abs().max() < 1 + 1e-4
    real = m.triangles[:, 3:].abs().sum(-1) > 0
    is_leaf = m.links[:, 1] >= 0
    for low, high, first in zip(m.boxes[is_leaf, :3], m.boxes[is_leaf, 3:], m.links[is_leaf, 1].tolist(), strict=True):
        mine = corner[first : first + LEAF][real[first : first + LEAF]]
        assert (mine >= low).all() and (mine <= high).all()
    for model in range(0, len(m.extent), 25):  # the root's box is the unit box, as the instance's test takes it
        root = m.boxes[m.first[model]]
        torch.testing.assert_close(root.abs(), torch.ones(6), atol=1e-3, rtol=0)
        begin, end = m.first[model : model + 2].tolist()
        after, leaf = (m.links[begin:end, i].tolist() for i in (0, 1))
        nodes = tree((end - begin + 1) // 2)
        assert after == [begin + node[2] for node in nodes]
        assert leaf == [max(leaf) - (nodes[0][1] - 1 - a) * LEAF if b - a == 1 else -1 for a, b, _ in nodes]


@pytest.mark.parametrize("model", [0, 77, 301, 480])
def test_the_tree_finds_what_all_triangles_find(model: int) -> None:
    m = load_meshes()
    g = torch.Generator().manual_seed(model)
    origin = torch.randn(400, 3, generator=g) * 2
    way = torch.rand(400, 3, generator=g) * 1.6 - 0.8 - origin
    first = m.leaves[model, :, 6].long()[m.leaves[model, :, 0] < 100]
    number = (first[:, None] + torch.arange(LEAF)).flatten()
    t, _, _ = triangle(origin[:, None], way[:, None], m.triangles[number])
    t, which = t.min(1)
    limit = torch.full((400,), 2.0)
    depth, found = cast(torch.full((400,), model), origin, way, limit, m)
    hit = t < 2.0
    assert 20 < hit.sum() < 400
    assert torch.equal(hit, depth < 2.0) and (depth[~hit] >= 2.0).all() and depth[t >= FAR].min() >= FAR
    torch.testing.assert_close(depth[hit], t[hit])
    assert (found[hit] == number[which[hit]]).float().mean() > 0.98  # the rest are pairs in one place
