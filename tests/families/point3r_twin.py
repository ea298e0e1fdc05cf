# SPDX-License-Identifier: Apache-2.0
"""The plain twin of Point3R: sections 4.4 and 9 of the recurrent kit's text, on top of CUT3R's twin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from cut3r_twin import Twin, grid
from torch import Tensor
from twin_layers import Layers, attend, split

Memory = tuple[Tensor, Tensor, Tensor]  # pointer positions (P, 3), features (P, E), patch positions of the view before


def rope3d(x: Tensor, places: Tensor, bases: Sequence[float]) -> Tensor:
    """Section 4.4: turn x (heads, N, hd) by points (N, 3); one token more than points: token 0 is passed through."""
    lead = x.shape[1] - len(places)
    third, out = x.shape[2] // 3, x.clone()
    sizes = [third] * 3 if x.shape[2] % 3 == 0 else [third, third, x.shape[2] - 2 * third]
    for i, place in enumerate(places):
        start = 0
        for axis, m in enumerate(sizes):
            t, k = x[:, i + lead, start : start + m], math.ceil(m / 2)
            rotated = torch.cat((-t[:, k:], t[:, :k]), 1)
            total = torch.zeros_like(t)
            for base in bases:
                angles = torch.stack([place[axis] * base ** (-2 * j / m) for j in range(k)])
                angles = torch.cat((angles, angles))[:m]
                total += t * angles.cos() + rotated * angles.sin()
            out[:, i + lead, start : start + m] = total / len(bases)
            start += m
    return out


class PointLayers(Layers):
    """Attention that also takes points for positions; they go where the text of section 9.1.3 says."""

    bases: Sequence[float] = ()

    def self_attention(
        self, name: str, x: Tensor, heads: int, positions: Tensor | None, base: float, half: bool = False
    ) -> Tensor:
        if positions is None or positions.shape[1] == 2:
            return super().self_attention(name, x, heads, positions, base, half)
        q, k, v = (split(part, heads) for part in self.linear(f"{name}.qkv", x).split(x.shape[-1], -1))
        q, k = rope3d(q, positions, self.bases), rope3d(k, positions, self.bases)
        return self.linear(f"{name}.proj", attend(q, k, v)[0])

    def cross_attention(
        self, name: str, x: Tensor, y: Tensor, heads: int, positions: tuple[Tensor, Tensor] | None, base: float
    ) -> tuple[Tensor, Tensor]:
        if positions is None:
            return super().cross_attention(name, x, y, heads, None, base)
        q, k, v = (split(self.linear(f"{name}.proj{part}", t), heads) for part, t in (("q", x), ("k", y), ("v", y)))
        q, k = rope3d(q, positions[0], self.bases), rope3d(k, positions[1], self.bases)
        out, logits = attend(q, k, v)
        return self.linear(f"{name}.proj", out), logits


class PointTwin(Twin):
    """A model: the official configuration's values and the official state dict, in float64."""

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, Tensor], *, half_rope: bool = False) -> None:
        # CUT3R's twin also reads colours; there are none here, so that what it reads is thrown away.
        color = {key.replace("dpt_self", "dpt_rgb"): t for key, t in weights.items() if "dpt_self" in key}
        self.c, self.half, self.dtype = {**config, "head_type": "dpt"}, half_rope, torch.float64
        self.l = PointLayers(dict(weights) | color, torch.float64)
        self.l.bases = config["rope3d_bases"]
        self.w, self.base = self.l.w, float(config["rope_base"])

    def walk(self, images: Sequence[Tensor], merge: bool = True) -> list[dict[str, Tensor]]:
        """Section 9.1 on images (3, H, W): the fields of each view, `pointer_pos` and `pointer_feat` among them."""
        memory, mem, out = None, self.w["pose_retriever.mem"][0], []
        for image in images:
            fields, memory = self.view(image.double(), memory, mem, merge)
            mem = fields["mem_after"]
            out.append(fields)
        return out

    def view(self, image: Tensor, memory: Memory | None, mem: Tensor, merge: bool) -> tuple[dict[str, Tensor], Memory]:
        c, height, width = self.c, image.shape[1] // 16, image.shape[2] // 16
        f = self.image_features(image)
        g = f.mean(0)
        pose_in = self.w["pose_token"].flatten() if memory is None else self.recalled(mem, g)
        tokens = self.l.linear("decoder_embed_memory", f) if memory is None else memory[1]
        both = None if memory is None else (memory[0], memory[2])
        memories, images = [tokens], [torch.cat((pose_in[None], self.l.linear("decoder_embed", f)))]
        for i in range(c["dec_depth"]):
            ours, theirs = memories[-1], images[-1]
            heads = c["memory_dec_num_heads"], c["dec_num_heads"]
            swapped = None if both is None else both[::-1]
            memories.append(self.l.decoder_block(f"dec_blocks_memory.{i}", ours, theirs, heads[0], both, 0)[0])
            images.append(self.l.decoder_block(f"dec_blocks.{i}", theirs, ours, heads[1], swapped, 0)[0])
        final, depth = self.l.norm("dec_norm", images[-1]), c["dec_depth"]
        b, far = images[math.floor(depth * 2 / 4)][1:], images[math.floor(depth * 3 / 4)][1:]
        fields = self.heads([f, b, far], final, height, width)
        points = fields["pts3d_in_other_view"]
        corners = [(16 * r, 16 * q) for r in range(height) for q in range(width)]
        patches = torch.stack([points[r : r + 16, q : q + 16].reshape(256, 3).mean(0) for r, q in corners])
        x = self.l.patches("pts_patch_embed.proj", points.permute(2, 0, 1))
        for i in range(c["value_enc_depth"]):
            where = grid(height, width)
            x = self.l.encoder_block(f"value_encoder.{i}", x, c["value_enc_num_heads"], where, self.base, False)
        v = self.l.linear("value_out", self.l.norm("value_norm", x))
        h = self.l.linear("memory_attn_head.0", torch.cat((f, final[1:]), 1))
        k = self.l.linear("memory_attn_head.2", 0.5 * h * (1 + torch.erf(h / math.sqrt(2))))
        features = self.l.linear("decoder_embed_memory", k + v)
        positions, kept = self.merged(memory, patches, features, merge)
        fields |= {
            "pose_token_in": pose_in,
            "mem_after": self.written(mem, g, final[0]),
            "patch_pos": patches,
            "pointer_pos": positions,
            "pointer_feat": kept,
        }
        return fields, (positions, kept, patches)

    def merged(self, memory: Memory | None, patches: Tensor, features: Tensor, merge: bool) -> tuple[Tensor, Tensor]:
        """Section 9.1.7."""
        if memory is None:
            return patches, features
        positions, kept, _ = memory
        if not merge:
            return torch.cat((positions, patches)), torch.cat((kept, features))
        both = torch.cat((positions, patches))
        unit = (both.max(0).values - both.min(0).values) / 20
        threshold = unit.square().sum().sqrt()
        assigned: list[list[int]] = [[] for _ in positions]
        appended = []
        for i, patch in enumerate(patches):
            distances = (positions - patch).square().sum(1).sqrt()
            nearest = int(distances.argmin())
            if distances[nearest] >= threshold:
                appended.append(i)
            else:
                assigned[nearest].append(i)
        new_positions, new_features = positions.clone(), kept.clone()
        for pointer, members in enumerate(assigned):
            if members:
                new_positions[pointer], new_features[pointer] = patches[members].mean(0), features[members].mean(0)
        return torch.cat((new_positions, patches[appended])), torch.cat((new_features, features[appended]))
