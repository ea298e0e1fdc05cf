# SPDX-License-Identifier: Apache-2.0
"""`longtake doctor`: what this machine has."""

from __future__ import annotations


def main(*, json: bool = False) -> int:
    """Say what this machine has: libraries, devices, decoders, extras, the embedded model, disk space.

    Ends with 1 if the main job cannot run here.

    Args:
        json: Print one JSON list instead of a table.
    """
    from longtake.doctor import examine

    checks = examine()
    if json:
        from dataclasses import asdict
        from json import dumps

        print(dumps([asdict(check) for check in checks], indent=2))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            remedy = f"  ->  {check.remedy}" if check.remedy else ""
            print(f"{check.status:<7}  {check.name:<{width}}  {check.found}{remedy}")
    return int(any(check.status == "broken" for check in checks))
