"""Compare two versions of a pipeline, from what git and DVC's cache hold: settings, data, schema, code, scores."""

from collections.abc import Mapping
from typing import Any

from evergreen.core.errors import UserError
from evergreen.core.files import read_json
from evergreen.core.paths import Paths
from evergreen.stages.engines import versions
from evergreen.stages.engines.candidates import read_records, recorded_outs
from evergreen.stages.engines.git_tags import Version

Facts = dict[str, Any]
OUTS = {"collect": "raw", "preprocess": "ready"}  # stages → what each leaves, as a change of the data is named


def compare_versions(paths: Paths, before: str, after: str) -> dict[str, Any]:
    """Return what differs between two versions: section → key → [before, after]; and what could not be compared.

    Raises VersionError where one of them is none.
    """
    notes: list[str] = []
    facts = [describe_version(paths, versions.find_version(paths, name), notes) for name in (before, after)]
    sections = list(dict.fromkeys(section for one in facts for section in one))
    changes = {section: _differences(*(one.get(section) for one in facts)) for section in sections}
    return {"changes": {section: one for section, one in changes.items() if one}, "notes": list(dict.fromkeys(notes))}


def describe_version(paths: Paths, version: Version, notes: list[str]) -> Facts:
    """Return what is known of a version by section; None for one that cannot be read here, with a note."""
    stages = read_records(paths.root, version.commit, paths.name)
    settings: Facts = {}
    for stage in stages.values():
        for values in (stage.get("params") or {}).values():
            settings |= values
    outs = recorded_outs(stages)
    data = {name: {key: outs[name].get(key) for key in ("md5", "size")} for name in OUTS.values() if name in outs}
    facts: Facts = {"settings": settings, "data": data, "scores": versions.scores(version)}
    try:
        card = read_json(versions.checkout(paths, version.version) / "model.json", "spec", "architecture")
    except (UserError, OSError) as error:
        notes.append(f"schema, code and network of {version.version} are not here: {error}")
        return facts | dict.fromkeys(("schema", "network", "code"))
    data["rows"] = card["spec"].get("rows")
    code = [line.rpartition(" ")[::2] for line in str(card.get("code_version", "")).splitlines()]
    network = {"architecture": card["architecture"], "options": card.get("options"), "recipe": card.get("recipe")}
    return facts | {"schema": _schema(card["spec"]), "network": network, "code": dict(code)}


def _schema(spec: Mapping[str, Any]) -> Facts:
    """Return the kind of each column, and what the target is."""
    columns = {column: field["kind"] for field in spec["inputs"].values() for column in field.get("columns", ())}
    return columns | {"target": f"{spec.get('target_name')} ({spec['target']['kind']})"}


def _differences(before: Facts | None, after: Facts | None) -> dict[str, list[Any]]:
    """Return the keys, in dots, whose values differ; {} where one side is unknown."""
    if before is None or after is None:
        return {}
    first, second = _flatten(before), _flatten(after)
    keys = dict.fromkeys([*first, *second])
    return {key: [first.get(key), second.get(key)] for key in keys if first.get(key) != second.get(key)}


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Facts:
    flat: Facts = {}
    for key, value in values.items():
        is_section = isinstance(value, Mapping) and bool(value)
        flat |= _flatten(value, f"{prefix}{key}.") if is_section else {f"{prefix}{key}": value}
    return flat
