# SPDX-License-Identifier: Apache-2.0
"""Data sets in the layouts that people have on disk: one reader a file, `table.py` lists them."""
