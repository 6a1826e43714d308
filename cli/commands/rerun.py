"""`evergreen rerun`: train one trial of a search again."""

from typing import Annotated

import typer

from evergreen.cli.output import CommandResult
from evergreen.cli.parameters import PipelineName


def rerun(
    name: PipelineName,
    trial: Annotated[int, typer.Option(metavar="N", min=0, help="Its number, as evergreen trials lists it.")],
) -> CommandResult:
    """Train a trial once more; its score is the same, bit for bit.

    It runs in this process, without Ray. The exit status is 1 where the score differs, as it may on another processor
    or with another build of torch, which round otherwise.
    """
    from evergreen.core.paths import Paths, find_root
    from evergreen.stages.pipeline import read
    from evergreen.stages.tune.repetition import rerun_trial

    root = find_root()
    pipeline = read(name, root)
    value = rerun_trial(pipeline.tune, Paths(root, pipeline.name), trial, task=pipeline.task)
    before, after = (
        repr(value[key]) if value[key] is not None else f"no score ({value.get(why) or value['state']})"
        for key, why in (("score", "reason"), ("again", "reason_again"))
    )
    same = f"trial {trial}: {value['metric']} {after} again, bit for bit"
    other = f"trial {trial}: {value['metric']} {after}, and {before} in the ledger"
    text = same if value["is_same"] else f"{other}: another processor or build of torch rounds otherwise"
    return CommandResult({"pipeline": name, **value}, text, int(not value["is_same"]))
