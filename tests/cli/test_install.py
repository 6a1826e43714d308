"""What keeps a project running: units that systemd reads, whatever letters a path has, and an entry for a container."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from evergreen.cli import main
from evergreen.core.errors import PipelineError
from evergreen.stages.engines import project, service_files


@pytest.fixture(params=["shop", 'Mein $Projekt "Ü" 100% é\\n'], ids=["plain", "letters"])
def root(request, tmp_path, monkeypatch):
    folder = tmp_path / request.param
    folder.mkdir()
    subprocess.run(["git", "init", "-q", folder], check=True)
    project.create(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(folder)
    return folder


def test_units_of_the_user_are_written_once_and_secrets_are_the_owners(root, tmp_path, capsys):
    assert main.main(["install", "--systemd"]) == 0
    said = capsys.readouterr().out
    name = service_files.service_name(root)
    folder = tmp_path / "config" / "systemd" / "user"
    units = {path.name: path.read_text() for path in folder.iterdir()}
    assert sorted(units) == [f"{name}-serve.service", f"{name}-watch.service"]
    assert all(f"{folder / unit}  " in said for unit in units)
    assert f"systemctl --user enable --now {name}-serve {name}-watch" in said
    secrets = root / ".evergreen" / "environment"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert "User=" not in units[f"{name}-watch.service"]
    secrets.write_text("MAIL_PASSWORD=x\n")
    (folder / f"{name}-serve.service").write_text("mine\n")
    assert main.main(["install", "--systemd"]) == 0
    assert capsys.readouterr().out.count("(was there)") == 3
    assert secrets.read_text() == "MAIL_PASSWORD=x\n"
    assert (folder / f"{name}-serve.service").read_text() == "mine\n"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("system", [False, True], ids=["user", "system"])
def test_systemd_takes_the_units(root, tmp_path, system):
    folder = tmp_path / "units"
    service_files.write_units(root, folder, system=system)
    scope, variables = [] if system else ["--user"], {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    for unit in folder.iterdir():
        command = ["systemd-analyze", *scope, "verify", unit]
        done = subprocess.run(command, env=variables, capture_output=True, text=True)
        said = [line for line in done.stderr.splitlines() if unit.name in line or str(root) in line]
        assert (done.returncode, said) == (0, []), done.stderr


def test_systemd_is_told_the_paths_as_they_are(root, tmp_path):
    """As systemd reads a line: % and, in commands, quotes, $ and backslashes are escaped."""
    service_files.write_units(root, tmp_path / "units", system=True)
    unit = (tmp_path / "units" / f"{service_files.service_name(root)}-watch.service").read_text()
    lines = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and line[0] != "#")
    assert lines["WorkingDirectory"].replace("%%", "%") == str(root)
    assert lines["EnvironmentFile"].replace("%%", "%") == f"-{root}/.evergreen/environment"
    assert lines["ExecStart"] == f'"{sys.executable}" -P -m evergreen.cli.main watch'
    assert lines["User"] == root.owner()
    assert service_files._quote('a "b" 5% $c\\d') == '"a \\"b\\" 5%% $$c\\\\d"'


def test_an_entry_for_a_container_names_no_path_of_this_machine(root, tmp_path, capsys):
    assert main.main(["install", "--docker", "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert [Path(one["path"]).name for one in files] == ["environment", service_files.COMPOSE]
    text = (root / service_files.COMPOSE).read_text()
    assert str(tmp_path) not in text
    (service,) = YAML(typ="safe").load(text)["services"].values()
    assert service["working_dir"] == "/project"
    assert service["volumes"] == [{"type": "bind", "source": ".", "target": "/project"}]
    assert service["user"] == f"{root.stat().st_uid}:{root.stat().st_gid}"
    inner = root / "in ner"
    inner.mkdir()
    service_files.write_compose(inner)
    (service,) = YAML(typ="safe").load((inner / service_files.COMPOSE).read_text())["services"].values()
    assert (service["working_dir"], service["volumes"][0]["source"]) == ("/project/in ner", "..")


def test_docker_takes_the_entry(root):
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    service_files.write_compose(root)
    command = ["docker", "compose", "-f", service_files.COMPOSE, "config", "--quiet"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_written_is_said(root, capsys):
    assert main.main(["install"]) == 2
    assert "say what to write; evergreen install --systemd" in capsys.readouterr().err
    for name in ("a\nb", "a ", "b\\", "\udcff"):
        with pytest.raises(PipelineError, match="a unit of systemd cannot hold this path"):
            service_files._escape(name)


def test_two_projects_of_one_name_have_services_of_their_own(tmp_path):
    names = {service_files.service_name(tmp_path / place / "Shop Ü") for place in ("a", "b")}
    assert len(names) == 2
    assert all(name.startswith("evergreen-shop-") for name in names)
