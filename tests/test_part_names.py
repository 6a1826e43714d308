"""No part is named outside its folder: whoever adds a kind, a task or an architecture changes no other file."""

import ast
from pathlib import Path

import pytest

from evergreen.core import parts

ROOT = Path(__file__).parents[1]
ROOMS = ("cli", "core", "data", "evergreen", "flows", "models", "pages", "stages")
PARTS = (*parts.FOLDERS.values(), "stages/checking")  # a part is checked together with others, on samples of each kind
# What else the words mean where they stand, by file or folder. Texts, numbers and series are no kinds everywhere.
OTHER_MEANINGS = {
    "models/": {
        "audio",
        "category",
        "graph",
        "image",
        "labels",
        "number",
        "seed",
        "series",
        "text",
        "tokens",
    },  # tensors
    "data/prepare/rules/grammar.py": {"number", "text", "boolean"},  # the types that rules read columns as
    "core/config.py": {"text"},
    "data/prepare/config.py": {"series"},  # an old key of the YAML
    "data/prepare/series_reader.py": {"series"},  # a parameter
    "stages/predict/forecast.py": {"series"},
    "data/quality/late_columns.py": {"category", "number"},  # words of columns' names
    "data/quality/leakage.py": {"text"},  # a field of summary.json
    "pages/data_page.py": {"text"},
    "stages/preprocess/stage.py": {"text"},
    "pages/model_page.py": {"seed", "text"},  # fields of metrics.json
    "pages/search_section.py": {"number"},  # of a trial
    "stages/tune/": {"number", "seed"},  # of a trial
    "evergreen/estimators.py": {"seed"},  # of random numbers
    "stages/train/stage.py": {"seed"},
    "stages/deploy/text_process.py": {"text", "tokens"},  # of an event of a stream
    "stages/trials/": {"number", "seed"},
    "cli/commands/trials.py": {"number"},
    "cli/commands/history/backfill.py": {"moment"},  # of a run that is made up for
    "flows/policies.py": {"moment"},
    "flows/past_runs.py": {"moment"},
    "pages/backfill_page.py": {"moment"},
    "flows/server.py": {"tags"},  # of a run
    "flows/schedule.py": {"tags"},  # of a deployment
    "flows/notifications.py": {"text"},  # of a message
    "stages/deploy/late_labels.py": {"labels"},  # answers that came later
    "flows/format.py": {"labels"},
    "pages/monitor_page.py": {"labels"},
    "stages/monitor/": {"labels"},
    "stages/deploy/protocols/labels.py": {"labels"},
    "cli/application.py": {"labels"},  # a command: answers that came later
    "evergreen/client.py": {"labels", "text"},  # fields of what it sends and reads
    "stages/deploy/protocols/completions.py": {"text"},  # a field of OpenAI's answers
    "stages/deploy/protocols/rows.py": {"text", "tokens"},  # fields of an event
    "stages/deploy/text_streams.py": {"seed"},  # of the words that are drawn
    "stages/deploy/openapi.py": {"boolean", "number", "seed"},  # types of JSON
    "stages/deploy/tensors.py": {"number", "boolean"},  # types of JSON
    "pages/charts/graph_drawing.py": {"graph"},  # what a drawing shows
    "pages/charts/overlays.py": {"boxes"},
    "data/field.py": {"encoder"},  # the word of a tensor's encoding
    "stages/artifacts.py": {"encoder"},
    "stages/code_version.py": {"encoder"},
}


def literals(file: Path) -> set[str]:
    """Return all string literals of a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("room", ROOMS)
def test_no_part_is_named_outside_its_folder(room):
    names = {name for group in ("kinds", "tasks", "architectures") for name in parts.names(group)}
    places = [path.relative_to(ROOT).as_posix() for path in (ROOT / room).rglob("*.py")]
    places = [place for place in places if not place.startswith(PARTS) and "/store/" not in place]
    assert places
    for place in places:
        meant = {word for start, words in OTHER_MEANINGS.items() if place.startswith(start) for word in words}
        named = names & literals(ROOT / place) - meant
        assert not named, f"{place} names {', '.join(sorted(named))}: use a hook or an attribute of the contract"


def test_each_exception_is_needed():
    for start, words in OTHER_MEANINGS.items():
        files = (ROOT / start).rglob("*.py") if start.endswith("/") else [ROOT / start]
        found = {word for file in files for word in literals(file)}
        assert words <= found, f"{start} no longer says {', '.join(sorted(words - found))}"
