"""`scp` of a notebook, where no shell has read the words."""

from __future__ import annotations

from nixhive_nb import process
from nixhive_nb.process import Finished


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
