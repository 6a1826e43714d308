"""Tell setuptools the version: that of the newest tag v1.2.3. Everything else is said in pyproject.toml."""

import re
import subprocess
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
FIRST = "0.1.0"  # where no tag is known


def version() -> str:
    """Return 1.2.3 at its tag and 1.2.4.dev5+gabc five commits later; an sdist carries its own."""
    packed = HERE / "PKG-INFO"
    if packed.is_file():
        return re.search(r"^Version: (.+)$", packed.read_text(encoding="utf-8"), re.MULTILINE).group(1)
    if not (HERE / ".git").exists():  # nor may the tags of a repository around it count
        return FIRST
    # releases of pipelines, digits@v1.0.0, are tags as well
    described = _git("describe", "--tags", "--long", "--match", "v[0-9]*.[0-9]*.[0-9]*", "--exclude", "*[@#]*")
    if not described:
        commit = _git("rev-parse", "--short", "HEAD")
        return f"{FIRST}.dev0+g{commit}" if commit else FIRST
    tag, count, commit = described.removeprefix("v").rsplit("-", 2)
    if count == "0":
        return tag
    *front, last = tag.split(".")
    return f"{'.'.join(front)}.{int(last) + 1}.dev{count}+{commit}"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


setup(version=version())
