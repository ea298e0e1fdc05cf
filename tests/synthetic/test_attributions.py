# SPDX-License-Identifier: Apache-2.0
"""Every texture and every furniture model in the package has its source and a permissive licence beside it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from longtake.synthetic.textures import read_tiles

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "src" / "longtake" / "synthetic"
PERMISSIVE = {"CC0-1.0", "CC0", "public-domain", "CC-BY-3.0", "CC-BY-3.0-US", "CC-BY-4.0", "MIT", "Expat", "BSD",
              "Apache-2.0", "ZLIB"}  # fmt: skip


def _rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.mark.parametrize("name", ["TEXTURES.tsv", "FURNITURE.tsv"])
def test_each_row_names_a_source_and_a_permissive_licence(name: str) -> None:
    for row in _rows(name):
        assert all(value and value.strip() for value in row.values()), row
        assert row["licence"] in PERMISSIVE, row


def test_there_is_a_row_for_each_texture_and_each_model() -> None:
    assert len(_rows("TEXTURES.tsv")) == len(read_tiles())
    with np.load(FOLDER / "furniture.npz", allow_pickle=False) as file:
        assert len(_rows("FURNITURE.tsv")) == len(file["extent"])


@pytest.mark.parametrize("name", ["TEXTURES.tsv", "FURNITURE.tsv"])
def test_the_model_card_counts_them(name: str) -> None:
    card = (ROOT / "docs" / "model_card.md").read_text(encoding="utf-8")
    rows = _rows(name)
    column = 1 + ["TEXTURES.tsv", "FURNITURE.tsv"].index(name)
    table = card.split("<!-- licences -->")[1].split("<!-- end of licences -->")[0]
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.strip().splitlines()[2:]]
    counted = {row[0]: int(row[column]) for row in cells}
    assert counted.pop("all") == len(rows)
    assert counted == {name: sum(row["licence"] == name for row in rows) for name in counted}
    assert set(counted) >= {row["licence"] for row in rows}
