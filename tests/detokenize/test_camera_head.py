# SPDX-License-Identifier: Apache-2.0
"""The camera head: who reads whom, in a batch and in a stream."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from longtake.detokenize.camera_head import CameraHead


def made() -> tuple[CameraHead, Tensor]:
    torch.manual_seed(0)
    head = CameraHead(16, 2, 2).double().requires_grad_(False)
    for parameter in head.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    return head, torch.randn(2, 4, 16, dtype=torch.float64)


@pytest.mark.parametrize("causal", [True, False])
def test_a_later_frame_changes_earlier_cameras_unless_causal(causal: bool) -> None:
    head, tokens = made()
    other = torch.cat((tokens[:, :3], torch.randn_like(tokens[:, 3:])), 1)
    before, after = head(tokens, causal=causal), head(other, causal=causal)
    assert before.shape == (4, 2, 4, 9)
    assert torch.allclose(before[:, :, :3], after[:, :, :3], rtol=0, atol=1e-9) == causal
    assert (before[..., 7:] >= 0).all()


def test_frames_without_an_order_may_come_in_any() -> None:
    head, tokens = made()
    order = [2, 0, 3, 1]
    torch.testing.assert_close(head(tokens)[:, :, order], head(tokens[:, order]))


def test_a_stream_reads_all_rounds_before_it() -> None:
    """A twin attends over an explicit list of everything said so far, round by round."""
    head, tokens = made()
    past = None
    heard: list[list[Tensor]] = [[] for _ in head.trunk]  # what each block was given, (n, 1, width) a round
    for t in range(3):
        found, past = head.step(tokens[:, t : t + 1], past)
        start, pose = head.token_norm(tokens[:, t : t + 1]), None
        for i in range(head.rounds):
            x = head._modulated(start, pose)
            for block, given in zip(head.trunk, heard, strict=True):
                given.append(x)
                x = block(torch.cat(given, 1), None, _last_sees_all(len(given)))[:, -1:]  # pyright: ignore[reportCallIssue]
            pose = head._add(x, pose)
            torch.testing.assert_close(found[i, ..., :7], pose[..., :7])
            torch.testing.assert_close(found[i, ..., 7:], pose[..., 7:].relu())


def _last_sees_all(count: int) -> Tensor:
    mask = torch.eye(count, dtype=torch.bool)
    mask[-1] = True
    return mask
