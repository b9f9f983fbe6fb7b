"""The short form of Nix's errors, in the layouts of old and new versions of Nix."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from nixhive_nb.deployment.nix_errors import OWN_EXPRESSIONS, explain, warnings_in

if TYPE_CHECKING:
    from pathlib import Path

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


def test_a_place_in_the_store_follows_the_nearest_outside() -> None:
    """N2: the user's file and line first."""
    text = NEW.replace("at /hive/www.nix:3:12", "at /nix/store/abc-nixpkgs/lib/modules.nix:3:12")
    assert explain(text).splitlines()[:2] == [
        "/hive/default.nix:2:3: attribute 'a' missing",
        "(raised at /nix/store/abc-nixpkgs/lib/modules.nix:3:12)",
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
        "/hive/www.nix: The option `services.ngnix' does not exist. Definition values:",
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


FETCH = """\
warning: Git tree '/hive' is dirty
ssh: Could not resolve hostname git.example.org: Name or service not known
fatal: Could not read from remote repository.

Please make sure you have the correct access rights
and the repository exists.
"""
OLD_FETCH = """\
error: program 'git' failed with exit code 128
(use '--show-trace' to show detailed location information)
"""
NEW_FETCH = """\
error:
       … while fetching the input 'git+ssh://git.example.org/x'

       error: Failed to fetch git repository 'ssh://git.example.org/x'
"""


@pytest.mark.parametrize("error", [OLD_FETCH, NEW_FETCH], ids=["old", "new"])
def test_of_a_program_that_failed_its_own_words_are_given(error: str) -> None:
    message, *said = explain(FETCH + error).splitlines()
    assert "failed" in message.lower()
    assert said[0] == "ssh: Could not resolve hostname git.example.org: Name or service not known"
    assert said[-1] == "and the repository exists."


def test_the_whole_is_given_when_asked_for() -> None:
    whole = explain(NEW, show_trace=True)
    assert whole.startswith("error:\n       … nix-hive")
    assert "2|   systems.www.configuration = import ./www.nix;" in whole


# N2: what NixOS says in both layouts, with frames as those of nixpkgs since 24.05 under Nix 2.8, and 2.18 to 2.31.

CONTEXT_OLD = """
       … while evaluating the attribute 'config.system.build.toplevel'

       at NIXPKGS/lib/modules.nix:175:7:

          174|       inherit options;
             |       ^

       … nix-hive: nixpkgs at NIXPKGS

       … nix-hive: described at /hive/default.nix:3

       … nix-hive: system www

       … while evaluating 'toplevel'

       at OWN/toplevel.nix:16:14:

           16|   toplevel = name:
             |              ^
"""

CONTEXT_NEW = """\
error:
       … while calling the 'listToAttrs' builtin
         at OWN/toplevel.nix:50:1:
           49| in
             | ^

       … nix-hive: system www

       … nix-hive: described at /hive/default.nix:3

       … nix-hive: nixpkgs at NIXPKGS

       … while calling the 'head' builtin
         at NIXPKGS/lib/attrsets.nix:1574:11:
         1573|         || pred here (elemAt values 1) (head values) then
         1574|           head values
             |           ^
         1575|         else

       … while evaluating the attribute 'value'
         at NIXPKGS/lib/modules.nix:846:9:
          845|     in warnDeprecation opt //
          846|       { value = addErrorContext "while evaluating the option `${showOption loc}':" value;
             |         ^

       … while evaluating the option `system.build.toplevel':

       … while evaluating definitions from `NIXPKGS/nixos/modules/system/activation/top-level.nix':

       (stack trace truncated; use '--show-trace' to show the full, detailed trace)

"""

ASSERTIONS = """\
Failed assertions:
- The \u2018fileSystems\u2019 option does not specify your root file system.

- You must set the option \u2018boot.loader.grub.devices\u2019
  to make the system bootable.
"""


def filled(text: str, nixpkgs: str = "/srv/nixpkgs") -> str:
    return text.replace("OWN", str(OWN_EXPRESSIONS)).replace("NIXPKGS", nixpkgs)


def as_old(message: str, nixpkgs: str = "/srv/nixpkgs") -> str:
    """The message first, below a bare `error:` where it begins with a line break."""
    begin = "error:" if message.startswith("\n") else "error: "
    return filled(begin + textwrap.indent(message, " " * 7).lstrip(" ") + CONTEXT_OLD, nixpkgs)


def as_new(message: str, nixpkgs: str = "/srv/nixpkgs") -> str:
    begin = "       error:" if message.startswith("\n") else "       error: "
    return filled(CONTEXT_NEW + begin + textwrap.indent(message, " " * 7).lstrip(" "), nixpkgs)


LAYOUTS = pytest.mark.parametrize("layout", [as_old, as_new], ids=["Nix 2.8", "since Nix 2.14"])
STORES = pytest.mark.parametrize("nixpkgs", ["/srv/nixpkgs", "/nix/store/abc-source"])


@STORES
@LAYOUTS
def test_failed_assertions_are_shown_whole(layout, nixpkgs) -> None:  # type: ignore[no-untyped-def]
    """N2: the commonest mistake of all was shown as the frames of our own expressions."""
    shown = explain(layout(f"\n{ASSERTIONS}", nixpkgs)).splitlines()
    assert shown == [
        "/hive/default.nix:3: Failed assertions:",
        *ASSERTIONS.splitlines()[1:],
        "(in system www)",
    ]


@LAYOUTS
def test_forty_failed_assertions_are_shown_all(layout) -> None:  # type: ignore[no-untyped-def]
    """N2: the last twelve lines were kept at most."""
    said = "\n".join(f"- number {number}" for number in range(40))
    shown = explain(layout(f"\nFailed assertions:\n{said}\n"))
    assert all(f"- number {number}\n" in shown for number in range(40))


@LAYOUTS
def test_a_lone_message_of_a_failed_assertion_needs_no_frames(layout) -> None:  # type: ignore[no-untyped-def]
    """N2: as it is printed without --show-trace."""
    text = "error:\n" + textwrap.indent(ASSERTIONS, " " * 7)
    assert explain(text).splitlines() == ASSERTIONS.splitlines()
    assert layout("x")


@STORES
@LAYOUTS
def test_an_option_that_is_not_there_is_told_with_file_and_line(layout, nixpkgs, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """N2: the place was that of lib/modules.nix; the user's file stands in the message, the line in that file."""
    file = tmp_path / "www.nix"
    file.write_text("{ ... }: {\n  services.openssh.enable = true;\n  services.ngnix.enable = true;\n}\n")
    message = (
        f"The option `services.ngnix' does not exist. Definition values:\n- In `{file}':\n    {{ enable = true; }}\n"
    )
    shown = explain(layout(message, nixpkgs)).splitlines()
    assert shown == [
        f"{file}:3: The option `services.ngnix' does not exist. Definition values:",
        f"- In `{file}':",
        "    { enable = true; }",
        "(in system www)",
    ]


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (
            "A definition for option `a.b' is not of type `string'. Definition values:\n- In `/hive/x.nix': 1",
            "/hive/x.nix",
        ),
        (
            "The option `a.b' has conflicting definition values:\n- In `/hive/x.nix': 1\n- In `/hive/y.nix': 2",
            "/hive/x.nix",
        ),
        ("Module `/hive/x.nix' has an unsupported attribute `foo'.", "/hive/x.nix"),
        ("The option `a' defined in `/hive/x.nix, via option b' does not exist.", "/hive/x.nix"),
        ("The option `services.nextcloud.config' is used but not defined.", "/hive/default.nix:3"),
        ("path '/hive/nothere.nix' does not exist", "/hive/default.nix:3"),
    ],
)
@LAYOUTS
def test_each_mistake_of_an_option_is_told_with_their_file(layout, message, place) -> None:  # type: ignore[no-untyped-def]
    """N2: where no file is known, where the system is described in the deployment."""
    first, *rest = message.splitlines()
    shown = explain(layout(message)).splitlines()
    assert shown[0] == f"{place}: {first}"
    assert shown[1:-1] == rest
    assert shown[-1] == "(in system www)"


def test_infinite_recursion_is_told_with_their_line_and_the_option() -> None:
    """N2: the place was that of lib/attrsets.nix."""
    frames = """\
       … while evaluating the option `networking.hostName':

       … while evaluating definitions from `/hive/www.nix':

       … while calling anonymous lambda
         at /hive/www.nix:7:24:
            6| {
            7|   networking.hostName = config.networking.hostName + "x";
             |                        ^

"""
    place = f"\n       at {filled('NIXPKGS')}/lib/modules.nix:846:9:\n          845|     in\n"
    new = filled(CONTEXT_NEW) + frames + "       error: infinite recursion encountered" + place
    assert explain(new).splitlines() == [
        "/hive/www.nix:7:24: infinite recursion encountered",
        "(raised at /srv/nixpkgs/lib/modules.nix:846:9)",
        "(while evaluating the option `networking.hostName')",
        "(in system www)",
    ]
    old = (
        "error: infinite recursion encountered\n"
        + place
        + frames.replace("         at", "\n       at")
        + filled(CONTEXT_OLD)
    )
    assert explain(old).splitlines()[0] == "/hive/www.nix:7:24: infinite recursion encountered"


def test_a_file_that_only_a_definition_names_is_told() -> None:
    """N2: a throw in nixpkgs about a value of theirs."""
    frame = "       … while evaluating definitions from `/hive/www.nix':\n\n"
    shown = explain(
        filled(CONTEXT_NEW) + frame + "       error: 'pkgconfig' has been renamed to/replaced by 'pkg-config'\n"
    )
    assert shown.splitlines()[0] == "/hive/www.nix: 'pkgconfig' has been renamed to/replaced by 'pkg-config'"


def test_a_message_that_speaks_of_errors_is_shown_from_its_beginning() -> None:
    """N2: a line of it that begins with `error:` is not the error."""
    message = "\nFailed assertions:\n- the log says\n  error: nothing\n"
    for layout in (as_old, as_new):
        assert explain(layout(message)).splitlines()[1:3] == ["- the log says", "  error: nothing"]


@LAYOUTS
def test_the_trace_is_without_our_own_frames(layout) -> None:  # type: ignore[no-untyped-def]
    """N2: 17 lines of them stood under each failed system."""
    shown = explain(layout("no"), show_trace=True)
    assert str(OWN_EXPRESSIONS) not in shown
    assert "error: no" in shown
    assert "lib/modules.nix" in shown


def test_warnings_are_found_whole_and_once() -> None:
    """N2: those of NixOS, of lib.warn and of newer Nix, with the file that they name first."""
    text = """\
evaluating file '/hive/www.nix'
trace: warning: The option `services.foo' defined in `/hive/www.nix' has been renamed to `services.bar'.
trace: hello
evaluation warning: first
  and second line
evaluation warning: first
  and second line
warning: Nix search path entry '/x' does not exist, ignoring
"""
    assert warnings_in(text) == (
        "/hive/www.nix: The option `services.foo' defined in `/hive/www.nix' has been renamed to `services.bar'.",
        "first\n  and second line",
        "Nix search path entry '/x' does not exist, ignoring",
    )
    assert warnings_in("trace: hello\nerror: no\n") == ()


@pytest.mark.parametrize(
    "passing",
    [
        "warning: error: SQLite database '/nix/var/nix/db/db.sqlite' is busy",
        "warning: SQLite database '/nix/var/nix/db/db.sqlite' is busy",
        "warning: unable to download 'https://cache.example/x.narinfo': Timeout was reached (28); retrying in 293 ms",
    ],
)
def test_what_nix_only_waits_for_is_no_warning_of_the_deployment(passing):
    """It stood in a notebook beside the record of a deploy, since others used the store at that moment."""
    assert warnings_in(f"{passing}\ntrace: warning: old option\n{passing}\n") == ("old option",)


@pytest.mark.parametrize("newer", [False, True])
def test_a_file_that_is_no_json_is_named(newer, tmp_path):
    hive = tmp_path / "hive.nix"
    hive.write_text("let\n  hosts = builtins.fromJSON (builtins.readFile ./hosts.json);\nin hosts\n")
    message = "error: [json.exception.parse_error.101] parse error at line 1, column 9: unexpected end of input"
    frame = f"       … while calling the 'fromJSON' builtin\n         at {hive}:2:11:\n"
    said = f"error:\n{frame}\n       {message}\n" if newer else f"{message}\n\n{frame}"
    short = explain(said)
    assert short.startswith(f"{hive}:2:11: [json.exception")
    assert short.endswith("\n./hosts.json is no JSON, or not all of it is written yet.")
