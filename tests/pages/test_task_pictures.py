"""Every task's pictures are marks that can be stored and drawn: a new file in tasks/ is tested as it is."""

import json

import numpy as np
import pytest
import torch

from evergreen.core.marks import BoxedImage, Image, MaskedImage, Sparkline
from evergreen.core.png import mask_png, png
from evergreen.models.registry import list_architectures, list_tasks
from evergreen.pages.layout import draw
from evergreen.stages.checking.network_checks import Case, case_rows, cases
from evergreen.stages.checking.sample_inputs import make_network

PICTURE = png(np.arange(64.0).reshape(1, 8, 8))
CASES = {(case.task, case.target, "image" in case.kinds): case for case in cases(list_architectures(), list_tasks())}


class Rows:
    """Eight rows, and a network that was not trained."""

    target_name, time = "<what>", "year"

    def __init__(self, case: Case) -> None:
        self.case, self.network, self.batch = case, make_network(*case), case_rows(case)
        task, self.target = self.network.task, self.batch["target"]
        if hasattr(task, "margin"):
            task.margin.fill_(0.5)
        if hasattr(task, "threshold"):
            task.threshold.fill_(0.1)
        self.metric_inputs = task.metric_inputs(self.output(), self.target)
        self.scores = task.row_scores(*self.metric_inputs).double()

    @property
    def truth(self):
        def words(row):
            return ["O" if tag < 1 else "B-NAME" for tag in row.tolist()]

        found = {
            "series": lambda: self.target.tolist(),
            "number": lambda: self.target.tolist(),
            "text": lambda: ["abc"] * 8,
            "tags": lambda: [words(row) for row in self.target],
        }
        return found.get(self.case.target, lambda: [str(row.flatten()[0].item()) for row in self.target])()

    def output(self, rows=slice(None)):
        return self.network.predict_outputs(self.batch)[rows]

    def answers(self, rows=slice(None)):
        return self.network.task.decode(self.output(rows))

    def spread(self, count):
        return self.scores.argsort()[:count].tolist()

    def inputs(self, rows):
        known = {"image": Image(PICTURE), "series": Sparkline([1.0, 2.0, 3.0])}
        return [[known[kind] for kind in self.case.kinds if kind in known] for _ in rows]

    def targets(self, rows, predicted=()):
        masks = mask_png(np.zeros((8, 8), int))
        drawn = {
            "mask": lambda row: MaskedImage(PICTURE, masks),
            "boxes": lambda row: BoxedImage(PICTURE, (1, 1), [], predicted[row] if predicted else []),
        }
        return [drawn[self.case.target](row) if self.case.target in drawn else None for row in range(len(rows))]

    def values(self, rows):
        return [{"words": ["<a>", "b", "c", "d", "e", "f"]} for _ in rows]

    def times(self):
        return list(range(8))

    def groups(self):
        return ["x", "y"] * 4

    def others(self):
        return {"the baseline": self.metric_inputs}

    def train_target(self):
        return self.target


@pytest.mark.parametrize("key", CASES, ids=str)
def test_pictures_can_be_stored_and_drawn(key):
    section = make_rows_section(CASES[key])
    assert section is not None
    stored = section.to_json()
    json.dumps(stored, allow_nan=False)
    drawn = "".join(map(draw, stored["marks"]))
    assert len(drawn) > 100
    assert "<what>" not in drawn
    assert "<a>" not in drawn


def make_rows_section(case):
    with torch.no_grad():
        rows = Rows(case)
        return rows.network.task.pictures(rows)


def test_every_task_has_a_case():
    assert {task for task, _, _ in CASES} == set(list_tasks())
