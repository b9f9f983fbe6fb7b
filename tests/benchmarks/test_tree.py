"""A tree of relays with three levels: each edge once, one outcome each, and a relay that is down in the middle."""

from __future__ import annotations

import pytest

from benchmarks.tree import DOWN, Deploy, Tree, check_skipped, check_whole
from nixhive_nb.notebook.display import TABLE_ROWS, PlanView
from nixhive_nb.view.plan import plan_text

SMALL = Tree(levels=(1, 4, 20), hosts=100)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    deploy = Deploy(SMALL, tmp_path_factory.mktemp("tree"))
    for stage in (deploy.survey, deploy.plan_all, deploy.begin, deploy.run):
        stage()
    return deploy


def test_each_edge_carries_each_system_once_and_each_instance_is_done(whole):
    check_whole(whole, SMALL)


def test_the_journal_says_the_same(whole):
    assert whole.read().instances() == whole.run_report.instances()


def test_a_relay_that_is_down_skips_just_what_is_below_it(tmp_path):
    deploy = Deploy(SMALL, tmp_path, down=DOWN)
    for stage in (deploy.survey, deploy.plan_all, deploy.begin, deploy.run):
        stage()
    check_skipped(deploy, SMALL)
    assert deploy.run_report.counts() == {"done": 25 + 2000 - 506, "failed": 1, "skipped": 505}


def test_a_page_has_as_much_of_it_as_a_page_holds(whole):
    """Of ten times as many hosts it is as much."""
    assert plan_text(whole.plan, most=TABLE_ROWS).count("\n") < TABLE_ROWS + 10
    assert len(PlanView(whole.plan).html()) < 80_000
    assert whole.shown() < 150_000
