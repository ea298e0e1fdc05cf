# SPDX-License-Identifier: Apache-2.0
"""Bundle adjustment after the model: poses, depth and focal length of a window of frames, by the pictures themselves.

From here: `adjust` and its `Settings`; `Refined`, a model whose streams do it.
"""

from longtake.refine.adjust import Adjusted, Settings, adjust
from longtake.refine.refiner import Refiner

__all__ = ["Adjusted", "Refiner", "Settings", "adjust"]
