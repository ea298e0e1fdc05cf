# SPDX-License-Identifier: Apache-2.0
"""`python -m longtake` is the same as `longtake`."""

import sys

from longtake.cli import main

if __name__ == "__main__":
    sys.exit(main())
