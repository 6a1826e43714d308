"""Keep DVC's shared state where nobody else can enter, and leave all else in its settings as it is."""

import hashlib
import os
from pathlib import Path

from evergreen.core.errors import VersionError
from evergreen.core.files import write_text

ELSEWHERE = Path("/var/tmp")  # of projects whose path DVC cannot write; it keeps its own state there


def prepare(root: Path) -> None:
    """Keep DVC's shared state in a folder that nobody else can enter. Cheap; call it at every start.

    DVC reads pickles from that state (CVE-2025-69872) and by default makes its folder writable for everybody. The
    setting needs an absolute path, so it stands in .dvc/config.local, which git ignores. Raises VersionError where that
    file cannot be read.
    """
    own = root.resolve() / ".evergreen"
    folder = own / "dvc" if str(own).isascii() else _folder_elsewhere(own)
    for private in dict.fromkeys((own, folder.parent, folder)):
        private.mkdir(mode=0o700, exist_ok=True)
        if private != own and private.is_relative_to(ELSEWHERE) and private.lstat().st_uid != os.getuid():
            raise VersionError("it belongs to another user", place=str(private), fix="remove it")
        if private.stat().st_mode & 0o077:
            private.chmod(0o700)
    path = root / ".dvc" / "config.local"
    lines = _read_lines(path)
    if any(line.strip().removeprefix("site_cache_dir = ").strip('"') == str(folder) for line in lines):
        return
    from configobj import ConfigObj, ConfigObjError

    try:
        config = ConfigObj(lines)
        core = config.setdefault("core", {})
        core["site_cache_dir"] = str(folder)
    except (ConfigObjError, TypeError) as error:
        words = " ".join(str(error).split())
        raise VersionError(f"not DVC's settings ({words})", place=str(path), fix="mend it, or delete it") from error
    config.indent_type = config.indent_type or "    "
    write_text(path, "\n".join(config.write()) + "\n")
    path.chmod(0o600)


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (UnicodeDecodeError, OSError) as error:
        raise VersionError(f"cannot be read ({error})", place=str(path), fix="mend it, or delete it") from error


def _folder_elsewhere(own: Path) -> Path:
    """Return a folder with an ASCII path: `dvc remote modify --local` empties a file that holds other letters."""
    name = hashlib.blake2b(os.fsencode(own), digest_size=8).hexdigest()
    return ELSEWHERE / f"evergreen-{os.getuid()}" / name
