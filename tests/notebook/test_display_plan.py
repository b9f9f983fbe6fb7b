"""What a cell shows of a plan."""

from __future__ import annotations

import re
from base64 import b64decode

from nixhive_nb.notebook.display import PlanView
from nixhive_nb.util import html
from nixhive_nb.view.plan_picture import svg
from tests.notebook.test_display import bundle, read
from tests.notebook.values import build_plan, deploy_plan, inventory
from tests.plan.looked import looked, path


def test_it_tells_what_would_happen():
    plan = deploy_plan()
    found = read(PlanView(plan)).text
    assert f"Plan {plan.digest}" in found
    assert "4 to activate · 2 waves · 2 systems to build · 1 push to a store" in found
    assert "fetch from portico, activate" in found
    assert "Nothing was changed." in found
    assert "No signing.keyFile" in found


def test_it_tells_how_the_hosts_are():
    view = PlanView(looked(fresh=("www-1",), away=("www-2",)))
    found = read(view).text
    for word in ("nothing: it runs and boots this system", "unreachable: no route to host", "61.4 MB", "needed"):
        assert word in found
    assert html.BAD in view.html()


def test_short_paths_have_the_whole_ones_beside_them():
    titles = re.findall(r'title="([^"]*)"', PlanView(looked()).html())
    assert f"{path('a', 'www')} → {path('b', 'www')}" in titles


def test_the_picture_is_an_image_that_jupyterlab_keeps():
    plan = looked()
    markup = bundle(PlanView(plan))["text/html"]
    found = re.search(r'<img alt="[^"]+" [^>]*src="data:image/svg\+xml;base64,([^"]+)"', markup)
    assert b64decode(found[1]).decode() == svg(plan)


def test_there_is_no_picture_of_what_needs_none():
    assert "<img" not in PlanView(build_plan()).html()
    assert "<img" not in PlanView(deploy_plan(inventory(()), "portico")).html()


def test_a_build_lists_systems():
    assert "2 systems to build" in read(PlanView(build_plan())).text


def test_a_large_one_is_cut():
    plan = looked(inventory(tuple(f"www-{number}" for number in range(9999))), away=("www-5000",))
    found = read(PlanView(plan)).text
    assert "… and 9950 more: 9950 to activate" in found
    assert "www-5000" in found
    assert sum(map(len, bundle(PlanView(plan)).values())) < 100_000
