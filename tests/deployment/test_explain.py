"""The short form of Nix's errors, in the layouts of old and new versions of Nix."""

from __future__ import annotations

import textwrap

import pytest

from nixhive_nb.deployment.explain import OWN_EXPRESSIONS, explain

# Nix 2.8: the message first, then the frames, the innermost first.
OLD = """\
evaluating file '/hive/default.nix'
error: attribute 'a' missing

       at /hive/www.nix:3:12:

            2| # comment
            3| let f = x: x.a; in f {b=1;}
             |            ^
       Did you mean b?

       … while evaluating 'f'

       at /hive/www.nix:3:9:

            3| let f = x: x.a; in f {b=1;}
             |         ^

       … nix-hive: `configuration` of system www
"""

# Since about Nix 2.14: the frames, the outermost first, then the message.
NEW = """\
evaluating file '/hive/default.nix'
error:
       … nix-hive: `configuration` of system www

       … while evaluating the attribute 'configuration'
         at /hive/default.nix:2:3:
            1| {
            2|   systems.www.configuration = import ./www.nix;
             |   ^
            3| }

       (stack trace truncated; use '--show-trace' to show the full, detailed trace)

       error: attribute 'a' missing
       at /hive/www.nix:3:12:
            2| # comment
            3| let f = x: x.a; in f {b=1;}
             |            ^
       Did you mean b?
"""

NEW_THROW = """\
error:
       … while evaluating the attribute 'instances'
         at /hive/default.nix:2:3:
            1| {
            2|   instances = import ./hosts.nix;
             |   ^

       … while calling the 'throw' builtin
         at /hive/hosts.nix:7:5:
            6|   if missing then
            7|     throw "no hosts"
             |     ^

       … while calling a function of ours
         at OWN/inventory.nix:1:1:
            1| let
             | ^

       error: no hosts
""".replace("OWN", str(OWN_EXPRESSIONS))


def test_both_layouts_have_the_same_short_form() -> None:
    short = "/hive/www.nix:3:12: attribute 'a' missing\nDid you mean b?\n(in `configuration` of system www)"
    assert explain(OLD) == short
    assert explain(NEW) == short


def test_a_message_without_a_place_gets_that_of_the_nearest_frame_of_theirs() -> None:
    assert explain(NEW_THROW) == "/hive/hosts.nix:7:5: no hosts"


def test_a_place_in_the_store_is_followed_by_the_nearest_outside() -> None:
    text = NEW.replace("at /hive/www.nix:3:12", "at /nix/store/abc-nixpkgs/lib/modules.nix:3:12")
    assert explain(text).splitlines()[:2] == [
        "/nix/store/abc-nixpkgs/lib/modules.nix:3:12: attribute 'a' missing",
        "(called from /hive/default.nix:2:3)",
    ]


def test_a_message_of_several_lines_stays_whole() -> None:
    text = textwrap.dedent(
        """\
        error:
               … while evaluating the option `system.build.toplevel':

               error: The option `services.ngnix' does not exist. Definition values:
               - In `/hive/www.nix':
                   {
                     enable = true;
                   }
        """
    )
    assert explain(text).splitlines() == [
        "The option `services.ngnix' does not exist. Definition values:",
        "- In `/hive/www.nix':",
        "    {",
        "      enable = true;",
        "    }",
    ]


def test_places_that_are_no_files_are_left_out() -> None:
    assert explain("error: undefined variable 'x'\n       at «string»:1:1:\n            1| x\n             | ^\n") == (
        "undefined variable 'x'"
    )


def test_a_build_that_failed_counts_more_than_what_waited_for_it() -> None:
    text = (
        "error: builder for '/nix/store/a.drv' failed\nerror: 1 dependencies of derivation '/nix/store/b.drv' failed\n"
    )
    assert explain(text) == "builder for '/nix/store/a.drv' failed"


# A configuration imports what is built, and the build of something that it needs fails.
IMPORTED = {
    "2.8": """\
error: builder for '/nix/store/v2zy-bad.drv' failed with exit code 3
error: 1 dependencies of derivation '/nix/store/fmmm-need.drv' failed to build

       … while realising the context of path '/nix/store/aysn-need'

       at /hive/www.nix:3:64:

            2|   bad = make "bad" [ ] "exit 3";
            3| in import (make "need" [ bad ] "echo 1 > $out")
             |    ^

       … nix-hive: system www

       … while evaluating anonymous lambda

       at /hive/hive.nix:3:4:

            3| in { names }: import ./www.nix
             |    ^

       … from call site
""",
    "2.26": """\
error: builder for '/nix/store/v2zy-bad.drv' failed with exit code 3
error:
       … from call site
         at /hive/hive.nix:3:4:
            3| in { names }: import ./www.nix
             |    ^

       … nix-hive: system www

       … while calling the 'import' builtin
         at /hive/www.nix:3:64:
            2|   bad = make "bad" [ ] "exit 3";
            3| in import (make "need" [ bad ] "echo 1 > $out")
             |    ^

       … while realising the context of path '/nix/store/aysn-need'

       error: 1 dependencies of derivation '/nix/store/fmmm-need.drv' failed to build
""",
    "2.34": """\
error: Cannot build '/nix/store/v2zy-bad.drv'.
       Reason: builder failed with exit code 3.
       Output paths:
         /nix/store/y8nq-bad
error:
       … from call site
         at /hive/hive.nix:3:4:
            3| in { names }: import ./www.nix
             |    ^

       … nix-hive: system www

       … while calling the 'import' builtin
         at /hive/www.nix:3:64:
            2|   bad = make "bad" [ ] "exit 3";
            3| in import (make "need" [ bad ] "echo 1 > $out")
             |    ^

       … while realising the context of path '/nix/store/aysn-need'

       error: Cannot build '/nix/store/fmmm-need.drv'.
       Reason: 1 dependency failed.
       Output paths:
         /nix/store/aysn-need
""",
}


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("2.8", "builder for '/nix/store/v2zy-bad.drv' failed with exit code 3"),
        ("2.26", "builder for '/nix/store/v2zy-bad.drv' failed with exit code 3"),
        ("2.34", "Cannot build '/nix/store/v2zy-bad.drv'.\nReason: builder failed with exit code 3."),
    ],
)
def test_what_failed_is_said_with_the_place_that_needed_it_in_each_form_of_nix(version: str, message: str) -> None:
    assert explain(IMPORTED[version]) == f"/hive/www.nix:3:64: {message}\n(in system www)"


def test_a_warning_about_an_error_is_not_the_error() -> None:
    text = "error: cannot fetch it\nwarning: error: unable to download 'http://x'; retrying in 3 ms\n"
    assert explain(text) == "cannot fetch it"


def test_a_text_without_an_error_gives_its_last_lines() -> None:
    assert explain("evaluating file '/x'\n" + "\n".join(f"line {number}\n" for number in range(9))) == (
        "line 4\nline 5\nline 6\nline 7\nline 8"
    )


def test_the_whole_is_given_when_asked_for() -> None:
    whole = explain(NEW, show_trace=True)
    assert whole.startswith("error:\n       … nix-hive")
    assert "2|   systems.www.configuration = import ./www.nix;" in whole
