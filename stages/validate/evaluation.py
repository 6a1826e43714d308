"""Store the results of a validation: predictions, plots for DVC, and the data that the report is drawn from."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evergreen.core.files import write_json
from evergreen.core.spreadsheets import CsvWriter
from evergreen.stages.validate.evaluated_rows import ShownRows
from evergreen.stages.validate.evidence import Evidence
from evergreen.stages.validate.worst_rows import worst_rows

EVIDENCE, PREDICTIONS, PLOTS = "evidence.json", "predictions.parquet", "plots"
FORMAT = 1
ROW_COLUMNS = ("_id", "_origin", "_time")
Json = dict[str, Any]


def write(folder: Path, evidence: Evidence, choice: Json, read: Mapping[str, str]) -> None:
    """Write evidence.json, predictions.parquet and plots/ into `folder`.

    `choice` is what select wrote; `read` names what the report reads besides, each with its hash.
    """
    shown = ShownRows(evidence)
    sections = [evidence.candidate.task.pictures(shown), worst_rows(evidence, shown)]
    spec, names = evidence.model.spec, {"baseline": "the baseline", "released": f"released {evidence.version}"}
    value = {
        "format": FORMAT,
        "target": spec.target_name,
        "metrics": evidence.candidate.task.METRICS,
        "names": {role: names.get(role, other.name) for role, other in evidence.opponents.items()},
        "version": evidence.version,
        "refusal": evidence.refusal,
        "rows": spec.rows,
        "read": read,
        "sections": [section.to_json() for section in sections if section],
    }
    write_json(folder / EVIDENCE, value, sort=False)
    answers = evidence.candidate.answers()
    write_predictions(folder / PREDICTIONS, evidence, shown.truth, answers)
    write_plots(folder / PLOTS, evidence, choice, shown, answers)


def write_predictions(path: Path, evidence: Evidence, truth: Sequence[Any], answers: Sequence[Json]) -> None:
    """Write one line per test row: its id, the actual and the predicted value, the confidence and the row's score."""
    table = evidence.table.select([name for name in ROW_COLUMNS if name in evidence.table.column_names])
    columns: dict[str, Sequence[Any]] = {"actual": truth}
    for name in ("prediction", "low", "high", "score"):
        if name in answers[0]:
            columns[name] = [answer[name] for answer in answers]
    if "probabilities" in answers[0]:
        columns["confidence"] = [max(answer["probabilities"].values()) for answer in answers]
    for name, values in columns.items():
        if not _is_matrix(values[0]):  # images are not written again
            table = table.append_column(name, _array(values))
    table = table.append_column("row_score", pa.array(evidence.candidate.row_scores))
    pq.write_table(table.replace_schema_metadata(), path)


def write_plots(folder: Path, evidence: Evidence, choice: Json, shown: ShownRows, answers: Sequence[Json]) -> None:
    """Write a CSV file for each plot. The main column is the last, since DVC draws that one by default."""
    folder.mkdir()
    task = evidence.candidate.task
    history, decider = evidence.model.card.get("history", []), next(iter(task.METRICS))
    if history:
        names = sorted({name for row in history for name in row} - {"epoch", decider, f"validation_{decider}"})
        last = [name for name in (decider, f"validation_{decider}") if name in history[0]]
        columns = ["epoch", *names, *last]
        _csv(folder / "learning.csv", columns, ([row.get(name, "") for name in columns] for row in history))
    if board := choice.get("leaderboard"):
        rows = ([row["architecture"], row["score"]] for row in board)
        _csv(folder / "leaderboard.csv", ["architecture", "score"], rows)
    if task.PLOT:
        pairs = [(actual, answer["prediction"]) for actual, answer in zip(shown.truth, answers, strict=True)]
        if isinstance(pairs[0][0], list):  # of several steps ahead the first
            first = ((time, *(values[0] for values in pair)) for time, pair in zip(shown.times(), pairs, strict=True))
            _csv(folder / f"{task.PLOT}.csv", ["time", "actual", "predicted"], first)
        else:
            _csv(folder / f"{task.PLOT}.csv", ["actual", "predicted"], pairs)


def _csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        CsvWriter(file).write_rows([columns, *rows])


def _is_matrix(value: Any) -> bool:
    return isinstance(value, bytes) or (isinstance(value, list) and bool(value) and isinstance(value[0], list))


def _array(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([json.dumps(value, default=str) for value in values])
