# SPDX-License-Identifier: Apache-2.0
"""The plain twin of CUT3R and TTT3R: sections 5 to 7 of the conformance kit's text, one view of one sample at a time.

No code of the library is used, so what both compute is right by two independent readings of the text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from twin_layers import Layers, expm1_stretch


@dataclass(frozen=True)
class View:
    """What one view brings: an image (3, H, W), a ray map (H, W, 6) channels last, or both."""

    image: Tensor | None = None
    rays: Tensor | None = None
    update: bool = True
    reset: bool = False


@dataclass
class Seen:
    """What one view gave: every field of the kit's table by its name, and the debug tensors."""

    fields: dict[str, Tensor] = field(default_factory=dict)
    debug: dict[str, Tensor] = field(default_factory=dict)


class Twin:
    """A model: the official configuration's values and the official state dict."""

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        *,
        half_rope: bool = False,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.c, self.l, self.half, self.dtype = config, Layers(weights, dtype), half_rope, dtype
        self.w, self.base = self.l.w, float(config["rope_base"])
        self.state_init = self.l.linear("decoder_embed_state", self.w["register_tokens.weight"])
        self.mem_init = self.w["pose_retriever.mem"][0]
        self.state_pos = state_positions(config["state_size"], config["state_pe"])

    # 5.1
    def image_features(self, image: Tensor) -> Tensor:
        x, positions = self.l.patches("patch_embed.proj", image), grid(image.shape[1] // 16, image.shape[2] // 16)
        for i in range(self.c["enc_depth"]):
            x = self.l.encoder_block(f"enc_blocks.{i}", x, self.c["enc_num_heads"], positions, self.base, self.half)
        return self.l.norm("enc_norm", x)

    def ray_features(self, rays: Tensor) -> Tensor:
        x = self.l.patches("patch_embed_ray_map.proj", rays.permute(2, 0, 1))
        positions = grid(rays.shape[0] // 16, rays.shape[1] // 16)
        for i in range(self.c["ray_enc_depth"]):
            x = self.l.encoder_block(f"enc_blocks_ray_map.{i}", x, 16, positions, self.base, False)
        return self.l.norm("enc_norm_ray_map", x)

    def features(self, view: View, fill: bool = False) -> Tensor:
        """Of the streaming path (5.1); of the plain forward with ray maps somewhere if `fill` (7.1 d)."""
        image = None if view.image is None else self.image_features(view.image.to(self.dtype))
        rays = None if view.rays is None else self.ray_features(view.rays.to(self.dtype))
        if fill:
            image = self.w["masked_img_token"] if image is None else image
            rays = self.w["masked_ray_map_token"] if rays is None else rays
        if image is None:
            assert rays is not None
            return rays
        return image if rays is None else image + rays

    # 5.3 and 5.6
    def recalled(self, mem: Tensor, g: Tensor) -> Tensor:
        asked = self.l.linear("pose_retriever.proj_q", g)
        x = torch.cat((asked, self.w["pose_retriever.masked_token"].flatten()))[None]
        for i in range(2):
            name = f"pose_retriever.read_blocks.{i}"
            x, _ = self.l.decoder_block(name, x, mem, self.c["dec_num_heads"], None, 0)
        return x[0, self.c["dec_embed_dim"] :]

    def written(self, mem: Tensor, g: Tensor, pose_out: Tensor) -> Tensor:
        fact = torch.cat((self.l.linear("pose_retriever.proj_q", g), pose_out))[None]
        for i in range(2):
            name = f"pose_retriever.write_blocks.{i}"
            mem, _ = self.l.decoder_block(name, mem, fact, self.c["dec_num_heads"], None, 0)
        return mem

    def look(self, f: Tensor, height: int, width: int, state: Tensor, mem: Tensor, fresh: bool) -> Seen:
        """One view's pass (5.3 to 5.11, 6.3); nothing is changed. fresh: take the learned pose token."""
        c, seen = self.c, Seen()
        g = f.mean(0)
        pose_in = self.w["pose_token"].flatten() if fresh else self.recalled(mem, g)
        image = torch.cat((pose_in[None], self.l.linear("decoder_embed", f)))
        image_pos = torch.cat((torch.tensor([[-1, -1]]), grid(height, width)))
        states, images, logits = [state], [image], []
        for i in range(c["dec_depth"]):
            both = (self.state_pos, image_pos)
            new, seen_logits = self.l.decoder_block(
                f"dec_blocks_state.{i}", states[-1], images[-1], c["state_dec_num_heads"], both, self.base
            )
            image, _ = self.l.decoder_block(
                f"dec_blocks.{i}", images[-1], states[-1], c["dec_num_heads"], both[::-1], self.base
            )
            states.append(new)
            images.append(image)
            logits.append(seen_logits.mean((0, 2)))
        proposal, final = self.l.norm("dec_norm_state", states[-1]), self.l.norm("dec_norm", images[-1])
        depth = c["dec_depth"]
        b, far = images[math.floor(depth * 2 / 4)][1:], images[math.floor(depth * 3 / 4)][1:]
        seen.fields = self.heads([f, b, far], final, height, width) | {
            "pose_token_in": pose_in,
            "pose_token_out": final[0],
            "global_img_feat": g,
            "state_proposal": proposal,
            "mem_proposal": self.written(mem, g, final[0]),
            "beta_raw": torch.sigmoid(torch.stack(logits).mean(0)),
        }
        seen.debug = {"enc_feat": f, "enc_pos": grid(height, width)}
        for name, tokens in (("dec_state", [*states[:-1], proposal]), ("dec_img", [f, *images[1:-1], final])):
            seen.debug |= {f"{name}.{i}": t for i, t in enumerate(tokens)}
        seen.debug |= {f"state_cross_logits_mean.{i}": t for i, t in enumerate(logits)}
        return seen

    # 5.7 to 5.11
    def heads(self, sets: list[Tensor], final: Tensor, height: int, width: int) -> dict[str, Tensor]:
        pose, tokens = final[0], final[1:]
        far = tokens
        for i in range(2):
            name = f"downstream_head.final_transform.{i}"
            far = self.l.conditioned_block(name, far, pose, self.c["dec_num_heads"], grid(height, width), self.base)
        linear = self.c["head_type"] == "linear"

        def dense(linear_name: str, dpt_name: str, last: Tensor) -> Tensor:
            if linear:
                return self.l.patch_pixels(f"downstream_head.{linear_name}", last, height, width).permute(1, 2, 0)
            return self.l.dpt(f"downstream_head.{dpt_name}", [*sets, last], height, width).permute(1, 2, 0)

        own, world = dense("proj", "dpt_self", tokens), dense("cross_proj", "dpt_cross", far)
        color = dense("rgb_proj", "dpt_rgb", tokens)
        points = own[..., :3] * torch.sign(own[..., 2:3]) if linear else own[..., :3]
        raw = self.l.mlp("downstream_head.pose_head.mlp", pose)
        quat = raw[3:] / raw[3:].square().sum().sqrt().clamp(min=1e-12)
        return {
            "pts3d_in_self_view": expm1_stretch(points),
            "conf_self": 1 + own[..., 3].exp(),
            "pts3d_in_other_view": expm1_stretch(world[..., :3]),
            "conf": 1 + world[..., 3].exp(),
            "rgb": (torch.sigmoid(color) * (1 - 2e-6) + 1e-6 - 0.5) * 2,
            "camera_pose": torch.cat((expm1_stretch(raw[:3]), -quat if quat[0] < 0 else quat)),
        }

    # 6.1 and 7.1
    def run(self, views: Sequence[View], update_type: str, *, plain: bool = False, fill: bool = False) -> list[Seen]:
        """The streaming loop, or the plain forward's (`plain`) for one sample; `fill` if any sample has a ray map."""
        state, mem, out = self.state_init, self.mem_init, []
        for i, view in enumerate(views):
            first = i == 0 if plain else i == 0 or views[i - 1].reset
            height, width = view.image.shape[1:] if view.image is not None else view.rays.shape[:2]  # type: ignore[union-attr]
            seen = self.look(self.features(view, fill), height // 16, width // 16, state, mem, first)
            proposal, beta = seen.fields["state_proposal"], seen.fields["beta_raw"]
            m = 1.0 if view.image is not None and view.update else 0.0
            a = m * (torch.ones_like(beta) if first or update_type == "cut3r" else beta)
            state = a[:, None] * proposal + (1 - a[:, None]) * state
            mem = m * seen.fields["mem_proposal"] + (1 - m) * mem
            if view.reset:
                state, mem = self.state_init, self.mem_init
            seen.fields |= {"beta_applied": a, "state_after": state, "mem_after": mem}
            out.append(seen)
        return out

    # 7.2
    def ask(self, rays: Tensor, state: Tensor, mem: Tensor) -> dict[str, Tensor]:
        """Outputs of the heads at an unseen view, ray map (H, W, 6)."""
        height, width = rays.shape[0] // 16, rays.shape[1] // 16
        fields = self.look(self.ray_features(rays.to(self.dtype)), height, width, state, mem, False).fields
        return {name: fields[name] for name in HEADS}


HEADS = ("pts3d_in_self_view", "conf_self", "pts3d_in_other_view", "conf", "rgb", "camera_pose")


def grid(height: int, width: int) -> Tensor:
    """(row, column) of every patch, row-major."""
    return torch.tensor([(r, c) for r in range(height) for c in range(width)])


def state_positions(count: int, layout: str) -> Tensor:
    """Section 5.2."""
    if layout == "1d":
        return torch.tensor([(i, i) for i in range(count)])
    width = math.floor(math.sqrt(count))
    width += width % 2
    return torch.tensor([(i // width, i % width) for i in range(count)])
