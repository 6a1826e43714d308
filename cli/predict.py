"""`evergreen predict`: the rows of a file, answered by the released model."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from evergreen.cli.output import Answer
from evergreen.core.paths import Paths, find_root
from evergreen.core.progress import console_progress
from evergreen.stages.pipeline import read


def predict(given: Namespace) -> Answer:
    from evergreen.stages.engines import versions
    from evergreen.stages.predict.batch import predict

    root = find_root()
    read(given.name, root)
    versions.prepare(root)
    with console_progress() as progress:
        value = predict(Paths(root, given.name), Path(given.file), Path(given.output), progress)
    text = f"{value['rows']:,} rows answered by {value['pipeline']} {value['version']}: {value['output']}"
    return Answer(value, text)
