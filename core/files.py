"""Write files and folders completely or not at all.

Everything is written beside its place under a temporary name and renamed at the end: a process killed at any moment
leaves the old version or the new one, never half of one.
"""

import contextlib
import ctypes
import json
import math
import os
import secrets
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evergreen.core.errors import PipelineError

SECRET_CHARACTERS = 64  # hexadecimal: 256 bits


def write_json(path: Path, value: Any, *, sort: bool = True) -> None:
    """Write `value`, by default with sorted keys, whole or not at all. NaN and infinities become null."""
    write_text(path, json.dumps(_finite(value), indent=1, sort_keys=sort, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file beside `path`; on success it becomes `path`, on failure it is removed.

    Its bytes and its new name lie on the disk when this returns: a power cut leaves the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _mend(path)
    temporary = _sibling(path, "tmp")
    try:
        yield temporary
        publish_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def publish_file(temporary: Path, path: Path) -> None:
    """Give a complete file its name, once its bytes lie on the disk."""
    _sync(temporary)
    temporary.replace(path)


def make_private(folder: Path) -> Path:
    """Make a folder that its owner alone may enter, also of one that is there, and return it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def read_secret(path: Path, prefix: str = "") -> str:
    """Return the secret in a file of mode 0600; one that is missing or too short is made, after `prefix`."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""
    except OSError as error:
        problem = f"the secret cannot be read ({error.strerror})"
        raise PipelineError(problem, place=str(path), fix="delete it; another one is made") from None
    if len(text) < SECRET_CHARACTERS or not (text.startswith(prefix) and text.isascii() and text.isprintable()):
        text = prefix + secrets.token_hex(SECRET_CHARACTERS // 2)
        with atomic_write(path) as temporary:
            temporary.touch(0o600)
            temporary.write_text(text, encoding="utf-8")
    elif path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return text


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file. Raises PipelineError for one that is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        fix = "bring it back from git, or mend it"
        raise PipelineError(f"is no UTF-8 text ({error.reason})", place=str(path), fix=fix) from error


def read_json(path: Path, *keys: str, known_format: int = 1) -> dict[str, Any]:
    """Return the object in a JSON file, which has at least these keys.

    Raises PipelineError when the file is missing, is no such object, or has a `format` beyond the known one; a file
    that says no format has the first.
    """
    again = "delete it and run the stage that writes it again"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PipelineError("no such file", place=str(path), fix="run the stage that writes it") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise PipelineError(f"not JSON ({error})", place=str(path), fix=again) from None
    except OSError as error:
        raise PipelineError(f"cannot be read ({error.strerror})", place=str(path), fix=again) from None
    if not isinstance(value, dict):
        raise PipelineError(f"not what is stored there (a {type(value).__name__})", place=str(path), fix=again)
    version = value.get("format", 1)
    if type(version) is not int or not 1 <= version <= known_format:
        problem = f"written by a newer Evergreen (format {version!r:.20}, this one reads {known_format})"
        raise PipelineError(problem, place=str(path), fix="install the newest Evergreen")
    if missing := [key for key in keys if key not in value]:
        raise PipelineError(f"it lacks {missing[0]!r}", place=str(path), fix=again)
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


@contextlib.contextmanager
def atomic_directory(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; on success it replaces `folder` in one step, on failure it is removed.

    Leftovers of killed processes are repaired or removed first. A `.gitignore` stays: DVC writes one there.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _mend(folder)
    temporary = _sibling(folder, "tmp")
    temporary.mkdir()
    try:
        yield temporary
        if (folder / ".gitignore").is_file():
            shutil.copyfile(folder / ".gitignore", temporary / ".gitignore")
        for path in [*temporary.rglob("*"), temporary]:
            _sync(path)
        _swap(temporary, folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, folder: Path) -> None:
    """Replace `folder` by `new`. Where the file system cannot exchange two names, `_mend` closes the gap."""
    if not folder.exists():
        new.rename(folder)
    elif not _exchange(new, folder):
        old = _sibling(folder, "old")
        folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step (Linux renameat2 with RENAME_EXCHANGE); return False where that does not exist."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def _mend(folder: Path) -> None:
    """Remove what dead processes left beside a file or folder; move back a folder that was never replaced."""
    for left in folder.parent.glob(f".{folder.name}@*"):
        process, thread, _ = left.name.rpartition("@")[2].split(".")
        if _alive(int(process), int(thread)):
            continue
        if left.suffix == ".old" and not folder.exists():
            left.rename(folder)
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _sibling(path: Path, ending: str) -> Path:
    """Return a name beside `path` that says which process and thread uses it."""
    return path.with_name(f".{path.name}@{os.getpid()}.{threading.get_ident()}.{ending}")


def _alive(process: int, thread: int) -> bool:
    if process == os.getpid():  # a restarted container hands out the same numbers again
        return thread != threading.get_ident() and thread in {one.ident for one in threading.enumerate()}
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
