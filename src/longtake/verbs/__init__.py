# SPDX-License-Identifier: Apache-2.0
"""One module a verb: a typed function `main` whose signature is the flags and whose docstring is the help."""
