"""Ask git, and commit files without touching the person's own work."""

import getpass
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from evergreen.core.errors import VersionError

OWN_IDENTITY = {"NAME": "Evergreen", "EMAIL": "evergreen@localhost"}
REPOSITORY_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # set while a git hook runs, of any repository
NO_COMMIT = "0" * 40


def git(root: Path, *arguments: str, text: str | None = None, env: dict[str, str] | None = None) -> str:
    """Run git and return its output. Raises VersionError with git's own words when it refuses."""
    clean = {key: value for key, value in os.environ.items() if key not in REPOSITORY_VARIABLES}
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            input=text,
            env=clean | (env or {}),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise VersionError("git is not installed", place="git", fix="install git") from None
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        fix = "run `git init` in it" if "not a git repository" in words else ""
        raise VersionError(f"git {arguments[0]}: {words}", place=str(root), fix=fix)
    return done.stdout


def _try_git(root: Path, *arguments: str) -> str | None:
    """Run git and return its output, None where it refuses."""
    try:
        return git(root, *arguments)
    except VersionError:
        return None


def head(root: Path) -> str | None:
    """Return the current commit; None before the first one."""
    return (_try_git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") or "").strip() or None


def content(root: Path, commit: str, path: str) -> str | None:
    """Return a file's text at a commit, None where it is not there."""
    return _try_git(root, "show", f"{commit}:./{path}")


def changed(root: Path, *places: str) -> list[str]:
    """Return the files at these places that git does not have as they are now."""
    return [line[3:] for line in git(root, "status", "--porcelain", "--", *places).splitlines()]


def author_variables(root: Path) -> dict[str, str]:
    """Return the variables that name the author: none where git knows the person, else our own name."""
    names: dict[str, str] = {}
    for role in ("AUTHOR", "COMMITTER"):
        if _try_git(root, "-c", "user.useConfigOnly=true", "var", f"GIT_{role}_IDENT") is None:
            names |= {f"GIT_{role}_{key}": value for key, value in OWN_IDENTITY.items()}
    return names


def person(root: Path) -> str:
    """Name who works here: as git knows them, else by their login on this machine."""
    known = _try_git(root, "-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT") or ""
    return known.rpartition(">")[0] + ">" if ">" in known else f"{getpass.getuser()}@{socket.gethostname()}"


def commit_texts(root: Path, texts: dict[str, str], message: str) -> str:
    """Commit these files with these texts on top of HEAD, nothing else; return the commit, HEAD when nothing changed.

    It builds the commit beside the person's index, and then tells that index about these files alone. Hooks do not run.
    """
    prefix = git(root, "rev-parse", "--show-prefix").strip()
    blobs = {
        prefix + path: git(root, "hash-object", "-w", "--stdin", "--path", path, text=text).strip()
        for path, text in texts.items()
    }
    entries = [word for path, blob in blobs.items() for word in ("--cacheinfo", f"100644,{blob},{path}")]
    for attempt in range(3):
        old = head(root)
        new = _tree_commit(root, old, entries, message)
        if new == old:
            break
        try:
            git(root, "update-ref", "--create-reflog", "-m", message.splitlines()[0], "HEAD", new, old or NO_COMMIT)
            break
        except VersionError:  # somebody committed in between: build on that
            if attempt == 2:
                raise
    _update_index(root, entries)
    return new


def _tree_commit(root: Path, parent: str | None, entries: list[str], message: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        if parent:
            git(root, "read-tree", parent, env=env)
        git(root, "update-index", "--add", *entries, env=env)
        tree = git(root, "write-tree", env=env).strip()
    if parent and tree == git(root, "rev-parse", f"{parent}^{{tree}}").strip():
        return parent
    parents = ["-p", parent] if parent else []
    return git(root, "commit-tree", tree, *parents, "-F", "-", text=message, env=author_variables(root)).strip()


def _update_index(root: Path, entries: list[str]) -> None:
    """Tell the person's index about the files; other git commands, an editor's for instance, lock it for moments."""
    for attempt in range(20):
        try:
            git(root, "update-index", "--add", *entries)
            return
        except VersionError as error:
            if "index.lock" not in str(error) or attempt == 19:
                raise
            time.sleep(0.25)
