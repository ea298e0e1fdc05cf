# SPDX-License-Identifier: Apache-2.0
"""A take as other tools open it: one table of formats, one function."""

from longtake.outputs.exports.table import FORMATS, export

__all__ = ["FORMATS", "export"]
