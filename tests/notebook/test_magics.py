"""`%hive` in an IPython: commands, values, mistakes and failures."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from IPython.core.error import UsageError

from nixhive_nb import RunFailed
from nixhive_nb.plan.plan import Plan


class TestValues:
    def test_a_listing_is_a_frame_alone_and_assigned(self, shell):
        alone = shell.run("%hive instances web")
        shell.run("df = %hive instances 'web'")
        assert list(alone.index) == list(shell["df"].index) == ["www-1", "www-2"]

    def test_quotes_or_none_mean_the_same(self, shell):
        found = [list(shell.run(f"%hive instances {word}").index) for word in ("'www-*'", '"www-*"', "www-*")]
        assert found == [["www-1", "www-2"]] * 3

    def test_a_semicolon_shows_nothing_but_assigns(self, shell):
        assert shell.run("%hive systems;") is None
        shell.run("df = %hive systems;")
        assert isinstance(shell["df"], pd.DataFrame)

    def test_json_gives_plain_lists(self, shell):
        records = shell.run("%hive instances web --json")
        assert [record["instance"] for record in records] == ["www-1", "www-2"]
        json.dumps(records)

    def test_out_takes_the_value_and_shows_nothing(self, shell):
        assert shell.run("%hive systems --out found") is None
        assert list(shell["found"].index) == ["db", "www"]

    def test_out_wants_a_name_before_anything_is_done(self, shell):
        error = shell.error("%hive build --out 1x")
        assert type(error) is UsageError
        assert "'1x' cannot be the name of a variable" in str(error)
        assert "Building" not in shell.out
        assert type(shell.error("%hive build --out class")) is UsageError

    def test_a_plan_is_shown_alone_and_a_plan_assigned(self, shell):
        assert shell.run("%hive plan deploy web") is None
        assert "Nothing was changed." in shell.out
        assert "2 unreachable" in shell.out
        shell.run("p = %hive plan deploy web")
        assert isinstance(shell["p"], Plan)
        assert "Nothing was changed" not in shell.out

    def test_a_plan_shows_itself_as_a_table(self, shell):
        shell.run("p = %hive plan web")
        shown, _ = shell.ip.display_formatter.format(shell["p"])
        assert "Nothing was changed." in shown["text/plain"]
        assert "<table" in shown["text/html"]

    def test_the_report_of_the_last_run_has_its_timings_and_its_timeline(self, shell):
        assert "No run is noted" in str(shell.error("%hive report"))
        shell.error("%hive deploy --yes web")
        shell.run("report = %hive report")
        assert shell["report"].run == shell.run("%hive history").index[0]
        assert "fetch:www-1" in shell["report"].timings().index
        assert "www-2" in str(shell["report"].timeline())
        assert "0 of 2 deployed" in str(shell["report"])

    def test_apply_carries_out_the_plan_that_was_shown_last(self, shell):
        assert "apply needs a plan" in str(shell.error("%hive apply"))
        shell.run("%hive plan web")
        error = shell.error("%hive apply --yes --reason 'as agreed'")
        assert type(error) is RunFailed
        assert "2 failed" in str(error)
        newest = shell.run("%hive history").iloc[0]
        assert (newest["verb"], newest["reason"], newest["failed"]) == ("deploy", "as agreed", 2)

    def test_text_is_printed_alone_and_assigned_as_text(self, shell):
        assert shell.run("%hive ssh-config") is None
        assert "Host www-1" in shell.out
        shell.run("text = %hive ssh-config")
        assert "Host www-1" in shell["text"]
        assert "Host" not in shell.out

    def test_help_is_printed_and_gives_nothing(self, shell):
        for line in ("%hive", "%hive --help", "%hive help", "%hive -h"):
            assert shell.run(line) is None
            assert "Usage: %hive" in shell.out
        assert shell.run("%hive deploy --help") is None
        assert "Usage: %hive deploy" in shell.out
        assert shell.run("%%hive run --help\nuptime") is None
        assert "Usage: %hive run" in shell.out


class TestListings:
    def test_a_cell_shows_a_listing_and_has_its_frame(self, shell):
        frame = shell.run("%hive instances web")
        assert list(frame.index) == ["www-1", "www-2"]
        assert "2 instances, 1 system" in shell.out
        html = frame._repr_mimebundle_()["text/html"]
        assert "2 instances, 1 system" in html
        assert "dataframe" not in html
        assert type(frame[frame["system"] == "www"]) is pd.DataFrame

    def test_one_that_is_assigned_is_a_plain_frame(self, shell):
        shell.run("df = %hive instances web")
        assert type(shell["df"]) is pd.DataFrame

    def test_nothing_is_told_in_a_sentence(self, shell):
        assert list(shell.run("%hive runs").index) == []
        assert "No run is in progress." in shell.out

    def test_csv_is_a_text(self, shell):
        shell.run("text = %hive systems --csv")
        assert shell["text"].splitlines()[0] == "system,platform,instances,paths,result,derivation"

    def test_wide_has_all_columns(self, shell):
        assert "include paths" not in shell.run("%hive systems")._repr_mimebundle_()["text/plain"]
        assert "include paths" in shell.run("%hive systems --wide")._repr_mimebundle_()["text/plain"]

    def test_the_past_needs_no_deployment_that_evaluates(self, shell, folder):
        """F3."""
        shell.attempt("%hive deploy www-1 --yes")
        (folder / "hive.nix").write_text("syntax error here (")
        assert shell.run("%hive history")["command"].tolist() == ["deploy www-1 --yes"]
        assert "0 of 1 deployed" in str(shell.run("%hive report"))

    def test_a_deployment_that_the_past_was_asked_of_is_kept(self, shell, folder):
        (folder / "own.nix").write_text("{ }")
        shell.run("%hive history -c own.nix")
        assert list(shell.run("%hive systems").index) == []


class TestVariables:
    def test_lists_and_frames_are_several_targets(self, shell):
        shell.run("hosts = ['www-2', 'db-1']\ndf = %hive instances web")
        assert list(shell.run("%hive instances $hosts").index) == ["www-2", "db-1"]
        assert list(shell.run("%hive instances {df.index}").index) == ["www-1", "www-2"]
        assert list(shell.run("%hive instances {df['system']}").index) == ["www-1", "www-2"]
        assert list(shell.run("%hive instances $df").index) == ["www-1", "www-2"]

    def test_the_variables_of_a_function_come_first(self, shell):
        shell.run("name = 'db-1'\ndef look(name):\n    df = %hive instances {name}\n    return df")
        assert list(shell.run("look('www-1')").index) == ["www-1"]

    def test_what_is_unexpanded_never_is_a_target(self, shell):
        error = shell.error("%hive deploy $enb")
        assert type(error) is UsageError
        assert "'enb'" in str(error)

    def test_nothing_is_done_for_an_empty_list(self, shell):
        shell.run("hosts = []")
        assert "$hosts is empty" in str(shell.error("%hive deploy $hosts"))


class TestMistakes:
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("deplo", "No such command 'deplo'"),
            ("deploy --tpye boot", "No such option"),
            ("deploy --tpye boot", "See %hive deploy --help."),
            ("deploy -t never", "'never' is not one of"),
            ("deploy --yes wwww-1", "'wwww-1' matches no instance, system or tag of hive.nix. Near: www-1"),
            ("push --yes --no realise", "--no realise goes with build alone"),
            ("run web", "run needs a command: %hive run web uptime"),
            ("deploy 'a", "No closing quotation mark"),
            ("instances ''", "''"),
        ],
    )
    def test_a_mistake_is_one_line(self, shell, line, said):
        error = shell.error(f"%hive {line}")
        assert type(error) is UsageError
        assert said in str(error)
        assert "\n" not in str(error)
        assert "Traceback" not in shell.out

    def test_a_cell_goes_with_run_alone(self, shell):
        assert "goes with run alone" in str(shell.error("%%hive deploy web\nuptime"))
        assert "goes with run alone" in str(shell.error("%%hive -c hive.nix build\nuptime"))
        assert "empty" in str(shell.error("%%hive run web\n  \n"))
        assert "what is 'uptime' for" in str(shell.error("%%hive run web uptime\ndate"))

    def test_a_deployment_error_has_no_python_frames(self, shell, folder):
        (folder / "bad.nix").write_text("{ systems = ")
        error = shell.error("%hive load bad.nix")
        assert type(error).__name__ == "DeploymentError"
        assert error.__suppress_context__
        assert "Traceback" not in shell.out


class TestRuns:
    def test_a_build_leaves_its_record_and_nothing_beside_it(self, shell):
        assert shell.run("%hive build") is None
        assert shell.out.count("2 of 2 built") == 1

    def test_a_build_assigned_gives_its_frame(self, shell):
        shell.run("df = %hive build www")
        assert shell["df"].loc["www", "outcome"] == "done"
        assert shell.out.count("1 of 1 built") == 1

    @pytest.mark.parametrize(
        "cell",
        [
            "if True:\n    %hive build www",
            "for name in ['www']:\n    %hive build {name}",
            "x = 1\n%hive build www;",
            "try:\n    %hive build www\nfinally:\n    pass",
            "%hive build \\\n  www",
            "get_ipython().run_line_magic('hive', 'build www')",
        ],
    )
    def test_a_build_that_stands_alone_has_no_value(self, shell, cell):
        assert shell.run(cell) is None
        assert "1 of 1 built" in shell.out

    @pytest.mark.parametrize(
        "cell",
        [
            "for _ in range(1):\n    df = %hive build www",
            "df: object = %hive build www",
            "df = get_ipython().run_line_magic('hive', 'build www')",
            "def f(): return get_ipython().run_line_magic('hive', 'build www')\ndf = f()",
            "df = len('ä') and get_ipython().run_line_magic('hive', 'build www')",
            "%hive build www --out df",
        ],
    )
    def test_a_build_whose_value_is_taken_gives_it(self, shell, cell):
        shell.run(cell)
        assert list(shell["df"].index) == ["www"]

    def test_known_results_are_listed(self, shell):
        shell.run("%hive build;")
        frame = shell.run("%hive build --no build")
        assert frame.loc["www", "result"].endswith("-www")

    def test_failures_raise_after_the_record(self, shell, broken):
        error = shell.error("%hive build --out df")
        assert isinstance(error, RunFailed)
        assert "1 of 2 built, 1 failed" in shell.out
        assert shell["df"].loc["db", "outcome"] == "failed"
        lines = "\n".join(error._render_traceback_()).splitlines()
        assert len(lines) < 6
        assert lines[0] == "RunFailed: 1 of 2 built, 1 failed"
        assert lines[1].strip().startswith("db")
        assert error.report.counts() == {"failed": 1, "done": 1}

    def test_hosts_that_cannot_be_reached_fail_a_run(self, shell):
        error = shell.error("%hive run web uptime --out df")
        assert isinstance(error, UsageError) is False
        assert isinstance(error, RunFailed)
        assert "2 of 2 hosts failed" in str(error)
        assert "www-1" in shell.out

    def test_options_of_a_run_stand_before_its_pattern(self, shell):
        shell.error("%hive run --out df web uptime")
        assert list(shell["df"].index) == ["www-1", "www-2"]
        assert (shell["df"]["error"] != "").all()

    def test_a_script_runs_on_what_a_variable_holds(self, shell):
        shell.run("hosts = ['www-2', 'db-1']")
        shell.error("%%hive run $hosts --out df\necho $HOME {x}")
        assert list(shell["df"].index) == ["www-2", "db-1"]
        shell.error("%hive run --json --out records $hosts uptime")
        assert [record["instance"] for record in shell["records"]] == ["www-2", "db-1"]
        shell.error("%hive run --out df web uptime")
        assert list(shell["df"].index) == ["www-1", "www-2"]

    def test_ssh_that_fails_is_one_line(self, shell):
        error = shell.error("%hive ssh www-1 uptime")
        assert isinstance(error, RunFailed)
        assert str(error) == "It ended with exit status 255."
        assert shell.run("%hive ssh www-1") is None
        assert "In a terminal: nix-hive -c hive.nix ssh www-1" in shell.out


class TestState:
    def test_the_deployment_stays(self, shell, folder):
        (folder / "other").mkdir()
        (folder / "other" / "default.nix").write_text("{ systems = { }; }")
        shell.run("%hive load -c other")
        assert list(shell.run("%hive systems").index) == []
        assert list(shell.run("%hive systems -c hive.nix").index) == ["db", "www"]
        assert list(shell.run("%hive systems").index) == ["db", "www"]

    def test_warnings_are_shown_once(self, shell, folder):
        (folder / "odd.nix").write_text("{ sytems = { }; }")
        shell.run("%hive -c odd.nix systems")
        assert "⚠ warning: " in shell.out
        assert "sytems" in shell.out
        shell.run("%hive systems")
        assert "warning" not in shell.out
