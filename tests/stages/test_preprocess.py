"""From raw rows to ready ones: whole, counted, deterministic; dirty input is set aside by name or refused."""

import json
import shutil

import numpy as np
import pytest

from evergreen.core.config import build
from evergreen.core.errors import DataError
from evergreen.core.files import write_json
from evergreen.core.paths import Paths
from evergreen.data.feed.batches import load_encoded_split, load_split
from evergreen.data.prepare.config import PreprocessConfig
from evergreen.data.prepared import QUARANTINED, read
from evergreen.data.spec import FeatureSpec
from evergreen.stages.artifacts import folder_version
from evergreen.stages.collect import stage as collect
from evergreen.stages.collect.config import CollectConfig
from evergreen.stages.preprocess import stage as preprocess
from evergreen.stages.train.config import TrainConfig
from evergreen.stages.train.plan import plan_run
from evergreen.stages.train.worker import build_trainer
from evergreen.stages.trials.out_of_fold import build_fold

ROWS = 200
RANDOM = np.random.default_rng(0)
GOOD = [f"{RANDOM.normal():.4f},{'uvw'[i % 3]},{'yes' if i % 2 else 'no'}" for i in range(ROWS)]


def prepare(root, lines, *, task="classification", header="x,c,y", **wishes) -> Paths:
    (root / "t.csv").write_text("\n".join([header, *lines]) + "\n")
    paths = Paths(root, "t")
    collect.run(CollectConfig(uri="t.csv"), paths)
    preprocess.run(build(PreprocessConfig, {"target": "y", **wishes}, "preprocess"), paths, task=task)
    return paths


def summary(paths):
    return json.loads((paths.ready / "summary.json").read_text())


@pytest.mark.parametrize(
    ("uri", "task", "wishes", "rows", "inputs", "target"),
    [
        ("sklearn:digits", "classification", {"target": "digit"}, 1797, {"image": (1, 8, 8)}, ()),
        ("sklearn:breast_cancer", "classification", {"target": "diagnosis"}, 569, {"number": (30,)}, ()),
        ("sklearn:diabetes", "regression", {"target": "progression"}, 442, {"number": (10,)}, ()),
        (
            "statsmodels:sunspots",
            "forecasting",
            {"target": "activity", "time": "year", "window": 12, "validate_from": 1880, "test_from": 1921},
            309 - 12,
            {"history": (12, 1)},
            (1,),
        ),
    ],
)
def test_shipped_data_sets(tmp_path, uri, task, wishes, rows, inputs, target):
    paths = Paths(tmp_path, "t")
    collect.run(CollectConfig(uri=uri), paths)
    result = preprocess.run(PreprocessConfig(**wishes), paths, task=task)
    spec = FeatureSpec.load(paths.ready)
    assert sum(spec.rows.values()) == rows
    assert result["rows"] == spec.rows == summary(paths)["rows"]
    assert {key: field.shape for key, field in spec.inputs.items()} == inputs
    assert spec.target.shape == target
    assert (spec.task, spec.target_name, spec.time) == (task, wishes["target"], wishes.get("time"))
    train = load_encoded_split(paths.ready, "train")
    for key in inputs:
        assert abs(train[key].mean()) < 0.03
        assert abs(train[key].std() - 1) < 0.03
    before = folder_version(paths.ready)
    preprocess.run(PreprocessConfig(**wishes), paths, task=task)
    assert folder_version(paths.ready) == before


def test_sunspots_are_split_at_the_years_that_were_asked_for(tmp_path):
    paths = Paths(tmp_path, "t")
    collect.run(CollectConfig(uri="statsmodels:sunspots"), paths)
    wishes = {"target": "activity", "time": "year", "window": 12, "validate_from": 1880, "test_from": 1921}
    preprocess.run(PreprocessConfig(**wishes), paths, task="forecasting")
    years = {name: load_split(paths.ready, name)[1]["_time"].to_pylist() for name in preprocess_splits()}
    assert {name: (held[0], held[-1]) for name, held in years.items()} == {
        "train": (1712, 1879),
        "validation": (1880, 1920),
        "test": (1921, 2008),
    }
    spec, _ = load_split(paths.ready, "test")
    assert spec.inputs["history"].state["mean"] == spec.target.state["mean"]


def preprocess_splits():
    return ("train", "validation", "test")


def test_no_target_of_one_split_reaches_into_the_next(tmp_path):
    lines = [f"{1900 + i},{i % 11}.5" for i in range(100)]
    paths = prepare(
        tmp_path,
        lines,
        task="forecasting",
        header="t,y",
        time="t",
        window=5,
        horizon=4,
        validate_from=1960,
        test_from=1980,
    )
    last = {name: max(load_split(paths.ready, name)[1]["_time"].to_pylist()) for name in preprocess_splits()}
    assert last == {"train": "1956", "validation": "1976", "test": "1996"}
    assert summary(paths)["quarantined"]["reasons"] == {"its targets reach into the next split": 6}
    assert "8 rows are left out: too few known values before or after them" in summary(paths)["notes"]
    others = [f"{1900 + i},{i % 11}.5,{'ab'[i % 2]}" for i in range(100)]
    wishes = {"task": "forecasting", "header": "t,y,which", "time": "t", "window": 5, "filter": {"which": ["a"]}}
    assert summary(prepare(tmp_path, others, **wishes))["left_out"] == 50
    with pytest.raises(DataError, match="no row has one of these values; it holds a, b"):
        prepare(tmp_path, others, **{**wishes, "filter": {"which": ["c"]}})


def test_every_row_is_ready_or_in_quarantine(tmp_path):
    dirty = ["oops,u,yes", "inf,v,no", "1.0,u,", ",w,yes", "1.0,u", "1.0,u,yes,more", "2.0,,no"]
    paths = prepare(tmp_path, [*GOOD, *dirty])
    bad = read(paths.ready, QUARANTINED)
    assert dict(zip(bad["origin"].to_pylist(), bad["reason"].to_pylist(), strict=True)) == {
        "t.csv#202": "x: not a number",
        "t.csv#203": "x: infinite",
        "t.csv#204": "y: missing",
        "t.csv#206": "2 fields where 3 belong",
        "t.csv#207": "4 fields where 3 belong",
    }
    assert bad["value"].to_pylist() == ["x=oops", "x=inf", "y=", "1.0,u", "1.0,u,yes,more"]
    assert json.loads(bad["row"][0].as_py()) == {"x": "oops", "c": "u", "y": "yes"}
    told = summary(paths)
    assert told["quarantined"]["rows"] == 5
    assert sum(told["rows"].values()) == ROWS + 2
    assert {name: sum(counts.values()) for name, counts in told["classes"].items()} == told["rows"]
    assert any("column 'x': 1 missing values are filled by the training median" in note for note in told["notes"])
    assert told["missing"] == {"x": 1, "c": 1}
    for name in told["rows"]:
        assert all(np.isfinite(values).all() for values in load_encoded_split(paths.ready, name).values())


def test_no_row_moves_when_rows_come(tmp_path):
    def where(paths):
        return {
            (x, c, y): name
            for name in preprocess_splits()
            for x, c, y in zip(
                *load_split(paths.ready, name)[1].select(["x", "c", "y"]).to_pydict().values(), strict=True
            )
        }

    before = where(prepare(tmp_path, GOOD))
    after = where(prepare(tmp_path, [f"{i}.25,u,no" for i in range(50)] + GOOD[::-1]))
    assert before.items() <= after.items()


def test_by_time_the_latest_rows_test_and_the_cuts_are_told(tmp_path):
    lines = [f"2024-{1 + i // 28:02}-{1 + i % 28:02},{line}" for i, line in enumerate(GOOD)]
    paths = prepare(tmp_path, lines[::-1], header="day,x,c,y", time="day")
    held = {name: load_split(paths.ready, name)[1]["_time"].to_pylist() for name in preprocess_splits()}
    assert max(held["train"]) < min(held["validation"]) <= max(held["validation"]) < min(held["test"])
    told = summary(paths)
    assert "day" not in told["inputs"]
    assert set(told["cuts"]) == {"validate_from", "test_from"}
    assert any("to pin them, set validate_from:" in note for note in told["notes"])
    pinned = prepare(tmp_path, lines, header="day,x,c,y", time="day", **told["cuts"])
    assert summary(pinned)["rows"] == told["rows"]
    assert summary(pinned)["notes"] == []


def test_a_class_of_one_row_trains(tmp_path):
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        told = summary(prepare(tmp_path / str(number), [*GOOD, f"{number}.5,u,rare"]))
        assert (told["classes"]["train"]["rare"], told["quarantined"]["rows"]) == (1, 0)


def test_a_class_no_training_row_has_is_set_aside(tmp_path):
    lines = [f"{line},{['train', 'train', 'val', 'test'][i % 4]}" for i, line in enumerate(GOOD)]
    paths = prepare(tmp_path, [*lines, "0.5,u,rare,test"], header="x,c,y,part", split_column="part")
    assert "rare" not in [str(v) for v in FeatureSpec.load(paths.ready).target.state["values"][0]]
    assert summary(paths)["quarantined"]["reasons"] == {"y: no training row has this class": 1}
    load_encoded_split(paths.ready, "test")


def test_only_the_rows_asked_for_are_prepared(tmp_path):
    paths = prepare(tmp_path, GOOD, filter={"c": ["u", "v"]})
    assert sum(summary(paths)["rows"].values()) == sum(line.split(",")[1] in "uv" for line in GOOD)
    assert summary(paths)["left_out"] == sum(line.split(",")[1] == "w" for line in GOOD)
    assert "66 rows are left out by `filter`" in summary(paths)["notes"]
    assert "w" not in FeatureSpec.load(paths.ready).inputs["category"].state["values"][0]
    with pytest.raises(DataError, match="it holds"):
        prepare(tmp_path, GOOD, filter={"c": ["z"]})
    with pytest.raises(DataError, match="did you mean 'c'"):
        prepare(tmp_path, GOOD, filter={"C": ["z"]})


def test_an_identifier_is_not_learned_and_that_is_said(tmp_path):
    lines = [f"{i},person {i},{line}" for i, line in enumerate(GOOD)]
    paths = prepare(tmp_path, lines, header=",name,x,c,y")
    told = summary(paths)
    assert set(told["inputs"]) == {"x", "c"}
    assert "column 'unnamed_1' is left out" in told["notes"][0]
    assert "column 'name' is left out" in told["notes"][1]


def test_a_class_that_a_split_lacks_is_said(tmp_path):
    for rare in (0, 2):
        paths = prepare(tmp_path, [*GOOD, *(f"{i},u,rare" for i in range(rare))])
        result = preprocess.run(PreprocessConfig(target="y"), paths, task="classification")
        lacking = [split for split in ("validation", "test") if "rare" not in summary(paths)["classes"][split]]
        notes = [note for note in result["notes"] if "stays unknown" in note]
        assert bool(notes) == bool(rare)
        assert [note.split(":")[0] for note in notes] == [
            f"no {split} row has the class 'rare'" for split in lacking
        ] * (rare > 0)


def test_leaks_of_one_kind_are_one_line(tmp_path):
    copies = [
        ",".join([*(f"{k + i % 2 * 3}.5" for k in range(9)), f"{i * 7 % 50 / 4}", "no" if i % 2 else "yes"])
        for i in range(300)
    ]
    (tmp_path / "t.csv").write_text("\n".join([",".join([*(f"copy{k}" for k in range(9)), "x", "y"]), *copies]))
    paths = Paths(tmp_path, "t")
    collect.run(CollectConfig(uri="t.csv"), paths)
    result = preprocess.run(PreprocessConfig(target="y"), paths, task="classification")
    told = [note for note in result["notes"] if "alone predicts" in note]
    assert [note.endswith("likewise 'copy1', 'copy2', 'copy3', 5 more") for note in told] == [True]
    assert result["beware"].count("alone predicts") == 1


def test_a_key_keeps_rows_together(tmp_path):
    lines = [f"patient {i % 50},{line}" for i, line in enumerate(GOOD)]
    paths = prepare(tmp_path, lines, header="patient,x,c,y", id_columns=["patient"])
    held = [set(load_split(paths.ready, name)[1]["_id"].to_pylist()) for name in preprocess_splits()]
    assert sum(map(len, held)) == len(set.union(*held)) == 50


FEW = GOOD[:3]


@pytest.mark.parametrize(
    ("lines", "wishes", "says"),
    [
        (GOOD, {"target": "yy"}, "no column 'yy'; did you mean 'y'"),
        (GOOD, {"drop_columns": ["nope"]}, "no column 'nope'"),
        (GOOD, {"kinds": {"c": "numbr"}}, "no kind of data called 'numbr'"),
        (GOOD, {"kinds": {"c": "number"}}, "no valid row is left: c: not a number"),
        (GOOD, {"kinds": {"x": "image"}}, "no valid row is left"),
        (GOOD, {"task": "regression"}, "'y': holds no numbers; use `task: classification`"),
        (
            GOOD,
            {"target": "x"},
            "'x': holds 199 different values in 200 rows, too many for classes; use `task: regression`",
        ),
        ([line[:-3] + "yes" for line in GOOD], {}, "holds only one class"),
        ([line.rsplit(",", 1)[0] + "," for line in GOOD], {}, "no valid row is left: y: missing"),
        (FEW, {}, "no row is left for the"),
        (GOOD, {"drop_columns": ["x", "c"]}, "no input column is left"),
        (GOOD, {"task": "forecasting", "target": "x"}, "a forecast needs a time column"),
        (GOOD, {"task": "forecasting", "target": "x", "time": "c"}, "not a time"),
        (GOOD, {"task": "forecasting", "target": "x", "time": "z"}, "no column 'z'"),
        (GOOD, {"time": "c"}, "holds something that is not a time"),
        (["1.0,u"] * 5, {}, "no row could be read; the first: 2 fields where 3 belong"),
    ],
)
def test_what_cannot_be_learned_from_is_one_clear_error_and_loses_nothing(tmp_path, lines, wishes, says):
    before = folder_version(prepare(tmp_path, GOOD).ready)
    with pytest.raises(DataError, match=says) as caught:
        prepare(tmp_path, lines, **wishes)
    assert caught.value.fix
    assert folder_version(tmp_path / "data" / "store" / "t" / "ready") == before


def test_nothing_collected_or_a_damaged_file(tmp_path):
    paths = Paths(tmp_path, "t")
    with pytest.raises(DataError, match="nothing has been collected yet"):
        preprocess.run(PreprocessConfig(target="y"), paths, task="classification")
    paths = prepare(tmp_path, GOOD)
    part = paths.raw / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(DataError, match="a collected file is damaged"):
        preprocess.run(PreprocessConfig(target="y"), paths, task="classification")


@pytest.mark.parametrize(
    ("way", "aside"),
    [
        ({"group": "who"}, {}),
        ({"split_column": "part"}, {"part: names no split; write train, validation or test": 10}),
        (
            {"time": "at", "validate_from": 100, "test_from": 150, "gap": 5},
            {"at: less than 5 before 100.0 or 150.0, where a split begins": 10},
        ),
    ],
)
def test_no_row_moves_from_version_to_version(tmp_path, way, aside):
    words = ["train", "train", "val", "test"]
    rows = [f"{line},p{i % 40},{words[i % 4] if i % 20 else 'x'},{i}" for i, line in enumerate(GOOD)]
    header = "x,c,y,who,part,at"
    prepare(tmp_path, rows, header=header, id_columns=["at"], **way)
    paths = Paths(tmp_path, "t")
    before = {split: read(paths.ready, split) for split in preprocess_splits()}
    assert summary(paths)["quarantined"]["reasons"] == aside
    assert set(FeatureSpec.load(paths.ready).columns) == {"x", "c"} | ({"who", "part", "at"} - {"at", *way.values()})
    more = [f"{line},q{i},train,{1000 + i}" for i, line in enumerate(GOOD[:60])]
    prepare(tmp_path, [*more, *reversed(rows)], header=header, id_columns=["at"], **way)
    for split, held in before.items():
        assert set(held["_id"].to_pylist()) <= set(read(paths.ready, split, ["_id"])["_id"].to_pylist())
    if "group" in way:
        groups = [set(read(paths.ready, split, ["_group"])["_group"].to_pylist()) for split in preprocess_splits()]
        assert sum(map(len, groups)) == len(set.union(*groups))


def test_rows_that_break_a_rule_are_set_aside_with_the_rule_the_value_and_the_origin(tmp_path):
    wishes = {"schema": {"x": {"max": 100}, "c": {"allowed": ["u", "v", "w"]}}, "rules": ["x > 0 or c != 'u'"]}
    clean = [line for line in GOOD if not (line.startswith("-") and ",u," in line)]
    paths = prepare(tmp_path, [*clean, "101,z,no", "-1,u,yes", ",u,no"], **wishes)
    aside = read(paths.ready, QUARANTINED).to_pylist()
    assert [(row["reason"], row["value"], row["origin"]) for row in aside] == [
        ("x: above 100; c: not one of u, v, w", "x=101, c=z", f"t.csv#{len(clean) + 2}"),
        ("rule: x > 0 or c != 'u'", "x=-1, c=u", f"t.csv#{len(clean) + 3}"),
    ]
    assert sum(summary(paths)["rows"].values()) == len(clean) + 1


def test_too_many_bad_rows_stop_the_run_and_can_be_looked_at(tmp_path):
    before = folder_version(prepare(tmp_path, GOOD).ready)
    lines = [*GOOD[:90], *["oops,u,yes"] * 20, *["1,u,"] * 8]
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, lines, kinds={"x": "number"})
    assert "28 of 118 rows are not valid (23.7%); the limit is 20%" in str(caught.value)
    assert "x: not a number (20 rows); y: missing (8 rows)" in str(caught.value)
    assert "evergreen quarantine t" in caught.value.fix
    paths = Paths(tmp_path, "t")
    assert folder_version(paths.ready) == before
    assert read(paths.rejected, QUARANTINED).num_rows == 28
    prepare(tmp_path, lines, kinds={"x": "number"}, max_invalid_fraction=0.25)
    assert not paths.rejected.exists()


def test_a_broken_value_leaves_a_gap_in_a_series(tmp_path):
    lines = [f"{1900 + i},{i % 11}.5" for i in range(100)]
    lines[50] = "1950,-7"
    wishes = {
        "task": "forecasting",
        "header": "t,y",
        "time": "t",
        "window": 5,
        "validate_from": 1960,
        "test_from": 1980,
    }
    paths = prepare(tmp_path, lines, schema={"y": {"min": 0}}, **wishes)
    assert summary(paths)["quarantined"]["reasons"] == {"y: below 0": 1}
    assert sum(summary(paths)["rows"].values()) == 95 - 6  # no window holds it


def test_what_changed_since_the_last_version_is_told_until_something_else_changes(tmp_path):
    def changes(paths):
        return json.loads((paths.described / "history.json").read_text())["changes"]

    assert changes(prepare(tmp_path, GOOD)) == []
    more = [*GOOD, "50,u,yes", "2,z,no", "1,z,no", "1.5,z,no"]
    paths = prepare(tmp_path, more)
    said = ["column 'c': new value 'z' (1.5% of rows)", "column 'x': the largest value went from 2.0024 to 50"]
    assert sorted(changes(paths)) == said
    before = folder_version(paths.described)
    told = preprocess.run(PreprocessConfig(target="y"), paths, task="classification")
    assert folder_version(paths.described) == before
    assert {f"changed since the last version: {change}" for change in said} <= set(told["notes"])


def test_what_was_there_before_changes_nothing_of_what_is_ready_but_where_rows_go(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    paths = prepare(tmp_path / "a", GOOD[:-20])
    versions = [folder_version(prepare(tmp_path / name, GOOD).ready) for name in ("a", "b")]
    assert versions[0] != versions[1]
    shutil.copyfile(paths.described / "splits.parquet", tmp_path / "b/data/store/t/described/splits.parquet")
    assert folder_version(prepare(tmp_path / "b", GOOD).ready) == versions[0]


@pytest.mark.parametrize("cuts", [{}, {"validate_from": "2024-04-01", "test_from": "2024-05-01"}])
def test_a_row_whose_time_cannot_be_read_is_set_aside(tmp_path, cuts):
    days = [f"{1 + i % 28:02}.{1 + i // 35:02}.2024" for i in range(ROWS)]
    days[3], days[5], days[8] = "31.02.2024", "soon", ""
    rows = [f"{line},{day}" for line, day in zip(GOOD, days, strict=True)]
    paths = prepare(tmp_path, rows, header="x,c,y,day", time="day", **cuts)
    found = summary(paths)
    assert found["quarantined"]["reasons"] == {"day: not a time written as %d.%m.%Y": 2, "day: missing": 1}
    assert found["cuts"].items() >= {name: f"{day}T00:00:00.000000" for name, day in cuts.items()}.items()
    assert set(FeatureSpec.load(paths.ready).columns) == {"x", "c"}


def test_a_forecast_leaves_a_gap_before_each_cut(tmp_path):
    rows = [f"{2000 + i},{GOOD[i].split(',')[0]}" for i in range(60)]
    rows[30] = "soon," + rows[30].split(",")[1]
    wishes = {"time": "year", "window": 3, "gap": 4, "validate_from": 2040, "test_from": 2050}
    paths = prepare(tmp_path, rows, header="year,y", task="forecasting", **wishes)
    assert summary(paths)["quarantined"]["reasons"] == {
        "year: not a number": 1,
        "year: less than 4 before 2040.0 or 2050.0, where a split begins": 8,
    }
    assert read(paths.ready, "train")["_time"].to_pylist()[-1] in (2035, "2035")


def test_times_that_may_be_read_two_ways_are_asked_about(tmp_path):
    rows = [f"{line},{1 + i % 12:02}/{1 + i // 17:02}/2024" for i, line in enumerate(GOOD)]
    with pytest.raises(DataError, match="may be %d/%m/%Y or %m/%d/%Y") as error:
        prepare(tmp_path, rows, header="x,c,y,day", time="day")
    assert error.value.fix == 'say `kinds: {day: {kind: moment, format: "%d/%m/%Y"}}`'
    said = {"day": {"kind": "moment", "format": "%d/%m/%Y"}}
    paths = prepare(tmp_path, rows, header="x,c,y,day", time="day", kinds=said)
    assert summary(paths)["cuts"]["test_from"].startswith("2024-10-")


@pytest.mark.slow
def test_a_weight_is_no_input_travels_with_its_row_and_says_how_often_it_is_seen(tmp_path):
    paths, file = Paths(tmp_path, "weighted"), tmp_path / "rows.csv"
    lines = [f"{n},{n * 7 % 50},{'nan,' if n == 3 else '-1,' if n == 4 else f'{n % 3},'}{n % 2}" for n in range(300)]
    file.write_text("\n".join(["number,other,often,kind", *lines]))
    collect.run(CollectConfig(uri=str(file)), paths, task="classification")
    preprocess.run(PreprocessConfig(target="kind", sample_weight="often"), paths, task="classification")
    spec, held = load_split(paths.ready, "train")
    assert spec.columns == ("number", "other")
    number, weight = (held[name].to_numpy() for name in ("number", "_weight"))
    assert (weight == number % 3).all()
    assert read(paths.ready, "quarantine")["reason"].to_pylist() == ["often: is no weight, a number of 0 or above"] * 2
    write_json(paths.select, {"architecture": "linear"})
    rows = build_trainer(plan_run(TrainConfig(train_on_validation=False), paths, "classification")).train
    assert rows.rows == (weight > 0).sum()
    assert (weight[rows.drawn(0)] > 0).all()
    wanted = plan_run(TrainConfig(), paths, "classification")
    counts = [build_fold(wanted, fold).train.rows for fold in range(wanted.folds)]
    weights = np.concatenate([read(paths.ready, split)["_weight"].to_numpy() for split in ("train", "validation")])
    assert sum(counts) == 4 * (weights > 0).sum()
