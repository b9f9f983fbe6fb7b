"""The sudoers of a host whose sudo asks: each works with the password, or what is missing is told by its own name."""

from __future__ import annotations

import shutil

import pytest

from nixhive_nb import Hive
from nixhive_nb.errors import PasswordRefused
from nixhive_nb.hosts.password import Password
from nixhive_nb.hosts.privilege import elevation
from nixhive_nb.lab import HostSpec
from tests.fleet.asked import set_password
from tests.practice import start

pytestmark = pytest.mark.fleet

ALL = "deploy ALL=(ALL:ALL) ALL"
_LOCKING = """\
auth required pam_faillock.so preauth deny=DENY nodelay
auth sufficient pam_unix.so nodelay
auth [default=die] pam_faillock.so authfail deny=DENY nodelay
account required pam_faillock.so
account required pam_unix.so
session required pam_permit.so
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, secret):
    """A host whose login user has a password, and what sudo asks before it is as each test says."""
    specs = [HostSpec("depot", "depot", user="deploy", sudo=False)]
    one = start(tmp_path_factory.mktemp("fleet"), web=0, specs=specs)
    set_password(one, "depot", secret)
    one.lab.exec("depot", ["sh", "-c", "mkdir -p /run/faillock; echo 'We trust you.' >/etc/lecture"])
    yield one
    one.lab.down()


@pytest.fixture(scope="module")
def hive(fleet):
    """The deployment, over one connection for all tests."""
    with Hive.load(fleet.example, state_dir=fleet.folder / "kept") as one:
        yield one


@pytest.fixture
def etc(fleet):
    """The host's own /etc; its sudoers and what asks there are as before when a test ends."""
    folder = fleet.lab.root("depot") / "etc"
    files = {name: (folder / name).read_text() for name in ("sudoers", "pam.d/sudo", "shadow")}
    (folder / "pam.d" / "sudo").write_text(files["pam.d/sudo"].replace("pam_unix.so", "pam_unix.so nodelay", 1))
    yield folder
    for name, text in files.items():
        (folder / name).write_text(text)


def as_root(hive, password, *, stdin="its own input\n"):
    """Have root run a command on the host, as a command of its own does, and return the row. Nothing is known yet."""
    hive._work.powers.able.clear()
    hive._work.powers.asking.clear()
    known = hive.using(password=lambda _label, _names: password)
    try:
        frame = known.run("depot", "id -u; cat", sudo=True, stdin=stdin)
    finally:
        known.forget_passwords()
    return frame.reset_index().iloc[0]


def sudoers(etc, *lines):
    """Write what a host says of sudo, as a person does who leaves the line of root alone."""
    (etc / "sudoers").write_text("\n".join(["root ALL=(ALL:ALL) ALL", *lines, ""]))


WORKS = {
    "as it comes": [ALL],
    "lecture = always": ["Defaults lecture=always, lecture_file=/etc/lecture", ALL],
    "use_pty": ["Defaults use_pty", ALL],
    "!use_pty": ["Defaults !use_pty", ALL],
    "!authenticate": ["Defaults:deploy !authenticate", ALL],
    "NOPASSWD": ["deploy ALL=(ALL:ALL) NOPASSWD: ALL"],
    "secure_path": ['Defaults secure_path="/bin"', ALL],
    "passwd_tries = 1": ["Defaults passwd_tries=1", ALL],
    "timestamp_timeout = 0": ["Defaults timestamp_timeout=0", ALL],
    "timestamp_timeout = -1": ["Defaults timestamp_timeout=-1, timestamp_type=global", ALL],
    "log_output": ["Defaults log_output, use_pty", ALL],
    "log_input": ["Defaults log_input", ALL],
    "pwfeedback": ["Defaults pwfeedback", ALL],
    "passprompt_override": ['Defaults passprompt_override, passprompt="Say it: "', ALL],
    "insults": ["Defaults insults", ALL],
}


@pytest.mark.parametrize("lines", WORKS.values(), ids=WORKS)
def test_it_works_and_the_password_is_no_part_of_the_input(fleet, hive, etc, secret, lines):
    sudoers(etc, *lines)
    row = as_root(hive, secret)
    assert (row["error"], row["stdout"]) == ("", "0\nits own input\n")
    # As where sudo was seen to ask, and does not any more.
    by = elevation((), root=False, password=Password(secret))
    words = ["setpriv", "--reuid=deploy", "--regid=users", "--init-groups", "sh", "-c", by.shell("id -u; cat")]
    assert fleet.lab.exec("depot", words, text=by.input("line\n")) == "0\nline\n"


HELPS_NOT = {
    "requiretty": (["Defaults requiretty", ALL], "say `Defaults:USER !requiretty` in its sudoers"),
    "only some commands": (
        ["deploy ALL=(root) /usr/bin/nix-env, /usr/bin/systemctl"],
        "Let the login user run everything: `USER ALL=(root) NOPASSWD: ALL`",
    ),
    "some without a password": (
        ["deploy ALL=(root) NOPASSWD: /usr/bin/nix-env"],
        "Let the login user run everything: `USER ALL=(root) NOPASSWD: ALL`",
    ),
    "not in sudoers": ([], "not in the sudoers file"),
}


@pytest.mark.parametrize(("lines", "told"), HELPS_NOT.values(), ids=HELPS_NOT)
def test_where_a_password_is_not_what_is_missing_it_is_told_what_is(hive, etc, secret, lines, told):
    sudoers(etc, *lines)
    row = as_root(hive, secret)
    assert told in row["error"]
    assert "--ask-password" not in row["error"]


WRONG = {
    "as it comes": [],
    "passwd_tries = 1": ["Defaults passwd_tries=1"],
    "insults": ["Defaults insults"],
    "own words": ['Defaults badpass_message="No.", authfail_message="Go away."'],
    "own words, once": ['Defaults passwd_tries=1, authfail_message="Go away."'],
    "own prompt": ['Defaults passprompt_override, passprompt="Say it: "'],
}


@pytest.mark.parametrize("lines", WRONG.values(), ids=WRONG)
def test_a_wrong_one_is_known_as_that_whatever_sudo_says_to_it(hive, etc, lines):
    """Else it would be tried on the next host, and on all others."""
    sudoers(etc, *lines, ALL)
    with pytest.raises(PasswordRefused, match="The password was refused on 1 host"):
        as_root(hive, "not this one")


def faults(fleet):
    """How many failures are counted of the login user."""
    said = fleet.lab.exec("depot", ["faillock", "--user", "deploy"])
    return len([line for line in said.splitlines() if line.endswith(" V")])


def test_failures_that_lock_an_account_are_told(fleet, hive, etc, secret):
    """sudo takes the end of its input for one more password, and what counts failures counts it: no way round that."""
    sudoers(etc, ALL)
    (etc / "pam.d" / "sudo").write_text(_LOCKING.replace("DENY", "3"))
    with pytest.raises(PasswordRefused, match="faillock counts 2 failures of that user"):
        as_root(hive, "not this one")
    assert faults(fleet) == 2
    assert as_root(hive, secret)["error"] == ""
    assert faults(fleet) == 0
    (etc / "pam.d" / "sudo").write_text(_LOCKING.replace("DENY", "1"))
    for password in ("not this one", secret):
        with pytest.raises(PasswordRefused, match="faillock counts 1 failure of that user: where these are too many"):
            as_root(hive, password)
    fleet.lab.exec("depot", ["faillock", "--user", "deploy", "--reset"])


def test_an_expired_password_is_told_as_that(hive, etc, secret):
    sudoers(etc, ALL)
    shadow = (etc / "shadow").read_text().splitlines()
    expired = [line if not line.startswith("deploy:") else line.replace(":19000:0:99999", ":1:0:1") for line in shadow]
    (etc / "shadow").write_text("\n".join([*expired, ""]))
    assert "Log in as that user and set a new password" in as_root(hive, secret)["error"]


DOAS = {
    "with a password": ("permit deploy as root\n", 0o644, "asks for a password at a terminal alone"),
    "persist": ("permit persist deploy as root\n", 0o644, "say `permit nopass USER as root` in its doas.conf"),
    "some commands": ("permit nopass deploy as root cmd ls\n", 0o644, "Say `permit nopass USER as root`"),
    "nothing": ("", 0o644, "Say `permit nopass USER as root`"),
    "a mistake": ("permit nopas deploy\n", 0o644, "syntax error at line 1). See that its doas.conf says"),
    "open to all": ("permit nopass deploy as root\n", 0o666, "See that its doas.conf says `permit nopass"),
    "none": (None, 0, "doas is not enabled"),
    "nopass": ("permit nopass deploy as root\n", 0o644, ""),
}


@pytest.mark.skipif(shutil.which("doas") is None, reason="not installed: doas")
@pytest.mark.parametrize(("text", "mode", "told"), DOAS.values(), ids=DOAS)
def test_doas_takes_no_password_and_says_what_to_set(fleet, etc, text, mode, told):
    page = fleet.example / "doas.nix"
    page.write_text('let base = import ./default.nix; in base // { instances = base.instances // { depot = '
                    'base.instances.depot // { elevate = "doas"; }; }; }\n')  # fmt: skip
    conf = etc / "doas.conf"
    conf.unlink(missing_ok=True)
    if text is not None:
        conf.write_text(text)
        conf.chmod(mode)
    with Hive.load(page, state_dir=fleet.folder / "kept") as one:
        row = one.using(password=lambda *_: "any").run("depot", "id -u", sudo=True).reset_index().iloc[0]
    assert told in row["error"]
    assert "there is no doas" not in row["error"]
    assert bool(row["error"]) == bool(told)
