"""`evergreen prefect`: Prefect's own command line, with the address and the key of the project's server."""

from __future__ import annotations

import os
import sys

from evergreen.cli.output import CommandResult


def prefect(arguments: list[str]) -> CommandResult:
    """Pass the line on to Prefect: evergreen prefect flow-run ls.

    It becomes this process, and starts the project's server where that is down.
    """
    from evergreen.core.paths import find_root
    from evergreen.flows.server import Server

    server = Server(find_root())
    server.start()
    server.wait()
    os.execv(sys.executable, [sys.executable, "-m", "prefect", *arguments])
