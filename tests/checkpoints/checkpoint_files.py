# SPDX-License-Identifier: Apache-2.0
"""Files that the checkpoint tests make: official forms, OmegaConf look-alikes, payloads that would leave a canary."""

from __future__ import annotations

import builtins
import functools
import os
import subprocess
import sys
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

TEXT = (
    "ARCroco3DStereo(ARCroco3DStereoConfig(state_size=768, state_pe='2d', pos_embed='RoPE100', rgb_head=True, "
    "pose_head=True, img_size=(224, 224), head_type='linear', output_mode='pts3d+pose', "
    "depth_mode=('exp', -inf, inf), conf_mode=('exp', 1, inf), pose_mode=('exp', -inf, inf), enc_depth=24))"
)


def weights() -> dict[str, torch.Tensor]:
    """A state dict with an aliased pair and a parameter."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(3, 4, generator=generator)
    return {"a.weight": shared, "alias.weight": shared, "b": torch.nn.Parameter(torch.randn(5, generator=generator))}


def official(args: Any, **changes: Any) -> dict[str, Any]:
    """The content of an official file: weights, arguments and what else training leaves."""
    optimiser = {
        "state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3, 4)}},
        "param_groups": [{"lr": 1e-4}],
    }
    return {"args": args, "optimizer": optimiser, "scaler": {}, "epoch": 9, "best": 0.5, "model": weights()} | changes


def namespace(text: str = TEXT) -> Namespace:
    """Arguments as argparse leaves them."""
    return Namespace(model=text, pretrained=None, lr=1e-4, train_dataset="1000 @ A() + 2 @ B()", out=Path("somewhere"))


@contextmanager
def omegaconf_like() -> Iterator[Callable[[Any], Any]]:
    """Give a function that builds trees which pickle as OmegaConf's do; its modules exist only within the block."""

    def make(module: str, name: str) -> type:
        home = sys.modules.setdefault(module, ModuleType(module))
        cls = type(name, (), {"__module__": module, "__qualname__": name})
        setattr(home, name, cls)
        return cls

    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "omegaconf"}
    for name in before:
        del sys.modules[name]
    sys.modules["omegaconf"] = ModuleType("omegaconf")
    container, leaf = make("omegaconf.base", "ContainerMetadata"), make("omegaconf.base", "Metadata")
    dict_config, list_config = make("omegaconf.dictconfig", "DictConfig"), make("omegaconf.listconfig", "ListConfig")
    any_node = make("omegaconf.nodes", "AnyNode")

    def instance(cls: type, **state: Any) -> Any:
        made = object.__new__(cls)
        made.__dict__.update(state)
        return made

    def build(value: Any, key: Any = None, parent: Any = None) -> Any:
        about = {"ref_type": Any, "object_type": type(value), "optional": True, "key": key, "flags": {}}
        about["resolver_cache"] = defaultdict(dict)
        if isinstance(value, dict):
            node = instance(dict_config, _metadata=instance(container, **about), _parent=parent, _content={})
            node._content.update({k: build(v, k, node) for k, v in value.items()})
        elif isinstance(value, list):
            node = instance(list_config, _metadata=instance(container, **about), _parent=parent, _content=[])
            node._content.extend(build(v, i, node) for i, v in enumerate(value))
        else:
            node = instance(any_node, _metadata=instance(leaf, **about), _parent=parent, _val=value)
        return node

    try:
        yield build
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "omegaconf"]:
            del sys.modules[name]
        sys.modules.update(before)


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def payloads(canary: Path) -> dict[str, Calls]:
    """Objects that create the canary file if they are ever unpickled by a plain unpickler."""
    python = f"open({str(canary)!r}, 'w').close()"
    return {
        "os.system": Calls(os.system, f"touch {canary}"),
        "eval": Calls(builtins.eval, python),
        "exec": Calls(builtins.exec, python),
        "open": Calls(builtins.open, str(canary), "w"),
        "subprocess": Calls(subprocess.check_call, ["touch", str(canary)]),
        "import": Calls(getattr, Calls(__import__, "os"), "system"),
        "partial": Calls(functools.partial, os.system, f"touch {canary}"),
    }
