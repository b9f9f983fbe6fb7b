"""One signing key for all practice fleets of a user."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from nixhive_nb.lab import Lab, LabError
from nixhive_nb.lab.places import default_folder, signing_folder
from nixhive_nb.lab.signing import user_keys

pytestmark = pytest.mark.nix

MAKE = """
import sys
from nixhive_nb.lab.signing import user_keys
secret, public = user_keys({"NIX_REMOTE": sys.argv[1], "HOME": "/nonexistent", "NIX_CONFIG": "build-users-group ="})
print(secret.read_text(), public.read_text())
"""


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    """A state folder that nobody has used."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def nix(tmp_path, need_nix):
    return {"NIX_REMOTE": str(tmp_path / "store"), "HOME": "/nonexistent", "NIX_CONFIG": "build-users-group ="}


@pytest.mark.fleet
def test_fleets_of_a_user_sign_with_one_key_that_stays(tmp_path, state):
    with Lab.up(tmp_path / "one", web=0) as one, Lab.up(tmp_path / "two", web=0) as two:
        public, secret = one.public_key, one.signing_key.read_text()
        assert (two.public_key, two.signing_key.read_text()) == (public, secret)
        assert public in two.exec("depot", ["cat", "/etc/nix/nix.conf"])
    with Lab.up(tmp_path / "three", web=0) as three:
        assert (three.public_key, three.signing_key.read_text()) == (public, secret)
    assert [path.name for path in state.iterdir()] == ["nixhive-lab-signing"]


@pytest.mark.fleet
def test_a_fleet_keeps_its_key_when_the_users_own_one_goes(tmp_path):
    with Lab.up(tmp_path / "lab", web=0) as lab:
        public = lab.public_key
        for path in signing_folder().iterdir():
            path.unlink()
        assert lab.public_key == public
        assert lab.signing_key.read_text().startswith(public.partition(":")[0] + ":")


def test_programs_that_make_it_at_once_agree(tmp_path, need_nix):
    def make(number: int) -> str:
        argv = [sys.executable, "-c", MAKE, str(tmp_path / f"store-{number}")]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout

    with ThreadPoolExecutor() as pool:
        made = list(pool.map(make, range(6)))
    assert len(set(made)) == 1
    assert made[0].count("nixhive-lab-") == 2


def test_it_is_private(nix):
    secret, _ = user_keys(nix)
    assert secret.parent.stat().st_mode & 0o777 == 0o700
    assert secret.stat().st_mode & 0o777 == 0o600


def test_what_was_left_half_made_is_made_anew(nix):
    secret, public = user_keys(nix)
    old = secret.read_text()
    public.unlink()
    secret.with_suffix(".new").write_text("half of a ke")
    secret, public = user_keys(nix)
    assert secret.read_text() != old
    assert secret.read_text().partition(":")[0] == public.read_text().partition(":")[0]


def test_it_lives_beside_the_usual_fleet_and_not_in_it(state):
    assert default_folder().parent == signing_folder().parent == state
    assert default_folder() != signing_folder()


def test_a_state_folder_that_cannot_be_is_named_with_what_to_do(nix, state):
    state.write_text("a file")
    with pytest.raises(LabError, match=r"cannot be kept in .*/state/nixhive-lab-signing: .*XDG_STATE_HOME"):
        user_keys(nix)
