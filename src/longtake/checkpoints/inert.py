# SPDX-License-Identifier: Apache-2.0
"""Stand-in classes for whatever a checkpoint's arguments are made of: they hold what they are given and do nothing.

An official file keeps its training arguments beside the weights, as an argparse.Namespace or an OmegaConf tree.
Reading them must neither need those packages nor run anything of theirs, so each name becomes an `Inert` class. The
shape of the held state then tells what it was: OmegaConf keeps a container's children in `_content` and a leaf's value
in `_val` (observed in pickles of omegaconf 2.2.3, 2.3.0 and 2.4.0), a Namespace keeps its attributes.
"""

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

# Registered even where the file's names could not be listed.
KNOWN_NAMES = (
    "argparse.Namespace",
    "builtins.bool",
    "builtins.dict",
    "builtins.float",
    "builtins.int",
    "builtins.list",
    "builtins.object",
    "builtins.str",
    "builtins.tuple",
    "collections.defaultdict",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.base.UnionNode",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode",
    "omegaconf.nodes.BooleanNode",
    "omegaconf.nodes.BytesNode",
    "omegaconf.nodes.EnumNode",
    "omegaconf.nodes.FloatNode",
    "omegaconf.nodes.IntegerNode",
    "omegaconf.nodes.PathNode",
    "omegaconf.nodes.StringNode",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "typing.Any",
)

_CONSTRUCTOR = re.compile(r"\s*[A-Za-z_]\w*\s*\(")
_REFERENCE = re.compile(r"\s*\$\{([\w.]+)\}\s*")  # OmegaConf's "${a.b}": the value at a.b from the root


class Inert:
    """Holds the arguments it was made with and the state it was given; has no behaviour."""

    __slots__ = ("arguments", "state")
    name = ""

    def __new__(cls, *arguments: Any) -> "Inert":
        """Make one; called by the unpickler with whatever the file says."""
        self = super().__new__(cls)
        self.arguments, self.state = arguments, None
        return self

    def __setstate__(self, state: Any) -> None:
        """Keep the state as it came. (Defined so that no attribute of this object is ever set by a file.)"""
        self.state = state


class InertMapping:
    """Stand-in for subclasses of dict: becomes an OrderedDict, the one mapping the restricted unpickler fills."""

    def __new__(cls, *_: Any) -> Any:
        """Return an empty OrderedDict; the file's items follow."""
        return OrderedDict()


class InertAttribute:
    """Stand-in for getattr, with which pickles before protocol 4 name nested classes and methods."""

    def __new__(cls, *_: Any) -> Any:
        """Return an inert class: an attribute of something inert."""
        return Inert


_BASES = {
    "collections.defaultdict": InertMapping,
    "builtins.getattr": InertAttribute,
    "__builtin__.getattr": InertAttribute,
}


def stand_ins(names: Iterable[str], base: type = Inert) -> list[Callable | tuple[Callable, str]]:
    """Return (class, name) for `torch.serialization.safe_globals`: one inert class for each name."""
    made: list[Callable | tuple[Callable, str]] = [Inert]  # itself, as what InertAttribute returns may be called
    for name in sorted({*names, *KNOWN_NAMES}):
        kind = type("Inert_" + re.sub(r"\W", "_", name), (_BASES.get(name, base),), {"__slots__": (), "name": name})
        made.append((kind, name))
    return made


def constructor_text(arguments: Any) -> str | None:
    """Find the constructor call in a tree of inert arguments: its `model`, else the nearest `model` that is a call.

    Returns the text, or None where there is none. Loops in the tree and references ("${a.b}") are followed once.
    """
    top = _child(arguments, "model")
    for _ in range(8):  # a reference may lead to another
        match = _REFERENCE.fullmatch(top) if isinstance(top, str) else None
        if match is None:
            break
        top = arguments
        for key in match[1].split("."):
            top = _child(top, key)
    if isinstance(top, str) and _CONSTRUCTOR.match(top):
        return top
    for node in _walk(arguments):
        text = _child(node, "model")
        if isinstance(text, str) and _CONSTRUCTOR.match(text):
            return text
    return top if isinstance(top, str) else None


def _open(node: Any) -> Any:
    """Take off one object's wrapping: OmegaConf's containers and leaves, attributes of anything else."""
    for _ in range(8):
        if isinstance(node, (str, bytes, Mapping, list, tuple, type)) or node is None:
            return node
        state = node.state if isinstance(node, Inert) else getattr(node, "__dict__", None)
        if isinstance(state, tuple) and state and isinstance(state[0], Mapping):  # (attributes, slots)
            state = state[0]
        if not isinstance(state, Mapping):
            return state if state is not None else list(getattr(node, "arguments", ()))
        node = state.get("_content", state.get("_val", state))
    return node


def _child(node: Any, key: str) -> Any:
    opened = _open(node)
    return _open(opened.get(key)) if isinstance(opened, Mapping) else None


def _walk(root: Any) -> Iterator[Any]:
    """Yield every node below the root once, nearest first."""
    waiting, seen = deque([root]), set()
    while waiting:
        node = _open(waiting.popleft())
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, Mapping):
            waiting.extend(node.values())
        elif isinstance(node, (list, tuple)):
            waiting.extend(node)
