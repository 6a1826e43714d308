"""Nonsense in a pipeline's YAML: each value is refused in one line with its place, at once, whatever it is."""

import os
import random
import time
from pathlib import Path

import pytest

from evergreen.core.errors import UserError
from evergreen.stages.engines import cluster_file
from evergreen.stages.pipeline import names, read

ROOT = Path(__file__).parents[2]
LEAST = {  # section → its line in the least that is a pipeline
    "task": "task: classification",
    "collect": 'collect: {uri: "sklearn:digits"}',
    "preprocess": "preprocess: {target: y}",
}
OF_SECTION = {  # section → values that it refuses, as they stand between its brackets
    "task": [
        "name: [a]",
        "name: magic",
        "name: null",
        "name: Classification",
        "label_smoothing: 0.1",
        "name: classification, label_smoothing: 1",
        "name: classification, label_smoothing: -0.1",
        "name: classification, label_smoothing: .nan",
        "name: classification, label_smoothng: 0.1",
        "name: classification, loss: nope",
        "name: classification, class_weights: true",
        "name: classification, gamma: -1",
        "name: anomaly, false_alarms: 1.5",
        "name: regression, quantiles: [0.1, 2]",
        "name: regression, quantiles: 0.5",
        "name: regression, interval: 90",
        "name: embedding, width: 2.5",
        "name: embedding, temperature: 0",
        "name: ../tasks/classification",
    ],
    "collect": [
        "",
        "uri: null",
        "uri: []",
        "uri: 1e9",
        "uri: true",
        'uri: "a\\nb.csv"',
        'uri: "a\\0b.csv"',
        'uri: "sklear:digits"',
        'uri: "javascript:alert(1)"',
        "uri: a.csv, url: b.csv",
        "uri: a.csv, watermark: [at]",
        "uri: a.csv, watermark: at, allowed_lateness: -3",
        "uri: a.csv, watermark: at, allowed_lateness: soon",
        "uri: a.csv, watermark: at, allowed_lateness: true",
        "uri: a.csv, watermark: at, since: true",
        "uri: a.csv, watermark: at, since: .inf",
        "uri: a.csv, watermark: at, since: 2024-13-01",
        "uri: a.csv, watermark: at, since: 2024-02-01, until: 2024-01-01",
        "uri: a.csv, watermark: at, since: 5, until: 5",
        "uri: a.csv, id_columns: [a, a]",
        'uri: a.csv, id_columns: [""]',
        "uri: a.csv, id_columns: {a: b}",
        "uri: a.csv, on_source_delete: follow, watermark: at",
        "uri: a.csv, on_source_delete: FOLLOW",
    ],
    "preprocess": [
        "",
        "target: null",
        "target: [y]",
        "target: 3",
        "target: y, targett: z",
        "target: y, drop_columns: [y]",
        "target: y, drop_columns: [a, a]",
        "target: y, drop_columns: a",
        "target: y, filter: {a: []}",
        "target: y, filter: {a: [[1]]}",
        "target: y, filter: [a]",
        "target: y, filter: {a: [.inf]}",
        "target: y, kinds: {a: nope}",
        "target: y, kinds: {a: txt}",
        "target: y, kinds: {a: {}}",
        "target: y, kinds: {a: {kind: [text]}}",
        "target: y, kinds: {a: {kind: text, lenght: 3}}",
        "target: y, kinds: {a: {kind: text, length: -3}}",
        "target: y, kinds: {a: {kind: text, length: long}}",
        "target: y, kinds: {a: {kind: image, size: {h: 3}}}",
        "target: y, kinds: {a: {kind: number, indicator: 1}}",
        "target: y, kinds: [a]",
        "target: y, schema: {a: {min: 3, max: 1}}",
        "target: y, schema: {a: {min: 2024-02-01, max: 2024-01-01}}",
        "target: y, schema: {a: {min: [1]}}",
        "target: y, schema: {a: {max: .nan}}",
        "target: y, schema: {a: {missing: 2}}",
        "target: y, schema: {a: {missing: true}}",
        "target: y, schema: {a: {unique: yes}}",
        "target: y, schema: {a: {kind: nope}}",
        "target: y, schema: {a: {type: int}}",
        "target: y, schema: {a: {allowed: []}}",
        "target: y, schema: {a: {allowed: [[1]]}}",
        "target: y, schema: {a: {allowed: 3}}",
        "target: y, schema: {a: {pattern: '['}}",
        "target: y, schema: {a: 3}",
        "target: y, rules: 'a > 1'",
        "target: y, rules: ['']",
        "target: y, rules: [\"__import__('os')\"]",
        "target: y, rules: ['a > 1', 'a > 1']",
        "target: y, rules: [1]",
        "target: y, max_invalid_fraction: -0.1",
        "target: y, max_invalid_fraction: 50%",
        "target: y, test_fraction: -0.1",
        "target: y, test_share: -0.1",
        "target: y, test_fraction: 20",
        'target: y, test_fraction: "0.2"',
        "target: y, test_fraction: true",
        "target: y, validation_fraction: .nan",
        "target: y, seed: -1",
        "target: y, seed: 1.0",
        "target: y, seed: 99999999999999999999",
        "target: y, noise_std: -1",
        "target: y, noise_std: 1e9",
        "target: y, noise_std: .inf",
        "target: y, downscale: 0",
        "target: y, downscale: 1e9",
        "target: y, transform: cube",
        "target: y, transform: true",
        "target: y, group: [a]",
        "target: y, group: y",
        "target: y, time: y",
        "target: y, split_column: y",
        "target: y, group: a, time: b",
        "target: y, time: t, gap: -7",
        "target: y, time: t, gap: -7d",
        "target: y, time: t, gap: 7 parsecs",
        "target: y, window: -1",
        "target: y, window: 1e9",
        "target: y, horizon: 0",
        "target: y, horizon: null",
        "target: y, covariates: [y]",
        "target: y, covariates: [a], drop_columns: [a]",
        "target: y, time: t, drop_columns: [t]",
        "target: y, series_column: y",
        "target: y, sample_weight: 3",
        "target: y, sample_weight: y",
        "target: y, memory_mb: 0",
        "target: y, memory_mb: 1000000000000",
        "target: y, validate_from: 2020-01-01",
        "target: y, time: t, validate_from: soon",
        "target: y, time: t, validate_from: 2020-01-01, test_from: 2019-01-01",
        "target: y, time: t, validate_from: 5, test_from: 5",
        "target: y, time: t, test_from: [2019]",
        "target: y, leakage_checks: false",
    ],
    "select": [
        "time_budget_s: -1",
        "time_budget_s: 1e12",
        "time_budget_s: 20s",
        "seeds: 0",
        "seeds: 1e9",
        "folds: -1",
        "folds: 2.0",
        "architectures: nope",
        "architectures: [nope]",
        "architectures: [CNN]",
        "architectures: [cnn, cnn]",
        "architectures: [null]",
        "architectures: [../cnn]",
        "rungs: 3",
        "rungs: [9, 3]",
        "rungs: [-1]",
        "rungs: [1.5]",
        "rungs: [true]",
        "reduction_factor: 0",
        "seed: abc",
        "secnods: 3",
    ],
    "tune": [
        "time_budget_s: .inf",
        "time_budget_s: [3]",
        "trials: 0",
        "trials: 1e9",
        "trials: null",
        "seed: 4294967296",
    ],
    "train": [
        "workers: 0",
        "workers: -2",
        "workers: 1e9",
        "workers: 100000",
        'workers: "2"',
        "workers: true",
        "device: CUDA",
        "device: null",
        "max_failures: -1",
        "storage_bytes: -1",
        "storage_bytes: 1e30",
        "storage_bytes: 99999999999999999999999",
        "memory_mb: -5",
        "memory_mb: 99999999999",
        "init_from: digits",
        "init_from: digits@1.0",
        "init_from: x@y",
        "init_from: ../digits@v1.0.0",
        "init_from: --help",
        "init_from: digits@v1.0.0, options: {size: 1}",
        "freeze: all",
        "options: {sise: 2}",
        "options: {size: 0}",
        "options: {size: -1}",
        "options: {size: .nan}",
        "options: {size: big}",
        "options: {dropout: 1.5}",
        "options: {size: {a: 1}}",
        "options: size",
        "epochs: 0",
        "epochs: 1e3",
        "epochs: 1000000000000",
        "epochs: '3'",
        "batch_size: 0",
        "batch_size: 99999999999",
        "learning_rate: 0",
        "learning_rate: -0.1",
        "learning_rate: 1e300",
        "learning_rate: .inf",
        "learning_rate: 0,1",
        "weight_decay: -1",
        "optimizer: adamm",
        "momentum: 1",
        "momentum: -0.5",
        "layer_decay: 2",
        "schedule: linear",
        "warmup_fraction: 1.5",
        "plateau_patience: 0",
        "grad_clip_norm: .nan",
        "grad_accumulation: 0",
        "precision: float64",
        "ema: 1",
        "swa: -0.1",
        "mixup: -1",
        "mixup: 1e30",
        "early_stopping_patience: -1",
        "restore: newest",
        "checkpoint_seconds: -1",
        "seconds: 0",
        "augment: 1",
        "train_on_validation: maybe",
        "class_balanced: {}",
        "bucket_by_length: 'true'",
    ],
    "validate": [
        "confidence: 95",
        "confidence: 0.5",
        "confidence: 1",
        "bootstrap_samples: 0",
        "bootstrap_samples: 1e6",
        "bootstrap_samples: 99999999999",
        "release_when: 'true'",
        "equivalence_margin: 5",
        "equivalence_margin: -1",
        "slices: {a: [1]}",
        "slices: {a: [1, 2]}",
        "slices: [1, 2]",
        "slices: {a: [2, 1]}",
        "slices: {a: [soon, later]}",
        "slices: {a: [1, null]}",
        "seed: -1",
    ],
    "deploy": [
        "replicas: -1",
        "replicas: 1e9",
        "replicas: 100000",
        "cpus: -1",
        "cpus: .inf",
        "max_batch_rows: 0",
        "batch_wait_ms: -1",
        "batch_wait_ms: 99999999",
        "max_rows: 0",
        "max_rows: 1.5",
        "max_body_bytes: 0",
        "max_body_bytes: 8MB",
        "max_queue_rows: 1",
        "port: 80",
    ],
}
WHOLE_LINES = [
    "schedule: daily",
    f"schedule: '{'1,' * 100_000}1 * * * *'",
    "schedule: '* * * * * *'",
    "schedule: '@daily'",
    "schedule: '60 * * * *'",
    "schedule: 5",
    "schedule: [5]",
    "schedule: true",
    "schedule: !!python/object/apply:os.system [ls]",
    "schedule: !env HOME",
    "schedule: !!set {a, b}",
    "schedule: !!binary aGk=",
    "train: 3",
    "train: []",
    "train: none",
    "train: {<<: 3}",
    "train: {<<: *nothing}",
    "train: {epochs: 3, epochs: 4}",
    "train: {epochs: 3, 'epochs': 4}",
    "train: {epochs: 2024-99-99}",
    "train: &a {options: {b: *a}}",
    "trian: {}",
    "Train: {}",
    "3: {}",
    "null: {}",
    "true: {}",
    "2024-01-01: {}",
    '"": {}',
    '"--help": {}',
    '"a\\nb": 3',
    "tune: {trials: 3}}",
    "tune: {trials: 3",
    "tune: {trials 3}",
    "\ttune: {}",
    "tune:\n\ttrials: 3",
    "tune: {trials: \0}",
    "tune: {trials: \x07}",
    "---\ntask: regression",
    "...\ntask: regression",
    "%YAML 9.9\n---",
    "- a",
    "task: regression",
    "<<<<<<< HEAD\ntune: {}\n=======\ntune: {trials: 3}\n>>>>>>> theirs",
    "? [a, b]\n: 3",
]
SINGLE = [f"{section}: {{{value}}}" for section, values in OF_SECTION.items() for value in values] + WHOLE_LINES


@pytest.fixture
def refuse(tmp_path, capsys):
    """Reads a text as a pipeline's file; returns the message by which it is refused."""
    (tmp_path / "pipelines").mkdir()

    def refused(text: str | bytes) -> str:
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "pipelines" / "odd.yaml").write_bytes(data)
        with pytest.raises(UserError) as caught:
            read("odd", tmp_path)
        return str(caught.value)

    return refused


def test_there_are_enough_single_values():
    assert len(SINGLE) >= 290
    assert len(set(SINGLE)) == len(SINGLE)


@pytest.mark.parametrize("nonsense", SINGLE)
def test_a_single_value_is_refused_with_its_place(refuse, nonsense):
    kept = [line for section, line in LEAST.items() if not nonsense.startswith(f"{section}: {{")]
    start = time.process_time()
    message = refuse("\n".join([*kept, nonsense, ""]))
    assert time.process_time() - start < 5
    first, last = len(kept) + 1, len(kept) + len(nonsense.splitlines())
    assert message.startswith(
        tuple(f"pipelines/odd.yaml:{line}: " for line in range(1 if "missing" in message else first, last + 2))
    )
    assert "; " in message or " must be " in message  # what to do about it
    assert message.isprintable()
    assert len(message) < 1000


FILES = {  # what the file holds → what the message says
    b"": ":1: the file is empty",
    b"\n# soon\n": "the file is empty",
    b"null\n": ":1: the file is empty",
    b"[]\n": ":1: expected keys and values, got a list",
    b"text\n": ":1: expected keys and values",
    b"\0": ":1: not YAML: control characters",
    b"task: x\n\xff": ":2: not YAML: invalid start byte, no UTF-8",
    "task: classification\n".encode("utf-16"): ":1: not YAML: invalid start byte, no UTF-8",
    "task: classification\n".encode("utf-16-le"): ":1: not YAML: control characters",
    b"task: x\na: \xed\xa0\x80": ":2: not YAML: invalid continuation byte",
    b"\x89PNG\r\n\x1a\n": "not YAML",
    b"a: " + b"[" * 500_000: ":1: more than 50 brackets in brackets",
    b"a: " + b"{" * 500_000: ":1: more than 50 brackets in brackets",
    b"? " * 500_000: ":1: more than 50 brackets in brackets",
    b"".join(b" " * depth + b"a:\n" for depth in range(1000)): ":51: more than 50 brackets in brackets",
    b"a: [" + b"1," * 500_000 + b"]": ":1: the file has more than 100,000 values",
    b"---\n" * 200_000: "the file has more than 100,000 values",
    b"a: !" + b"x" * 1_000_000: ":1: not YAML: a tag or directive that nothing needs",
    b"".join(b"%%TAG !e%d! x\n" % number for number in range(9)) + b"---\n": ":1: not YAML: a tag or directive",
    b"a: " + b"9" * 1_000_000: ":1: not YAML: a number of 1,000,000 digits",
    b"a: '" + b"'" * 1_000_000: ":1: not YAML",
    b"a" * 1_000_000 + b": 3": ":1: not YAML",
    b"x" * 3_000_000: ": the file has 3,000,000 bytes, more than 1,048,576",
}


@pytest.mark.parametrize("data", FILES, ids=range(len(FILES)))
def test_a_file_that_is_no_pipeline_is_refused_at_once(refuse, data):
    start = time.process_time()
    message = refuse(data)
    assert time.process_time() - start < 2
    assert FILES[data] in message
    assert message.startswith("pipelines/odd.yaml")
    assert len(message) < 1000


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    "make",
    [
        Path.mkdir,
        os.mkfifo,
        make_loop,
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.symlink_to("/dev/zero"),
    ],
    ids=["folder", "pipe", "loop", "dangling", "endless"],
)
@pytest.mark.parametrize("name", ["pipelines/odd.yaml", "cluster.yaml"])
def test_what_is_no_file_is_not_read(tmp_path, name, make):
    (tmp_path / "pipelines").mkdir()
    make(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name}: (it is not a file|cannot be read)"):
        read("odd", tmp_path) if name != "cluster.yaml" else cluster_file.read(tmp_path)


ACCEPTED = {
    "byte order mark": "\ufeff" + "\n".join(LEAST.values()),
    "carriage returns": "\r\n".join(LEAST.values()),
    "end of the document": "\n".join([*LEAST.values(), "..."]),
    "anchor and merge": "\n".join([*LEAST.values(), "tune: &tune {seed: 3}", "train: {<<: *tune, epochs: 2}"]),
    "tag of a plain type": "\n".join([*LEAST.values(), "tune: {seed: !!int 3}"]),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_yaml_allows_is_read(tmp_path, case):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "odd.yaml").write_bytes(ACCEPTED[case].encode())
    assert read("odd", tmp_path).preprocess.target == "y"


CLUSTER = [
    "address: 6379",
    "address: somewhere\nstorage: /s",
    "address: 'a b:1'\nstorage: /s",
    "address: h:port\nstorage: /s",
    "address: h:999999\nstorage: /s",
    "address: user:password@h:1\nstorage: /s",
    "address: [h]\nstorage: /s",
    "address: h:1",
    "address: h:1\nstorage: shared",
    "address: h:1\nstorage: ../shared",
    "address: h:1\nstorage: 3",
    'address: h:1\nstorage: "/a\\nb"',
    "adress: h:1",
    "address: h:1\nstorage: /s\nworkers: 3",
    "[]",
    "",
    "{",
    "address: &a [*a]",
    "address: !!python/object:os.system {}",
]


@pytest.mark.parametrize("text", CLUSTER)
def test_nonsense_in_cluster_yaml_is_refused_with_its_place(tmp_path, text):
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        cluster_file.read(tmp_path)
    assert str(caught.value).startswith(("cluster.yaml:1: ", "cluster.yaml:2: ", "cluster.yaml:3: "))
    assert str(caught.value).isprintable()


def test_an_address_in_the_environment_is_checked_too(tmp_path, monkeypatch):
    monkeypatch.setenv("EVERGREEN_RAY_ADDRESS", "user:password@h:1")
    with pytest.raises(UserError, match="EVERGREEN_RAY_ADDRESS: address is"):
        cluster_file.read(tmp_path)


BAD_NAMES = ["x@y", "--help", "-", ".hidden", "a b", "a\nb", "a#b", "ä", "x:y", "a" * 101, "a.b", "~", "a\x07b"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_file_whose_name_no_tag_can_bear_is_refused(tmp_path, name):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / f"{name}.yaml").write_text("\n".join(LEAST.values()))
    for given in (name, f"pipelines/{name}.yaml"):
        with pytest.raises(UserError) as caught:
            read(given, tmp_path)
        assert "is not a valid pipeline name" in str(caught.value)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("command", ["status", "run", "schema", "report", "release", "rollback"])
def test_every_command_says_so_in_one_line(tmp_path, monkeypatch, capsys, command):
    from evergreen.cli import main

    (tmp_path / "pipelines").mkdir()
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "params.yaml").write_text("pipelines: []\n")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "pipelines" / "odd.yaml").write_text("\n".join([*LEAST.values(), "train: {workers: 1e9}"]))
    monkeypatch.chdir(tmp_path)
    for name in ("odd", "x@y", "a\nb", "../odd.yaml/..", "a" * 300):
        assert main.main([command, name]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert ("pipelines/odd.yaml:4: train.workers must be a whole number" in err) == (name == "odd")


def test_names_that_differ_in_capitals_alone_and_other_endings_are_told(tmp_path):
    (tmp_path / "pipelines").mkdir()
    for name in ("odd.yaml", "Odd.yaml", "other.yml"):
        (tmp_path / "pipelines" / name).write_text("\n".join(LEAST.values()))
    with pytest.raises(UserError, match="differ in capitals alone"):
        read("odd", tmp_path)
    with pytest.raises(UserError, match=r"rename other\.yml to other\.yaml"):
        read("other", tmp_path)


ODDITIES = [
    "~",
    "{}",
    "[]",
    "-1",
    "0",
    "1e9",
    ".nan",
    ".inf",
    "true",
    "''",
    "nope",
    "'*'",
    "*a",
    "&a 1",
    "!!int x",
    "[[[",
    "}",
    "\t",
    "\0",
    "é",
    "2024-13-40",
    '"\\n"',
    "9" * 500,
    "? x",
    "<<: 1",
    "- ",
    "%",
    "@",
    "`",
    "|",
    ">",
    "!x 3",
    "1,5",
]


def mutate(text: str, chance: random.Random) -> bytes:
    """Return a shipped file with one to three changes of the kinds that a hand, an editor or a disk makes."""
    data = bytearray(text.encode())
    for _ in range(chance.randint(1, 3)):
        at, kind = chance.randrange(len(data)), chance.randrange(9)
        words = bytes(data).split(b" ")
        place = chance.randrange(len(words))
        odd = chance.choice(ODDITIES).encode()
        lines = bytes(data).split(b"\n")
        line = chance.randrange(len(lines))
        match kind:
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 20)]
            case 2:
                data[at:at] = odd
            case 3:
                words[place] = odd
                data = bytearray(b" ".join(words))
            case 4:
                lines.insert(line, chance.choice(lines))
                data = bytearray(b"\n".join(lines))
            case 5:
                del lines[line]
                data = bytearray(b"\n".join(lines))
            case 6:
                del data[at:]
            case 7:
                words.insert(place, chance.choice(words))
                data = bytearray(b" ".join(words))
            case 8:
                lines[line] = chance.choice([b"  ", b"\t", b"- ", b"#"]) + lines[line]
                data = bytearray(b"\n".join(lines))
        data = data or bytearray(b"\n")
    return bytes(data)


@pytest.mark.parametrize("seed", range(10))
def test_a_thousand_changed_files_are_read_or_refused_with_their_place(tmp_path, seed):
    chance = random.Random(seed)
    (tmp_path / "pipelines").mkdir()
    file, counts = tmp_path / "pipelines" / "odd.yaml", {True: 0, False: 0}
    shipped = [(ROOT / "pipelines" / f"{name}.yaml").read_text() for name in names(ROOT)]
    for _ in range(100):
        data = mutate(chance.choice(shipped), chance)
        file.write_bytes(data)
        start = time.process_time()
        try:
            read("odd", tmp_path)
        except UserError as error:
            message = str(error)
            assert message.startswith("pipelines/odd.yaml:"), (message, data)
            assert message.isprintable(), (message, data)
            assert len(message) < 2000
            counts[False] += 1
        else:
            counts[True] += 1
        assert time.process_time() - start < 5, data
    assert min(counts.values()) >= 5  # the changes are neither harmless nor all fatal
