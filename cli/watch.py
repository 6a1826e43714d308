"""`evergreen watch`: run the schedules in the pipelines' YAML until interrupted."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from evergreen.cli.output import Answer
from evergreen.flows import schedule


def watch(given: Namespace) -> Answer:
    """Serve the schedules until interrupted."""
    return Answer({"schedules": schedule.watch(partial(print, flush=True))}, "")
