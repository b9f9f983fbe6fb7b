"""The log: where it goes, how its lines look, and that it costs nothing and stops nothing."""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console
from rich.live import Live
from rich.text import Text

from nixhive_nb.util import log, process

_log = logging.getLogger("nixhive_nb.tests")


class Screen:
    """What a terminal shows of what rich writes: lines, and a cursor that goes up and erases."""

    def __init__(self, written):
        self.lines = [""]
        at = 0
        for text, code in re.findall(r"([^\x1b]*)(?:\x1b\[([?\d;]*[A-Za-z]))?", written):
            for part in re.split(r"(\r?\n|\r)", text):
                if part.endswith("\n"):
                    at += 1
                    if at == len(self.lines):
                        self.lines.append("")
                elif part != "\r":
                    self.lines[at] += part
            if code.endswith("A"):
                at -= int(code[:-1])
            elif code == "2K":
                self.lines[at] = ""


@pytest.fixture(autouse=True)
def off(monkeypatch):
    """Begin and end without a log."""
    monkeypatch.delenv(log.VARIABLE, raising=False)
    monkeypatch.setattr(log, "_known", log._Known())
    yield
    monkeypatch.delenv(log.VARIABLE, raising=False)
    log.log_to(None)


@pytest.fixture
def file(tmp_path):
    place = tmp_path / "log"
    assert log.log_to(place) == ""
    return place


def fail(text):
    raise ValueError(text)


def entries(file):
    return file.read_text().splitlines()


def test_off_it_formats_nothing():
    class Costly:
        def __str__(self):
            raise AssertionError

    _log.debug("%s", Costly())
    assert not logging.getLogger("nixhive_nb.util.process").isEnabledFor(logging.DEBUG)
    assert logging.getLogger("nixhive_nb").level == logging.NOTSET


def test_a_line_has_its_time_thread_and_place_and_a_trace_is_indented_below(file):
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        thread = threading.Thread(target=_log.debug, args=("web: said",), kwargs={"exc_info": True}, name="hive-web")
        thread.start()
        thread.join()
        _log.debug("web: failed", exc_info=True)
    _begin, first, second, *trace = entries(file)
    assert f"debug {os.getpid()} [hive-web] tests: web: said" in first
    assert first[:2] == "20"
    assert first[19:24].startswith(".")
    assert "[MainThread] tests: web: failed" in second
    assert all(line.startswith("    ") for line in trace)
    assert trace[-1].strip() == "ZeroDivisionError: division by zero"
    assert not any(set(line) <= {" ", "^"} for line in trace)


def test_the_file_is_ours_alone_and_what_was_there_stays(tmp_path):
    file = tmp_path / "log"
    file.write_text("before\n")
    file.chmod(0o644)
    log.log_to(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert entries(file)[0] == "before"
    log.log_to(tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


@pytest.mark.parametrize("secret", ["hunter22", 'it\'s "5"\nsecond line of it'])
def test_no_secret_is_in_any_part_of_an_entry(file, secret):
    log.cut_also([secret])
    try:
        fail(f"ssh://root:pa55word@h and {secret}")
    except ValueError:
        _log.debug("%s at %s", secret, "https://t0k3n@forge", exc_info=True)
    text = file.read_text()
    assert "pa55word" not in text
    assert "t0k3n" not in text
    for line in secret.splitlines():
        assert line not in text
    assert "ssh://root:***@h" in text


def test_terminal_control_is_cut_and_no_text_can_pass_for_an_entry(file):
    _log.info("\x1b[31mred\x1b[0m\r\n2026-01-01T00:00:00.000Z info 1 [x] y: forged\x07")
    *_, line, forged = entries(file)
    assert line.endswith("tests: red")
    assert forged == "    2026-01-01T00:00:00.000Z info 1 [x] y: forged"


def test_an_entry_has_a_limit_and_keeps_its_end(file):
    _log.info("%s the end", "x" * 300_000)
    assert len(entries(file)[1]) + sum(map(len, entries(file)[2:])) < 21_000
    assert entries(file)[-1].endswith("x the end")
    _log.info("%s the end", "x" * 3_000_000)
    assert file.stat().st_size < 70_000


def test_a_value_that_cannot_be_shown_is_said_to_be_one():
    record = logging.LogRecord("nixhive_nb.tests", logging.INFO, "x.py", 1, "%d", ("no number",), None)
    assert "its values cannot be shown" in log.Formatter().format(record)


def test_entries_of_many_threads_do_not_mix(file):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: _log.info("%s", f"{n} " * 500 + "\nend"), range(200)))
    lines = entries(file)[1:]
    assert len(lines) == 400
    for line in lines[::2]:
        words = line.partition(": ")[2].split()
        assert len(words) == 500
        assert len(set(words)) == 1
    assert set(lines[1::2]) == {"    end"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no/such/folder", "No such file or directory"),
        ("", "Is a directory"),
        ("pipe", "No such device"),
        ("a\0b", "null"),
    ],
)
def test_a_file_that_cannot_be_written_is_a_message_and_no_more(tmp_path, monkeypatch, name, said):
    os.mkfifo(tmp_path / "pipe")
    assert said in log.log_to(tmp_path / name)
    if "\0" not in name:
        monkeypatch.setenv(log.VARIABLE, str(tmp_path / name))
        log.log_to(None)
        log._known.refused = ""
        assert log.log_as_environment_says().startswith("NIXHIVE_LOG: ")
        assert log.log_as_environment_says() == ""  # said once
    _log.info("nothing")


def test_a_full_disk_is_told_once_and_stops_nothing():
    assert log.log_to("/dev/full") == ""
    _log.info("lost")
    _log.info("lost as well")
    assert log.trouble() == "/dev/full: No space left on device. The log is not whole."
    assert log.trouble() == ""


def test_a_file_named_otherwise_goes_before_that_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv(log.VARIABLE, str(tmp_path / "env"))
    assert log.log_as_environment_says() == ""
    log.log_to(tmp_path / "own")
    assert log.log_as_environment_says() == ""
    assert log.log_file() == tmp_path / "own"
    log.log_to("")
    assert log.log_file() == tmp_path / "env"
    monkeypatch.delenv(log.VARIABLE)
    log.log_as_environment_says()
    assert log.log_file() is None
    assert logging.getLogger("nixhive_nb").level == logging.NOTSET


def test_what_is_logged_reaches_no_other_handler_uncut(file):
    """Somebody's root handler, such as a notebook's, would else have every line, with its secrets."""
    stream = io.StringIO()
    root = logging.StreamHandler(stream)
    logging.getLogger().addHandler(root)
    try:
        _log.info("https://t0k3n@forge")
    finally:
        logging.getLogger().removeHandler(root)
    assert stream.getvalue() == ""
    assert "https://***@forge" in file.read_text()


def test_verbose_is_standard_error_for_the_time_of_a_command(capsys):
    with log.verbosely():
        _log.info("said")
    _log.info("not said")
    assert "said\n" in capsys.readouterr().err
    assert "not said" not in capsys.readouterr().err


@pytest.mark.parametrize("stream", [None, "closed", "ascii"])
def test_a_standard_error_that_takes_nothing_stops_nothing(monkeypatch, stream):
    made = None
    if stream is not None:
        made = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        if stream == "closed":
            made.close()
    monkeypatch.setattr(sys, "stderr", made)
    with log.verbosely():
        _log.info("é")
    if stream == "ascii":
        assert b"\\xe9" in made.buffer.getvalue()


def test_programs_are_logged_with_arguments_status_and_time(file):
    """Each program: its words without secrets, its end, its time; what a failed one wrote."""
    process.run(["sh", "-c", "echo no >&2; exit 3", "ssh://root:pw@h"], env={"NIX_SSHOPTS": "-F x", "A_TOKEN": "abcd"})
    begun, ended, said = entries(file)[1:]
    assert "sh -c 'echo no >&2; exit 3' ssh://root:***@h" in begun
    assert "NIX_SSHOPTS='-F x' A_TOKEN=***" in begun
    assert ": sh, exit status 3 after 0." in ended
    assert said == "    no"


def test_a_program_that_is_ended_by_us_is_logged_as_that(file, tmp_path):
    with (tmp_path / "err").open("wb") as errors:
        running = process.start(["sleep", "60"], stderr=errors)
    process.end(running)
    assert ": sleep, exit status -15 after" in entries(file)[-1]


def test_lines_of_the_log_do_not_tear_a_live_view(monkeypatch):
    """A live view in a terminal: each line of --verbose stands whole above it, and the view is drawn anew below."""
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    console = Console(file=stream, force_terminal=True, width=100, height=12)
    said = threading.Event()

    def view():
        said.set()
        return Text("the view\nhas two lines")

    with log.verbosely(), Live(console=console, refresh_per_second=50, transient=True, get_renderable=view):
        for number in range(3):
            said.clear()
            said.wait(10)
            _log.info("line %s", number)
    shown = [line for line in Screen(stream.getvalue()).lines if line.strip()]
    assert [line.rpartition(": ")[2] for line in shown] == ["line 0", "line 1", "line 2"]
