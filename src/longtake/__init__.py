# SPDX-License-Identifier: Apache-2.0
"""Longtake: an endless RGB video becomes cameras and a dense 3D point map, one frame at a time, in constant memory.

    model = longtake.load("longtake-small")
    stream = model.stream(rule="ttt3r")
    for frame in longtake.video("clip.mp4"):
        prediction = stream.step(frame)

The names below are the whole public face. Each is imported when it is first used, so `import longtake` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longtake.errors import LongtakeError as LongtakeError
    from longtake.frame import Frame as Frame
    from longtake.frame import Prediction as Prediction
    from longtake.registry import load as load
    from longtake.rules import register_rule as register_rule
    from longtake.scene import Scene as Scene
    from longtake.scene import reconstruct as reconstruct
    from longtake.sources import images as images
    from longtake.sources import video as video

__version__ = "0.1.0"

_HOME = {
    "Frame": "longtake.frame",
    "LongtakeError": "longtake.errors",
    "Prediction": "longtake.frame",
    "Scene": "longtake.scene",
    "images": "longtake.sources",
    "load": "longtake.registry",
    "reconstruct": "longtake.scene",
    "register_rule": "longtake.rules",
    "video": "longtake.sources",
}

__all__ = [  # noqa: PLE0604  (the same names as _HOME, which a test compares)
    "Frame",
    "LongtakeError",
    "Prediction",
    "Scene",
    "images",
    "load",
    "reconstruct",
    "register_rule",
    "video",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"longtake has no public name {name!r}; it has {', '.join(_HOME)}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
