"""What is said of an activation, by what the host told: hosts that answer as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import shlex

import msgspec
import pytest

from nixhive_nb.errors import ConnectionFailed, HiveError, LinkLost, Refused, RolledBack, StepFailed, WorkerLost
from nixhive_nb.hosts import activate
from nixhive_nb.hosts.activate import Activation
from nixhive_nb.hosts.activation import Order, SeenHost, failed_text, units_in
from nixhive_nb.hosts.scripts import GONE, activation_hash
from nixhive_nb.plan.facts import HostFacts
from nixhive_nb.ssh.link import RemoteResult

OLD, NEW = (f"/nix/store/{letter * 32}-nixos-system-web" for letter in "ab")
ORDER = Order(id="ab12", instance="web", path=NEW, type="switch", confirm=0, limit=60, owner="ann")


def looks(current, *failed):
    """What a host with systemd says."""
    said = [f"current={current}", f"profile={current}", "uid=0", "boot_id=1", "systemd=yes"]
    return "\n".join([*said, *(f"failed={unit}" for unit in failed), "hive_there=yes", "hive_system=yes"])


class Hosts:
    """One host: how it is before and after, and what its activation says."""

    def __init__(self, before, after, *lines):
        self.looks = [before, after]
        self.lines = lines
        self.begun = ""
        """The words that began an activation."""
        self.going_back = False

    def kept(self, _instance):
        return self

    async def run(self, words, *, seconds, on_line=None, stdin=None):
        said = ""
        if stdin is None:
            said = self.looks.pop(0)
        elif "begin" in shlex.split(words):
            self.begun = words
            for line in self.lines:
                on_line(line)
                self.going_back = self.going_back or " back " in line
                await asyncio.sleep(0.01)
        return RemoteResult(exited=0, stdout=said, stderr="", seconds=0.0)

    @contextlib.asynccontextmanager
    async def fresh(self, _instance, *, urgent=False):
        raise ConnectionFailed("Connection refused" if self.going_back else "the login of user root was refused.")
        yield

    def line(self, text):
        """Be told."""


def activated(hosts, **order):
    return asyncio.run(Activation(msgspec.structs.replace(ORDER, **order), (), hosts, hosts).run())


def ended(result, *lines):
    begun = ["nixhive ab12 began", f"nixhive ab12 holds {OLD} {OLD}"]
    return [*begun, *lines, f"nixhive ab12 result {result}", "nixhive ab12 ended"]


def test_units_that_failed_are_named_and_those_that_had_failed_before_told_apart():
    result = activated(Hosts(looks(OLD, "b.service"), looks(NEW, "a.service", "b.service"), *ended("warned 4 ")))
    assert result.outcome == "warned"
    assert result.warning == "switched, but 2 units failed: a.service, b.service (b.service had failed before)"


def test_a_unit_that_failed_as_the_host_was_looked_at_again_is_no_success():
    """A12."""
    result = activated(Hosts(looks(OLD), looks(NEW, "a.service"), *ended("done 0 ")))
    assert (result.outcome, result.warning) == ("warned", "switched, but 1 unit failed: a.service")


def test_units_that_recovered_are_named_by_what_the_activation_said():
    line = "warning: the following units failed: a.service, b.service"
    hosts = Hosts(looks(OLD), looks(NEW), *ended("warned 4 ", line))
    assert activated(hosts).warning == "switched, but 2 units failed: a.service, b.service"


def test_a_host_that_is_unchanged_with_failed_units_says_so():
    result = activated(Hosts(looks(NEW, "x.service"), ""))
    assert (result.outcome, result.warning) == ("unchanged", "1 unit failed: x.service")


def test_why_no_word_came_is_told_as_it_was_before_the_host_went_back(monkeypatch):
    """On the way back its sshd is restarted, which refuses connections for another reason."""
    monkeypatch.setattr(activate, "_PAUSE", 0.001)
    why = "not confirmed within 8 s"
    lines = ended(f"rolled-back 0 {why}", "nixhive ab12 tested 0", f"nixhive ab12 back {why}")
    with pytest.raises(
        RolledBack, match=r"not confirmed within 8 s \(no new connection: the login of user root was ref"
    ):
        activated(Hosts(looks(OLD), looks(OLD), *lines), confirm=8)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("activating the configuration...", "", False),
        ("a check failed", "", True),
        ("a check failed", "activating the configuration...", True),
    ],
    ids=["in the middle", "before", "on the way back"],
)
def test_status_1_is_called_a_check_only_where_nothing_was_activated(before, after, told):
    back = "switch-to-configuration test ended with 1"
    lines = ended(f"rolled-back 1 {back}", before, f"nixhive ab12 back {back}", after)
    with pytest.raises(RolledBack) as found:
        activated(Hosts(looks(OLD), looks(OLD), *lines), confirm=8)
    assert ("a check before the switch" in str(found.value)) is told


def test_what_names_failed_units_is_read_and_bounded():
    assert units_in("warning: the following units failed: a.service, b.service\n") == ("a.service", "b.service")
    assert units_in("warning: the following units failed: a.service b.service") == ("a.service", "b.service")
    assert units_in("starting the following units: a.service") == ()
    assert failed_text(("a.service",), ("a.service",)) == "1 unit failed: a.service (had failed before)"
    assert failed_text([f"{number}.service" for number in range(10)], ()).endswith("7.service and 2 more")
    assert failed_text((), ("a.service",)) == ""


def test_a_host_that_refuses_is_told_with_the_words_of_its_check():
    """A6."""
    why = "dbus : dbus -> broker;Pre-switch check 'switchInhibitors' failed;"
    with pytest.raises(Refused) as found:
        activated(Hosts(looks(OLD), looks(OLD), *ended(f"refused 1 {why}")), confirm=8)
    assert str(found.value) == (
        "a pre-switch check failed: dbus : dbus -> broker; Pre-switch check 'switchInhibitors' failed. "
        "Nothing was changed. To have it booted next, and reboot: deploy --reboot-if-needed."
    )


INHIBITED = 'inhibitors={"dbus":"dbus"}\nhive_wanted={"dbus":"broker"}'


@pytest.mark.parametrize("order", [{}, {"type": "test", "reboots": True}])
def test_what_needs_a_reboot_is_not_begun_without_one(order):
    """A6."""
    hosts = Hosts(f"{looks(OLD)}\n{INHIBITED}", "")
    with pytest.raises(Refused, match=r"dbus: dbus → broker: that needs a reboot\. Nothing was changed\."):
        activated(hosts, **order)
    assert hosts.begun == ""


@pytest.mark.parametrize(
    ("order", "word"), [({"reboots": True}, "boot"), ({"force": True}, "switch"), ({"type": "boot"}, "boot")]
)
def test_what_needs_a_reboot_goes_by_the_next_boot_where_one_follows(order, word):
    """A6."""
    hosts = Hosts(f"{looks(OLD)}\n{INHIBITED}", looks(OLD), *ended("done 0 "))
    assert activated(hosts, **order).outcome == "done"
    assert shlex.split(hosts.begun)[shlex.split(hosts.begun).index("begin") + 3] == word


def test_a_host_that_is_a_mixture_is_not_unchanged():
    """A1."""
    hosts = Hosts(f"{looks(NEW)}\nunclean={OLD}", looks(NEW), *ended("done 0 "))
    assert activated(hosts).outcome == "done"


def test_a_worker_that_never_had_its_turn_is_told_by_its_last_words():
    lines = ["nixhive ab12 began", "worker: 170: cannot create /run/nixhive/lock: Is a directory", "nixhive ab12 ended"]
    with pytest.raises(StepFailed) as found:
        activated(Hosts(looks(OLD), looks(OLD), *lines))
    assert str(found.value) == (
        "the activation could not be started: worker: 170: cannot create /run/nixhive/lock: Is a directory. "
        "Nothing was changed."
    )


class Rebooting(Hosts):
    """One that goes down as its activation ends, and comes back."""

    def __init__(self, *said):
        super().__init__(*said)
        self.refusals = 2

    async def run(self, words, *, seconds, on_line=None, stdin=None):
        if self.begun and stdin is None and self.refusals:
            self.refusals -= 1
            raise ConnectionFailed("connect failed: Connection refused") if self.refusals else LinkLost("it broke")
        return await super().run(words, seconds=seconds, on_line=on_line, stdin=stdin)


def test_a_host_that_goes_down_with_its_worker_is_waited_for(monkeypatch):
    """The worker dies first, and who follows it says so before the link breaks."""
    monkeypatch.setattr(activate, "_PAUSE", 0.001)
    lines = ["nixhive ab12 began", f"nixhive ab12 holds {OLD} {OLD}", "nixhive ab12 ended"]
    with pytest.raises(RolledBack, match="the host rebooted in the middle; it runs what it ran before"):
        activated(Rebooting(looks(OLD), looks(OLD).replace("boot_id=1", "boot_id=2"), *lines))


def test_one_that_told_its_result_is_not_waited_for():
    result = activated(Rebooting(looks(OLD), looks(NEW), *ended("done 0 ")))
    assert result.outcome == "done"


def test_going_back_is_told_before_the_lines_that_come_of_it():
    told = []
    hosts = Hosts(looks(OLD), looks(OLD), *ended("rolled-back 2 why", "nixhive ab12 back why", "activating the old"))
    hosts.line = told.append
    with pytest.raises(RolledBack):
        activated(hosts, confirm=8)
    assert told == ["rolling back: why", "activating the old"]


class Keeping(Hosts):
    """A host that keeps our script, or says that it is gone; it counts what it is asked."""

    def __init__(self, *lines, gone=False):
        super().__init__("", "", *lines)
        self.looks = []
        self.gone = gone
        self.asked = []

    async def run(self, words, *, seconds, on_line=None, stdin=None):
        kind = next(word for word in ("begin", "forget", "look") if word == "look" or word in shlex.split(words))
        self.asked.append((kind, "whole" if stdin and kind == "begin" else ""))
        if kind == "begin" and self.gone and not stdin:
            return RemoteResult(exited=0, stdout=f"{GONE}\n", stderr="", seconds=0.0)
        return await super().run(words, seconds=seconds, on_line=on_line, stdin=stdin or "")


SEEN = SeenHost(facts=HostFacts(current=OLD, profile=OLD, root=True), is_there=True, is_system=True)
KEEPS = SeenHost(facts=msgspec.structs.replace(SEEN.facts, kept=(activation_hash(),)), is_there=True, is_system=True)
TOLD = ["nixhive ab12 facts", *looks(NEW, "a.service").splitlines(), "nixhive ab12 told"]


def run_with(hosts, before, **more):
    return asyncio.run(Activation(ORDER, (), hosts, hosts, before=before, **more).run())


def test_what_was_seen_a_moment_ago_and_what_the_host_tells_at_the_end_need_no_questions():
    hosts = Keeping(*ended("done 0 "), *TOLD)
    result = run_with(hosts, SEEN)
    assert hosts.asked == [("begin", "whole"), ("forget", "")]
    assert (result.outcome, result.warning) == ("warned", "switched, but 1 unit failed: a.service")
    assert result.facts.current == NEW


def test_a_script_that_the_host_keeps_is_not_sent_and_one_that_is_gone_is():
    hosts = Keeping(*ended("done 0 "), *TOLD)
    assert run_with(hosts, KEEPS).outcome == "warned"
    assert hosts.asked == [("begin", ""), ("forget", "")]
    hosts = Keeping(*ended("done 0 "), *TOLD, gone=True)
    assert run_with(hosts, KEEPS).outcome == "warned"
    assert hosts.asked == [("begin", ""), ("begin", "whole"), ("forget", "")]


def test_what_the_host_tells_only_in_part_at_the_end_is_asked_for():
    hosts = Keeping(*ended("done 0 "), *TOLD[:-1])
    hosts.looks = [looks(NEW)]

    async def run(words, *, seconds, on_line=None, stdin=None):
        if stdin is None:
            hosts.asked.append(("look", ""))
            return RemoteResult(exited=0, stdout=looks(NEW), stderr="", seconds=0.0)
        return await Keeping.run(hosts, words, seconds=seconds, on_line=on_line, stdin=stdin)

    hosts.run = run
    assert run_with(hosts, SEEN).outcome == "done"
    assert [kind for kind, _ in hosts.asked] == ["begin", "look", "forget"]


@pytest.mark.parametrize(("result", "let_go"), [("done 0 ", True), ("locked 0 bob", False), ("gone 0 ", False)])
def test_the_root_of_a_system_goes_with_the_rest_unless_it_may_be_used_yet(result, let_go):
    hosts = Keeping(*ended(result), *TOLD)
    one = Activation(ORDER, (), hosts, hosts, before=SEEN, rooted="run-1")
    with contextlib.suppress(HiveError):
        asyncio.run(one.run())
    assert one.let_go is let_go


class Late(Hosts):
    """A host to which the first words of an activation never come: their worker was lost, or the link."""

    def __init__(self, before, after, *lines, lost=1, boot="1"):
        super().__init__(before, after, *lines)
        self.lost, self.boot = lost, boot
        self.told = []
        self.ids = []

    async def run(self, words, *, seconds, on_line=None, stdin=None):
        asked = shlex.split(words) if stdin is not None else []
        if "follow" in asked:
            on_line("nixhive ab12 gone")
            return RemoteResult(exited=0, stdout="", stderr="", seconds=0.0)
        if "begin" in asked:
            self.ids.append(asked[asked.index("begin") + 1])
            if len(self.ids) <= self.lost:
                # The look that comes next finds it as it was.
                self.looks.insert(0, looks(OLD).replace("boot_id=1", f"boot_id={self.boot}"))
                raise WorkerLost("the link to worker east was lost")
        return await super().run(words, seconds=seconds, on_line=on_line, stdin=stdin)

    def line(self, text):
        self.told.append(text)


@pytest.mark.parametrize("lost", [1, 3])
def test_what_never_came_to_its_host_is_begun_again_by_the_same_id(monkeypatch, lost):
    monkeypatch.setattr(activate, "_PAUSE", 0.001)
    hosts = Late(looks(OLD), looks(NEW), *ended("done 0 "), lost=lost)
    assert activated(hosts).outcome == "done"
    assert hosts.ids == ["ab12"] * (lost + 1)
    assert hosts.told == ["it had not come to the host, and is begun again"]


def test_on_a_host_that_was_restarted_since_it_is_not_begun_again(monkeypatch):
    """It may have begun there before: what it runs is looked at."""
    monkeypatch.setattr(activate, "_PAUSE", 0.001)
    restarted = looks(OLD).replace("boot_id=1", "boot_id=2")
    hosts = Late(looks(OLD), restarted, boot="2")
    with pytest.raises(RolledBack, match="the host rebooted in the middle; it runs what it ran before"):
        activated(hosts)
    assert hosts.ids == ["ab12"]


def test_one_that_is_on_its_way_after_all_is_followed(monkeypatch):
    """The host refuses to begin it twice; a moment later it runs, and what the first one does counts."""
    monkeypatch.setattr(activate, "_PAUSE", 0.001)

    class Twice(Late):
        follows = 0

        async def run(self, words, *, seconds, on_line=None, stdin=None):
            asked = shlex.split(words) if stdin is not None else []
            if "begin" in asked and self.ids:
                self.ids.append("again")
                return RemoteResult(exited=1, stdout="", stderr="mkdir: File exists", seconds=0.0)
            if "follow" in asked:
                self.follows += 1
                if self.follows > 1:
                    for line in self.lines:
                        on_line(line)
                    return RemoteResult(exited=0, stdout="", stderr="", seconds=0.0)
            return await super().run(words, seconds=seconds, on_line=on_line, stdin=stdin)

    hosts = Twice(looks(OLD), looks(NEW), *ended("done 0 "))
    assert activated(hosts).outcome == "done"
    assert hosts.ids == ["ab12", "again"]
