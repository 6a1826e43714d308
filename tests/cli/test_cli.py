"""The command line's manners: exit statuses, one line for a mistake, JSON alone on stdout, nothing written by half."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evergreen.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The least that is a clone: the graph, the pipelines, a folder below to stand in."""
    for name in ("dvc.yaml", "params.yaml", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines")
    (tmp_path / "below").mkdir()
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    return tmp_path


def rows(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def table(clone: Path) -> Path:
    lines = ["size,rooms,town,price", *(f"{20 + i},{i % 5},{'AB'[i % 2]},{1000.5 + 37 * i}" for i in range(60))]
    return rows(clone / "houses.csv", "\n".join(lines) + "\n")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "evergreen.cli.main", *arguments]


def test_a_command_needs_no_engine_to_show_its_help():
    heavy = "{'torch', 'ray', 'prefect', 'dvc', 'pyarrow', 'numpy', 'rich', 'pydantic', 'ruamel'}"
    code = f"import sys, evergreen.cli.main as m\nm.main(['--help'])\nprint(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert "rollback" in done.stdout


def test_an_interruption_while_python_imports_is_quiet():
    code = """if True:
        import sys
        class Interrupted:
            def find_spec(self, name, *rest):
                if name == "typer":
                    raise KeyboardInterrupt
        sys.meta_path.insert(0, Interrupted())
        from evergreen.cli.main import main
        sys.exit(main(["status"]))"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


GIVEN = ["--from", "../houses.csv", "--target", "price"]
MISTAKES = {
    "unknown pipeline": (["run", "digts"], "there is no pipeline 'digts'; did you mean 'digits'?"),
    "no report": (["report", "digits"], "digits has no report yet"),
    "nothing scheduled": (["watch"], "no pipeline has a schedule"),
    "bad name": (
        ["new", "My-Model", *GIVEN],
        "'My-Model' is not a valid pipeline name",
    ),
    "taken name": (
        ["new", "digits", *GIVEN],
        "pipeline 'digits' exists already",
    ),
    "no file": (["new", "houses", "--from", "nowhere.csv", "--target", "price"], "nowhere.csv"),
    "no column": (["new", "houses", "--from", "../houses.csv", "--target", "prize"], "did you mean 'price'?"),
    "no output": (["predict", "digits", "houses.csv", "--output", "out.txt"], "end its name with .csv or .parquet"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(table, capsys, case):
    arguments, words = MISTAKES[case]
    assert main.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("evergreen: ")
    assert err.count("\n") == 1
    assert words in err


WRONG = {
    "predict digits": "missing argument 'FILE'; see evergreen predict --help",
    "predict digits x.csv": "missing option '--output'; see evergreen predict --help",
    "predict digits x.csv --outptu y.csv": "evergreen predict has no option --outptu; did you mean '--output'?",
    "report digits --output": "evergreen report has no option --output; options: --data, --open, --json, --help",
    "predict digits x.csv --output": "option '--output' requires an argument",
    "run digits digits": "got unexpected extra argument(s) (digits); see evergreen run --help",
    "statsu": "there is no command 'statsu'; did you mean 'status'?",
    "--jsn": "evergreen has no option --jsn; options: --version, --install-completion, --show-completion, --help",
}


def test_a_mistake_in_the_arguments_is_one_line_and_status_2(clone, capsys):
    for words, message in WRONG.items():
        assert main.main(words.split()) == 2
        assert capsys.readouterr() == ("", f"evergreen: {message}\n")


def test_outside_a_clone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(["status"]) == 2
    assert "evergreen init" in capsys.readouterr().err


def test_new_writes_a_pipeline_that_reads(table, clone, capsys):
    from evergreen.stages.pipeline import read

    assert main.main(["new", "houses", "--from", "../houses.csv", "--target", "price", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["pipeline"], value["task"]) == ("houses", "regression")
    text = (clone / "pipelines" / "houses.yaml").read_text()
    assert len(text.splitlines()) <= 17
    assert 'uri: "houses.csv"' in text  # the file lies in the clone, so its place is told from there
    pipeline = read("houses", clone)
    assert (pipeline.task, pipeline.preprocess.target) == ("regression", "price")


def test_new_refuses_a_secret_and_keeps_a_variable(table, clone, capsys, monkeypatch):
    for source in ("https://ada:gEhe1m@host/x.csv", "s3://bucket/x.csv?token=gEhe1m", "nowhere:pwd=gEhe1m"):
        assert main.main(["new", "shop", "--from", source, "--target", "price"]) == 2
        assert "gEhe1m" not in "".join(capsys.readouterr())
    assert not (clone / "pipelines" / "shop.yaml").exists()
    monkeypatch.setenv("HOUSES", str(table.parent))
    assert main.main(["new", "shop", "--from", "${HOUSES}/houses.csv", "--target", "price"]) == 0
    assert 'uri: "${HOUSES}/houses.csv"' in (clone / "pipelines" / "shop.yaml").read_text()


@pytest.mark.slow
def test_new_loads_no_engine(table, clone):
    heavy = "{'torch', 'ray', 'prefect', 'dvc', 'sklearn', 'scipy'}"
    asked = ["new", "houses", "--from", "../houses.csv", "--target", "price"]
    code = f"import sys, evergreen.cli.main as m\nm.main({asked})\nprint(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_new_writes_its_questions_into_the_file(clone, capsys):
    from evergreen.stages.pipeline import read

    lines = [f"{i % 50},{i % 50 + i % 7},{['cash', 'card'][i % 2]},{i % 50 + i % 7 + i % 3}" for i in range(90)]
    rows(clone / "late.csv", "\n".join(["planned,departed,paid,departure_delay", *lines]) + "\n")
    assert main.main(["new", "late", "--from", "../late.csv", "--target", "departure_delay"]) == 0
    question = "known when the model is asked ('departed' is called like 'departure_delay')? if not, leave out: "
    question += '`drop_columns: ["departed"]`'
    assert f"  unsure: 'departed': {question}\n" in capsys.readouterr().out
    assert f"# unsure: 'departed': {question}\n" in (clone / "pipelines" / "late.yaml").read_text()
    assert read("late", clone).preprocess.drop_columns == []


def test_new_never_writes_over_a_pipeline(table, clone):
    before = (clone / "pipelines" / "digits.yaml").read_bytes()
    assert main.main(["new", "digits", "--from", "../houses.csv", "--target", "price"]) == 2
    assert (clone / "pipelines" / "digits.yaml").read_bytes() == before


def test_new_with_a_series(clone):
    from evergreen.stages.pipeline import read

    lines = ["year,sold", *(f"{1900 + i},{i % 11}.5" for i in range(90))]
    rows(clone / "sales.csv", "\n".join(lines) + "\n")
    assert main.main(["new", "sales", "--from", "../sales.csv", "--target", "sold"]) == 0
    pipeline = read("sales", clone)
    assert (pipeline.task, pipeline.preprocess.time) == ("forecasting", "year")


def test_new_tells_each_guess_and_what_is_unsure(clone, capsys):
    from evergreen.stages.pipeline import read

    lines = ["customer,joined,due,plan,stars,seats,paid,left"]
    for i in range(60):
        due = f"{1 + i % 12:02}/{1 + i % 11:02}/2024"  # day or month first: nothing tells
        dates = f"2024-{1 + i % 12:02}-{1 + i % 28:02},{due}"
        lines += [
            f"{5000 + 7 * i},{dates},{'pro' if i % 3 else 'free'},{i % 5},{i * 1.5},{i if i < 20 else ''},{i % 2}"
        ]
    rows(clone / "left.csv", "\n".join([*lines, "broken,line"]) + "\n")
    assert main.main(["new", "left", "--from", "../left.csv", "--target", "left"]) == 0
    said = capsys.readouterr().out
    text = (clone / "pipelines" / "left.yaml").read_text()
    assert "task: classification  # guessed: 'left' holds 2 values: 0, 1\n" in text
    for line in (
        "customer: number  # 5000 to 5413",
        "joined: moment  # 2024-01-01 to 2024-12-24",
        "plan: category  # 2 values: pro, free",
        "stars: number  # 0 to 4",
        "seats: number  # 0 to 88.5",
        "paid: number  # 0 to 19; 67% missing",
    ):
        assert f"    {line}\n" in text
    for words in (
        "note: column 'due' is left out: its dates, such as",
        "unsure: 'customer' is taken as number: every row has another whole number",
        "unsure: 'stars' is taken as number: it has 5 different whole numbers; say category",
        "unsure: 'paid' is taken as number: 67% of it is missing",
    ):
        assert words in said
    assert said.count("unsure:") == 3
    assert set(read("left", clone).preprocess.kinds) == {"customer", "joined", "plan", "stars", "seats", "paid"}


def test_new_with_very_many_columns_names_none(clone):
    header = [f"pixel_{number}" for number in range(60)]
    lines = [
        ",".join([*header, "shows"]),
        *(",".join([*(str(i * k % 7 / 2) for k in range(60)), "ab"[i % 2]]) for i in range(40)),
    ]
    rows(clone / "many.csv", "\n".join(lines) + "\n")
    assert main.main(["new", "many", "--from", "../many.csv", "--target", "shows"]) == 0
    assert "# 60 input columns; a column's kind is guessed" in (clone / "pipelines" / "many.yaml").read_text()


def test_new_with_a_name_on_two_lines(clone):
    from evergreen.stages.pipeline import read

    lines = ['"the\nsize","price\nin €"', *(f"{i},{1000.5 + 37 * i}" for i in range(60))]
    rows(clone / "houses.csv", "\n".join(lines) + "\n")
    assert main.main(["new", "houses", "--from", "../houses.csv", "--target", "price\nin €"]) == 0
    assert read("houses", clone).preprocess.target == "price\nin €"


@pytest.mark.parametrize("content", [b"", b"size,price\n", b"\0\0\0\0"])
def test_new_from_a_bad_file_leaves_nothing(clone, capsys, content):
    (clone / "bad.csv").write_bytes(content)
    assert main.main(["new", "bad", "--from", "../bad.csv", "--target", "price"]) == 2
    assert "bad.csv" in capsys.readouterr().err
    assert not (clone / "pipelines" / "bad.yaml").exists()


def test_new_from_a_corrupt_parquet_file(clone, capsys):
    (clone / "bad.parquet").write_bytes(b"PAR1 no more than that")
    assert main.main(["new", "bad", "--from", "../bad.parquet", "--target", "price"]) == 2
    assert "bad.parquet" in capsys.readouterr().err


def test_catalogue_lists_every_file_of_the_rooms(capsys):
    from evergreen.models.registry import find_architecture, list_architectures

    assert main.main(["catalogue", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [card["name"] for card in value["architectures"]] == sorted(list_architectures())
    for card in value["architectures"]:
        assert card["accepts"] == sorted(find_architecture(card["name"]).ACCEPTS)
        assert card["about"]


@pytest.mark.slow
def test_a_reader_who_has_seen_enough(tmp_path):
    shell = " ".join(command("catalogue")) + " | head -1; exit ${PIPESTATUS[0]}"
    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("architectures\n", "", 0)


def test_a_bug_is_no_mistake(clone, monkeypatch):
    def broken():
        raise ValueError("no fix: this is a bug")

    monkeypatch.setattr("evergreen.cli.commands.catalogue.catalogue", broken)
    with pytest.raises(ValueError, match="this is a bug"):
        main.main(["catalogue"])


def test_an_interruption_is_quiet(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("evergreen.cli.commands.catalogue.catalogue", interrupted)
    assert main.main(["catalogue"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_source_that_is_gone_does_not_hide_the_status(clone, capsys, monkeypatch):
    from evergreen.stages.engines import versions

    (clone / "pipelines" / "gone.yaml").write_text(
        "task: regression\ncollect: {uri: gone.csv}\npreprocess: {target: y}\n"
    )
    raw = clone / "data/store/gone/raw"
    raw.mkdir(parents=True)
    (raw / "source.json").write_text('{"uri": "gone.csv", "fingerprint": "1", "rows": 3}')
    monkeypatch.setattr(versions, "stale_reasons", lambda root, pipelines: {one.name: {} for one in pipelines})
    monkeypatch.setattr(versions, "prepare", lambda root: None)
    assert main.main(["status", "gone", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["pipelines"]
    assert "gone.csv: there is no such file" in found["stale"]["collect"]


def test_stop_where_nothing_runs(clone, capsys):
    assert main.main(["stop", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ended": [], "notes": []}


def test_doctor_says_what_is_wrong_and_how_to_mend_it(clone, capsys):
    (clone / "pipelines" / "broken.yaml").write_text("task: classification\ncollect: {url: x.csv}\n")
    (clone / ".dvc" / "config").write_text("['remote \"ours\"']\n    url = s3://bucket\n    password = gEhe1m\n")
    assert main.main(["doctor", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert "gEhe1m" not in json.dumps(findings)
    assert ".dvc/config, which git keeps, holds a secret" in {one["text"] for one in findings}
    failed = [one for one in findings if one["state"] == "fail"]
    assert any("broken.yaml:2" in one["text"] for one in failed), failed
    assert all(one["fix"] for one in failed)


def test_doctor_writes_nothing(clone, capsys):
    subprocess.run(["git", "init", "-q", clone], check=True)

    def files() -> dict[Path, bytes]:
        own = (clone / ".git", clone / ".dvc" / "tmp")  # git's and DVC's
        found = (file for file in clone.rglob("*") if file.is_file() and not any(map(file.is_relative_to, own)))
        return {file: file.read_bytes() for file in found}

    retired = "train@anomaly:\n    cmd: x\n    outs:\n    - path: models/store/anomaly/candidate\n      md5: a1.dir\n"
    (clone / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  {retired}")  # run once, and out of the list again
    shutil.copy(ROOT / ".dvc" / ".gitignore", clone / ".dvc")
    before = files()
    assert main.main(["doctor", "--json"]) == 0
    assert ("dvc", "ok") in {(one["what"], one["state"]) for one in json.loads(capsys.readouterr().out)["findings"]}
    assert files() == before
    assert not (clone / ".evergreen").exists()


@pytest.mark.parametrize(
    ("candidate", "said"),
    [("v1.0.0", None), ("v1.1.0", "v1.1.0, which is not in service"), (None, "a candidate that is not released")],
)
def test_scores_that_are_not_those_in_service_are_said_to_be(candidate, said):
    from evergreen.cli.commands import run

    known = dict.fromkeys(("scores", "report", "data", "runs"), "x")
    value = {
        "pipeline": "digits",
        "version": "v1.0.0",
        "candidate": candidate,
        "why": "It equals.",
        "ran": False,
        "waits": False,
    }
    told = run.format_run({**known, **value})
    assert (said in told) if said else ("scores and report are of" not in told)


def test_room_is_counted_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for path, size in ((".dvc/cache/a", 100_000), ("data/store/churn/raw/b", 300_000), ("data/own/c", 900_000)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(bytes(size))
    (tmp_path / "data/store/churn/raw/a").hardlink_to(tmp_path / ".dvc/cache/a")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "dvc.yaml").touch()
    assert main.main(["du", "--json"]) == 0
    places = {one["path"]: one["bytes"] for one in json.loads(capsys.readouterr().out)["places"]}
    assert list(places) == ["data/store/churn", ".dvc/cache"]
    assert [round(size, -5) for size in places.values()] == [300_000, 100_000]
