"""Each Nix command is exactly this argument list."""

from __future__ import annotations

from nixhive_nb.nix import commands


def test_realise_builds_all_in_one_command_with_the_flags_of_the_deployment():
    assert commands.realise(["/a.drv", "/b.drv"], ["--builders", "ssh://b"]) == [
        *("nix-store", "--realise", "/a.drv", "/b.drv", "--keep-going", "--log-format", "internal-json", "-v"),
        *("--builders", "ssh://b"),
    ]


def test_copy_lets_the_other_side_take_what_it_can_get():
    assert commands.copy("/nix/store/x", "ssh://portico", ["--no-check-sigs"]) == [
        *("nix", "--extra-experimental-features", "nix-command", "copy", "--to", "ssh://portico"),
        *(
            "--substitute-on-destination",
            "--refresh",
            "--log-format",
            "internal-json",
            "-v",
            "--no-check-sigs",
            "/nix/store/x",
        ),
    ]


def test_the_key_is_named_and_never_read_by_us():
    assert commands.sign("/nix/store/x", "/keys/k") == [
        *("nix", "--extra-experimental-features", "nix-command", "store", "sign"),
        *("--recursive", "--key-file", "/keys/k", "/nix/store/x"),
    ]


def test_a_host_is_asked_what_it_lacks_with_each_path_as_one_word():
    assert commands.remote_invalid(["/nix/store/x", "/nix/store/a b"]) == (
        "nix-store --check-validity --print-invalid /nix/store/x '/nix/store/a b'"
    )


def test_a_host_tells_a_closure_and_its_sizes_in_one_command():
    assert commands.remote_closure_sizes("/nix/store/x") == (
        'paths=$(nix-store --query --requisites /nix/store/x) && printf "%s\\n" "$paths" "" && '
        'printf "%s\\n" "$paths" | xargs nix-store --query --size'
    )


def test_the_users_own_copy_options_are_split_as_a_shell_does():
    assert commands.copy_options({"NIX_COPYOPTS": "--option x 'a b'"}) == ["--option", "x", "a b"]
    assert commands.copy_options({}) == []


def test_a_command_is_for_bin_sh_whatever_the_login_shell_is():
    assert commands.posix("""echo 'a b' "$x" """) == """exec /bin/sh -c 'echo '"'"'a b'"'"' "$x" '"""
