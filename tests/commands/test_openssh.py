"""`scp` of a notebook, where no shell has read the words; and `ssh` to a host that has no end."""

from __future__ import annotations

import pytest

from nixhive_nb.commands.openssh import _host
from nixhive_nb.errors import ConnectionFailed
from nixhive_nb.util import process
from nixhive_nb.util.process import Finished


def test_a_tilde_is_the_home_folder_here_and_not_on_the_host(in_notebook, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder / "home"))
    ran = []

    def run(argv, **_kinds):
        ran.append(argv)
        return Finished(argv=tuple(argv), status=0, stdout="", stderr="")

    in_notebook("instances")
    with monkeypatch.context() as only_here:
        only_here.setattr(process, "run", run)
        in_notebook("scp", "~/notes.txt", "www-1:~/notes.txt")
    assert ran[-1][-2:] == [str(folder / "home" / "notes.txt"), "www-1:~/notes.txt"]


@pytest.mark.parametrize(
    "words", [("www-1", "true"), ("-p", "22", "-v", "root@www-1", "true"), ("--", "www-1", "true")]
)
def test_a_host_that_would_be_reached_through_itself_starts_no_ssh(in_notebook, folder, monkeypatch, words):
    """N1: the user's own configuration is not read at load, and OpenSSH would start itself without end."""
    config = folder / "home" / ".ssh" / "config"
    config.parent.mkdir(parents=True)
    config.write_text("Host www-1\n  ProxyJump gate\nHost gate\n  ProxyJump www-1\n")
    monkeypatch.setenv("HOME", str(folder / "home"))
    with pytest.raises(ConnectionFailed, match="through itself: www-1 → gate → www-1"):
        in_notebook("ssh", *words)


def test_a_flag_may_lead_there_in_another_way():
    assert (
        _host(["-J", "portico", "www-1"]) == _host(["-oProxyJump=none", "www-1"]) == _host(["-F", "x", "www-1"]) == ""
    )
    assert _host(["-p", "22", "root@www-1", "true"]) == "www-1"
    assert _host(["-V"]) == ""
