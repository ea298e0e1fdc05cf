# SPDX-License-Identifier: Apache-2.0
"""The track head of VGGT: points of the first frame are followed through all frames (CoTracker's scheme, 2307.07635).

Coordinates are pixels (x, y), centres at integers. Inside, they are those of the feature maps, half as large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, gelu, grid_sample

from longtake.detokenize.dpt_uv import Pyramid, resize
from longtake.detokenize.track_former import TrackFormer
from longtake.nn import Mlp, drawn


class TrackHead(nn.Module):
    """Four token sets of all frames and points in the first -> tracks, how visible they are, how sure that is."""

    def __init__(
        self,
        token_width: int,
        features: int,
        layers: Sequence[int],
        *,
        hidden: int,
        depth: int,
        heads: int,
        levels: int,
        radius: int,
        rounds: int,
        virtual: int,
        max_scale: float,
        stride: int,
        down: int,
    ) -> None:
        super().__init__()
        self.down = down
        self.extractor = Pyramid(token_width, features, layers, features, uv=False)
        self.tracker = Tracker(features, hidden, depth, heads, levels, radius, rounds, virtual, max_scale, stride)

    def forward(
        self, layers: Sequence[Tensor], grid: tuple[int, int], size: tuple[int, int], points: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """layers: four (n, S, h * w, token_width); image size (H, W); points (n, K, 2) pixels of frame 0.

        Returns tracks (rounds, n, S, K, 2) in pixels, visibility and confidence (n, S, K) in [0, 1].
        """
        n = points.shape[0]
        maps = self.extractor([each.flatten(0, 1) for each in layers], grid, size)
        maps = resize(maps, (size[0] // self.down, size[1] // self.down))
        return self.tracker(maps.unflatten(0, (n, -1)), points)


class Tracker(nn.Module):
    """Feature maps and query points -> tracks, refined `rounds` times."""

    def __init__(
        self,
        features: int,
        hidden: int,
        depth: int,
        heads: int,
        levels: int,
        radius: int,
        rounds: int,
        virtual: int,
        max_scale: float,
        stride: int,
    ) -> None:
        super().__init__()
        self.features, self.levels, self.radius = features, levels, radius
        self.rounds, self.max_scale, self.stride = rounds, max_scale, stride
        token = 3 * features + 4
        self.map_norm = nn.LayerNorm(features, eps=1e-5)
        self.corr_mlp = Mlp(levels * (2 * radius + 1) ** 2, hidden, features)
        self.first_or_not = drawn(1, 2, token)
        self.former = TrackFormer(token, hidden, 2 + features, depth, heads, virtual)
        self.feature_norm = nn.GroupNorm(1, features, eps=1e-5)
        self.feature_update = nn.Linear(features, features)
        self.visible = nn.Linear(features, 1)
        self.sure = nn.Linear(features, 1)

    def forward(self, maps: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """maps (n, S, C, h, w), points (n, K, 2) in pixels -> tracks (rounds, n, S, K, 2), two (n, S, K)."""
        n, frames, _, height, width = maps.shape
        maps = self.map_norm(maps.movedim(2, -1)).movedim(-1, 2)
        query = points / self.stride
        coords = query[:, None].expand(-1, frames, -1, -1)  # (n, S, K, 2)
        feature = sample(maps[:, 0], query[:, :, None], "border")[..., 0].transpose(1, 2)  # (n, K, C)
        feature = feature[:, None].expand(-1, frames, -1, -1)
        place = _place_waves(query, (height, width), 3 * self.features + 4)[:, :, None]  # (n, K, 1, D)
        slot = torch.ones(frames, dtype=torch.long, device=maps.device)
        slot[0] = 0
        constant = place.to(maps.dtype) + self.first_or_not[:, slot][:, None]  # (n, K, S, D)
        pyramid = self._pyramid(maps)
        tracks = []
        for _ in range(self.rounds):
            corr = self.corr_mlp(self._correlation(pyramid, coords, feature))
            flow = coords - coords[:, :1]
            tokens = torch.cat((self._flow_waves(flow), corr, feature), -1).transpose(1, 2) + constant
            delta = self.former(tokens).transpose(1, 2)  # (n, S, K, 2 + C)
            change = self.feature_norm(delta[..., 2:].flatten(0, 2)).view_as(delta[..., 2:])
            feature = feature + gelu(self.feature_update(change))
            coords = torch.cat((query[:, None], (coords + delta[..., :2])[:, 1:]), 1)  # the first frame stays asked-for
            tracks.append(coords * self.stride)
        visible, sure = self.visible(feature).sigmoid(), self.sure(feature).sigmoid()
        return torch.stack(tracks), visible[..., 0], sure[..., 0]

    def _pyramid(self, maps: Tensor) -> list[Tensor]:
        """The maps (n * S, C, h, w) and their averages over 2 x 2, 4 x 4, ..."""
        levels = [maps.flatten(0, 1)]
        for _ in range(self.levels - 1):
            levels.append(avg_pool2d(levels[-1], 2))
        return levels

    def _correlation(self, pyramid: list[Tensor], coords: Tensor, feature: Tensor) -> Tensor:
        """Scaled products of each track's feature with the maps around its place: (n, S, K, levels * window)."""
        steps = torch.arange(-self.radius, self.radius + 1, device=coords.device, dtype=coords.dtype)
        window = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).flatten(0, 1)  # x is the slow index
        flat, feature = coords.flatten(0, 1), feature.flatten(0, 1)  # (n * S, K, .)
        found = []
        for level, maps in enumerate(pyramid):
            places = flat[:, :, None] / 2**level + window  # (n * S, K, window, 2)
            # Sampling is linear: the product of the sampled features is the sample of the products.
            around = sample(maps, places, "zeros")  # (n * S, C, K, window)
            found.append(torch.einsum("bckw,bkc->bkw", around, feature) / math.sqrt(self.features))
        return torch.cat(found, -1).unflatten(0, coords.shape[:2])

    def _flow_waves(self, flow: Tensor) -> Tensor:
        """Embed displacements (..., 2): sines and cosines at linear frequencies up to 1000, and the numbers twice."""
        count = self.features // 2
        even = torch.arange(0, count, 2, device=flow.device, dtype=torch.float32)
        angles = flow[..., None] * (even * (1000 / count)).to(flow.dtype)  # (..., 2, count / 2)
        waves = torch.stack((angles.sin(), angles.cos()), -1).flatten(-3)
        plain = flow / self.max_scale
        return torch.cat((waves, plain, plain), -1)


def sample(maps: Tensor, places: Tensor, padding: str) -> Tensor:
    """Bilinear samples of maps (b, C, h, w) at pixels (b, ..2 axes.., 2), centres at integers -> (b, C, ..2 axes..)."""
    height, width = maps.shape[-2:]
    size = places.new_tensor((max(width - 1, 1), max(height - 1, 1)))
    return grid_sample(maps, 2 * places / size - 1, mode="bilinear", padding_mode=padding, align_corners=True)


def _place_waves(places: Tensor, size: tuple[int, int], channels: int) -> Tensor:
    """Sample a table of sines and cosines over the map's cells at (..., 2) pixels: (..., channels).

    First half x, second half y; in each all sines, then all cosines. Bilinear between cells, as the table would be.
    """
    quarter = channels // 4
    order = torch.arange(quarter, device=places.device, dtype=torch.float64)
    frequencies = 10000.0 ** (-order / quarter)
    ends = places.new_tensor((size[1] - 1, size[0] - 1))
    inside = torch.minimum(places.clamp_min(0), ends)
    low = inside.floor()
    share = (inside - low)[..., None]

    def cell(index: Tensor) -> Tensor:
        angles = index[..., None].double() * frequencies
        return torch.cat((angles.sin(), angles.cos()), -1).to(torch.float32).to(places.dtype)

    return (cell(low) * (1 - share) + cell(torch.minimum(low + 1, ends)) * share).flatten(-2)
