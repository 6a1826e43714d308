"""DVC's part of versions: what of the one graph is stale, and recording what a stage made.

Each call opens the repository anew (30 ms), so it sees what anybody changed in between: dvc.yaml, dvc.lock, a YAML.
Paths inside DVC resolve against the working directory, so a call made elsewhere changes into the clone and back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.core.errors import VersionError
from evergreen.core.gc_tuning import seldom
from evergreen.core.paths import Paths

if TYPE_CHECKING:
    from dvc.repo import Repo

HEAD = "schema: '2.0'\nstages:\n"  # of dvc.lock
PATIENCE_SECONDS = 60.0  # how long to wait for another DVC process on the same files
BROKEN_LOCK = "bring it back with `git checkout dvc.lock`, or delete it: every stage then runs again"


def prepare(root: Path) -> None:
    """Keeps DVC's shared state inside the clone, in a folder nobody else can enter. Cheap; call it at every start.

    DVC reads pickles from that state (CVE-2025-69872) and by default makes its folder writable for everybody. The
    setting wants an absolute path, so it stands in .dvc/config.local, which git ignores.
    """
    folder = root.resolve() / ".evergreen" / "dvc"
    for private in (folder.parent, folder):
        private.mkdir(mode=0o700, exist_ok=True)
        if private.stat().st_mode & 0o077:
            private.chmod(0o700)
    path = root / ".dvc" / "config.local"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if any(line.strip().removeprefix("site_cache_dir = ").strip('"') == str(folder) for line in lines):
        return
    from configobj import ConfigObj

    config = ConfigObj(lines)
    config.setdefault("core", {})["site_cache_dir"] = str(folder)
    config.indent_type = config.indent_type or "    "
    write_text(path, "\n".join(config.write()) + "\n", mode=0o600)


def write_text(path: Path, text: str, mode: int | None = None) -> None:
    """Replaces a file whole or not at all; it keeps its permissions unless `mode` is given."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode or (path.stat().st_mode & 0o777 if path.exists() else 0o644))
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def complete(paths: Paths) -> list[str]:
    """Makes DVC know the pipeline; returns in words what was added, nothing where all was there.

    DVC wants the pipeline's name in params.yaml and every stage's section in its YAML, even an empty one. Sections are
    appended, so the person's text and comments stay as they are.
    """
    from evergreen.stages.pipeline import STAGES

    place = f"pipelines/{paths.name}.yaml"
    text = paths.pipeline.read_text(encoding="utf-8")
    missing = [stage for stage in STAGES if stage not in (load(text, place) or {})]
    words = []
    if missing:
        longer = text.rstrip("\n") + "\n" + "".join(f"{stage}: {{}}\n" for stage in missing)
        added = ", ".join(missing)
        fix = f"write each section on its own line, and add the empty ones yourself: {added}"
        if set(missing) - set(load(longer, place, fix)):
            raise VersionError(f"no place to add {added}", place=place, fix=fix)
        write_text(paths.pipeline, longer)
        words.append(f"{place}: added the empty sections {added}")
    params = paths.root / "params.yaml"
    listed = params.read_text(encoding="utf-8")
    if paths.name not in load(listed, "params.yaml")["pipelines"]:
        write_text(params, enrolled(listed, [paths.name]))
        words.append(f"params.yaml: added {paths.name}")
    return words


def enrolled(text: str, names: list[str]) -> str:
    """The text of params.yaml with more pipelines in its list, its comments kept."""
    import io

    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    params = yaml.load(text)
    params["pipelines"].extend(names)
    out = io.StringIO()
    yaml.dump(params, out)
    return out.getvalue()


def load(text: str, place: str, fix: str = "") -> Any:
    """YAML's plain values. Raises VersionError naming the place."""
    from ruamel.yaml import YAML, YAMLError

    try:
        return YAML(typ="safe").load(text)
    except YAMLError as error:
        problem = " ".join(str(error).split())
        raise VersionError(f"not YAML ({problem})", place=place, fix=fix or "mend it") from None


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Repo]:
    """DVC's repository, from inside the clone; what DVC finds wrong becomes a VersionError."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)  # also silences its progress bars
    prepare(root)
    with contextlib.chdir(root):
        try:
            with Repo(str(root)) as repo:
                if not repo.config["core"].get("checksum_jobs"):  # DVC's own guess is half of the cores
                    repo.fs.hash_jobs = os.cpu_count() or 1
                yield repo
        except DvcException as error:
            raise _explained(error) from error


def _explained(error: Exception) -> VersionError:
    from dvc.lock import LockError

    text = " ".join(str(error).split())
    if isinstance(error, LockError):
        return VersionError(f"another DVC process is at work ({text})", place="dvc", fix="wait until it has ended")
    if "dvc.lock" in text:
        return VersionError(f"not readable ({text})", place="dvc.lock", fix=BROKEN_LOCK)
    return VersionError(text, place="dvc", fix="`dvc status` shows what DVC sees")


def _patiently(root: Path, work: Any) -> Any:
    """Calls `work(repo)`, again while another DVC process holds the files, for at most PATIENCE_SECONDS."""
    from dvc.lock import LockError

    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with opened(root) as repo:
                return work(repo)
        except VersionError as error:
            if not isinstance(error.__cause__, LockError) or time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def stale(paths: Paths, stage: str) -> str | None:
    """Why the stage must run, in words; None when what it made is up to date with everything it depends on."""
    target = f"{stage}@{paths.name}"
    listed = load((paths.root / "params.yaml").read_text(encoding="utf-8"), "params.yaml")["pipelines"]
    if paths.name not in listed:
        return "never run"

    def reason(repo: Repo) -> str | None:
        entries = repo.status(targets=[target]).get(target)
        return _words(repo, target, entries) if entries else None

    found: str | None = _patiently(paths.root, reason)
    return found


def fresh(paths: Paths) -> bool:
    """Whether nothing is stale in the whole pipeline; as fast as DVC can tell (0.3 s, most of it DVC's import)."""
    from evergreen.stages.pipeline import STAGES

    listed = load((paths.root / "params.yaml").read_text(encoding="utf-8"), "params.yaml")["pipelines"]
    targets = [f"{stage}@{paths.name}" for stage in STAGES]
    return paths.name in listed and not _patiently(paths.root, lambda repo: repo.status(targets=targets))


def _words(repo: Repo, target: str, entries: list[Any]) -> str:
    """DVC's status of one stage as a sentence, the most telling reason first."""
    words = []
    for entry in entries:
        if not isinstance(entry, dict):
            words.append(str(entry).replace("changed command", "command changed"))
            continue
        for what, changes in entry.items():
            if any(place.endswith(".yaml") and how == "new" for place, how in changes.items()):
                return "never run"  # dvc.lock knows none of its settings
            words.extend(_change(repo, target, what, place, how) for place, how in changes.items())
    return "; ".join(sorted(words, key=lambda text: not text.startswith(("missing", "params"))))


def _change(repo: Repo, target: str, what: str, place: str, how: Any) -> str:
    if isinstance(how, dict):
        return "params " + ", ".join(_keys(repo, target)) + " changed"
    kind = "output" if what == "changed outs" else "code" if "/store/" not in place else "input"
    return f"missing {kind}: {place}" if how == "deleted" else f"{kind} changed: {place}"


def _keys(repo: Repo, target: str) -> list[str]:
    """The settings that differ from those of the last run, as section.key."""
    from dvc.dependency.param import ParamsDependency

    stage = repo.stage.load_one(name=target)
    found = []
    for dep in stage.deps:
        if isinstance(dep, ParamsDependency):
            old, new = _flat(dep.hash_info.value or {}), _flat(dep.read_params())
            found += sorted(key for key in old.keys() | new.keys() if old.get(key, ...) != new.get(key, ...))
    return found


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


@seldom()
def commit(paths: Paths, stage: str) -> None:
    """Records in dvc.lock and DVC's cache what the stage has made, as `dvc repro` would have."""
    complete(paths)
    _patiently(paths.root, lambda repo: _record(repo, f"{stage}@{paths.name}", paths.root / "dvc.lock"))


def _record(repo: Repo, target: str, lock: Path) -> None:
    """What `repo.commit` does, which would write all of dvc.lock; one that holds more than stages is left to it."""
    from dvc.repo import lock_repo
    from dvc.stage.serialize import to_lockfile
    from dvc.utils.serialize import dumps_yaml

    with lock_repo(repo):
        rest = (lock.read_text(encoding="utf-8") if lock.is_file() else HEAD).removeprefix(HEAD)
        if re.search(r"^\S", rest, re.MULTILINE):
            repo.commit(target, force=True, relink=False)
            return
        stage = repo.stage.load_one(name=target)
        stage.save()
        stage.commit(relink=False)
        entry = dumps_yaml({"stages": to_lockfile(stage)}).partition("\n")[2]
        old = re.search(rf"^  {re.escape(target)}:\n((   .*)?\n)*", rest, re.MULTILINE)
        write_text(lock, HEAD + (rest[: old.start()] + entry + rest[old.end() :] if old else rest + entry))
