"""`evergreen features`: what the released network makes of rows, for other programs to learn from."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from evergreen.cli.output import Answer
from evergreen.core.paths import Paths, find_root
from evergreen.core.progress import console_progress
from evergreen.stages.pipeline import read


def features(given: Namespace) -> Answer:
    from evergreen.stages.engines import versions
    from evergreen.stages.predict.extract_features import features

    root = find_root()
    read(given.name, root)
    versions.prepare(root)
    source = Path(given.input) if given.input else None
    output = Path(given.output or f"{given.name}-features.parquet")
    with console_progress() as progress:
        value = features(Paths(root, given.name), source, output, progress)
    text = "{rows:,} rows, {features:,} features each, by {pipeline} {version}: {output}".format(**value)
    return Answer(value, text)
