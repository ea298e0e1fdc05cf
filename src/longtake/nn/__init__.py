# SPDX-License-Identifier: Apache-2.0
"""Layers that every family shares: rotary positions, attention, transformer blocks."""

from longtake.nn.attention import CrossAttention, SelfAttention
from longtake.nn.blocks import ConditionedBlock, DecoderBlock, EncoderBlock, Mlp, layer_norm
from longtake.nn.draws import drawn
from longtake.nn.lanes import Lanes
from longtake.nn.rope import Kept, RopeTable, grid_positions, kept_or_made, rope_table, rotate
from longtake.nn.scaled import KeysValues, NormedAttention, ScaledBlock

__all__ = [
    "ConditionedBlock",
    "CrossAttention",
    "DecoderBlock",
    "EncoderBlock",
    "Kept",
    "KeysValues",
    "Lanes",
    "Mlp",
    "NormedAttention",
    "RopeTable",
    "ScaledBlock",
    "SelfAttention",
    "drawn",
    "grid_positions",
    "kept_or_made",
    "layer_norm",
    "rope_table",
    "rotate",
]
