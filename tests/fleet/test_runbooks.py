"""The runbooks in `notebooks/`: each runs headless, changes nothing when it is run again, and is its own record."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import papermill
import pytest

from nixhive_nb import Hive
from nixhive_nb.lab import Lab
from tests import warm
from tests.real import why_not

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("0*.ipynb"))
LEFT_BEHIND = ("lab.nix", "page.txt", ".hive*", ".ipynb_checkpoints", "nightly-*")
"""What a notebook that somebody ran in the checkout leaves there."""
UP = "lab up -c ../example"
WITH_SYSTEMD = "lab up -n 2 --systemd 1 -c ../example"
"""The same names, where the machine can have such hosts: www-3 has a real systemd."""
STANDS = """
readlink /run/current-system /nix/var/nix/profiles/system /nix/var/nix/profiles/system-*-link
cat /proc/sys/kernel/random/boot_id
"""


class Desk:
    """A folder with copies of the example and the notebooks, as an operator has them."""

    def __init__(self, folder: Path, up: str) -> None:
        """`up` is the command that brings the fleet up, in the notebooks as well."""
        self.folder = folder
        self.up = up.split()
        self.notebooks = folder / "notebooks"
        self.page = self.notebooks / "fleet" / "page.txt"

    def run(self, name, **parameters):
        """Run a notebook in its folder, where nobody is there."""
        done = self.folder / f"{name}-done.ipynb"
        return papermill.execute_notebook(
            self.notebooks / f"{name}.ipynb", done, parameters, cwd=self.notebooks, progress_bar=False
        )

    def papermill(self, *words):
        """Run the nightly notebook by the command line; give what came of it, and the saved notebook."""
        done = self.notebooks / "nightly-done.ipynb"
        done.unlink(missing_ok=True)
        ended = subprocess.run(
            [sys.executable, "-m", "papermill", "--no-progress-bar", "04-nightly.ipynb", done.name, *words],
            cwd=self.notebooks,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.exists(), ended.stderr
        return ended, nbformat.read(done, as_version=4)

    def nix_hive(self, *words):
        """Run `nix-hive` as a script does."""
        argv = [*warm.command(), *words]
        subprocess.run(argv, cwd=self.notebooks, stdin=subprocess.DEVNULL, check=True, capture_output=True)

    def settle(self):
        """Have the fleet up, with everything deployed."""
        self.nix_hive(*self.up)
        self.nix_hive("deploy", "-c", "fleet", "--yes")

    def runs(self):
        """Return the runs in the notebooks' folder, newest first, as `%hive history` does."""
        with Hive.load(self.notebooks / "fleet", state=self.notebooks / ".hive.state") as hive:
            return hive.history()

    def hosts(self):
        """Return what each host runs, its generations, and its boot."""
        lab = Lab.open()
        return {name: lab.exec(name, ["sh", "-c", STANDS]) for name in lab.instances}


class Quiet:
    """What must be so after a notebook that had nothing to change: the hosts, and the outcomes of its runs."""

    def __init__(self, desk):
        self._desk, self._hosts, self._runs = desk, desk.hosts(), set(desk.runs().index)

    def holds(self, *, runs):
        """Tell that nothing changed, in so many runs."""
        assert self._desk.hosts() == self._hosts
        every = self._desk.runs()
        new = every[~every.index.isin(self._runs)]
        assert len(new) == runs
        assert (new["unchanged"] == new["instances"]).all()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runbooks")
    up = UP if why_not() else WITH_SYSTEMD
    for name in ("example", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    for notebook in (folder / "notebooks").glob("*.ipynb"):
        notebook.write_text(notebook.read_text().replace(UP, up))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))  # where the fleet lives
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        desk = Desk(folder, up)
        yield desk
        # The notebooks leave it up, for each other.
        desk.nix_hive("lab", "down")


@pytest.fixture
def desk(place):
    """The folder, with the page as it is in the checkout."""
    place.page.unlink(missing_ok=True)
    return place


def outputs_of(notebook, source):
    """Return the outputs of the one cell in which some source stands."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and source in cell.source]
    # A look at the hosts that took more than a second leaves a line before.
    return [one for one in cell.outputs if not text_of(one).startswith("Looked at what is wanted")]


def said(notebook, source):
    """Return what that cell shows, as text."""
    return "\n".join(text_of(output) for output in outputs_of(notebook, source))


def text_of(output):
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    return output.text if output.output_type == "stream" else output.data["text/plain"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_and_its_markdown_are_the_same(path):
    text = jupytext.writes(jupytext.read(path), fmt="md")
    twin = path.with_suffix(".md")
    mend = f"To take over the newer of the two: jupytext --sync {path.relative_to(ROOT)}"
    assert twin.exists(), mend
    assert twin.read_text() == text, mend


@pytest.mark.fleet
def test_a_change_is_rolled_out_once_and_can_be_taken_back(desk):
    first = desk.run("02-rolling-deploy")
    assert "3 to activate · 1 wave · 3 batches" in said(first, "plan = ")
    table = text_of(outputs_of(first, "rollout[[")[-1])
    assert re.findall(r"^(www-\d) +(\d) +done +from relay", table, re.MULTILINE) == [
        ("www-1", "1"),
        ("www-2", "2"),
        ("www-3", "3"),
    ]
    assert "3 hosts said: www-1, www-2, www-3" in said(first, "%%hive run")
    assert "Good afternoon" in said(first, "%%hive run")
    before = Quiet(desk)
    second = desk.run("02-rolling-deploy")
    before.holds(runs=2)
    assert "5 of 5 deployed, all unchanged" in said(second, "%hive deploy")
    assert "3 of 3 deployed, all unchanged" in said(second, "rollout[[")
    assert "Nothing is taken back." in said(second, "if go_back")
    third = desk.run("02-rolling-deploy", go_back=True)
    assert "3 of 3 rolled back" in said(third, "if go_back")
    assert "3 outdated" in said(third, "%hive status")


@pytest.mark.fleet
def test_an_incident_is_found_and_repaired_where_it_is_and_nowhere_else(desk):
    first = desk.run("03-incident", rehearse=True)
    assert "2 hosts said: www-1, www-2" in said(first, "%%hive run")
    assert "from somebody's own checkout" in said(first, "%hive history")
    assert set(re.findall(r"^(?:www-\d|depot|portico)", said(first, "repair[["), re.MULTILINE)) == {"www-3"}
    assert "1 of 1 deployed" in said(first, "$repair")
    before = Quiet(desk)
    second = desk.run("03-incident")
    before.holds(runs=0)
    assert "Nothing was changed." in said(second, "$repair")
    assert said(second, 'status[["system').count("in sync") == 5


@pytest.mark.fleet
def test_an_overview_shows_what_there_is(desk):
    desk.run("05-fleet-overview")
    before = Quiet(desk)
    second = desk.run("05-fleet-overview")
    before.holds(runs=1)
    assert "5 of 5 deployed, all unchanged" in said(second, "%hive deploy")
    assert "<svg" in outputs_of(second, "SVG(")[0].data["image/svg+xml"]
    picture = outputs_of(second, "report.timeline()")[0].data["text/html"]
    assert "www-3" in picture
    assert "<script" not in picture


@pytest.mark.slow
def test_papermill_tells_of_the_parameters_of_the_nightly_deploy():
    told = subprocess.run(
        [sys.executable, "-m", "papermill", "--help-notebook", ROOT / "notebooks" / "04-nightly.ipynb"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(r"leave: str \(default \"\"\)\s+yes, or the digest of a plan", told)
    assert re.search(r"canary: int \(default 1\)\s+so many instances", told)
    assert len(re.findall(r"^  \w+: (?:str|int) \(default .+\)", told, re.MULTILINE)) == 8


@pytest.mark.fleet
def test_a_nightly_deploy_does_the_plan_that_was_looked_at_and_nothing_again(desk):
    desk.settle()
    desk.page.write_text("Good night from a web server.\n")
    before = Quiet(desk)
    ended, looked = desk.papermill()
    assert ended.returncode == 0, ended.stderr
    before.holds(runs=0)
    digest = re.search(r"-r leave ([0-9a-f]+)", said(looked, "if agreed"))[1]
    assert f"Plan {digest} " in said(looked, "plan = ")
    ended, done = desk.papermill("-r", "leave", digest, "-r", "key", "tonight")
    assert ended.returncode == 0, ended.stderr
    assert "5 of 5 deployed, 2 unchanged" in said(done, "if agreed")
    before = Quiet(desk)
    ended, once = desk.papermill("-r", "leave", "yes", "-r", "key", "tonight")
    assert ended.returncode == 0, ended.stderr
    assert "Nothing was done: --once tonight was done by run " in said(once, "if agreed")
    before.holds(runs=0)
    ended, again = desk.papermill("-r", "leave", "yes")
    assert ended.returncode == 0, ended.stderr
    assert "5 of 5 deployed, all unchanged" in said(again, "if agreed")
    before.holds(runs=1)


@pytest.mark.fleet
def test_a_nightly_deploy_with_a_wrong_parameter_fails_before_anything_is_done(desk):
    desk.nix_hive(*desk.up)
    before = Quiet(desk)
    ended, notebook = desk.papermill("-r", "leave", "yes", "-r", "first", "nobody")
    assert ended.returncode == 1
    assert "nobody" in said(notebook, "plan = ")
    before.holds(runs=0)


@pytest.mark.fleet
def test_a_nightly_deploy_that_fails_says_so_to_the_scheduler_and_in_the_saved_notebook(desk):
    desk.settle()
    desk.page.write_text("Out of order.\n")
    before = desk.hosts()
    ended, notebook = desk.papermill("-r", "leave", "yes", "-p", "canary", "2")  # depot and www-1
    assert ended.returncode == 1
    assert "RunFailed: " in ended.stderr
    # papermill's own word, on top.
    assert "An Exception was encountered" in notebook.cells[0].source
    record, error = outputs_of(notebook, "if agreed")
    assert "check page failed" in record.data["text/html"]
    assert re.search(r"^www-1 .*rolled back", record.data["text/plain"], re.MULTILINE)
    assert re.search(r"^www-3 .*skipped", record.data["text/plain"], re.MULTILINE)
    assert error.ename == "RunFailed"
    assert desk.hosts() == before
