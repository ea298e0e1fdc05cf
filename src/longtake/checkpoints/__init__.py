# SPDX-License-Identifier: Apache-2.0
"""Weight files: official checkpoints read without executing them, our own with their configuration inside."""

from longtake.checkpoints.constructor import parse_constructor
from longtake.checkpoints.convert import ConvertReport, Weights, convert, read_any
from longtake.checkpoints.official import OfficialCheckpoint, read_torch
from longtake.checkpoints.pack import is_packed, pack, unpack
from longtake.checkpoints.safe import read_metadata, read_safetensors, write_safetensors
from longtake.checkpoints.strict import load_strict

__all__ = [
    "ConvertReport",
    "OfficialCheckpoint",
    "Weights",
    "convert",
    "is_packed",
    "load_strict",
    "pack",
    "parse_constructor",
    "read_any",
    "read_metadata",
    "read_safetensors",
    "read_torch",
    "unpack",
    "write_safetensors",
]
