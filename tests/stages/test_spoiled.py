"""Spoiled projects: each command says in one line what is wrong, or heals it; never a traceback, and `stop` works."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evergreen.cli import main
from evergreen.core.errors import PipelineError
from evergreen.core.paths import Paths
from evergreen.stages.engines import project, versions
from evergreen.stages.pipeline import STAGES, perform, read

SHIPPED = Path(__file__).resolve().parents[2]
PERSON = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
YAML = """task: classification
collect: {uri: sizes.csv}
preprocess: {target: size}
select: {time_budget_s: 1, architectures: [linear]}
tune: {time_budget_s: 0}
train: {}
validate: {bootstrap_samples: 100}
deploy: {}
"""
UP_TO_DATE = "engines would start now"  # what `run` says where nothing stands in its way


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *PERSON, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def project_made_once(tmp_path_factory, random_model):
    """A released project of one pipeline, made by the real stages but for the search, by real git and DVC."""
    root = tmp_path_factory.mktemp("spoiled") / "project"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    project.create(root)
    rows = [f"{n % 61},{['red', 'blue'][n % 2]},{['small', 'large'][n % 3 % 2]}" for n in range(400)]
    (root / "sizes.csv").write_text("age,colour,size\n" + "\n".join(rows) + "\n")
    (root / "pipelines" / "sizes.yaml").write_text(YAML)
    (root / "pipelines" / "other.yaml").write_text(YAML)
    pipeline, paths = read("sizes", root), Paths(root, "sizes")
    choice = {"architecture": "linear", "options": {}, "recipe": {}, "leaderboard": [], "trials": [], "why": "alone"}
    for stage in STAGES:
        if stage in ("select", "tune"):
            path = getattr(paths, stage)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(choice))
        elif stage == "train":
            random_model("sizes", paths.candidate, seed=1)
        elif stage == "validate":
            paths.evaluation.mkdir(parents=True)
            score = {"accuracy": {"value": 0.9, "low": 0.8, "high": 1.0}}
            metrics = {"verdict": "release", "why": "it is the first", "test": score, "confidence": 0.95, "rows": 80}
            (paths.evaluation / "metrics.json").write_text(json.dumps(metrics))
            for name in ("evidence.json", "predictions.parquet"):
                (paths.evaluation / name).write_text("{}")
            (paths.evaluation / "plots").mkdir()
            (paths.evaluation / "plots" / "curve.csv").write_text("step,loss\n1,0.5\n")
        elif stage == "report":
            paths.report.mkdir(parents=True)
            (paths.report / "report.html").write_text("<html></html>")
        else:
            perform(stage, pipeline, paths)
        versions.commit(paths, stage)
    git(root, "add", ".")
    git(root, "commit", "-qm", "start")
    versions.release(paths, say=lambda note: None)
    return root


@pytest.fixture
def root(project_made_once, tmp_path, monkeypatch):
    """A copy to spoil; the process stands in it, and no command goes as far as to start an engine."""

    def engines(*_: object, **__: object) -> None:
        raise PipelineError(UP_TO_DATE)

    monkeypatch.setattr("evergreen.flows.update.call_flow", engines)
    monkeypatch.setattr("evergreen.flows.serving.deploy_released", engines)
    copy = tmp_path / "project"
    shutil.copytree(project_made_once, copy, symlinks=True)
    monkeypatch.chdir(copy)
    yield copy
    os.chdir(tmp_path)


COMMANDS = {
    "status": ["status"],
    "run": ["run", "sizes"],
    "report": ["report", "sizes"],
    "predict": ["predict", "sizes", "sizes.csv", "--output", "out.csv"],
    "doctor": ["doctor"],
    "stop": ["stop"],
}


def command(capsys, *arguments: str) -> tuple[int, str]:
    """Run the command line in this process: an exception would be a traceback."""
    status = main.main(list(arguments))
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    if status == 2:
        assert [line for line in err.splitlines() if line.startswith("evergreen: ")] == err.splitlines()[-1:], err
    return status, out + err


def spoil(name: str, data: bytes | str | None = None) -> Callable[[Path], None]:
    """Return what puts other bytes in the place of a file; None removes it."""

    def act(root: Path) -> None:
        path = root / name
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is not None:
            path.write_bytes(data if isinstance(data, bytes) else data.encode())

    return act


def cut(name: str, length: int) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:length])


def folder(name: str) -> Callable[[Path], None]:
    """Return what puts a folder with a file in it in the place of a file."""

    def act(root: Path) -> None:
        spoil(name)(root)
        (root / name).mkdir()
        (root / name / "x").write_text("x")

    return act


def link(name: str, target: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        spoil(name)(root)
        (root / name).symlink_to(target)

    return act


def shell(*lines: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        for line in lines:
            words = f"git {' '.join(PERSON)}"
            subprocess.run(line.replace("GIT", words), cwd=root, shell=True, check=False, capture_output=True)

    return act


MODEL, DATA = "models/store/sizes", "data/store/sizes"
JSON_FILES = [
    *(f".evergreen/{name}.json" for name in ("ray", "prefect", "watch", "haproxy", "serve")),
    ".evergreen/versions/sizes.json",
    ".evergreen/versions/sizes.stats.json",
    *(f"{MODEL}/{name}" for name in ("choice/select.json", "choice/tune.json", "candidate/model.json")),
    *(f"{MODEL}/evaluation/{name}.json" for name in ("metrics", "evidence")),
    f"{DATA}/raw/source.json",
    *(f"{DATA}/ready/{name}.json" for name in ("spec", "schema", "summary")),
    *(f"{DATA}/described/{name}.json" for name in ("history", "facts")),
]
CONTENTS = {
    "a list": "[]",
    "an object": "{}",
    "nothing": "",
    "half": '{"pid": 1, "star',
    "null": "null",
    "text": '"x"',
    "wrong types": '{"pid": "x", "started": [], "url": 3, "verdict": 3, "test": [], "uri": [], "inputs": 3}',
    "binary": b"\x89PNG\0\xff\xfe",
    "newer": '{"format": 99}',
}
STATES: dict[str, Callable[[Path], object]] = {
    **{  # every file with some of them, and each of them in some file
        f"{name}: {what}": spoil(name, CONTENTS[what])
        for place, name in enumerate(JSON_FILES)
        for what in dict.fromkeys([("a list", "wrong types")[place % 2], [*CONTENTS][place % len(CONTENTS)]])
    },
    **{f"{name}: a folder": folder(name) for name in JSON_FILES[::4]},
    **{f"{name}: a loop": link(name, Path(name).name) for name in JSON_FILES[1::4]},
}


JUNK = b"\x89PNG\0\xff\xfe\n"
MERGE = "<<<<<<< HEAD\nschema: '2.0'\n=======\nschema: '2.0'\n>>>>>>> theirs\n"
STATES |= {
    "no git": shell("rm -rf .git"),
    "git: a new one": shell("rm -rf .git", "git init -q"),
    "git: detached": shell("GIT checkout -q --detach"),
    "git: index.lock left": spoil(".git/index.lock", ""),
    "git: index junk": spoil(".git/index", JUNK),
    "git: merge in progress": shell(
        "GIT checkout -qb theirs",
        "echo a > x",
        "git add x",
        "GIT commit -qm a",
        "GIT checkout -q main",
        "echo b > x",
        "git add x",
        "GIT commit -qm b",
        "GIT merge theirs",
    ),
    "git: unborn branch": shell("GIT checkout -q --orphan fresh"),
    "git: HEAD junk": spoil(".git/HEAD", "x\n"),
    "git: HEAD empty": spoil(".git/HEAD", ""),
    "git: objects gone": shell("rm -rf .git/objects/*"),
    "git: a corrupt object": shell(
        "chmod -R u+w .git/objects", "find .git/objects -type f | while read f; do echo x > $f; done"
    ),
    "git: a tag that is junk": spoil(".git/refs/tags/sizes@v1.0.0", "junk\n"),
    "git: a tag of nothing": spoil(".git/refs/tags/sizes@v1.0.0", "1" * 40 + "\n"),
    "git: tags gone": shell("git tag -d $(git tag)"),
    "git: a strange tag": shell(
        "GIT tag -am x 'sizes@vx.y'", "GIT tag -am x 'sizes#production#x'", "git tag sizes@v9.9.9"
    ),
    "git: packed refs junk": spoil(".git/packed-refs", JUNK),
    "git: configuration junk": spoil(".git/config", "[junk\n"),
    "git: a file": spoil(".git", "gitdir: ../nowhere\n"),
    "git: bare": shell("git config core.bare true"),
    "git: somebody else's": shell("chown -R 65534 .git"),
    **{
        f"{name}: {what}": spoil(name, data)
        for name in (
            "dvc.lock",
            "dvc.yaml",
            "params.yaml",
            ".dvc/config",
            ".dvc/config.local",
            ".dvcignore",
            ".gitignore",
        )
        for what, data in {
            "nothing": "",
            "gone": None,
            "a list": "[]",
            "an object": "{}",
            "binary": JUNK,
            "a number": "3\n",
            "conflict": MERGE,
            "open": "stages: [",
            "other keys": "stages:\n  train@sizes: 3\npipelines: {a: 3}\n",
        }.items()
    },
    **{f"{name}: a folder": folder(name) for name in ("dvc.lock", "dvc.yaml", "params.yaml", ".dvc/config.local")},
    "dvc.lock: cut": cut("dvc.lock", 300),
    "dvc.lock: half": cut("dvc.lock", 1500),
    "dvc: gone": shell("rm -rf .dvc"),
    "dvc: a file": spoil(".dvc", "x"),
    "dvc: cache gone": shell("rm -rf .dvc/cache .evergreen/released"),
    "dvc: cache junk": shell(
        "rm -rf .evergreen/released",
        "chmod -R u+w .dvc/cache",
        "find .dvc/cache -type f | while read f; do echo x > $f; done",
    ),
    "dvc: remote gone": shell(
        "rm -rf .dvc/cache .evergreen/released",
        'printf "[core]\\n remote = r\\n[\'remote \\"r\\"\']\\n url = /nowhere/at/all\\n" >> .dvc/config',
    ),
    "dvc: remote unknown": shell("printf '[core]\\n remote = nope\\n' >> .dvc/config"),
    "dvc: state a file": spoil(".evergreen/dvc", "x"),
    "dvc: state junk": shell("find .evergreen/dvc -type f | while read f; do echo x > $f; done"),
    "dvc: rwlock junk": spoil(".dvc/tmp/rwlock", "[]"),
    "dvc: lock a folder": folder(".dvc/tmp/lock"),
    "dvc: tmp a file": spoil(".dvc/tmp", "x"),
    "data: a file": spoil("data", "x"),
    "data: a dangling link": link("data", "nowhere"),
    "data: store gone": shell("rm -rf data/store"),
    "data: a split gone": shell("rm -rf data/store/sizes/ready/train"),
    "data: raw part cut": shell("for f in data/store/sizes/raw/part-*; do truncate -s 100 $f; done"),
    "data: ready part cut": shell("for f in data/store/sizes/ready/*/part-*; do truncate -s 100 $f; done"),
    "data: manifest junk": shell("for f in data/store/sizes/raw/files-*; do echo x > $f; done"),
    "data: source gone": spoil("sizes.csv"),
    "data: source binary": spoil("sizes.csv", JUNK),
    "data: source a folder": folder("sizes.csv"),
    "data: source empty": spoil("sizes.csv", ""),
    "model: weights cut": cut(f"{MODEL}/candidate/weights.safetensors", 50),
    "model: weights gone": spoil(f"{MODEL}/candidate/weights.safetensors"),
    "model: released weights cut": shell("truncate -s 50 .evergreen/released/sizes/*/weights.safetensors"),
    "model: released junk": spoil(".evergreen/released/sizes/v1.0.0", "x"),
    "model: gone": shell("rm -rf models"),
    "model: a file": spoil("models", "x"),
    "model: versions junk": shell("for f in models/store/sizes/versions/*; do printf '\\211\\377' > $f; done"),
    "model: report a folder": folder(f"{MODEL}/report/report.html"),
    "evergreen: gone": shell("rm -rf .evergreen"),
    "evergreen: a file": spoil(".evergreen", "x"),
    "evergreen: a dangling link": link(".evergreen", "nowhere"),
    "evergreen: a loop": link(".evergreen", ".evergreen"),
    "evergreen: everything a file": shell(
        "rm -rf .evergreen",
        "mkdir .evergreen",
        "for n in locks prefect dvc ray versions released trials runs haproxy; do echo x > .evergreen/$n; done",
    ),
    "evergreen: locks are folders": shell(
        "mkdir -p .evergreen/locks",
        *(
            f"rm -rf .evergreen/{n}; mkdir -p .evergreen/{n}/x"
            for n in ("locks/sizes", "ray.lock", "prefect.lock", "release.lock", "locks/watch")
        ),
    ),
    "evergreen: token and logs are folders": shell(
        "mkdir -p .evergreen/ray.token .evergreen/ray.log .evergreen/prefect.log"
    ),
    "evergreen: a database of junk": shell(
        "mkdir -p .evergreen/prefect",
        "head -c 9999 /dev/urandom > .evergreen/prefect/prefect.db",
        "echo '[' > .evergreen/prefect/profiles.toml",
    ),
    "pipelines: gone": shell("rm -rf pipelines"),
    "pipelines: a file": spoil("pipelines", "x"),
    "pipelines: one gone": spoil("pipelines/sizes.yaml"),
    "pipelines: one binary": spoil("pipelines/sizes.yaml", JUNK),
    "pipelines: one a folder": folder("pipelines/sizes.yaml"),
    "pipelines: a pipe": shell("rm pipelines/sizes.yaml", "mkfifo pipelines/sizes.yaml"),
    "pipelines: another broken": spoil("pipelines/other.yaml", "task: ["),
    "pipelines: a strange name": spoil("pipelines/x@y.yaml", YAML),
    "cluster.yaml: junk": spoil("cluster.yaml", JUNK),
    "cluster.yaml: nobody there": spoil("cluster.yaml", "address: 127.0.0.1:1\nstorage: /nowhere\n"),
    "parts: binary": spoil("models/architectures/mine.py", JUNK),
    "parts: broken": spoil("data/kinds/mine.py", "from evergreen import data\ndef f(:\n"),
    "parts: a taken name": spoil("models/tasks/classification.py", "from evergreen.models.base import Task\n"),
    "parts: a folder": folder("data/sources/mine.py"),
}


@pytest.mark.parametrize(
    "state", [pytest.param(name, marks=[pytest.mark.slow] if place % 9 else []) for place, name in enumerate(STATES)]
)
def test_no_state_makes_a_traceback(root, capsys, state):
    STATES[state](root)
    others = ["report", "predict", "doctor"]
    for name in ("status", "run", others[[*STATES].index(state) % len(others)], "stop"):
        status, said = command(capsys, *COMMANDS[name])
        assert status in ((0,) if name == "stop" else (0, 1, 2)), said


def outside(root: Path, *arguments: str, cwd: Path | None = None, before: str = "", **environment: str | None) -> str:
    """Run the real command in a process of its own, with these variables set or (None) taken away."""
    known = {**os.environ, "PYTHONPATH": str(SHIPPED), **environment}
    variables = {name: value for name, value in known.items() if value is not None}
    words = [*before.split(), sys.executable, "-m", "evergreen.cli.main", *arguments]
    done = subprocess.run(words, cwd=cwd or root, env=variables, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    assert done.returncode in ((0,) if arguments == ("stop",) else (0, 1, 2)), said
    if done.returncode == 2:
        assert done.stderr.splitlines()[-1].startswith("evergreen: "), said
    return said


ENVIRONMENTS: dict[str, dict[str, str | None]] = {
    "nothing but a path": dict.fromkeys(("HOME", "TERM", "TMPDIR", "LANG", "LC_ALL", "USER", "LOGNAME")),
    "folders that are nowhere": {"HOME": "/nowhere", "TMPDIR": "/nowhere", "XDG_CACHE_HOME": "/nowhere"},
    "a terminal of few letters": {"LANG": "C", "LC_ALL": "C", "TERM": "dumb", "PYTHONIOENCODING": "ascii"},
    "no git to be found": {"PATH": "/nowhere"},
}


@pytest.mark.parametrize("case", ENVIRONMENTS)
@pytest.mark.slow
def test_an_odd_environment_ends_in_words(root, case):
    said = outside(root, "status", **ENVIRONMENTS[case])
    assert ("git is not installed" in said) == (case == "no git to be found")
    outside(root, "stop", **ENVIRONMENTS[case])


@pytest.mark.slow
def test_a_folder_that_was_deleted_under_the_command_is_told(root, tmp_path):
    (tmp_path / "gone").mkdir()
    code = (
        "import os, shutil, sys; shutil.rmtree(os.getcwd()); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    words = [sys.executable, "-c", code, "-m", "evergreen.cli.main", "status"]
    variables = {**os.environ, "PYTHONPATH": str(SHIPPED)}
    done = subprocess.run(words, cwd=tmp_path / "gone", env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "evergreen: the working directory no longer exists; change into another one\n"


@pytest.mark.slow
def test_a_link_a_worktree_and_a_shallow_clone_are_projects_too(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    git(root, "worktree", "add", "-q", str(tmp_path / "tree"))
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{root}", "shallow")
    for place in ("link", "tree", "shallow"):
        assert "sizes" in outside(root, "status", cwd=tmp_path / place)
        outside(root, "stop", cwd=tmp_path / place)


def test_another_user_without_a_name_is_told_what_is_not_theirs(root, tmp_path):
    if os.getuid() or not shutil.which("setpriv"):
        pytest.skip("only root can become another user")
    before = "setpriv --reuid 54321 --regid 54321 --clear-groups"
    reads = subprocess.run([*before.split(), "test", "-x", sys.executable, "-a", "-r", str(root)], check=False)
    if reads.returncode:
        pytest.skip("another user cannot read this machine's Python or temporary folder")
    outside(root, "status", before=before)


@pytest.mark.parametrize("options", ["ro", "size=3m"])
@pytest.mark.slow
def test_a_read_only_or_full_disk_is_told_and_stop_works(root, tmp_path, options):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(disk)], check=False, capture_output=True
    )
    if mount.returncode:
        pytest.skip("only root can mount a disk")
    try:
        shutil.copytree(root, disk / "project", symlinks=True)
        if options == "ro":
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        else:
            with contextlib.suppress(OSError), (disk / "filler").open("wb") as file:
                while file.write(bytes(1 << 16)):
                    file.flush()
        for arguments in (("status",), ("predict", "sizes", "sizes.csv", "--output", "out.csv"), ("stop",)):
            said = outside(root, *arguments, cwd=disk / "project")
        assert "nothing was running" in said
    finally:
        subprocess.run(["umount", str(disk)], check=True)
