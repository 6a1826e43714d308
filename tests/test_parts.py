"""A project's own parts are found beside the built-in ones, travel as text, and are carried by what is released."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evergreen.core import parts
from evergreen.core.errors import UserError
from evergreen.core.parts import PartError
from evergreen.data import kinds, sources
from evergreen.data.field import TensorField
from evergreen.models import registry
from evergreen.stages.checking.part import check_part

PLAIN = '''"""A plain network."""
from __future__ import annotations
from dataclasses import dataclass
from torch import nn
from evergreen.models.base import Architecture
from evergreen.models.layers import FlattenInputs

SCALE = 1.0

@dataclass
class Shape:
    width: int

class Plain(Architecture):
    """One layer."""
    ACCEPTS = frozenset({"number"})

    def __init__(self, inputs, *, size: float = 1.0):
        super().__init__()
        self.flat = FlattenInputs(inputs)
        self.out_features = Shape(3).width
        self.layer = nn.Linear(self.flat.width, self.out_features)

    def forward(self, batch):
        return self.layer(self.flat(batch)) * SCALE
'''
INPUTS = {"number": TensorField("number", ("a",), (1,), "float32", {})}
TARGET = TensorField("number", ("y",), (), "float32", {"mean": [0.0], "std": [1.0]})


@pytest.fixture(autouse=True)
def forgotten():
    yield
    parts.adopt({})


def write(root: Path, place: str, text: str) -> Path:
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text(text, encoding="utf-8")
    return root


def test_a_projects_part_is_found_and_that_of_another_forgotten(tmp_path):
    before = registry.list_architectures()
    parts.use(write(tmp_path / "Ä b", "models/architectures/plain.py", PLAIN))
    assert set(registry.list_architectures()) - set(before) == {"plain"}
    assert "plain" in registry.buildable(INPUTS, "regression")
    assert registry.find_architecture("plain").__module__ == "evergreen_parts.architectures.plain"
    parts.use(tmp_path)
    assert registry.list_architectures() == before


def test_the_catalogue_lists_a_projects_part(tmp_path, monkeypatch):
    from evergreen.cli.commands.catalogue import catalogue, parse_docstring

    write(tmp_path, "models/architectures/plain.py", PLAIN)
    write(tmp_path, "pipelines/dvc.yaml", "")
    monkeypatch.chdir(tmp_path)
    cards = {card["name"]: card for card in catalogue().value["architectures"]}
    assert cards["plain"] == {"name": "plain", "about": "A plain network.", "accepts": ["number"]}
    parts.use(tmp_path)
    assert parse_docstring(registry.find_architecture("plain"))["title"] == "One layer."


def test_an_edited_part_is_loaded_anew(tmp_path):
    parts.use(write(tmp_path, "models/architectures/plain.py", PLAIN))
    first = registry.find_architecture("plain")
    assert registry.find_architecture("plain") is first
    parts.use(write(tmp_path, "models/architectures/plain.py", PLAIN.replace("One layer", "A layer")))
    assert registry.find_architecture("plain").__doc__ == "A layer."


def test_files_that_are_no_parts_are_left_alone(tmp_path):
    write(tmp_path, "models/architectures/cnn.py", "import tensorflow\nraise SystemExit\n")
    write(tmp_path, "data/sources/__init__.py", "raise SystemExit\n")
    write(tmp_path, "data/sources/_shared.py", "import evergreen\nraise SystemExit\n")
    parts.use(tmp_path)
    assert not parts.project_texts()


def test_a_built_in_name_is_taken(tmp_path):
    write(tmp_path, "models/architectures/cnn.py", PLAIN)
    with pytest.raises(PartError, match=r"^models/architectures/cnn\.py: Evergreen has a part 'cnn' of its own; give"):
        parts.use(tmp_path)


def test_so_is_an_alias_of_a_built_in_one(tmp_path):
    write(tmp_path, "data/sources/tsv.py", "from evergreen.data import sources\nclass Mine(sources.Source): ...\n")
    with pytest.raises(PartError, match=r"^data/sources/tsv\.py: Evergreen has a part 'tsv' of its own; give the file"):
        parts.use(tmp_path)


def test_this_repository_is_tool_and_project():
    parts.use(Path(__file__).parents[1])
    assert not parts.project_texts()


def test_what_a_file_raises_is_told_with_its_line(tmp_path):
    parts.use(write(tmp_path, "data/kinds/odd.py", "import evergreen\n\nnothing_there\n"))
    with pytest.raises(PartError, match=r"^data/kinds/odd\.py:3: it cannot be imported \(NameError: name 'nothing"):
        kinds.find("odd")
    parts.use(write(tmp_path, "data/kinds/odd.py", "import evergreen\nx = = 1\n"))
    with pytest.raises(PartError, match=r"^data/kinds/odd\.py:2: it cannot be imported \(SyntaxError"):
        kinds.find("odd")
    parts.use(write(tmp_path, "data/kinds/odd.py", "import evergreen\n"))
    with pytest.raises(PartError, match=r"^data/kinds/odd\.py: it defines 0 subclasses of Kind; define exactly one"):
        kinds.find("odd")


def test_importing_registers_nothing(tmp_path):
    write(tmp_path, "data/sources/plain.py", PLAIN)
    script = "from evergreen.core import parts; import evergreen.data.sources; print('plain' in parts.names('sources'))"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_two_releases_carry_the_same_part_in_two_versions(tmp_path):
    from evergreen.data.spec import FeatureSpec
    from evergreen.stages.artifacts import load_model, save_model

    spec = FeatureSpec("regression", INPUTS, TARGET, "y", "", {}, {})
    card = {"architecture": "plain", "task": "regression", "options": {}, "spec": spec.to_json()}
    batch = {"number": torch.ones(2, 1)}
    for scale in ("1.0", "2.0"):
        parts.adopt({"architectures/plain": PLAIN.replace("SCALE = 1.0", f"SCALE = {scale}")})
        torch.manual_seed(0)
        save_model(tmp_path / scale, registry.build("plain", "regression", INPUTS, TARGET), card)
    parts.adopt({})
    one, two = (load_model(tmp_path / scale) for scale in ("1.0", "2.0"))
    features = [model.network.architecture(batch) for model in (one, two)]
    assert torch.equal(features[0] * 2, features[1])
    assert "plain" not in registry.list_architectures()
    assert one.card == {"format": 1, **card}
    assert (tmp_path / "2.0" / "parts" / "architectures" / "plain.py").read_text().count("SCALE = 2.0") == 1


def test_a_released_kind_is_read_by_its_own_code(tmp_path):
    from evergreen.data.spec import FeatureSpec
    from evergreen.stages.artifacts import _with_own_parts

    text = "from evergreen.data.kinds import Kind\nclass Angle(Kind):\n    TURN = 360\n"
    write(tmp_path, "parts/kinds/angle.py", text)
    parts.adopt({"kinds/angle": text.replace("360", "400")})
    field = TensorField("angle", ("a",), (2,), "float32", {})
    spec = FeatureSpec("regression", {"a": field}, TARGET, "y", "", {}, {})
    card = {"architecture": "linear", "task": "regression", "options": {}, "spec": spec.to_json()}
    read = FeatureSpec.from_json(_with_own_parts(tmp_path, card)["spec"])
    assert (kinds.kind_of(read.inputs["a"]).TURN, kinds.kind_of(field).TURN) == (360, 400)
    assert read.inputs["a"].kind == "angle"


def test_a_source_of_a_project_is_opened(tmp_path):
    text = "from evergreen.data import sources\nclass WordsSource(sources.Source):\n    VERSION = 3\n"
    parts.use(write(tmp_path, "data/sources/words.py", text))
    assert sources.open_source("words:a", tmp_path).reader_version() == "words 3"


def found(file: Path, sample: str = "") -> dict[str, str]:
    return {one.check: one.problem for one in check_part(file, sample)}


GOOD = PLAIN.replace(
    '"""One layer."""', '"""One layer. In: numbers. Out: (B, 3). Choose it first. At size=1: quick."""'
)


def test_a_part_that_keeps_its_contract_passes(tmp_path):
    text = GOOD.replace("Shape(3)", "Shape(round(32 * size))")
    file = write(tmp_path, "models/architectures/plain.py", text) / "models/architectures/plain.py"
    checks = found(file)
    assert set(checks.values()) == {""}
    assert {"size is a dial", "learns eight rows by heart"} <= set(checks)


@pytest.mark.parametrize(
    ("good", "bad", "problem"),
    [
        ("At size=1", "At 1", "its docstring lacks size=1"),
        ("* SCALE", "* 0", "it does not learn eight rows by heart: loss"),
        ("* SCALE", ".detach()", "no gradient reaches architecture.layer.weight"),
        ("* SCALE", "[:, :2]", "its features are (8, 2) where pooled is (8, 3)"),
        ("* SCALE", "* torch.rand(1)", "NameError: name 'torch' is not defined"),
    ],
)
@pytest.mark.slow
def test_what_is_wrong_with_an_architecture_is_told(tmp_path, good, bad, problem):
    file = write(tmp_path, "models/architectures/plain.py", GOOD.replace(good, bad)) / "models/architectures/plain.py"
    assert any(problem in told for told in found(file).values())


KIND = """
import numpy as np
import pyarrow as pa
from evergreen.data.field import TensorField
from evergreen.data.kinds import Kind

class Plate(Kind):
    def detect(self, column): return 0.0
    def validate(self, column):
        return column.cast(pa.string()), {i: "no plate" for i, x in enumerate(column.to_pylist()) if "-" not in str(x)}
    def fit(self, columns, *, target=False): return TensorField("plate", tuple(columns), (1,), "float32", {})
    def encode(self, field, columns): return np.array([[float(len(x))] for x in columns[0].to_pylist()], "float32")
    def decode(self, field, values): return values.tolist()
    def hash_input(self, column): return column
    def from_json(self, field, index, value): return value
    def to_arrow(self, field, values): return pa.array(values)
    def json_schema(self, field, index): return {"type": "string", "example": "A-1"}
"""


def test_a_kind_is_checked_on_a_column_that_it_takes(tmp_path):
    file = write(tmp_path, "data/kinds/plate.py", KIND) / "data/kinds/plate.py"
    write(tmp_path, "cars.csv", "plate\n" + "".join(f"A-{i}\n" for i in range(12)))
    assert set(found(file, "cars.csv#plate").values()) == {""}
    file.write_text(KIND.replace('"float32")', '"float64")'))
    assert found(file, "cars.csv#plate")["encodes and decodes"] == "encode gives float64, the field says float32"
    file.write_text(KIND.replace("return column.cast", "return column.take([0]).cast"))
    with pytest.raises(UserError, match="there is no column 'plates'; did you mean 'plate'"):
        found(file, "cars.csv#plates")


def test_a_source_is_checked_on_what_it_reads(tmp_path):
    text = (
        "import pyarrow as pa\nfrom evergreen.data import sources\n\n\nclass WordsSource(sources.Source):\n"
        "    def read(self):\n        table = pa.table({'word': self.name.split()})\n"
        "        yield from sources.with_origin(table, 'words').to_batches()\n\n"
        "    def fingerprint(self):\n        return self.name\n"
    )
    file = write(tmp_path, "data/sources/words.py", text) / "data/sources/words.py"
    assert found(file, "words:the cat sat") == {"has its methods": "", "reads": ""}
    file.write_text(text.replace("self.name.split()", "self.name.split(), '_id': [1, 2, 3]"))
    assert "reserved" in found(file, "words:the cat sat")["reads"]
    file.write_text(text.replace("def fingerprint", "def other"))
    assert found(file)["has its methods"] == "it lacks fingerprint"


def test_a_file_elsewhere_is_no_part(tmp_path):
    (tmp_path / "plain.py").write_text(PLAIN)
    with pytest.raises(UserError, match="it is not in a folder of parts; move it into one of models/architectures"):
        found(tmp_path / "plain.py")
