# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the evaluation tests; makes evaluation_oracle.py importable under every import mode of pytest."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def data() -> Path:
    """The frozen data sets; a test that needs them says loudly that it was skipped."""
    if not (DATA / "heldout_v1").is_dir():
        pytest.skip(f"data sets not found at {DATA}: figures on them were NOT checked")
    return DATA
