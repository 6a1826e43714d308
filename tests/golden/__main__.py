"""Compares runs with hashes.json, or writes it: `python -m tests.golden [--exact | --write [--force]] [NAME …]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.golden import results
from tests.golden.product import Run
from tests.golden.verdict import problem, unexplained


def main() -> int:
    """Runs the pipelines; nothing is written where a result changed and no VERSION behind it did, unless forced."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=results.names(), metavar="NAME")
    parser.add_argument(
        "--exact", action="store_true", help="compare the bytes of weights: on the machine that wrote them"
    )
    parser.add_argument("--write", action="store_true", help="write hashes.json")
    parser.add_argument("--force", action="store_true", help="write it whatever changed")
    asked = parser.parse_args()
    known = results.read()
    held, wrong = dict(known["pipelines"]), 0
    for name in asked.names:
        with tempfile.TemporaryDirectory() as folder:
            found = results.measured(Run(results.prepared(Path(folder)), name))
        told = _told(held.get(name), found, asked, same_bytes=results.bound(known))
        print(f"{name}: {told or 'good'}", flush=True)
        wrong += bool(told)
        held[name] = found
    if asked.write and not wrong:
        kept = {name: held[name] for name in results.names() if name in held}
        results.write({"environment": results.environment(), "pipelines": kept})
    return min(wrong, 1)


def _told(before: dict[str, Any] | None, found: dict[str, Any], asked: argparse.Namespace, *, same_bytes: bool) -> str:
    """Returns why a run is not as it should be, or nothing."""
    if not asked.write:
        return problem(before, found, same_bytes=same_bytes, exact=asked.exact) if before else "is not written"
    if before is None or asked.force or not before.get("versions"):
        return ""  # without written versions nothing says whether a change was meant
    left = unexplained(before, found, same_bytes=same_bytes)
    return "".join(f"\n  {result}: {words}, and no VERSION behind it changed" for result, words in left.items())


if __name__ == "__main__":
    sys.exit(main())
