# SPDX-License-Identifier: Apache-2.0
"""Parameters before training: numbers where there is memory, nothing at all on the meta device."""

from __future__ import annotations

import subprocess
import sys

import torch

from longtake.nn import drawn


def test_numbers_are_normal_and_those_of_the_seed() -> None:
    torch.manual_seed(3)
    ours = drawn(2, 500)
    torch.manual_seed(3)
    assert torch.equal(ours, torch.randn(2, 500) * 0.02)
    assert torch.equal(drawn(3, scale=0.0), torch.zeros(3))


def test_building_a_model_without_numbers_does_not_import_the_compiler() -> None:
    """It is what every `load` does first; the compiler alone takes longer than all the rest."""
    code = (
        "import sys\nfrom longtake.registry import MODELS\n"
        "assert all(entry.build().training for entry in MODELS.values())\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
