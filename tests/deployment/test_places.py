"""Case 8, D19: our own files are found again, are shared where a team shares them, and are in nobody's `./.`."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import secrets
import stat
import tempfile
from pathlib import Path

import pytest

from nixhive_nb import Hive
from nixhive_nb.deployment.places import Places, places_of
from nixhive_nb.deployment.state import read_known, read_state, remember, update_state
from nixhive_nb.errors import OptionError
from nixhive_nb.lab.fleet import _NIXPKGS as STAND_IN
from nixhive_nb.plan.plan import Plan
from nixhive_nb.run import history
from nixhive_nb.run.journal import Journal
from nixhive_nb.run.once import Claim, Done
from nixhive_nb.util import process
from nixhive_nb.util.files import make_folder, private_opener, write_whole
from tests.run.test_journal import HEADER

pytestmark = pytest.mark.nix

FLAGS = '[ "--option" "sandbox" "false" "--option" "substituters" "" ]'


def deployment(folder, own='"${./.}"', more=""):
    """A deployment whose system `www` takes its own folder into the store, and whose `odd` does not."""
    (folder / "hive.nix").write_text(f"""{{
      paths.nixpkgs = "{STAND_IN}";
      nix.build.flags = {FLAGS};
      systems.www.configuration = {{ ... }}: {{ environment.etc.src.text = {own}; }};
      systems.odd.configuration = {{ ... }}: {{ environment.etc.x.text = "{secrets.token_hex(8)}"; }};
      instances.www-1.system = "www";
      {more}
    }}""")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "fleet"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


TAKES = {
    "as a text": '"${./.}"',
    "as a source": 'builtins.readFile (./. + "/hive.nix") + "${./.}"',
    "by builtins.path": 'builtins.path { path = ./.; name = "source"; }',
    "with a filter that leaves git out": 'builtins.filterSource (path: type: baseNameOf path != ".git") ./.',
}


@pytest.mark.parametrize("how", TAKES)
def test_a_system_that_takes_its_own_folder_is_the_same_one_the_second_time(here, how):
    """Case 8: it was another one after each run, since each run left something in that folder."""
    deployment(here, TAKES[how])
    with Hive.load() as hive:
        first = hive.build().frame
        plan = hive.plan("build", "www")
        second = hive.build().frame
        hive.apply(plan)
        assert dict(first["result"]) == dict(second["result"]) == dict(hive.systems()["result"])
    assert set(second["outcome"]) == {"unchanged"}
    assert {path.name for path in here.iterdir()} == {"hive.nix"}
    with Hive.load() as again:  # another process
        assert again.build("*", no=["build"]).frame.loc["www", "result"] == first.loc["www", "result"]


def test_nothing_of_ours_is_in_a_store(here):
    """Case 8: journals, which only we can read, were world-readable in the store of every host."""
    deployment(here)
    with Hive.load() as hive:
        for _ in range(2):
            hive.build()
        result = hive.build().frame.loc["www", "result"]
    closure = process.run(["nix-store", "--query", "--requisites", result]).stdout.split()
    held = [path for one in closure if one.endswith("-fleet") for path in Path(one).rglob("*")]
    assert [path.name for path in held] == ["hive.nix"]


@pytest.mark.parametrize("name", [".hive", "journals"])
def test_what_lies_in_the_folder_all_the_same_is_warned_of(here, name):
    """Case 8: a `.hive` of an earlier version is used as before, and so is the folder that was named."""
    deployment(here)
    (here / name).mkdir()
    said = []
    with Hive.load(state_dir=None if name == ".hive" else name, warn=said.append) as hive:
        assert hive.state_dir == here / name
        hive.build("odd")
        assert said == []
        hive.build("www")
    assert said
    (told,) = [text for text in said if f"{here / name} with it" in text]
    assert "(www)" in told
    assert list((here / name / "runs").glob("*.jsonl"))


def test_a_filter_that_keeps_ours_out_is_seen(here):
    """Case 8: who leaves them out has the state file where Nix-Hive reads it, once it is there, and no warning."""
    deployment(here, 'builtins.path { path = ./.; filter = path: type: baseNameOf path == "hive.nix"; }')
    (here / ".hive").mkdir()
    (here / ".hive.state").write_text("")
    said = []
    with Hive.load(warn=said.append) as hive:
        first = hive.build().frame
        assert dict(read_state(here / ".hive.state").results) == dict(first["result"])
        assert set(hive.build().frame["outcome"]) == {"unchanged"}
    assert said == []


def test_the_state_file_of_old_is_read_and_left_as_it_is_where_it_would_change_the_system(here):
    """Case 8: and it is warned of, since it is in the store."""
    deployment(here)
    old = "(r0|www|/nix/store/00000000000000000000000000000000-old)\n"
    (here / ".hive.state").write_text(old)
    said = []
    with Hive.load(warn=said.append) as hive:
        first = hive.build("www").frame.loc["www", "result"]
        assert hive.build("www").frame.loc["www", ["result", "outcome"]].tolist() == [first, "unchanged"]
        assert hive.systems().loc["www", "result"] == first
    assert (here / ".hive.state").read_text() == old
    assert str(here / ".hive.state") in said[0]


def test_results_go_back_to_the_state_file_when_no_system_takes_the_folder_any_more(here):
    """Case 8."""
    deployment(here)
    with Hive.load() as hive:
        hive.build()
        assert not (here / ".hive.state").exists()
        deployment(here, '"nothing"')
        hive.build("www")  # of the other it is not known yet
        assert not (here / ".hive.state").exists()
        results = dict(hive.build().frame["result"])
        assert read_state(here / ".hive.state").results == results
        assert not places_of(hive.file, hive.state_file).kept_state.exists()


def test_a_deployment_has_one_folder_whatever_leads_to_it(here, tmp_path, monkeypatch):
    """Case 8: it is found again from another folder, by a link, by its file; another deployment has another one."""
    deployment(here)
    (here / "default.nix").write_text("import ./hive.nix")
    (tmp_path / "link").symlink_to(here)
    monkeypatch.chdir(tmp_path)
    ways = [here, "fleet", tmp_path / "link", "link/default.nix", here / "default.nix"]
    folders = {places_of(Path(way), tmp_path / str(number)).folder for number, way in enumerate(ways)}
    assert len(folders) == 1
    (folder,) = folders
    assert folder != places_of(here / "hive.nix", ".hive.state").folder
    assert folder.is_relative_to(Path(os.environ["XDG_STATE_HOME"]) / "nixhive_nb")
    assert places_of(here, "x").make() == folder
    assert (folder / "deployment").read_text() == f"{here}\n"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("env", "below"),
    [
        ({"XDG_STATE_HOME": "relative", "HOME": "{tmp}/home"}, "home/.local/state/nixhive_nb"),
        ({"XDG_STATE_HOME": "", "HOME": "{tmp}/home"}, "home/.local/state/nixhive_nb"),
        ({"HOME": "{tmp}/fleet/hive.nix"}, "fleet/.hive"),
    ],
    ids=["relative XDG_STATE_HOME", "empty XDG_STATE_HOME", "a home that cannot be made"],
)
def test_odd_homes(here, tmp_path, monkeypatch, env, below):
    """Case 8: a user without a home that can be written has the files beside the state file, as before."""
    deployment(here)
    monkeypatch.delenv("XDG_STATE_HOME")
    for name, value in env.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    assert str(places_of("hive.nix", ".hive.state").folder).startswith(str(tmp_path / below))


def test_what_is_ours_in_the_watched_folder_is_no_change_of_the_deployment(here):
    """Case 8: a folder or a state file that is not hidden was taken for a change, and all was evaluated anew."""
    deployment(here, '"nothing"')
    with Hive.load(state="results", state_dir="journals") as hive:
        before = hive.inventory
        hive.build()
        assert (here / "results").exists()
        assert (here / "journals" / "runs").is_dir()
        assert hive.inventory is before


def test_journals_of_an_earlier_version_are_read_where_they_are(here):
    """Case 8: `.hive` beside the state file."""
    deployment(here, '"nothing"')
    (here / ".hive").mkdir()
    with Hive.load() as hive:
        hive.build("odd")
        run = hive.history().index[0]
    assert (here / ".hive" / "runs" / f"{run}.jsonl").is_file()
    assert not Path(os.environ["XDG_STATE_HOME"]).joinpath("nixhive_nb", "x").exists()
    with Hive.load(here / "hive.nix", state=here.parent / "elsewhere.state") as hive:  # beside the deployment
        assert list(hive.history().index) == [run]


# Who may read and write them


@pytest.mark.parametrize("mode", [0o664, 0o660, 0o666])
def test_a_state_file_that_a_team_writes_keeps_its_mode_and_its_group(tmp_path, mode):
    """D19: it became 0600 at each build, so that a team's other members could not read it."""
    file = tmp_path / ".hive.state"
    file.touch()
    file.chmod(mode)
    if os.getuid() == 0:
        os.chown(file, -1, 65534)
    before = file.stat().st_gid
    update_state(file, {"www": ("/nix/store/x", "/nix/store/x.drv")})
    assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_gid) == (mode, before)


def test_a_new_file_is_for_us_alone_and_in_a_folder_of_a_team_for_the_team(tmp_path):
    """D19."""
    for mode, file_mode, folder_mode in ((0o755, 0o600, 0o700), (0o2770, 0o660, 0o2770), (0o2755, 0o600, 0o2700)):
        folder = tmp_path / oct(mode)
        folder.mkdir()
        folder.chmod(mode)
        before = os.umask(0o077)
        try:
            write_whole(folder / "whole", b"", shared=True)
            write_whole(folder / "plan", b"")
            with open(folder / "log", "wb", opener=private_opener):
                pass
            make_folder(folder / "a" / "b")
        finally:
            os.umask(before)
        modes = [stat.S_IMODE((folder / name).stat().st_mode) for name in ("whole", "log", "a/b", "plan")]
        assert modes == [file_mode, file_mode, folder_mode, 0o600], oct(mode)


def use(words):
    """What a run of `deploy --once nightly` leaves; the run that has done it, the number of runs, and what is wrong."""
    where = places_of("hive.nix", ".hive.state", *words)
    folder = where.make()
    with contextlib.closing(Claim.take(folder, "nightly")) as claim:
        done = claim.done
        plan = Plan(verb="deploy", source="hive.nix", systems=(), targets=(), steps=())
        with contextlib.closing(Journal.begin(folder, HEADER, plan)) as journal:
            if done is None:
                claim.settle(Done(run=journal.run, ended=1.0))
    update_state(where.state, {"www": (f"/nix/store/{os.getuid()}", "/nix/store/x.drv")})
    return [done.run if done else "-", str(len(history.runs(folder))), journal.failure or "whole"]


def as_user(user, groups, function, *args):
    """Call a function as somebody else, in a process of its own, and give what it gives: words."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            os.umask(0o022)
            os.setgroups(groups)
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            try:
                said = function(*args)
            except Exception as error:  # noqa: BLE001 - told to the test
                said = [repr(error)]
            os.write(writer, "\n".join(said).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        found = answer.read().decode().split("\n")
    os.waitpid(child, 0)
    return found


@pytest.mark.skipif(os.getuid() != 0, reason="two users are needed")
@pytest.mark.parametrize("words", [(), ("kept",)], ids=["an existing .hive", "--state-dir"])
def test_two_users_of_a_folder_share_history_and_once(monkeypatch, words):
    """Case 8, D19: two users of one group in a setgid folder; the second sees what the first has done."""
    group, (first, second) = grp.getgrnam("users").gr_gid, (pwd.getpwnam("daemon"), pwd.getpwnam("games"))
    with tempfile.TemporaryDirectory(prefix="hive-test-") as name:
        shared = Path(name)
        os.chown(shared, -1, group)
        shared.chmod(0o2770)
        monkeypatch.chdir(shared)
        if not words:
            as_user(first, [group], lambda: [str((shared / ".hive").mkdir())])
        assert as_user(first, [group], use, words) == ["-", "1", "whole"]
        run, count, state = as_user(second, [group], use, words)
        assert (count, state) == ("2", "whole")
        assert run != "-"
        assert as_user(first, [group], use, words) == [run, "3", "whole"]
        assert read_state(shared / ".hive.state").results == {"www": f"/nix/store/{first.pw_uid}"}
        left = [path for path in shared.rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o007]
        assert [path.name for path in left] in ([], [".hive"])  # the latter they made by themselves


def test_a_key_is_where_it_was_named(here):
    """D19: `state_dir` leads to one set of keys from two deployments, as a team wants it."""
    deployment(here)
    with Hive.load(state_dir="../team") as one, contextlib.closing(one.claim("nightly")):
        with Hive.load(state_dir=here.parent / "team") as other, pytest.raises(OptionError, match="right now"):
            other.claim("nightly")
        with Hive.load() as apart:
            apart.claim("nightly").close()


def test_what_is_kept_goes_before_the_state_file(tmp_path):
    """Case 8."""
    places = Places(deployment=tmp_path / "hive.nix", state=tmp_path / ".hive.state", folder=tmp_path / "own")
    remember(places, {"a": ("/1", "/1.drv")}, taken_along=False, all_seen=False)
    remember(places, {"a": ("/2", "/2.drv")}, taken_along=True, all_seen=False)
    assert read_known(places).results == {"a": "/2"}
    remember(places, {"b": ("/3", "/3.drv")}, taken_along=False, all_seen=False)
    assert read_state(places.state).results == {"a": "/1"}
    remember(places, {"c": ("/4", "/4.drv")}, taken_along=False, all_seen=True)
    assert read_state(places.state).results == read_known(places).results == {"a": "/2", "b": "/3", "c": "/4"}


def test_a_deployment_that_is_no_more_keeps_nothing_from_being_collected(here, tmp_path, monkeypatch):
    """Case 8: roots no longer go with the folder of the deployment, so that somebody has to let go of them."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = {}
    for name in ("gone", "gone today", "there"):
        (tmp_path / name).mkdir()
        made[name] = places_of(tmp_path / name, tmp_path / "x").make()
        for part in ("gcroots", "runs"):
            (made[name] / part).mkdir()
    for name in ("gone", "gone today"):
        (tmp_path / name).rmdir()
    for name in ("gone", "there"):
        os.utime(made[name] / "gcroots", (1, 1))
    places_of(here, tmp_path / "x").make()
    assert {name for name, folder in made.items() if (folder / "gcroots").is_dir()} == {"gone today", "there"}
    assert all((folder / "runs").is_dir() for folder in made.values())
