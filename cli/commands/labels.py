"""`evergreen labels`: the truth about rows that the endpoint answered before."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName
from evergreen.core.errors import PipelineError


def labels(
    action: Annotated[Literal["add"], typer.Argument(help="What to do.")],  # noqa: ARG001
    name: PipelineName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .csv, .jsonl or .parquet file.")],
) -> CommandResult:
    """Add labels that came later to logged requests.

    The file has a column `label`, and either `request_id` and `row` (from 0; without it the first), or `id`: what the
    caller sent as `_id` in the row. Ids of no logged row and ids that have a label already are told and left out.
    """
    from evergreen.core.files import read_json
    from evergreen.core.paths import Paths, find_root
    from evergreen.data.sources import open_source
    from evergreen.data.spec import FeatureSpec
    from evergreen.stages.artifacts import CARD
    from evergreen.stages.deploy.late_labels import add_labels
    from evergreen.stages.engines import versions

    paths = Paths(find_root(), name)
    version = versions.released(paths.root).get(name)
    if version is None:
        raise PipelineError(f"{name} has no released version", fix=f"make one with: evergreen run {name}")
    if not file.exists():
        raise PipelineError("there is no such file", place=str(file), fix="check the path")
    spec = FeatureSpec.from_json(read_json(versions.checkout(paths, version) / CARD, "spec")["spec"])
    rows = [row for batch in open_source(str(file.resolve()), paths.root).read() for row in batch.to_pylist()]
    value = add_labels(paths.home / "requests" / name, spec, rows)
    lines = [f"{value['added']:,} labels added to the logged requests of {name}"]
    for word in ("unknown", "double"):
        if count := value[word]["count"]:
            lines.append(f"{count:,} {word}, left out: {', '.join(map(str, value[word]['ids'][:5]))}")
    return CommandResult(value, "\n".join(lines), int(not value["added"]))
