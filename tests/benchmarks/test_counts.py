"""What a process has open is counted, and what it gives back is seen."""

from __future__ import annotations

import socket
import subprocess
import threading

from benchmarks.counts import Peak, count, settled


def test_each_kind_is_counted_and_seen_to_be_given_back():
    before = settled()
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    with socket.socket():
        thread.start()
        program = subprocess.Popen(["sh", "-c", "cat; :"], stdin=subprocess.PIPE)
        more = before.grown(count())
        assert {"threads", "descriptors", "sockets", "children"} == set(more)
        assert (more["threads"], more["sockets"], more["descriptors"]) == (1, 1, 2)
        done.set()
        thread.join()
        program.communicate()
    assert before.grown(settled(before)) == {}


def test_another_process_is_counted_as_this_one_is():
    with subprocess.Popen(["sh", "-c", "sleep 600 & cat; kill $!"], stdin=subprocess.PIPE) as program:
        counts = settled(process=program.pid)
        assert (counts.threads, counts.sockets, counts.children) == (1, 0, 2)
        with Peak(program.pid) as peak:
            pass
        assert counts.grown(peak.counts) == {}


def test_the_peak_has_the_names_of_its_threads():
    done = threading.Event()
    threads = [threading.Thread(target=done.wait, name=f"many-{number}") for number in range(12, 15)]
    with Peak() as peak:
        for thread in threads:
            thread.start()
    done.set()
    assert peak.names["many-N"] == 3


def test_the_peak_is_seen_and_the_thread_that_looks_is_not_counted():
    before = settled()
    with Peak() as quiet:
        pass
    assert before.grown(quiet.counts) == {}
    assert before.grown(settled(before)) == {}
    with socket.socket(), Peak() as peak:
        pass
    assert before.grown(peak.counts) == {"descriptors": 1, "sockets": 1}
