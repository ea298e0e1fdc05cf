# SPDX-License-Identifier: Apache-2.0
"""Keyframes on disk, so that a place seen before is recognised by how it looks and the take is anchored to it again.

A frame is kept when it looks unlike all that are kept. What is kept in memory is one vector a keyframe, the mean of its
encoder's tokens; tokens, picture and pose lie in one safetensors file each. Optional: a stream without an archive
neither makes nor reads any of this.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import normalize

from longtake.errors import InputError, OutputError
from longtake.files import save_tensors

# Neighbours have 0.99 (median, longtake-small): of a moving camera most frames are kept, of one at rest none. The
# nearer a keyframe is to what comes back, the better the model can say how the two lie.
NOVELTY = 0.995


@dataclass(frozen=True, slots=True)
class Keyframe:
    """A frame that was kept."""

    index: int  # of the frame in its take
    features: Tensor  # (N, D) encoder tokens; these and the depth are kept in half precision
    image: Tensor  # (H, W, 3) uint8
    world_from_cam: Tensor  # (4, 4)
    depth: Tensor | None = None  # (H, W) in the take's units


@dataclass(frozen=True, slots=True)
class Match:
    """A keyframe that looks like a frame."""

    index: int
    place: int  # in the archive
    similarity: float  # mean over the frame's tokens of the best cosine to one of the keyframe's, -1 to 1


class Archive:
    """A folder of keyframes. `novelty`: a frame is kept if its vector's cosine to all kept ones is below it."""

    def __init__(self, folder: Path, *, novelty: float = NOVELTY) -> None:
        self.folder, self.novelty = folder, novelty
        self.indices: list[int] = []
        self.vectors: list[Tensor] = []
        for file in sorted(folder.glob("*.safetensors")):
            keyframe = _read(file)
            self.indices.append(keyframe.index)
            self.vectors.append(_vector(keyframe.features))

    def __len__(self) -> int:
        return len(self.indices)

    def offer(self, keyframe: Keyframe) -> bool:
        """Keep a frame if it shows something new; say whether it was kept. Raises OutputError where it cannot."""
        vector = _vector(keyframe.features)
        if self.vectors and float((torch.stack(self.vectors) @ vector).max()) >= self.novelty:
            return False
        tensors = {
            "features": keyframe.features.detach().cpu().half().contiguous(),  # a look needs no more digits
            "image": keyframe.image.detach().cpu().contiguous(),
            "world_from_cam": keyframe.world_from_cam.detach().cpu().contiguous(),
            "index": torch.tensor(keyframe.index),
        }
        if keyframe.depth is not None:
            tensors["depth"] = keyframe.depth.detach().cpu().half().contiguous()
        file = self.folder / f"{len(self):06}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_tensors(file, tensors, {})
        except (SafetensorError, OSError) as error:
            raise OutputError(
                f"{file}: the keyframe could not be written ({error}); free space or another folder."
            ) from error
        self.indices.append(keyframe.index)
        self.vectors.append(vector)
        return True

    def read(self, place: int) -> Keyframe:
        """The keyframe at a place of the archive, from disk."""
        return _read(self.folder / f"{place:06}.safetensors")

    def recognise(
        self, features: Tensor, *, before: int | None = None, least: float = 0.8, candidates: int = 3
    ) -> Match | None:
        """The keyframe that the frame with these tokens (N, D) looks most like, or None where none reaches `least`.

        before: only keyframes of frames earlier than this, so that a frame's neighbours do not count as a revisit.
        The best few by their vectors are compared token by token.
        """
        allowed = [i for i, index in enumerate(self.indices) if before is None or index < before]
        if not allowed:
            return None
        scores = torch.stack([self.vectors[i] for i in allowed]) @ _vector(features)
        best = scores.topk(min(candidates, len(allowed))).indices.tolist()
        matches = [self._compare(features, allowed[i]) for i in best]
        match = max(matches, key=lambda m: m.similarity)
        return match if match.similarity >= least else None

    def _compare(self, features: Tensor, place: int) -> Match:
        mine = normalize(features.detach().float().cpu(), dim=-1)
        theirs = normalize(self.read(place).features.float(), dim=-1)
        return Match(self.indices[place], place, float((mine @ theirs.T).amax(1).mean()))


def _vector(features: Tensor) -> Tensor:
    return normalize(features.detach().float().cpu().mean(0), dim=0)


def _read(file: Path) -> Keyframe:
    try:
        tensors = load_file(file)
        index = int(tensors["index"])
        return Keyframe(index, tensors["features"], tensors["image"], tensors["world_from_cam"], tensors.get("depth"))
    except (SafetensorError, OSError, KeyError) as error:
        raise InputError(
            f"{file}: is no keyframe of an archive ({error}); remove it or give another folder."
        ) from error
