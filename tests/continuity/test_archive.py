# SPDX-License-Identifier: Apache-2.0
"""Keyframes on disk: only what is new is kept, a revisited place is found, a foreign file is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from longtake.continuity.archive import Archive, Keyframe
from longtake.errors import InputError, OutputError


def place(seed: int, noise: float = 0.0, shift: int = 0) -> Tensor:
    """Tokens (12, 16) of a place; seen again they are noisy and have moved over the grid."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(12, 16, generator=generator) + torch.randn(16, generator=generator)
    return (tokens + noise * torch.randn(12, 16, generator=torch.Generator().manual_seed(99))).roll(shift, 0)


def keyframe(index: int, features: Tensor) -> Keyframe:
    return Keyframe(index, features, torch.full((4, 6, 3), index, dtype=torch.uint8), index * torch.eye(4))


def test_a_revisited_place_is_recognised_and_a_new_one_is_not(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "keys")
    for i in range(10):
        assert archive.offer(keyframe(10 * i, place(i)))
        assert not archive.offer(keyframe(10 * i + 1, place(i, 0.05))), "a neighbour shows nothing new"
    assert len(archive) == 10
    match = archive.recognise(place(4, 0.2, shift=5))
    assert match is not None
    assert (match.index, match.place) == (40, 4)
    assert match.similarity > 0.9
    assert archive.recognise(place(50)) is None
    assert archive.recognise(place(4, 0.2), before=40) is None, "only what came earlier is a revisit"


def test_an_archive_is_read_again(tmp_path: Path) -> None:
    first = Archive(tmp_path)
    for i in range(3):
        first.offer(keyframe(7 * i, place(i)))
    again = Archive(tmp_path)
    assert again.indices == [0, 7, 14]
    kept = again.read(2)
    assert torch.equal(kept.features, place(2).half())
    assert torch.equal(kept.image, torch.full((4, 6, 3), 14, dtype=torch.uint8))
    assert torch.equal(kept.world_from_cam, 14 * torch.eye(4))
    assert not again.offer(keyframe(99, place(1)))
    assert again.offer(keyframe(99, place(8)))
    assert len(list(tmp_path.iterdir())) == 4


def test_mistakes_are_named(tmp_path: Path) -> None:
    assert Archive(tmp_path / "none").recognise(place(0)) is None
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="keyframe could not be written"):
        Archive(tmp_path / "file" / "keys").offer(keyframe(0, place(0)))
    (tmp_path / "000000.safetensors").write_text("no tensors")
    with pytest.raises(InputError, match="no keyframe"):
        Archive(tmp_path)
