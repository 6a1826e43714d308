"""Write the files by which DVC knows a project's pipelines: the graph, the list of pipelines, its private state."""

import re
from pathlib import Path
from typing import Any

from evergreen.core.errors import VersionError
from evergreen.core.files import read_text, write_text
from evergreen.core.paths import Paths
from evergreen.stages.pipeline import SECTIONS

BROKEN_LOCK = "bring it back with `git checkout dvc.lock`, or delete it: every stage then runs again"
PARAMS_FIX = "bring it back with `git checkout`, or write: pipelines: []"
PARAMS = "# The pipelines that DVC knows: each enters by itself at its first run.\npipelines: []\n"


def graph_text(command: str = "evergreen", wdir: str = "") -> str:
    """Return the text of dvc.yaml: each stage runs `command stage NAME ITEM`, in `wdir` if it is set."""
    text = (Path(__file__).parent / "graph.yaml").read_text(encoding="utf-8")
    place = f"wdir: {wdir}\n      " if wdir else ""
    return text.replace("cmd: evergreen ", f"{place}cmd: {command} ")


def graph_file(root: Path, name: str) -> str:
    """Return where dvc.yaml, dvc.lock or params.yaml lies: in pipelines/ where the root's dvc.yaml is the person's."""
    return f"pipelines/{name}" if (root / "pipelines" / "dvc.yaml").is_file() else name


def registered_pipelines(root: Path) -> list[str]:
    """Return the names in DVC's list of pipelines."""
    place = graph_file(root, "params.yaml")
    try:
        value = load_yaml(read_text(root / place), place)
    except OSError as error:
        raise VersionError(f"cannot be read ({error.strerror})", place=place, fix=PARAMS_FIX) from error
    listed = value.get("pipelines", 0) if isinstance(value, dict) else 0
    if listed is not None and not (isinstance(listed, list) and all(isinstance(name, str) for name in listed)):
        raise VersionError("pipelines is no list of names", place=place, fix=PARAMS_FIX)
    return listed or []


def register_pipeline(paths: Paths) -> list[str]:
    """Make DVC know the pipeline; return in words what was added, nothing where all was there.

    DVC needs the pipeline's name in params.yaml and every stage's section in its YAML, even an empty one. Sections are
    appended, so the person's text and comments stay as they are.
    """
    place = f"pipelines/{paths.name}.yaml"
    text = read_text(paths.pipeline)
    missing = [stage for stage in SECTIONS[:-1] if stage not in (load_yaml(text, place) or {})]
    added = []
    if missing:
        longer = text.rstrip("\n") + "\n" + "".join(f"{stage}: {{}}\n" for stage in missing)
        sections = ", ".join(missing)
        fix = f"write each section on its own line, and add the empty ones yourself: {sections}"
        if set(missing) - set(load_yaml(longer, place, fix)):
            raise VersionError(f"there is no place to add {sections}", place=place, fix=fix)
        write_text(paths.pipeline, longer)
        added.append(f"{place}: added the empty sections {sections}")
    if paths.name not in registered_pipelines(paths.root):
        listed = graph_file(paths.root, "params.yaml")
        write_text(paths.root / listed, add_to_params(read_text(paths.root / listed), [paths.name]))
        added.append(f"{listed}: added {paths.name}")
    return added


def unregister_pipeline(paths: Paths) -> None:
    """Take the pipeline out of DVC's list, so that `dvc repro` leaves it alone; `register_pipeline` puts it back."""
    if paths.name in registered_pipelines(paths.root):
        params = paths.root / graph_file(paths.root, "params.yaml")
        write_text(params, add_to_params(read_text(params), [], without=paths.name))


def add_to_params(text: str, names: list[str], without: str = "") -> str:
    """Return the text of params.yaml with more pipelines in its list, or one less, its comments kept."""
    import io

    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    params = yaml.load(text)
    params["pipelines"] = params["pipelines"] or []
    params["pipelines"].extend(names)
    if without:
        params["pipelines"].remove(without)
    if hasattr(params["pipelines"], "fa"):
        params["pipelines"].fa.set_block_style()  # a list that was written as [] grows line by line
    out = io.StringIO()
    yaml.dump(params, out)
    return out.getvalue()


def load_yaml(text: str, place: str, fix: str = "") -> Any:
    """Return YAML's plain values. Raises VersionError naming the place."""
    from ruamel.yaml import YAML, YAMLError

    try:
        return YAML(typ="safe").load(text)
    except YAMLError as error:
        problem = " ".join(str(error).split())
        raise VersionError(f"not YAML ({problem})", place=place, fix=fix or "mend it") from None


def replace_entry(lock: str, name: str, entry: dict[str, Any]) -> str:
    """Return the text of a dvc.lock with the record of one stage replaced or added."""
    from dvc.utils.serialize import dumps_yaml

    text = str(dumps_yaml({"stages": {name: entry}})).partition("\n")[2]
    old = re.search(rf"^  {re.escape(name)}:\n((   .*)?\n)*", lock, re.MULTILINE)
    return lock[: old.start()] + text + lock[old.end() :] if old else lock + text
