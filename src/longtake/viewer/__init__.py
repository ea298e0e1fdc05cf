# SPDX-License-Identifier: Apache-2.0
"""The page that a person looks at: a take in a browser, while it runs and after. Needs the extra `view`."""

from longtake.viewer.view import Viewer

__all__ = ["Viewer"]
