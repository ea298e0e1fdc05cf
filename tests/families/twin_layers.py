# SPDX-License-Identifier: Apache-2.0
"""Layers of the plain twin: sections 4 and 5.9 to 5.11 of the conformance kit's text, one sample at a time.

Written from that text alone and in another way than the library: official key names, explicit attention maps, explicit
normalisation and interpolation, branches where the text says "if". Slow, meant to be compared with the text by eye.
Tokens are (N, C), maps are (C, h, w).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import conv2d


def rope(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """Section 4.3: turn x (heads, N, hd) by integer positions (N, 2) = (row, column)."""
    quarter = x.shape[-1] // 4
    out = torch.empty_like(x)
    for axis in (0, 1):
        for j in range(quarter):
            first = 2 * quarter * axis + j
            angle = positions[:, axis].double() * base ** (-j / quarter)
            cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
            u, v = x[..., first], x[..., first + quarter]
            out[..., first] = u * cos - v * sin
            out[..., first + quarter] = v * cos + u * sin
    return out


def rope_half(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """Section 4.3, precision: q -> half -> float -> rotate in float32 -> half -> back."""
    return rope(x.half().float(), positions, base).half().to(x.dtype)


def attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Section 4.1 on heads (h, ., hd): the result with heads concatenated (S, h * hd), and the logits (h, S, N)."""
    logits = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])
    weight = (logits - logits.max(-1, keepdim=True).values).exp()
    out = weight / weight.sum(-1, keepdim=True) @ value
    return torch.cat(list(out), -1), logits


def split(x: Tensor, heads: int) -> Tensor:
    """(N, h * hd) -> (h, N, hd): head h owns channels h * hd to (h + 1) * hd."""
    return torch.stack(x.split(x.shape[-1] // heads, -1))


def double(x: Tensor) -> Tensor:
    """Bilinear upsampling by 2 with the corners aligned, as two matrices."""

    def matrix(n: int) -> Tensor:
        m = torch.zeros(2 * n, n, dtype=x.dtype)
        for i in range(2 * n):
            place = i * (n - 1) / (2 * n - 1)
            low = min(int(place), n - 1)
            m[i, low] += 1 - (place - low)
            m[i, min(low + 1, n - 1)] += place - low
        return m

    return matrix(x.shape[-2]) @ x @ matrix(x.shape[-1]).T


def expm1_stretch(raw: Tensor) -> Tensor:
    """Section 5.11: r / max(|r|, 1e-8) * expm1(|r|) over the last axis."""
    length = raw.square().sum(-1, keepdim=True).sqrt()
    return raw / length.clamp(min=1e-8) * torch.expm1(length)


class Layers:
    """Weights under the official names, and the layers that read them."""

    def __init__(self, weights: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        self.w = {key: tensor.to(dtype) for key, tensor in weights.items()}

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        return centred / (variance + 1e-6).sqrt() * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def mlp(self, name: str, x: Tensor) -> Tensor:
        h = self.linear(f"{name}.fc1", x)
        return self.linear(f"{name}.fc2", 0.5 * h * (1 + torch.erf(h / math.sqrt(2))))

    def self_attention(
        self, name: str, x: Tensor, heads: int, positions: Tensor | None, base: float, half: bool = False
    ) -> Tensor:
        q, k, v = self.linear(f"{name}.qkv", x).split(x.shape[-1], -1)
        q, k, v = split(q, heads), split(k, heads), split(v, heads)
        if positions is not None:
            turn = rope_half if half else rope
            q, k = turn(q, positions, base), turn(k, positions, base)
        return self.linear(f"{name}.proj", attend(q, k, v)[0])

    def cross_attention(
        self, name: str, x: Tensor, y: Tensor, heads: int, positions: tuple[Tensor, Tensor] | None, base: float
    ) -> tuple[Tensor, Tensor]:
        q, k, v = (split(self.linear(f"{name}.proj{part}", t), heads) for part, t in (("q", x), ("k", y), ("v", y)))
        if positions is not None:
            q, k = rope(q, positions[0], base), rope(k, positions[1], base)
        out, logits = attend(q, k, v)
        return self.linear(f"{name}.proj", out), logits

    def encoder_block(self, name: str, x: Tensor, heads: int, positions: Tensor, base: float, half: bool) -> Tensor:
        x = x + self.self_attention(f"{name}.attn", self.norm(f"{name}.norm1", x), heads, positions, base, half)
        return x + self.mlp(f"{name}.mlp", self.norm(f"{name}.norm2", x))

    def decoder_block(
        self, name: str, x: Tensor, y: Tensor, heads: int, positions: tuple[Tensor, Tensor] | None, base: float
    ) -> tuple[Tensor, Tensor]:
        own = None if positions is None else positions[0]
        x = x + self.self_attention(f"{name}.attn", self.norm(f"{name}.norm1", x), heads, own, base)
        asked, told = self.norm(f"{name}.norm2", x), self.norm(f"{name}.norm_y", y)
        read, logits = self.cross_attention(f"{name}.cross_attn", asked, told, heads, positions, base)
        x = x + read
        return x + self.mlp(f"{name}.mlp", self.norm(f"{name}.norm3", x)), logits

    def conditioned_block(self, name: str, x: Tensor, c: Tensor, heads: int, positions: Tensor, base: float) -> Tensor:
        def mod(i: int, x: Tensor) -> Tensor:
            both = self.linear(f"{name}.norm{i}.mlp.1", c * torch.sigmoid(c))
            shift, scale = both[: x.shape[-1]], both[x.shape[-1] :]
            return self.norm(f"{name}.norm{i}.norm", x) * (1 + scale) + shift

        x = x + self.self_attention(f"{name}.attn", mod(1, x), heads, positions, base)
        return x + self.mlp(f"{name}.mlp", mod(2, x))

    def patches(self, name: str, image: Tensor) -> Tensor:
        """Section 5.1: image (C, H, W) -> tokens (N, D), row-major."""
        weight = self.w[f"{name}.weight"]
        corners = [(r, c) for r in range(0, image.shape[1], 16) for c in range(0, image.shape[2], 16)]
        rows = torch.stack([image[:, r : r + 16, c : c + 16].flatten() for r, c in corners])
        return rows @ weight.flatten(1).T + self.w[f"{name}.bias"]

    def conv(self, name: str, x: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
        bias = self.w.get(f"{name}.bias")
        return conv2d(x[None], self.w[f"{name}.weight"], bias, stride=stride, padding=padding)[0]

    def spread(self, name: str, x: Tensor) -> Tensor:
        """Transposed convolution whose stride is its kernel: each pixel becomes a block."""
        weight = self.w[f"{name}.weight"]  # (in, out, k, k)
        k = weight.shape[-1]
        blocks = torch.einsum("ihw,ioab->ohawb", x, weight)
        return blocks.reshape(weight.shape[1], k * x.shape[1], k * x.shape[2]) + self.w[f"{name}.bias"][:, None, None]

    def dpt(self, name: str, sets: list[Tensor], height: int, width: int) -> Tensor:
        """Section 5.9: four token sets -> (channels, 16 h, 16 w)."""

        def unit(name: str, x: Tensor) -> Tensor:
            inner = self.conv(f"{name}.conv1", x.relu(), padding=1).relu()
            return x + self.conv(f"{name}.conv2", inner, padding=1)

        def fuse(k: int, path: Tensor, skip: Tensor | None) -> Tensor:
            block = f"{name}.scratch.refinenet{k}"
            if skip is not None:
                path = path + unit(f"{block}.resConfUnit1", skip)
            return self.conv(f"{block}.out_conv", double(unit(f"{block}.resConfUnit2", path)))

        m = [t.T.reshape(-1, height, width) for t in sets]
        m = [self.conv(f"{name}.act_postprocess.{i}.0", each) for i, each in enumerate(m)]
        m[0] = self.spread(f"{name}.act_postprocess.0.1", m[0])
        m[1] = self.spread(f"{name}.act_postprocess.1.1", m[1])
        m[3] = self.conv(f"{name}.act_postprocess.3.1", m[3], stride=2, padding=1)
        s = [self.conv(f"{name}.scratch.layer{i + 1}_rn", each, padding=1) for i, each in enumerate(m)]
        path = fuse(4, s[3], None)[:, :height, :width]
        for k in (3, 2, 1):
            path = fuse(k, path, s[k - 1])
        path = double(self.conv(f"{name}.head.0", path, padding=1))
        return self.conv(f"{name}.head.4", self.conv(f"{name}.head.2", path, padding=1).relu())

    def patch_pixels(self, name: str, tokens: Tensor, height: int, width: int) -> Tensor:
        """Section 5.10: pixel (16 r + a, 16 q + b) of channel c is output 256 c + 16 a + b of token (r, q)."""
        flat = self.mlp(name, tokens)
        channels = flat.shape[-1] // 256
        out = flat.new_empty(channels, 16 * height, 16 * width)
        for r in range(height):
            for q in range(width):
                token = flat[r * width + q].reshape(channels, 16, 16)
                out[:, 16 * r : 16 * r + 16, 16 * q : 16 * q + 16] = token
        return out
