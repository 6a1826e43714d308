"""Reading a pipeline's YAML: what is right is read, and each mistake is told with its line and the fix."""

from pathlib import Path

import pytest

from evergreen.core.errors import PipelineError
from evergreen.stages.pipeline import SECTIONS, STAGES, names, read, tasks

ROOT = Path(__file__).parents[2]
LEAST = 'task: classification\ncollect: {uri: "sklearn:digits"}\npreprocess: {target: digit}\n'  # three lines


@pytest.fixture
def write(tmp_path: Path):
    (tmp_path / "pipelines").mkdir()

    def read_text(text: str | bytes):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "pipelines" / "digits.yaml").write_bytes(data)
        return read("digits", tmp_path)

    return read_text


def test_the_shipped_pipelines_are_right():
    assert {"breast_cancer", "diabetes", "digits", "sunspots"} <= set(names(ROOT))
    for name in names(ROOT):
        assert read(name, ROOT).name == name
        assert len((ROOT / "pipelines" / f"{name}.yaml").read_text().splitlines()) <= 15


def test_defaults_serve_and_values_take_their_types(write):
    pipeline = write(LEAST + "tune: {time_budget_s: 7, trials: 3}\nvalidate:\n")
    assert (pipeline.name, pipeline.task, pipeline.schedule) == ("digits", "classification", "")
    assert pipeline.collect.uri == "sklearn:digits"
    assert (pipeline.tune.time_budget_s, pipeline.tune.trials) == (7.0, 3)
    assert type(pipeline.tune.time_budget_s) is float  # 7 is written, a number of seconds is meant
    assert pipeline.validate == type(pipeline.validate)()


def test_yaml_1_2_numbers(write):
    assert (
        write(LEAST + "validate: {equivalence_margin: 1e-3}\n").validate.equivalence_margin == 0.001
    )  # in YAML 1.1 this is a text


def test_an_unquoted_date_is_a_text(write):
    text = LEAST.replace("target: digit", "target: digit, time: day, test_from: 2024-02-29")
    assert write(text).preprocess.test_from == "2024-02-29"


def test_stages_are_sections_in_order():
    assert (*SECTIONS[:-1], "report") == STAGES
    assert SECTIONS[-1] == "deploy"
    assert STAGES == ("collect", "preprocess", "select", "tune", "train", "validate", "report")


MISTAKES = {
    "unknown section": (LEAST + "trian: {}\n", 4, "unknown key 'trian'", "did you mean 'train'?"),
    "unknown key": (
        LEAST + "tune: {time_budge_s: 3}\n",
        4,
        "unknown key 'time_budge_s' in tune",
        "did you mean 'time_budget_s'?",
    ),
    "unknown key, own line": (
        LEAST + "tune:\n  trials: 3\n  time_budget: 3\n",
        6,
        "unknown key 'time_budget'",
        "'time_budget_s'",
    ),
    "text for a whole number": (LEAST + "tune: {trials: yes}\n", 4, "tune.trials must be a whole number", "'yes'"),
    "fraction for a whole number": (LEAST + "tune: {trials: 2.5}\n", 4, "tune.trials must be a whole number", "2.5"),
    "true for a whole number": (LEAST + "tune: {trials: true}\n", 4, "tune.trials must be a whole number", "True"),
    "text for a number": (LEAST + "tune: {time_budget_s: fast}\n", 4, "tune.time_budget_s must be a number", "'fast'"),
    "not a number": (LEAST + "tune: {time_budget_s: .nan}\n", 4, "tune.time_budget_s must be a number", "nan"),
    "number for a text": (LEAST.replace('"sklearn:digits"', "3"), 2, "collect.uri must be text", "3"),
    "text for a list": (
        LEAST.replace("digit}", "digit, drop_columns: id}"),
        3,
        "preprocess.drop_columns must be a list",
        "'id'",
    ),
    "nothing for a text": (LEAST.replace('"sklearn:digits"', ""), 2, "collect.uri must be text", "nothing"),
    "value for a section": (LEAST + "tune: 3\n", 4, "tune must be keys and values", "tune: {}"),
    "one of a few": (LEAST + "validate: {release_when: always}\n", 4, "one of better, not worse", "'always'"),
    "out of range": (LEAST + "validate:\n  seed: 1\n  confidence: 1.5\n", 6, "confidence is 1.5", "between 0.5 and 1"),
    "no epochs": (LEAST + "train: {workers: 1, epochs: 0}\n", 4, "train: epochs is 0", "at least 1"),
    "backwards": (LEAST + "train:\n  learning_rate: -1e-3\n", 5, "learning_rate is -0.001", "above 0"),
    "more than all": (LEAST + "train: {ema: 5}\n", 4, "train: ema is 5", "between 0 and 1"),
    "missing task": (LEAST.replace("task: classification", ""), 2, "task is missing", "add task"),
    "missing source": (LEAST.replace('uri: "sklearn:digits"', ""), 2, "collect.uri is missing", "under collect"),
    "missing section": (
        "task: regression\ncollect: {uri: a.csv}\n",
        1,
        "preprocess.target is missing",
        "under preprocess",
    ),
    "duplicate key": (LEAST + "task: regression\n", 4, "duplicate key", "keep one"),
    "open bracket": (LEAST + "train: {epochs: [3\n", 5, "not YAML", "brackets"),
    "tab": (LEAST + "train:\n\tepochs: 3\n", 5, "not YAML", "indentation"),
    "two documents": (LEAST + "---\ntask: regression\n", 4, "not YAML", ""),
    "empty": ("", 1, "the file is empty", "the least is"),
    "comments alone": ("# soon\n", 1, "the file is empty", "the least is"),
    "list": ("- task\n", 1, "a list", "the least is"),
    "unknown task": (
        LEAST.replace("classification", "clasification"),
        1,
        "unknown task",
        "did you mean 'classification'?",
    ),
    "strange task": (LEAST.replace("classification", "magic"), 1, "unknown task", "tasks: anomaly, classification, "),
    "cron minute": (LEAST + 'schedule: "61 4 * * *"\n', 4, "not cron syntax", "every day at 04:30"),
    "cron words": (LEAST + "schedule: daily\n", 4, "not cron syntax", "five fields"),
    "cron that never comes": (LEAST + 'schedule: "0 0 31 2 *"\n', 4, "not cron syntax", "five fields"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_names_its_line_and_the_fix(write, case):
    text, line, problem, fix = MISTAKES[case]
    with pytest.raises(PipelineError) as caught:
        write(text)
    message = str(caught.value)
    assert message.startswith(f"pipelines/digits.yaml:{line}: ")
    assert problem in message
    assert fix in message
    assert "\n" not in message


def test_brackets_without_end(write):
    with pytest.raises(PipelineError, match=r"^pipelines/digits.yaml:2: not YAML: "):
        write("task: " + "[" * 5000)


def test_bytes_that_are_no_text(write):
    with pytest.raises(PipelineError, match=r"^pipelines/digits.yaml: not YAML: .*UTF-8"):
        write(b"\xff\xfe\x00task")


def test_an_unknown_pipeline_names_the_nearest(write, tmp_path):
    write(LEAST)
    with pytest.raises(PipelineError, match="there is no pipeline 'digts'; did you mean 'digits'"):
        read("digts", tmp_path)
    with pytest.raises(PipelineError, match="pipelines: digits"):
        read("sunshine", tmp_path)


def test_tasks_are_the_files_of_their_folder():
    from evergreen.models.registry import list_tasks as registered

    assert tasks() == sorted(registered())
