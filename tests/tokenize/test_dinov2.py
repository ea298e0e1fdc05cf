# SPDX-License-Identifier: Apache-2.0
"""The DINOv2 encoder: where its learned positions are taken as stored, and what a patch may see."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

from longtake.tokenize.dinov2 import DinoEncoder


def encoder() -> DinoEncoder:
    torch.manual_seed(0)
    return DinoEncoder(image_size=56, patch=14, width=16, depth=1, heads=2, registers=3).requires_grad_(False)


def test_positions_are_as_stored_only_for_a_square_image_of_the_stored_size() -> None:
    made = encoder()
    assert made._positions((4, 4), True) is made.positions
    strip = made._positions((2, 8), False)  # as many patches, another shape
    assert strip.shape == made.positions.shape
    assert not torch.allclose(strip, made.positions, atol=1e-3)
    assert torch.equal(strip[:, 0], made.positions[:, 0])  # the class token's is never resized


def test_resizing_is_antialiased_in_single_precision() -> None:
    made = encoder().double()
    stored = made.positions[:, 1:].float().reshape(1, 4, 4, 16).permute(0, 3, 1, 2)
    for grid in ((6, 7), (3, 2)):
        wanted = interpolate(stored, size=grid, mode="bicubic", antialias=True)
        found = made._positions(grid, False)[:, 1:].reshape(1, *grid, 16).permute(0, 3, 1, 2)
        assert found.dtype == torch.float64
        assert torch.equal(found.float(), wanted)


def test_one_feature_a_patch_and_images_apart() -> None:
    made = encoder()
    images = torch.rand(3, 3, 28, 42, generator=torch.Generator().manual_seed(1))
    both = made(images)
    assert both.shape == (3, 6, 16)
    torch.testing.assert_close(both[1:2], made(images[1:2]), rtol=1e-5, atol=1e-5)
    changed = images.clone()
    changed[0, :, :14, :14] = 0
    assert (made(changed)[0] != both[0]).any(-1).all()  # every patch sees every other


def test_grey_of_the_training_mean_is_zero_to_the_first_layer() -> None:
    made = encoder()
    torch.nn.init.zeros_(made.proj.bias)  # pyright: ignore[reportArgumentType]
    seen: list[torch.Tensor] = []
    made.proj.register_forward_hook(lambda module, given, result: seen.append(result))
    made(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 56, 56))
    assert seen[0].abs().max() < 1e-5
