"""Untrained models that write texts, for tests of what is sent while they write."""

import pyarrow as pa
import torch

from evergreen.data import kinds
from evergreen.data.fitting import fit
from evergreen.data.spec import FeatureSpec
from evergreen.models.registry import build
from evergreen.stages.artifacts import save_model

SONG = ["a small bird sings now and then, über den Wäldern", "and the old dog sleeps by the warm stove"] * 10


def save_writer(folder, task, architecture, column, target, unit, **options):
    """An untrained model that writes texts."""
    torch.manual_seed(0)
    how = {name: {"unit": unit} for name, _ in (column, target)}
    columns = dict([column, target])
    named = {name: "text" if isinstance(values[0], str) else "audio" for name, values in columns.items()}
    table = pa.table({name: kinds.find(named[name]).validate(pa.array(values))[0] for name, values in columns.items()})
    given = {column[0]: named[column[0]]}
    fields, aim = fit(
        table, given, target[0], "text", options={name: one for name, one in how.items() if named[name] == "text"}
    )
    spec = FeatureSpec(task, fields, aim, target[0], None, {"train": len(table)}, options)
    network = build(architecture, spec.task, spec.inputs, spec.target, options)
    card = {"architecture": architecture, "task": task, "options": {}, "spec": spec.to_json()}
    save_model(folder, network, card)
    return str(folder)
