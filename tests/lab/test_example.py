"""The deployment example, with the practice fleet's stand-in for nixpkgs."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "example"

pytestmark = pytest.mark.fleet


@pytest.fixture
def system(build, tmp_path):
    """Builds a system of the example, as it is without a practice fleet."""
    folder = tmp_path / "example"
    folder.mkdir()
    for source in EXAMPLE.glob("*.nix"):
        if source.name != "lab.nix":
            (folder / source.name).write_text(source.read_text())
    return lambda name: Path(build(f"system (import {folder}).systems.{name}.configuration"))


@pytest.mark.parametrize(("name", "words"), [("portico", "way in"), ("www", "web server"), ("depot", "files are")])
def test_each_system_builds_and_says_what_it_is(system, name, words):
    motd = (system(name) / "etc" / "motd").read_text()
    assert words in motd
    assert "Changes made by hand do not last" in motd


def test_the_web_system_serves_a_page_and_names_no_host(system):
    path = system("www")
    assert "Good morning" in (path / "etc" / "www" / "index.html").read_text()
    assert "root /etc/www;" in (path / "etc" / "nginx" / "nginx.conf").read_text()
    assert "host_name=''" in (path / "activate").read_text()


def test_the_web_system_reaches_a_host_by_way_of_its_relay(system, lab, operator):
    path = str(system("www"))
    operator.sign(path)
    operator.copy("portico", path)
    before = operator.sent()
    done = operator.ssh("www-2", f"nix-store --realise {path} && sudo {path}/bin/switch-to-configuration switch")
    assert done.returncode == 0, done.stderr
    assert operator.sent() - before < 200_000
    assert "This is a web server." in lab.exec("www-2", ["cat", "/etc/motd"])
    assert lab.exec("www-2", ["hostname"]) == "www-2\n"
