"""Reading a pipeline's YAML: what is right is read, and each mistake is told with its line and the fix."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from evergreen.core.errors import PipelineError
from evergreen.models.training.config import TrainingConfig
from evergreen.stages.pipeline import CONFIGS, SECTIONS, STAGES, json_schema, names, read, tasks

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
    assert (pipeline.name, pipeline.task, pipeline.operation.schedule) == ("digits", "classification", "")
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
    "true for a whole number": (LEAST + "tune: {trials: true}\n", 4, "tune.trials must be a whole number", "true"),
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
    "there is no task": (
        LEAST.replace("classification", "clasification"),
        1,
        "there is no task",
        "did you mean 'classification'?",
    ),
    "strange task": (
        LEAST.replace("classification", "magic"),
        1,
        "there is no task",
        "tasks: anomaly, classification, ",
    ),
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
    with pytest.raises(PipelineError, match=r"^pipelines/digits.yaml:2: more than 50 brackets"):
        write("task: [\n" + "[" * 5000)


def test_bytes_that_are_no_text(write):
    with pytest.raises(PipelineError, match=r"^pipelines/digits.yaml:1: not YAML: .*UTF-8"):
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


NONSENSE = {  # section and key: value → what the message says
    "collect: {uri: 3}": "collect.uri must be text",
    'collect: {uri: ""}': "uri is the text ''",
    "collect: {uri: a.csv, watermark: at, allowed_lateness: -1 h}": "'-1 h' is not a valid allowed_lateness",
    "collect: {uri: a.csv, watermark: at, since: [1]}": "collect.since must be text or a whole number or a number",
    "collect: {uri: a.csv, watermark: at, until: soon}": "collect.until: the text 'soon' is not a time",
    "collect: {uri: a.csv, since: 3}": "since needs watermark",
    "collect: {uri: a.csv, id_columns: id}": "collect.id_columns must be a list",
    "collect: {uri: a.csv, id_columns: [1]}": "collect.id_columns.0 must be text, got 1",
    "collect: {uri: a.csv, on_source_delete: yes}": "on_source_delete must be one of follow, keep",
    "preprocess: {target: y, test_fraction: -0.1}": "test_fraction is -0.1; give a fraction between 0 and 1",
    'preprocess: {target: ""}': "target is the text ''; give at least 1 characters",
    "preprocess: {target: y, test_fraction: 0}": "test_fraction is 0",
    "preprocess: {target: y, test_fraction: 0.6, validation_fraction: 0.4}": "leave no rows to train on",
    "preprocess: {target: y, validation_fraction: 1}": "validation_fraction is 1",
    "preprocess: {target: y, max_invalid_fraction: 20}": "max_invalid_fraction is 20",
    "preprocess: {target: y, horizon: 0}": "horizon is 0; give at least 1",
    "preprocess: {target: y, window: 0}": "window is 0; give at least 1",
    "preprocess: {target: y, window: 1.5}": "preprocess.window must be a whole number, got 1.5",
    "preprocess: {target: y, seed: -1}": "seed is -1; give at least 0",
    "preprocess: {target: y, seed: 4294967296}": "seed is 4294967296",
    "preprocess: {target: y, noise_std: -1}": "noise_std is -1",
    "preprocess: {target: y, downscale: 0}": "downscale is 0",
    "preprocess: {target: y, memory_mb: 100}": "memory_mb is 100; give at least 512",
    "preprocess: {target: y, kinds: {a: 3}}": "preprocess.kinds.a must be text or a mapping",
    "preprocess: {target: y, kinds: }": "preprocess.kinds must be a mapping",
    "preprocess: {target: y, filter: {a: 3}}": "preprocess.filter.a must be a list",
    'preprocess: {target: y, filter: {"a\\nb": 3}}': "preprocess.filter.'a\\nb' must be a list",
    'preprocess: {target: y, rules: ["a >"]}': "rule",
    "preprocess: {target: y, schema: {a: {mim: 3}}}": "did you mean 'min'?",
    "preprocess: {target: y, group: a, split_column: b}": "group and split_column each decide which rows test",
    "preprocess: {target: y, gap: 7d}": "gap needs a split by time",
    "preprocess: {target: y, leakage_checks: maybe}": "leakage_checks must be one of report, stop, off",
    "select: {time_budget_s: 0}": "time_budget_s is 0; give a number above 0",
    "select: {time_budget_s: .inf}": "select.time_budget_s must be a number",
    "select: {architectures: [nope]}": "there is no architecture 'nope'",
    "select: {architectures: [cnnn]}": "did you mean 'cnn'?",
    "select: {rungs: [1, 0]}": "rungs.1 is 0; give at least 1",
    "select: {rungs: []}": "rungs is a list; give at least 1",
    "select: {rungs: [3, 3]}": "rungs are not valid (got [3, 3])",
    "select: {folds: 1}": "folds is not valid (got 1)",
    "select: {reduction_factor: 1}": "reduction_factor is 1",
    "tune: {trials: -1}": "trials is -1",
    "tune: {time_budget_s: -1}": "time_budget_s is -1; give at least 0",
    "train: {workers: 1e9}": "train.workers must be a whole number or text, got 1000000000.0",
    "train: {workers: 1000000000}": "workers is 1000000000; give at most 4,096",
    "train: {device: gpu}": "train.device must be one of auto, cpu, cuda",
    "train: {restore: first}": "train.restore must be one of best, last",
    "train: {grad_clip_norm: -1}": "grad_clip_norm is -1",
    "train: {freeze: backbone}": "freeze needs init_from",
    "train: {train_on_validation: true, restore: best}": "leaves no rows",
    "train: {train_on_validation: 1}": "train.train_on_validation must be true or false, got 1",
    "train: {options: [1]}": "train.options must be a mapping",
    "preprocess: {target: y, column_rules: {}}": "unknown key 'column_rules' in preprocess",
    "train: {secnods: 1}": "unknown key 'secnods' in train",
    "validate: {bootstrap_samples: 10}": "bootstrap_samples is 10; give at least 100",
    "validate: {slices: {a: [1, 2, 3]}}": "slices.a has 3 values; give at most 2",
    "validate: {equivalence_margin: -0.1}": "equivalence_margin is -0.1",
    "deploy: {replicas: 0}": "replicas is 0; give at least 1",
    "deploy: {max_rows: 5000}": "max_queue_rows is below max_rows",
    "deploy: {cpus: 1e9}": "cpus is 1000000000.0; give at most 1,024",
    "schedule: 5": "schedule must be text, got 5",
    "schedule: !!binary aGk=": "a value of type 'binary'",
    "task: {name: [a]}": "task must be text",
    "? [a, b]\n: 3": "",
    '"a\\nb": 3': "unknown key 'a\\nb'",
}


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_is_one_line_with_its_place(write, nonsense):
    key = nonsense.partition(":")[0]
    kept = [line for line in LEAST.splitlines() if not line.startswith(f"{key}:")]
    with pytest.raises(PipelineError) as caught:
        write("\n".join([*kept, nonsense, ""]))
    message = str(caught.value)
    assert NONSENSE[nonsense] in message
    assert message.startswith("pipelines/digits.yaml")
    assert "\n" not in message
    if key[0] not in "?":
        assert message.startswith(f"pipelines/digits.yaml:{len(kept) + 1}: ")


@pytest.mark.parametrize("name", ["x@y", "--help", "a\nb", "", "a b", "../..", "~", "x:y", "-"])
def test_a_name_that_tags_and_files_cannot_bear(tmp_path, name):
    with pytest.raises(PipelineError, match="is not a valid pipeline name") as caught:
        read(name, tmp_path)
    assert "\n" not in str(caught.value)


BOMB = "\n".join(
    ['a: &a0 ["lol"]', *(f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)), "schedule: *a11", ""]
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "its aliases stand for more than 100,000 values"),
        (LEAST + "train: &a {options: {b: *a}}\n", "not YAML"),
        (f"task: {'x' * 100_000_000}", "the file has 100,000,006 bytes"),
        (f"task: {'x' * 1_000_000}", "there is no task 'xxx"),
        (LEAST + f"train: {{epochs: {'9' * 5000}}}", "not YAML"),
        ("task: " + "[" * 900 + "]" * 900, ""),
        ("task: !!python/object/apply:os.system [ls]", "not YAML"),
    ],
    ids=["bomb", "loop", "large", "long", "digits", "deep", "object"],
)
def test_what_would_swallow_time_or_memory_is_refused_at_once(write, text, says):
    start = time.process_time()
    with pytest.raises(PipelineError) as caught:
        write(text)
    assert time.process_time() - start < 2
    assert says in str(caught.value)
    assert len(str(caught.value)) < 1000


OLD = """task: classification
collect: {uri: "sklearn:digits", key: [a], deleted: keep, watermark: at, late: 2}
preprocess: {target: digit, ignore: [a], only: {b: [1]}, key: [c], bad_rows: 0.1, test_share: 0.3,
  validation_share: 0.1, noise: 0.1, shrink: 2, given: part, series: s, weight: w, leaks: stop}
select: {seconds: 7, keep: 4}
tune: {seconds: 3}
train: {balance: true, bucket: true, start_from: x@v1.0.0, freeze: features, clip: 1, accumulate: 2, patience: 3,
  keep: last, warmup_share: 0.1}
validate: {resamples: 200, margin: 0.2}
"""


def test_keys_of_earlier_versions_are_read_with_one_warning_each(write, caplog):
    pipeline = write(OLD)
    assert (pipeline.collect.id_columns, pipeline.collect.on_source_delete) == (["a"], "keep")
    assert (pipeline.preprocess.drop_columns, pipeline.preprocess.filter) == (["a"], {"b": [1]})
    assert (pipeline.select.time_budget_s, pipeline.select.reduction_factor) == (7, 4)
    assert (pipeline.train.restore, pipeline.train.freeze) == ("last", "backbone")
    assert set(pipeline.train.recipe()) <= {field.name for field in dataclasses.fields(TrainingConfig)}
    warnings = [record.getMessage() for record in caplog.records]
    renamed = sum(len(model.RENAMED) for model in CONFIGS.values())
    assert len(warnings) == renamed  # one is not in OLD (refit), and one value has another word
    assert "pipelines/digits.yaml:3: `ignore` is now `drop_columns`" in warnings
    assert "pipelines/digits.yaml:7: `freeze: features` is now `freeze: backbone`" in warnings
    caplog.clear()
    write(OLD)
    assert not caplog.records


def test_a_mistake_under_an_old_key_is_told_at_its_line_and_an_old_key_beside_its_new_one_is_refused(write):
    with pytest.raises(PipelineError, match=r"digits.yaml:5: tune: time_budget_s is -1; give at least 0"):
        write(LEAST + "tune:\n  seconds: -1\n")
    with pytest.raises(PipelineError, match=r"digits.yaml:4: time_budget_s is said twice"):
        write(LEAST + "tune: {time_budget_s: 1, seconds: 2}\n")


BAD_OPTION = "task: {name: classification, label_smoothing: 2}"


def test_the_json_schema_accepts_what_is_read_and_refuses_what_is_not():
    schema = json_schema()
    check = jsonschema.Draft202012Validator(schema)
    load = YAML(typ="safe").load
    check.check_schema(schema)
    for name in names(ROOT):
        check.validate(load(ROOT / "pipelines" / f"{name}.yaml"))
    check.validate(load(OLD))
    for nonsense in (
        "train: {workers: 0}",
        "train: {secnods: 1}",
        "select: {architectures: [nope]}",
        "task: magic",
        BAD_OPTION,
    ):
        assert not check.is_valid(load(LEAST) | load(nonsense)), nonsense
    for section in CONFIGS:
        assert all("description" in field for field in schema["properties"][section]["properties"].values())


@pytest.mark.slow
def test_reading_needs_no_torch_and_no_arrow():
    code = (
        "import sys, pathlib; from evergreen.stages import pipeline; root = pathlib.Path.cwd()\n"
        "for name in ('digits', 'high_digits', 'sunspots'): pipeline.read(name, root)\n"
        "pipeline.json_schema(); print([name for name in ('torch', 'pyarrow', 'numpy', 'ray') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


RELEASES = {
    "maybe": "release must be one of auto, ask or a mapping like {name: value}, got the text 'maybe'",
    "true": "release must be one of auto, ask or a mapping",
    "[ask]": "release must be one of auto, ask or a mapping",
    "{}": "release.ask_when is missing",
    "{ask_when: []}": "give at least 1 values",
    "{ask_when: [size, size]}": "occurs twice",
    "{ask_when: [weight]}": "release.ask_when.0 must be one of new class, score drop, size, got the text 'weight'",
    "{when: [size]}": "unknown key 'when' in release; did you mean 'ask_when'?",
}


@pytest.mark.parametrize("wrong", RELEASES)
def test_who_releases_is_auto_or_ask_or_ask_in_some_cases(tmp_path, wrong):
    (tmp_path / "pipelines").mkdir()
    file = tmp_path / "pipelines" / "p.yaml"
    text = "task: classification\nrelease: {}\ncollect: {{uri: a.csv}}\npreprocess: {{target: y}}\n"
    file.write_text(text.format("ask"))
    assert read("p", tmp_path).operation.release == "ask"
    file.write_text(text.format("{ask_when: [new class, size]}"))
    assert read("p", tmp_path).operation.release.ask_when == ["new class", "size"]
    file.write_text(text.format(wrong))
    with pytest.raises(PipelineError) as caught:
        read("p", tmp_path)
    assert str(caught.value).startswith("pipelines/p.yaml:2: ")
    assert RELEASES[wrong] in str(caught.value)
