"""Completing lines of `%hive`: what is offered, how it is written, and that nothing is evaluated or asked for it."""

from __future__ import annotations

import click
import pytest
from IPython.core.completer import provisionalcompleter, rectify_completions
from jupyter_client.manager import start_new_kernel

from nixhive_nb.commands import hive_group
from nixhive_nb.commands.completing import targets
from nixhive_nb.commands.names import names_of
from nixhive_nb.deployment.expressions import KNOWN_GROUPS
from nixhive_nb.deployment.inventory import Instance, Inventory
from nixhive_nb.plan.options import STEPS, TYPES

NAMES = ["db", "web", "www", "db-1", "www-1", "www-2"]
GROUPS = [f"@{name}" for name in KNOWN_GROUPS]


@pytest.fixture
def loaded(shell):
    """A shell that has evaluated the deployment."""
    shell.run("%hive load")
    return shell


def completions(shell, text):
    """Return what IPython offers where `|` (or the end) marks the cursor."""
    before, _, after = text.partition("|")
    with provisionalcompleter():
        found = shell.ip.Completer.completions(before + after, len(before))
        return list(rectify_completions(before + after, found))


def offered(shell, text):
    return [one.text for one in completions(shell, text)]


def written(shell, text):
    """Return the lines that the offers make."""
    line = text.replace("|", "")
    return [line[: one.start] + one.text + line[one.end :] for one in completions(shell, text)]


class TestGrammar:
    @pytest.mark.parametrize(
        "start",
        [
            "%hive ",
            "x = %hive ",
            "a, b = %hive ",
            "if x:\n    %hive ",
            "%hive help ",
            "%time %hive ",
            "d['a-b'] = %hive ",
        ],
    )
    def test_commands(self, shell, start):
        assert offered(shell, start) == sorted(hive_group.commands)
        assert offered(shell, f"{start}dep") == ["deploy"]

    def test_a_cell_goes_with_run_alone(self, shell):
        assert offered(shell, "%%hive ") == ["run"]
        assert "--timeout" in offered(shell, "%%hive run web ")

    def test_commands_below_a_command(self, shell):
        assert offered(shell, "%hive lab ") == ["down", "status", "up"]
        assert {"-n", "--systemd"} <= set(offered(shell, "%hive lab up -"))

    def test_every_option_of_every_command(self, shell):
        above = click.Context(hive_group, **hive_group.context_settings)
        for name, command in hive_group.commands.items():
            options = command.get_params(click.Context(command, parent=above, **command.context_settings))
            names = {name for one in options if isinstance(one, click.Option) and not one.hidden for name in one.opts}
            assert set(offered(shell, f"%hive {name} -")) == names
            assert set(offered(shell, f"%hive {name} --")) == {name for name in names if name.startswith("--")}

    def test_the_help_has_its_short_name_after_a_completion(self, shell):
        """click keeps the option of the help that it made first, with the names that it had then."""
        hive_group._help_option = None
        offered(shell, "%hive -")
        shell.run("%hive -h")
        assert "COMMAND" in shell.out

    def test_an_option_tells_what_it_is_for(self, shell):
        [found] = completions(shell, "%hive deploy --max-f")
        assert found.type == "Stop when more instances than this have failed"

    def test_an_option_that_is_given_is_not_offered_again(self, shell):
        assert "--canary" not in offered(shell, "%hive deploy --canary 2 --")
        assert "-t" not in offered(shell, "%hive deploy --type=boot -")
        assert "--no" in offered(shell, "%hive deploy --no confirm --")

    @pytest.mark.parametrize("start", ["--type ", "-t ", "--type="])
    def test_choices(self, shell, start):
        assert offered(shell, f"%hive deploy {start}") == list(TYPES)
        assert written(shell, f"%hive deploy {start}bo") == [f"%hive deploy {start}boot"]

    def test_steps_after_commas(self, shell):
        assert offered(shell, "%hive build --no ") == list(STEPS)
        assert written(shell, "%hive build --no build,re") == ["%hive build --no build,realise"]
        assert "build" not in offered(shell, "%hive build --no build,")

    @pytest.mark.parametrize(
        "line",
        [
            "%hive run web ",
            "%hive run web up",
            "%hive run web {",
            "%hive ssh www-1 ",
            "%hive frobnicate ",
            "%hive deploy --parallel ",
            "%hive deploy web # w",
            "%hive deploy nothing-like-it",
            "%hive -c=h",  # click would read =hive.nix
            "%hive deploy -t=b",
        ],
    )
    def test_nothing_of_anybody_where_nothing_of_ours_fits(self, loaded, line):
        assert offered(loaded, line) == []

    def test_options_where_nothing_else_can_follow(self, shell):
        assert offered(shell, "%hive history one ")[0] == "--json"
        assert offered(shell, "%hive ssh-config ")[0] == "--config"

    def test_other_lines_are_left_to_python(self, shell):
        shell.run("hosts = ['www-1']")
        assert "hosts" in offered(shell, "ho")
        assert "hosts" in offered(shell, "%hive deploy {ho")
        assert "%%debug" in offered(shell, "%%hive run web\n%%deb")


class TestTargets:
    @pytest.mark.parametrize("command", ["deploy", "push", "status", "instances", "targets", "run", "rollback", "diff"])
    def test_tags_systems_instances_and_groups(self, loaded, command):
        assert offered(loaded, f"%hive {command} ") == [*GROUPS, "'@(", *NAMES]

    @pytest.mark.parametrize("start", ["build", "systems", "plan build"])
    def test_systems_where_systems_are_wanted(self, loaded, start):
        assert offered(loaded, f"%hive {start} ") == ["db", "www"]

    def test_the_value_of_an_option_is_no_pattern(self, loaded):
        assert offered(loaded, "%hive deploy -t boot ww") == ["www", "www-1", "www-2"]
        assert offered(loaded, "%hive run --timeout 5 ww") == ["www", "www-1", "www-2"]

    def test_what_is_named_is_not_offered_again(self, loaded):
        assert offered(loaded, "%hive deploy www-1 ww") == ["www", "www-2"]

    def test_a_plan_begins_with_its_verb(self, loaded):
        assert offered(loaded, "%hive plan re") == ["reboot"]
        assert offered(loaded, "%hive plan w") == ["web", "www", "www-1", "www-2"]
        assert offered(loaded, "%hive plan reboot re") == []

    def test_hosts_of_ssh_and_scp(self, loaded):
        assert offered(loaded, "%hive ssh ") == ["db-1", "www-1", "www-2"]
        assert offered(loaded, "%hive ssh -p ") == []
        assert offered(loaded, "%hive ssh -p 22 ww") == ["www-1", "www-2"]
        assert offered(loaded, "%hive scp hive.nix ww") == ["www-1:", "www-2:"]

    def test_what_a_name_is(self, loaded):
        kinds = {one.text: one.type for one in completions(loaded, "%hive deploy w")}
        assert kinds == {
            "web": "tag of 2",
            "www": "system of 2",
            "www-1": "instance of www",
            "www-2": "instance of www",
        }

    def test_expressions(self, loaded):
        assert offered(loaded, "%hive deploy @f") == ["@failed"]
        assert written(loaded, "%hive deploy '@(we") == ["%hive deploy '@(web"]
        assert offered(loaded, "%hive deploy '@(web ") == ["and", "or"]
        assert offered(loaded, "%hive deploy '@(web and ") == [*GROUPS, "not", *NAMES]
        assert written(loaded, "%hive deploy '@(web and not (@fa") == ["%hive deploy '@(web and not (@failed"]
        assert offered(loaded, "%hive deploy '@((web or db) ") == ["and", "or"]

    def test_there_are_none_before_a_deployment_is_loaded(self, shell):
        assert offered(shell, "%hive deploy ") == [*GROUPS, "'@("]

    def test_names_that_would_be_something_else_are_written_so_that_they_are_not(self):
        tags = ("@home", "-x", "", "two words")
        one = Inventory(source="x", instances={"a": Instance(name="a", system="s", tags=tags)})
        assert [offer.text for offer in targets(names_of(one))] == ["\\@home", "s", "two words", "a"]


class TestQuotes:
    @pytest.mark.parametrize("quote", ["'", '"'])
    def test_open_ones_are_closed(self, loaded, quote):
        assert written(loaded, f"%hive deploy {quote}db-") == [f"%hive deploy {quote}db-1{quote}"]
        assert written(loaded, f"%hive deploy {quote}db-|{quote}") == [f"%hive deploy {quote}db-1{quote}"]

    @pytest.fixture
    def odd(self, shell, folder):
        """A deployment with tags that need quotes."""
        text = (folder / "hive.nix").read_text()
        tags = """ "two words" "it's" ''say "x" $y'' """
        (folder / "hive.nix").write_text(text.replace('tags = [ "web" ]', f'tags = [ "web" {tags} ]'))
        shell.run("%hive load")
        return shell

    @pytest.mark.parametrize(
        ("typed", "expected"),
        [
            ("tw", "'two words'"),
            ("'two w", "'two words'"),
            ('"two', '"two words"'),
            ("two\\ ", "'two words'"),
            ("it", '"it\'s"'),
            ("say", "'say \"x\" $y'"),
            ('"say', '"say \\"x\\" \\$y"'),
            ("'@(tw", '\'@("two words"'),
            ("'it|'", "'it'\\''s'"),
            ('"it|"', '"it\'s"'),
            ('"say|"', '"say \\"x\\" \\$y"'),
        ],
    )
    def test_names_get_those_that_they_need_and_can_be_read_back(self, odd, typed, expected):
        assert written(odd, f"%hive instances {typed}") == [f"%hive instances {expected}"]
        line = f"%hive instances {expected}"
        line = f"{line})'" if line.count("(") else line
        assert list(odd.run(line).index) == ["www-1", "www-2"]


class TestFiles:
    def test_deployments(self, shell, folder):
        (folder / "my fleet").mkdir()
        (folder / "notes.txt").touch()
        (folder / ".hidden.nix").touch()
        for start in ("-c ", "--config=", "load ", "load -c "):
            found = offered(shell, f"%hive {start}")
            assert "hive.nix" in found
            assert "'my fleet/" in found
            assert not {"notes.txt", ".hidden.nix"} & set(found)
        assert offered(shell, "%hive load .h") == [".hidden.nix"]

    def test_folder_by_folder(self, shell, folder):
        (folder / "my fleet" / "sub").mkdir(parents=True)
        (folder / "my fleet" / "prod.nix").touch()
        assert written(shell, "%hive load 'my fleet/p") == ["%hive load 'my fleet/prod.nix'"]
        assert written(shell, "%hive load 'my fleet/s") == ["%hive load 'my fleet/sub/"]
        assert offered(shell, f"%hive load {folder}/hive.n") == [f"{folder}/hive.nix"]
        assert offered(shell, "%hive load nowhere/") == []

    def test_in_the_home_folder(self, shell, folder, monkeypatch):
        (folder / "home" / "my fleet").mkdir(parents=True)
        (folder / "home" / "prod.nix").write_text((folder / "hive.nix").read_text())
        monkeypatch.setenv("HOME", str(folder / "home"))
        assert written(shell, "%hive load ~/p") == ["%hive load ~/prod.nix"]
        assert written(shell, "%hive -c '~/m|'") == ["%hive -c '~/my fleet/'"]
        shell.run("%hive load ~/prod.nix")
        assert offered(shell, "%hive load ~nobody-here/") == []

    def test_all_files_where_any_may_be(self, shell, folder):
        (folder / "plan.json").touch()
        for start in ("apply pl", "-s pl", "run --stdin-from pl"):
            assert offered(shell, f"%hive {start}") == ["plan.json"]

    def test_folders_where_only_a_folder_can_be(self, shell, folder):
        (folder / "runs").mkdir()
        (folder / "runs.txt").touch()
        assert offered(shell, "%hive --state-dir ru") == ["runs/"]
        assert offered(shell, "%hive deploy --tls ru") == ["runs/"]

    def test_runs_and_the_plan_that_was_shown(self, loaded):
        loaded.run("%hive build www;\n%hive build db;\nplan = %hive plan web")
        runs = sorted(loaded.run("%hive history").index, reverse=True)
        assert len(runs) == 2
        assert offered(loaded, "%hive history ") == runs
        assert offered(loaded, "%hive bug-report ") == runs
        assert offered(loaded, "%hive deploy --resume ") == runs
        assert offered(loaded, "%hive deploy --plan ") == [loaded["plan"].digest]


class TestVariables:
    def test_after_a_dollar(self, loaded):
        loaded.run("import os\nhosts, host = ['www-1'], 'www-1'\ndef home(): pass\n_hidden = 1")
        assert offered(loaded, "%hive deploy $ho") == ["$host", "$hosts"]
        assert offered(loaded, "%hive deploy ${hosts") == ["${hosts}"]
        assert written(loaded, "%hive deploy ${hosts|}") == ["%hive deploy ${hosts}"]
        assert offered(loaded, '%hive deploy "www-$host') == ["$host", "$hosts"]
        assert [one for one in offered(loaded, "%hive deploy $") if one in ("$os", "$home", "$_hidden", "$In")] == []

    def test_not_where_nothing_is_expanded(self, loaded):
        loaded.run("host = 'www-1'")
        for line in ("%hive deploy '$ho", "%hive run web $ho", "%hive deploy \\$ho", "%hive deploy $$ho"):
            assert offered(loaded, line) == []


def test_nothing_is_evaluated_and_no_program_started(loaded, folder, monkeypatch):
    (folder / "hive.nix").write_text("{ instances = throw")
    monkeypatch.setenv("PATH", "")
    assert offered(loaded, "%hive deploy ww") == ["www", "www-1", "www-2"]


def test_no_option_is_carried_out(loaded, monkeypatch):
    monkeypatch.setattr("nixhive_nb.commands.session.Session.be_verbose", lambda _: pytest.fail("at Tab"))
    assert offered(loaded, "%hive --verbose deploy --verbose db") == ["db", "db-1"]


@pytest.mark.slow
def test_in_a_kernel(folder):
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder))
    try:
        client.execute_interactive("%load_ext nixhive_nb\n%hive load\nhosts = ['www-1']", timeout=60)

        def complete(text):
            before, _, after = text.partition("|")
            content = client.complete(before + after, len(before), reply=True, timeout=60)["content"]
            start, end = content["cursor_start"], content["cursor_end"]
            return [(before + after)[:start] + one + (before + after)[end:] for one in content["matches"]]

        assert complete("%hive deploy --canary 1 db") == [f"%hive deploy --canary 1 {one}" for one in ("db", "db-1")]
        assert complete("name = '😀'\nx = %hive instances 'www-1") == ["name = '😀'\nx = %hive instances 'www-1'"]
        assert complete("%%hive run --ti|\nuptime") == ["%%hive run --timeout\nuptime"]
        assert complete("%hive deploy $ho") == ["%hive deploy $hosts"]
        assert complete("%hive run web upt") == []
        # JupyterLab has place for one word beside a completion.
        metadata = client.complete("%hive deploy w", reply=True, timeout=60)["content"]["metadata"]
        kinds = {one["text"]: one["type"] for one in metadata["_jupyter_types_experimental"]}
        assert kinds == {"web": "tag", "www": "system", "www-1": "instance", "www-2": "instance"}
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
