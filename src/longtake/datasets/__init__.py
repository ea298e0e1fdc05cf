# SPDX-License-Identifier: Apache-2.0
"""Readers of data sets in the layouts that people have on disk. Import from the modules."""
