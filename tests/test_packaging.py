"""What is shipped, and that things which are written down twice say the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import nixhive_nb

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as `pip` would build it."""
    place = tmp_path_factory.mktemp("wheel")
    argv = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", place]
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
    (path,) = place.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_conda_environment_lists_the_dependencies_of_the_project():
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["lab"]]
    conda, pip = _environment()
    assert conda[:2] == [f"python{PROJECT['requires-python']}", "pip"]
    assert conda[2:] == wanted
    assert pip == ["-e ."]
    assert re.search(r"^name: nixhive_nb$", (ROOT / "environment.yml").read_text(), re.MULTILINE)


def _environment() -> tuple[list[str], list[str]]:
    """The lists below `dependencies:` and below `pip:` in environment.yml."""
    text = (ROOT / "environment.yml").read_text()
    lines = text.partition("\ndependencies:\n")[2].splitlines()
    conda = [line[4:] for line in lines if re.match(r"  - [^:]*$", line)]
    pip = [line[8:] for line in lines if line.startswith("      - ")]
    assert len(conda) + len(pip) + 1 == len(lines)  # and `- pip:` itself
    return conda, pip


def test_every_dependency_has_a_floor():
    """Which of them have a ceiling as well is the matter of test_unpromised.py."""
    extras = PROJECT["optional-dependencies"]
    for requirement in [*PROJECT["dependencies"], *(one for extra in extras.values() for one in extra)]:
        floor = r"[a-z0-9-]+>=[0-9.]+(,<[0-9.]+)?"
        assert re.fullmatch(rf"{floor}|nixhive_nb\[[a-z,]+\]", requirement), requirement


def test_the_docs_tell_the_versions_that_are_promised():
    """The oldest that was seen is the floor; the newest is of the last major version below the ceiling."""
    bounds = re.compile(r"([a-z0-9-]+)(>=([0-9.]+)(?:,<([0-9.]+))?)")
    wanted = [bounds.fullmatch(one) for one in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["lab"])]
    text = (ROOT / "docs" / "versions.md").read_text()
    rows = re.findall(r"^\| ([\w-]+) \| `(>=[^`]+)` \| ([0-9.]+) \| ([0-9.]+) \|$", text, re.MULTILINE)
    assert rows[0][:2] == ("Python", PROJECT["requires-python"])
    assert [row[:3] for row in rows[1:]] == [one.group(1, 2, 3) for one in wanted]
    newest = {name: int(seen.partition(".")[0]) for name, _, _, seen in rows}
    assert {one[1]: one[4] for one in wanted if one[4]} == {one[1]: str(newest[one[1]] + 1) for one in wanted if one[4]}


@pytest.mark.slow
def test_what_may_seem_dead_and_is_not_is_still_there():
    """Each name that vulture is to pass over is one that it would find."""
    names = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["vulture"]["ignore_names"]
    pytest.importorskip("vulture")
    argv = [sys.executable, "-m", "vulture", "--ignore-names", "", "--ignore-decorators", ""]
    found = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert set(names) - set(re.findall(r"unused [a-z]+ '(\w+)'", found)) == set()


def test_version_stands_in_one_place():
    assert nixhive_nb.__version__ == version("nixhive_nb") == PROJECT["version"]
    pattern = re.compile(rf"\b{re.escape(PROJECT['version'])}\b")
    assert [path for path in (ROOT / "nixhive_nb").rglob("*.py") if pattern.search(path.read_text())] == []
    assert f"\n## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_licence_is_mit():
    assert PROJECT["license"] == "MIT"
    assert PROJECT["license-files"] == ["LICENSE"]
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith("MIT License\n\nCopyright (c) 2026 nixhive_nb contributors\n")


def test_console_script_is_there():
    (script,) = entry_points(group="console_scripts", name="nix-hive")
    assert callable(script.load())
    done = subprocess.run(
        [Path(sys.executable).with_name("nix-hive"), "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "deploy" in done.stdout


def test_wheel_has_every_file_of_the_package(wheel):
    package = ROOT / "nixhive_nb"
    files = {
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = set(wheel.namelist())
    assert files <= names
    assert {
        "nixhive_nb/py.typed",
        "nixhive_nb/deployment/inventory.nix",
        "nixhive_nb/deployment/toplevel.nix",
        "nixhive_nb/lab/host.sh",
        "nixhive_nb/lab/nixpkgs/nixos/lib/eval-config.nix",
    } <= names
    others = {name.split("/")[0] for name in names} - {"nixhive_nb"}
    assert others == {f"nixhive_nb-{PROJECT['version']}.dist-info"}


def test_wheel_carries_the_licence_and_the_extras(wheel):
    folder = f"nixhive_nb-{PROJECT['version']}.dist-info"
    metadata = wheel.read(f"{folder}/METADATA").decode()
    assert wheel.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert "License-Expression: MIT\n" in metadata
    assert "Provides-Extra: lab\n" in metadata
    assert "nix-hive = nixhive_nb.cli.main:main" in wheel.read(f"{folder}/entry_points.txt").decode()


class Machine:
    """A machine as tools/system-packages sees it: the programs that are there, and who asks."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "bin"
        self.log = folder / "log"
        self.policy = folder / "policy-rc.d"
        self.programs.mkdir()
        for name in ("sh", "tail", "rm"):
            (self.programs / name).symlink_to(f"/bin/{name}")
        (self.programs / "python3").symlink_to(sys.executable)
        self.have(("getent", "exit 0"))

    def have(self, *programs: str | tuple[str, str]) -> None:
        for program in programs:
            name, script = program if isinstance(program, tuple) else (program, "exit 0")
            path = self.programs / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)

    def be(self, user: int, *, debian: bool = True) -> None:
        self.have(("id", f"echo {user}"))
        if debian:
            self.have(("apt-get", f'echo "$*" >>{self.log}'))

    def look_for(self, *groups: str) -> subprocess.CompletedProcess[str]:
        script = (ROOT / "tools/system-packages").read_text()
        for name, value in (("PATH", self.programs), ("policy", self.policy)):
            script, count = re.subn(rf"^{name}=.*$", f"{name}={value}", script, flags=re.MULTILINE)
            assert count == 1
        argv = ["/bin/sh", "-c", script, "system-packages", *groups]
        env = {name: value for name, value in os.environ.items() if name != "PYTHON"}
        return subprocess.run(argv, capture_output=True, text=True, env=env, check=False)

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


FLEET = ("sshd", "ssh-keygen", "ip", "sudo", "unshare", "nsenter", "setsid", "flock", "mount", "hostname")


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_nothing_is_said_where_nothing_is_missing(machine):
    machine.be(1000)
    machine.have("nix", "nix-store", "ssh", *FLEET)
    done = machine.look_for("venv", "fleet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_ordinary_user_is_told_the_command(machine):
    machine.be(1000)
    machine.have("ssh", *(name for name in FLEET if name not in ("sshd", "ip")))
    done = machine.look_for("fleet")
    assert done.returncode == 1
    assert "Missing on this machine: nix-store, nix, sshd, ip." in done.stderr
    assert done.stderr.endswith(
        "  sudo apt-get update && sudo apt-get install -y --no-install-recommends nix-bin openssh-server iproute2\n"
    )
    assert machine.calls() == []


def test_where_there_is_no_apt_the_programs_are_named(machine):
    machine.be(0, debian=False)
    machine.have("nix", "nix-store")
    done = machine.look_for("nix")
    assert done.returncode == 1
    assert "Missing on this machine: ssh." in done.stderr
    assert "apt" not in done.stderr


def test_root_installs_what_is_missing_and_nothing_is_started(machine):
    machine.be(0)
    machine.have("nix", "nix-store", "chmod", ("apt-get", f'echo "$* $(sh {machine.policy}; echo $?)" >>{machine.log}'))
    machine.have(("systemctl", f'echo "systemctl $*" >>{machine.log}'), *(name for name in FLEET if name != "sshd"))
    done = machine.look_for("fleet")
    assert done.returncode == 0, done.stderr
    assert "openssh-server: only the practice fleet uses it." in done.stdout
    update, install, disable = machine.calls()
    assert "update" in update.split()
    assert install.endswith("--no-install-recommends openssh-client openssh-server 101")
    assert disable == "systemctl disable --quiet ssh.service"
    assert not machine.policy.exists()


def test_a_failed_installation_shows_why(machine):
    machine.be(0)
    machine.have("nix", "nix-store", "chmod", ("apt-get", "echo 'E: no route to the archive'; exit 100"))
    done = machine.look_for("nix")
    assert done.returncode == 1
    assert "E: no route to the archive" in done.stderr
    assert "could not install: openssh-client" in done.stderr


@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="it is about Debian's packages")
def test_debians_nix_comes_with_its_build_users(machine):
    machine.be(1000)
    machine.have("ssh", ("getent", "exit 2"))
    assert "nix-bin nix-setup-systemd\n" in machine.look_for("nix").stderr
    machine.have("nix", "nix-store")  # from elsewhere: its build users are its own matter
    assert machine.look_for("nix").returncode == 0


def test_an_unknown_group_is_wrong_usage(machine):
    machine.be(0)
    assert machine.look_for("kitchen").returncode == 2
    assert machine.look_for().returncode == 2
