"""How packages are installed: uv is told what pip is configured with, and pip does what uv cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.alone import module_of

TOOL = Path(__file__).parents[2] / "tools" / "install.py"


@pytest.fixture(scope="module")
def install():
    return module_of(TOOL)


def test_uv_looks_where_pip_looks(install):
    found = install.uv_settings(
        ":env:.find-links='/wheels /more'\n"
        "freeze.user='true'\n"
        "global.cert='/etc/ssl/our.pem'\n"
        "global.constraint='/etc/pip/constraints.txt'\n"
        "global.extra-index-url='file:///a/simple\\nfile:///b/simple'\n"
        "global.find-links='/hidden'\n"
        "global.index-url='https://far.example/simple'\n"
        "install.index-url='https://near.example/simple'\n"
        "global.timeout='60'\n"
    )
    assert found == {
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_LINK_MODE": "copy",
        "SSL_CERT_FILE": "/etc/ssl/our.pem",
        "UV_CONSTRAINT": "/etc/pip/constraints.txt",
        "UV_DEFAULT_INDEX": "https://near.example/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INDEX": "file:///a/simple file:///b/simple",
    }


def test_what_uv_has_no_word_for_is_left_to_pip(install):
    assert install.uv_settings("global.client-cert='/etc/ssl/me.pem'\n") is None


def called(install, monkeypatch, *, fails=()):
    """Have each program only noted, and those with one of these words fail; return who was called to install."""
    calls = []

    def run(argv, **_):
        calls.append(argv)
        return subprocess.CompletedProcess(argv, int(any(word in argv for word in fails)), stdout="", stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["install.py", "one"])
    return calls


def test_uv_installs_where_it_can_be_had(install, monkeypatch):
    calls = called(install, monkeypatch)
    install.main()
    assert calls[-1] == [*install.UV, "one"]


@pytest.mark.parametrize("fails", [("uv",), ("--python",)])
def test_pip_installs_where_uv_cannot(install, monkeypatch, fails):
    calls = called(install, monkeypatch, fails=fails)
    with pytest.raises(SystemExit) as ended:
        install.main()
    assert ended.value.code == 0
    assert calls[-1] == [*install.PIP, "install", "one"]
