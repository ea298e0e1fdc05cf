# SPDX-License-Identifier: Apache-2.0
"""What is measured: a model with its name and the hash of its weights, and the same one before any training."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import torch

from longtake.device import seeded
from longtake.engine import narrow, precision_of
from longtake.memory.keep import Keep
from longtake.refine import Refiner
from longtake.registry import Model
from longtake.rules import Rule
from longtake.stream import Streams


@dataclass(frozen=True, slots=True)
class Net:
    """A model under a name. `module` is the family's module as training and `longtake.load` have it."""

    name: str
    module: Any  # a torch module that keeps `families.contract.Family`
    join: str = "exact"  # how the chunks between resets meet
    reset_when: str | None = None  # a trigger in words
    refine: bool = False  # whether bundle adjustment follows (longtake.refine)

    @classmethod
    def of(cls, model: Model, **options: Any) -> Net:
        """Take a loaded model; options are the fields after its module."""
        return cls(model.name, model.module, **options)

    def streams(self, n: int, *, rule: str | Rule, reset_every: int | None) -> Streams:
        """Begin n streams."""
        options = {"join": self.join, "reset_when": self.reset_when, "name": self.name}
        return Streams(self.module, n, rule=rule, reset_every=reset_every, **options)

    def settings(self) -> dict[str, Any]:
        """Return what tells this net's numbers from another's: weights, configuration, precision, device."""
        parameter = next(self.module.parameters())
        return {
            "net": self.name,
            "weights_sha256": weights_hash(self.module),
            "parameters": sum(p.numel() for p in self.module.parameters()),
            "config": self.module.config.to_dict(),
            "dtype": str(parameter.dtype).removeprefix("torch."),
            "precision": precision_of(self.module),
            "device": str(parameter.device),
            "torch": torch.__version__,
            "join": self.join,
            "reset_when": self.reset_when,
            **({"refine": Refiner().about()} if self.refine else {}),
        }


def rules_of(model: Model) -> tuple[str, ...]:
    """Return what a model is measured under unless something else is asked for: one name where rules do not apply."""
    return ("overwrite", "ttt3r") if model.capabilities.rules else (Keep.name,)


def untrained_twin(net: Net, seed: int = 0) -> Net:
    """Return the same architecture as its constructor starts it, from one seed; device and precision as `net`."""
    parameter = next(net.module.parameters())
    with seeded(seed):
        module = type(net.module)(net.module.config)
    precision = precision_of(net.module)
    dtype = parameter.dtype if precision == "float32" else torch.float32  # what is narrow, `narrow` says
    module = narrow(module.to(parameter.device, dtype).eval(), precision)
    return replace(net, name="untrained", module=module)


def weights_hash(module: torch.nn.Module) -> str:
    """Return the sha256 of all weights by name, type, shape and value: the same whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
