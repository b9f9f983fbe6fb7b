"""What a host says breaks nothing of ours: each reader of its words gives a value that fits, or knows none.

E2, E9: no number, date or text of one host breaks a table of the fleet, a notebook or a callback of the loop.
"""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nixhive_nb import frames
from nixhive_nb.commands.forms import csv_of
from nixhive_nb.commands.session import records_of
from nixhive_nb.errors import ConnectionFailed, NixError
from nixhive_nb.hosts import activation, closures
from nixhive_nb.hosts.facts import parse_facts, parse_failed_units, parse_generations
from nixhive_nb.nix import log as nix_log
from nixhive_nb.plan.closure import closure_changes
from nixhive_nb.plan.facts import Generation, HostFacts, Seen
from nixhive_nb.plan.plan import Survey, Target
from nixhive_nb.ssh import host_keys, resolve
from nixhive_nb.ssh.link import RemoteResult
from nixhive_nb.ssh.probe import broken, http_status, parse_url
from nixhive_nb.util import said
from nixhive_nb.view.listing_html import listing_html
from nixhive_nb.view.listing_text import listing_text
from nixhive_nb.view.status import status_table
from nixhive_nb.view.tables import generations_table
from tests.links import Links
from tests.speed import examples

ODD = (
    *("0", "-1", "+1", "1_000", " 1", "1e9", "nan", "inf", "-inf", "1e400", "0x10", "", " ", "\0", "\ud800"),
    *("9" * 18, "9" * 19, "9" * 20, "9" * 400, "9" * 5000, str(2**63 - 1), str(2**63), str(2**64), str(10**30)),
    *("\u0663", "\uff11\uff12", "\xb3"),  # other digits: Arabic, wide, raised
    *("\x1b[2J", "\u202e", "\x85", "\u2028", "253402300799", "253402300800", "-62135596801"),
    *("a" * 3000, "--option", "/nix/store/..", "/nix/store/" + "a" * 32 + "-x", "../../etc"),
)
NUMBERS = st.one_of(st.sampled_from(ODD), st.integers().map(str), st.floats().map(str), st.text(max_size=30))
STORE = "/nix/store/" + "a" * 32 + "-nixos"
FACT_NAMES = (
    "current", "booted", "profile", "generation", "boot_id", "uptime", "df", "uid", "systemd", "failed", "held",
    "holder", "current_kernel", "booted_kernel", "specialisation", "base", "running", "version",
)  # fmt: skip
VALUES = st.one_of(
    NUMBERS,
    st.sampled_from([STORE, "yes", "soon"]),
    NUMBERS.map(lambda number: f"system-{number}-link"),
    NUMBERS.map(lambda number: f"/dev/sda 1 2 {number} 3% /nix"),
    st.tuples(NUMBERS, NUMBERS, NUMBERS).map(lambda them: f"system-{them[0]}-link {them[1]} {STORE} {them[2]}"),
    st.tuples(NUMBERS, NUMBERS).map(lambda them: f"/dev/sda {them[0]} {them[1]} 7 - /nix"),
)
LINES = st.tuples(st.sampled_from(FACT_NAMES), VALUES).map("=".join)
ANSWERS = st.one_of(
    st.lists(st.one_of(LINES, VALUES), max_size=12).map("\n".join),
    st.binary(max_size=300).map(lambda data: data.decode("utf-8", "replace")),
    st.text(st.characters(), max_size=200),  # halves of characters, too
)


def survey_of(*facts):
    names = [f"h{number}" for number in range(len(facts))]
    return Survey(
        targets=tuple(Target(instance=name, system="s", store="", wave=1) for name in names),
        seen=tuple(Seen(instance=name, facts=one) for name, one in zip(names, facts, strict=True)),
    )


def shown(frame, *tables):
    """Have a table in all the forms that a face gives it."""
    text = frame.to_string() + frame.to_html() + csv_of(frame)
    text += "".join(listing_text(table) + listing_html(table) for table in tables)
    text += json.dumps(records_of(frame), ensure_ascii=False, allow_nan=True)
    text.encode()


@given(NUMBERS)
def test_a_number_is_one_that_every_table_holds_or_is_not_known(text):
    number = said.whole(text)
    assert number is None or (text.isascii() and text.isdigit() and 0 <= number < 2**63)
    for found in (said.seconds(text), said.moment(text)):
        assert found is None or (0 <= found <= 1e12 and math.isfinite(found))


@pytest.mark.parametrize("text", ["\u0663", "1_0", "-1", "+1", " 1", "9" * 20, "9" * 5000, "1e3", "nan", ""])
def test_what_python_would_take_for_a_number_is_none_here(text):
    assert said.whole(text) is None


@settings(max_examples=examples(40))
@given(ANSWERS)
@example(f"generation=system-{'9' * 40}-link\nuptime={'9' * 400}\ndf=/dev/sda 1 2 {'9' * 60} 3% /nix\n")
@example("generation=system-\u0663-link\ndf=/dev/sda 1 2 \u0663 3% /nix\nuptime=\u0663\n")
def test_the_facts_of_any_host_make_a_status(answer):
    """E2: a generation beyond 64 bits raised `OverflowError` in the table of all."""
    facts = parse_facts(answer)
    good = HostFacts(current=STORE, generation=4, uptime=3.0, free=5)
    survey = survey_of(facts, good)
    frame = frames.status_frame(survey)
    assert list(frame["generation"])[1] == 4
    shown(frame, status_table(survey))
    parse_failed_units(answer)


@settings(max_examples=examples(40))
@given(ANSWERS)
@example(f"generation=system-1-link {10**30} {STORE} 24.05\n")
@example(f"generation=system-{10**30}-link 7 {STORE} 24.05\n")
@example(f"generation=system-1-link 253402300800 {STORE} 24.05\n")
def test_the_generations_of_any_host_make_a_table(answer):
    """E2: a date of 10^30 raised `OutOfBoundsDatetime` in the table of all."""
    good = Generation(number=3, path=STORE, created=1000.0)
    frame = frames.generations_frame({"odd": parse_generations(answer), "web": (good,)}, {})
    assert list(frame["number"])[-1] == 3
    shown(frame, generations_table(records_of(frame)))


def test_a_generation_with_a_date_that_is_in_no_calendar_is_listed_without_one():
    """E2: it can be gone back to all the same."""
    (found,) = parse_generations(f"generation=system-7-link {10**30} {STORE} 24.05\n")
    assert (found.number, found.path, found.created) == (7, STORE, None)


@settings(max_examples=examples(40))
@given(st.one_of(st.integers(), st.none()), st.one_of(st.floats(), st.none()))
@example(2**63, 1e300)
@example(1, 9_300_000_000.5)  # after 2262, where nanoseconds end
@example(-(2**63) - 1, math.nan)
def test_the_tables_themselves_hold_whatever_number_comes(number, when):
    """E2: the last gate, whichever reader let it pass."""
    bad = Generation(number=number, path=STORE, created=when)  # type: ignore[arg-type]
    facts = HostFacts(generation=number, free=number, uptime=when)
    frame = frames.generations_frame({"odd": (bad,)}, {})
    shown(frame, generations_table(records_of(frame)))
    shown(frames.status_frame(survey_of(facts)))
    shown(frames.run_frame([{"instance": "odd", "exit_code": number, "seconds": when}]))


def test_a_host_with_a_million_units_or_generations_is_bounded():
    """E2, D8: a table of one host is not a gigabyte."""
    units = parse_failed_units("systemd=yes\n" + "failed=" + "x" * 5000 + "\n" + "failed=a.service\n" * 100_000)
    assert len(units) == 500
    assert max(map(len, units)) <= 255
    assert len(parse_generations(f"generation=system-1-link 7 {STORE}\n" * 50_000)) == 10_000
    assert len(parse_facts("held=yes\nholder=" + "x" * 3_000_000).holder) <= 1000


ORDER = activation.Order(id="ab", instance="www", path=STORE, type="switch", confirm=1, limit=1, owner="me")


@given(st.one_of(ANSWERS, ANSWERS.map("nixhive ab ".__add__), VALUES.map("nixhive ab result done ".__add__)))
@example("nixhive ab result done x")
@example("nixhive ab result done \u0663")
@example("nixhive ab result")
@example("nixhive ab result splendid 0 well")
@example(f"nixhive ab result done {'9' * 5000}")
def test_a_line_of_an_activation_is_read_or_is_none_of_ours(line):
    """E9: `result done x` raised in a callback of the loop, which prints a traceback into the notebook."""
    word = activation.read_word(ORDER, line)
    if word is not None and word.keyword == "result":
        activation.explained(activation.read_outcome(word), 5)


@pytest.mark.parametrize("line", ["done x", "done", "", "splendid 0", "done -1", "done \u0663", "done 1e3"])
def test_an_end_that_makes_no_sense_is_never_a_success(line):
    """E9."""
    outcome = activation.read_outcome(activation.Word("result", line))
    assert outcome.name == "failed"
    assert repr(line) in outcome.why


@settings(max_examples=examples(40))
@given(ANSWERS)
def test_the_sizes_of_a_store_are_numbers_or_an_error(answer):
    """E2: the same in `diff`."""

    async def remote(*_, **__):
        return RemoteResult(exited=0, stdout=answer, stderr="", seconds=0.1)

    try:
        work = closures.closure_sizes(Links(remote), "www", STORE)
        with pytest.raises(StopIteration) as ended:
            work.send(None)
        sizes = ended.value.value
    except NixError:
        return
    changes = closure_changes(sizes, {STORE: 2**62, f"{STORE}-2": 2**62})
    shown(frames.diff_frame({"www": changes}, {}))


@pytest.mark.parametrize("size", ["-5", "\u0663", "1_0", "9" * 30, "nan", "1.5"])
def test_a_size_that_is_none_is_not_taken_for_one(size):
    """E2."""

    async def remote(*_, **__):
        return RemoteResult(exited=0, stdout=f"{STORE}\n\n{size}\n", stderr="", seconds=0.1)

    with pytest.raises(NixError, match="sizes in its Nix store cannot be read"):
        closures.closure_sizes(Links(remote), "www", STORE).send(None)


FIELDS = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=9)
    ),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
ENTRIES = st.fixed_dictionaries({
    "action": st.sampled_from(["start", "result", "stop", "msg", "other"]),
    "id": st.integers(0, 2),
    "type": st.sampled_from([100, 101, 104, 105, 107, 7]),
    "level": st.integers(-1, 8),
    "fields": st.lists(st.one_of(st.just(STORE), FIELDS), max_size=3),
    "text": st.text(max_size=9),
    "msg": st.text(max_size=9),
})  # fmt: skip


@given(st.lists(st.one_of(ENTRIES.map(json.dumps), NUMBERS), max_size=9))
@example(["[" * 100_000])
@example(
    ['{"action":"start","id":1,"type":100,"fields":["/x"]}', '{"action":"result","id":1,"type":105,"fields":[1e400,7]}']
)
@example([
    '{"action":"start","id":1,"type":100,"fields":["/x"]}',
    f'{{"action":"result","id":1,"type":105,"fields":[{10**30},{10**30}]}}',
])  # fmt: skip
def test_the_log_of_a_copy_may_hold_what_the_other_side_writes(lines):
    """E2: its standard error is that of the copy, so it can write `@nix` lines, with any number in them."""
    log = nix_log.NixLog({STORE: 5})
    for line in lines:
        log.feed(f"@nix {line}")
    assert 0 <= log.bytes_copied < 2**63
    assert all(0 <= number < 2**63 for number in log.built)


def test_the_log_of_a_copy_is_bounded_whatever_is_written_into_it():
    """D8: a million activities that never end, and errors without end."""
    log = nix_log.NixLog()
    for number in range(nix_log.MOST_ACTIVITIES + 50):
        log.feed(f'@nix {{"action":"start","id":{number},"type":105,"fields":["{number}"]}}')
    for _ in range(2000):
        log.feed('@nix {"action":"msg","level":0,"msg":"%s"}' % ("x" * 1000))
    assert len(log.build_lines) <= nix_log.MOST_ACTIVITIES + 1
    assert len(log.errors) == nix_log.MOST_ERRORS
    log.feed('@nix {"action":"msg","level":0,"msg":"%s"}' % ("x" * 1_000_000))
    assert max(map(len, log.errors)) <= nix_log.MOST_ERROR


SSH_WORDS = st.sampled_from(
    ["hostname", "port", "user", "connecttimeout", "proxyjump", "proxycommand", "identityfile", "identityagent",
     "userknownhostsfile", "hostkeyalias", "addressfamily"]
)  # fmt: skip


@given(st.lists(st.one_of(st.tuples(SSH_WORDS, VALUES).map(" ".join), ANSWERS), max_size=6).map("\n".join))
@example("port \u0663")
@example("port 99999999999999999999")
@example("port -1")
@example("connecttimeout \xb3")
@example("connecttimeout \u0663")
@example("proxyjump a:99999999999999999999")
def test_what_ssh_says_of_a_host_is_read_or_an_error_with_words(text):
    """E2: `isdigit` and `int` do not mean the same digits."""
    try:
        target = resolve.parse("www", text)
    except ConnectionFailed:
        return
    assert 0 < target.port < 65536
    assert math.isfinite(target.connect_timeout)


@given(
    st.lists(
        st.one_of(NUMBERS, st.sampled_from(["@revoked", "@cert-authority", "@", "@revoked x", "x y z"])), max_size=5
    )
)
def test_a_line_of_host_keys_is_read_or_passed_over(lines):
    """E2: a line that is only `@revoked` was a traceback."""
    host_keys._parse(lines)
    host_keys.deployment_keys(lines)


class Answered:
    """A server that says this, and then hangs up."""

    def __init__(self, data):
        self.left = data

    def sendall(self, data):
        pass

    def recv(self, size):
        data, self.left = self.left[:size], self.left[size:]
        return data

    def close(self):
        pass


@given(
    st.one_of(
        st.binary(max_size=200),
        NUMBERS.map(lambda number: f"HTTP/1.1 {number} OK\r\n\r\n".encode("utf-8", "replace")),
        st.binary(max_size=100).map(b"HTTP/1.1 200 OK\r\n".__add__),
    )
)
@example(b"HTTP/1.1 100 Continue\r\n\r\n" * 50)
@example(b"HTTP/1.1 200 " + b"x" * 1_000_000)
@example(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10_000)
@settings(deadline=None)
def test_the_answer_to_a_probe_is_a_status_or_one_of_the_known_failures(data):
    """E2: a server answers what it likes; none of it ends the check of the others."""
    try:
        status = http_status(Answered(data), parse_url("http://www/"))
    except broken():
        return
    assert 0 <= status < 1000


@given(ANSWERS)
def test_a_reason_is_one_line_that_can_be_shown(text):
    """E2."""
    line = said.one_line(text, 50)
    assert len(line) <= 50
    assert line == " ".join(line.split())
    line.encode()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (STORE, STORE),
        (f"{STORE}/bzImage", f"{STORE}/bzImage"),
        ("/nix/store/../../etc/shadow", ""),
        (f"{STORE}/../../../etc", ""),
        (f"{STORE} --option", ""),
        (f"{STORE}\n--option", ""),
        ("/nix/store/", ""),
        ("--help", ""),
        (f"{STORE}/;reboot", ""),
        ("/nix/store/" + "a" * 5000, ""),
    ],
)
def test_a_path_of_a_host_lies_in_its_store(text, path):
    """E6: a rollback takes such a path back to the host, and asks our own store for it."""
    assert said.host_path(text) == path


def test_a_path_of_this_store_is_the_store_and_a_hash_wherever_the_store_is(monkeypatch):
    """E6."""
    monkeypatch.delenv("NIX_STORE_DIR", raising=False)
    good = "a1" * 16 + "-nixos-system-www-24.05"
    assert said.is_store_path(f"/nix/store/{good}")
    for bad in (
        "--option",
        good,
        f"/nix/store/{good}/bin",
        "/nix/store/x",
        f"/nix/store/../store/{good}",
        f"/nix/store/{good}\n",
    ):
        assert not said.is_store_path(bad)
    monkeypatch.setenv("NIX_STORE_DIR", "/elsewhere/store/")
    assert said.is_store_path(f"/elsewhere/store/{good}")
    assert not said.is_store_path(f"/nix/store/{good}")
