"""What hosts say of themselves, by real shells in a file system of their own."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from nixhive_nb.hosts.facts import (
    FACTS,
    FAILED_UNITS,
    GENERATIONS,
    NAMELESS,
    inhibitors_in,
    kernels_of,
    known_words,
    parse_facts,
    parse_failed_units,
    parse_generations,
    read_inhibitors,
)
from nixhive_nb.hosts.kernels import platforms_of
from nixhive_nb.plan.facts import Generation, HostFacts

STORE = "/nix/store/"
OLD, NEW, BARE = (STORE + letter * 32 + "-nixos-system-web" for letter in "abc")
KERNEL, OTHER, INITRD, MODULES = (
    STORE + letter * 32 + name
    for letter, name in zip("defg", ("-linux-6.6", "-linux-6.12", "-initrd", "-modules"), strict=True)
)
HOST = f"""
mount -t tmpfs none /run && mount -t tmpfs none /nix
mkdir -p {OLD} {NEW} {BARE} {KERNEL} {OTHER} {INITRD} {MODULES} /nix/var/nix/profiles
touch {KERNEL}/bzImage {OTHER}/bzImage {INITRD}/initrd
for system in {OLD} {NEW}; do ln -s {INITRD}/initrd $system/initrd; ln -s {MODULES} $system/kernel-modules; done
echo quiet >{OLD}/kernel-params; echo quiet >{NEW}/kernel-params
ln -s {KERNEL}/bzImage {OLD}/kernel; ln -s {OTHER}/bzImage {NEW}/kernel
printf '23.11 (Tapir)' >{OLD}/nixos-version; echo 24.05 >{NEW}/nixos-version
"""
ACTIVATED = f"""
ln -s {OLD} /run/booted-system; ln -s {NEW} /run/current-system
cd /nix/var/nix/profiles
ln -s {OLD} system-9-link; ln -s {NEW} system-10-link; ln -s {BARE} system-11-link; ln -s system-10-link system
touch -h -d @1000 system-9-link; touch -h -d @2000 system-10-link; touch -h -d @3000 system-11-link
ln -s {NEW} other-1-link; touch system-x-link; cd /
"""
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


@pytest.fixture(params=SHELLS)
def host(request):
    """Run words as a host would that has these files; as another user where asked."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare")
    shell = [request.param, "sh"] if request.param == "busybox" else [request.param]

    def run(words, before="", *, prefix=()):
        script = f'set -e\n{HOST}{before}\nset +e\nexec "$@"'
        argv = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *prefix, *shell, "-c", words]
        return subprocess.run(argv, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout

    run.shell = request.param
    return run


def kernel(image, parameters="quiet\n"):
    return (f"{image}/bzImage", f"{INITRD}/initrd", MODULES, hashlib.sha256(parameters.encode()).hexdigest()[:32])


def test_the_words_are_one_line_and_safe_in_single_quotes():
    for words in (FACTS, FAILED_UNITS, GENERATIONS):
        assert "\n" not in words
        assert "'" not in words
        assert "!" not in words


def test_a_host_tells_what_runs_was_booted_and_boots(host):
    facts = parse_facts(host(FACTS, ACTIVATED))
    assert (facts.current, facts.booted, facts.profile, facts.generation) == (NEW, OLD, NEW, 10)
    assert facts.booted_kernel == kernel(KERNEL)
    assert facts.current_kernel == kernel(OTHER)
    assert facts.reboot_needed is True
    assert facts.root is True
    assert facts.failed_units is None
    assert facts.holder == ""
    assert facts.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert 0 < facts.uptime <= float(Path("/proc/uptime").read_text().split()[0])


def test_a_login_whose_cd_looks_elsewhere_first_gets_the_same_facts(host):
    elsewhere = "mkdir -p /run/elsewhere/kernel-modules; export CDPATH=/run/elsewhere"
    assert parse_facts(host(FACTS, f"{ACTIVATED}{elsewhere}")).current_kernel == kernel(OTHER)


def test_a_host_where_nothing_was_activated_still_answers(host):
    facts = parse_facts(host(FACTS))
    assert (facts.current, facts.booted, facts.profile, facts.generation) == ("", "", "", None)
    assert facts.booted_kernel == facts.current_kernel == ()
    assert facts.reboot_needed is None
    assert facts.free is not None
    assert parse_generations(host(GENERATIONS)) == ()


def test_another_user_than_root_is_told_and_gets_the_same_facts(host):
    facts = parse_facts(host(FACTS, ACTIVATED, prefix=("setpriv", "--reuid=65534", "--clear-groups")))
    assert facts.root is False
    assert (facts.current, facts.generation, facts.booted_kernel) == (NEW, 10, kernel(KERNEL))


def test_free_space_is_in_bytes(host):
    facts = parse_facts(host(FACTS, "mount -t tmpfs -o size=1m none /nix"))
    assert facts.free == 1024 * 1024


def test_a_system_without_a_kernel_has_none_and_one_without_an_initrd_has_no_initrd(host):
    facts = parse_facts(
        host(FACTS, f"rm {NEW}/initrd; ln -s {BARE} /run/booted-system; ln -s {NEW} /run/current-system")
    )
    assert facts.booted_kernel == ()
    assert facts.current_kernel == (f"{OTHER}/bzImage", "", MODULES, kernel(OTHER)[-1])


COPY = (
    f"mkdir {OLD}2; cp -r {OLD}/. {OLD}2; ln -sfn {OLD}2 /run/current-system; "
    f"ln -sfn {OLD}2 /nix/var/nix/profiles/system"
)


@pytest.mark.parametrize(
    ("before", "needed"),
    [
        (f"ln -sfn {OLD} /run/current-system; ln -sfn system-9-link /nix/var/nix/profiles/system", False),
        (f"ln -sfn {OLD} /run/current-system", True),
        (f"{COPY}; echo nosmt >{OLD}2/kernel-params", True),
        (f"{COPY}; rm {OLD}2/kernel-params", False),
    ],
    ids=["the same", "boots it next", "other parameters", "parameters that cannot be read"],
)
def test_a_reboot_is_needed_for_other_parameters_and_for_what_is_booted_next(host, before, needed):
    """A8."""
    assert parse_facts(host(FACTS, f"{ACTIVATED}\n{before}")).reboot_needed is needed


SPECIAL = f"""
mkdir -p {BARE} {NEW}/specialisation {OLD}/specialisation
ln -s {BARE} {NEW}/specialisation/calm; ln -s {KERNEL} {OLD}/specialisation/calm; ln -s {OTHER} {NEW}/specialisation/x
"""


def test_a_specialisation_that_runs_is_named_with_its_system(host):
    """Case 24."""
    facts = parse_facts(host(FACTS, f"{ACTIVATED}{SPECIAL}ln -sfn {BARE} /run/current-system"))
    assert (facts.current, facts.specialisation, facts.base) == (BARE, "calm", NEW)
    assert facts.does_run(NEW)
    assert not facts.does_run(OLD)
    assert facts.reboot_needed is not True
    # Of a generation that is not booted next.
    facts = parse_facts(host(FACTS, f"{ACTIVATED}{SPECIAL}ln -sfn {KERNEL} /run/current-system"))
    assert (facts.specialisation, facts.base, facts.reboot_needed) == ("calm", OLD, True)
    facts = parse_facts(host(FACTS, f"{ACTIVATED}{SPECIAL}"))
    assert (facts.specialisation, facts.base) == ("", "")


def test_what_is_no_store_path_is_unknown(host):
    facts = parse_facts(host(FACTS, "mkdir /run/elsewhere; ln -s /run/elsewhere /run/current-system"))
    assert facts.current == ""


def test_a_held_lock_is_told_with_the_first_line_of_its_holder_and_without_control_characters(host):
    with_lock = "exec 9>/run/nixhive/lock; flock -x 9"
    says = "mkdir /run/nixhive; printf 'anna@desk, run 7\\033[31m\\nsecond line' >/run/nixhive/holder"
    assert parse_facts(host(FACTS, f"{says}; {with_lock}")).holder == "anna@desk, run 7"
    assert parse_facts(host(FACTS, f"{says}; : >/run/nixhive/lock")).holder == ""
    assert parse_facts(host(FACTS, says)).holder == ""


def test_a_held_lock_without_a_name_is_held_all_the_same(host):
    facts = parse_facts(host(FACTS, "mkdir /run/nixhive; exec 9>/run/nixhive/lock; flock -x 9"))
    assert facts.holder == NAMELESS


def test_a_lock_that_another_asker_shares_is_held_by_nobody(host):
    facts = parse_facts(host(FACTS, "mkdir /run/nixhive; exec 9>/run/nixhive/lock; flock -s 9"))
    assert facts.holder == ""


# systemd cannot run here: a program of its name answers as it does.
SYSTEMD = """
mkdir -p /run/systemd/system /run/bin
cat >/run/bin/systemctl <<'END'
#!/bin/sh
case "$1 $2" in
  "show --property=ExecMainStatus")
    case $3 in loops*) echo ExecMainStatus=3 ;; *) echo ExecMainStatus=0 ;; esac
    exit ;;
esac
test "$*" = "list-units --state=failed,auto-restart --plain --no-legend --no-pager" || exit 64
{answer}
END
chmod +x /run/bin/systemctl; PATH=/run/bin:$PATH
"""
LEGEND = "nginx.service loaded failed failed A web server\\nback\\\\x2dup.timer loaded failed failed \\n"
LOOPS = (
    "loops.service loaded activating auto-restart It crashes\\n"
    "ends.service loaded activating auto-restart It ends well\\nx.mount loaded failed failed\\n"
)


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (f"printf '{LEGEND}'", ("nginx.service", "back\\x2dup.timer")),
        ("true", ()),
        (f"printf '{LOOPS}'", ("loops.service", "x.mount")),
        ("echo 'Failed to connect to bus' >&2; exit 1", None),
    ],
)
def test_failed_units_are_named_where_systemd_answers(host, answer, failed):
    """A12: one that systemd starts again and again is no failed one for systemd."""
    systemd = SYSTEMD.replace("{answer}", answer)
    assert parse_facts(host(FACTS, systemd)).failed_units == failed
    assert parse_failed_units(host(FAILED_UNITS, systemd)) == failed


def test_generations_come_newest_first(host):
    assert parse_generations(host(GENERATIONS, ACTIVATED)) == (
        Generation(number=11, path=BARE, created=3000.0),
        Generation(number=10, path=NEW, created=2000.0, current=True, running=True, version="24.05"),
        Generation(number=9, path=OLD, created=1000.0, version="23.11 (Tapir)"),
    )


def test_noise_and_nonsense_are_passed_over():
    noise = (
        "Welcome!\n\ncurrent\n=\nuptime=soon\ndf=df: no such file\ngeneration=system-x-link\nuid=0(root)\n"
        "holder=nobody\nbooted_kernel=/tmp/kernel a b\nprofile=../x\n"
    )
    assert parse_facts(noise) == HostFacts()
    assert parse_facts("") == HostFacts()
    assert parse_generations(noise + "generation=system-3-link soon /nix/store/x v\ngeneration=system-4-link\n") == ()


def test_control_characters_are_stripped_from_all_that_a_host_says():
    said = "current=/nix/store/x\x1b[2J\x07y\r\nboot_id=\x9b31mid\u202e\nsystemd=yes\n"
    said += "failed=a\x00\x1b]0;title\x07b.service\n"
    facts = parse_facts(said)
    assert (facts.current, facts.boot_id, facts.failed_units) == ("/nix/store/xy", "id", ("ab.service",))


QEMU = "enabled\\ninterpreter /run/qemu\\nflags: POCF\\noffset 0\\nmagic 7f454c46{head}0000000000000000{kind}\\n"
BINFMT = """
mkdir -p /run/binfmt
mount --bind /run/binfmt /proc/sys/fs/binfmt_misc 2>/dev/null || exit 99
echo enabled >/run/binfmt/status; printf '{arm}' >/run/binfmt/named-by-anybody; printf '{other}' >/run/binfmt/python
mkdir /run/bin; printf '#!/bin/sh\\necho {machine}\\n' >/run/bin/uname
printf '#!/bin/sh\\n[ "$1" = linux32 ] && exit {bits}\\n' >/run/bin/setarch
chmod +x /run/bin/*; PATH=/run/bin:$PATH
"""
AARCH64 = QEMU.format(head="02010100", kind="0200b700")


ARCH = Path("/proc/sys/kernel/arch")
"""What Linux 6.1 and newer say of themselves."""


def kernels(host, machine, *, bits=0, arm="", other="", tells=True):
    """Return what a host runs of that machine, with these entries of binfmt_misc; one that `tells` needs no `uname`."""
    if host.shell == "busybox" and not (tells and ARCH.exists()):
        pytest.skip("it has a uname of its own")
    said = f"printf '%s\n' '{machine if tells else ''}' >/run/arch; mount --bind /run/arch {ARCH}\n"
    before = (said if ARCH.exists() else "") + BINFMT
    for name, value in {"machine": machine, "bits": bits, "arm": arm, "other": other}.items():
        before = before.replace(f"{{{name}}}", str(value))
    if not Path("/proc/sys/fs/binfmt_misc").is_dir():
        before = before.replace("mount --bind /run/binfmt /proc/sys/fs/binfmt_misc 2>/dev/null || exit 99", "")
    return parse_facts(host(FACTS, before)).runs


def test_a_kernel_runs_its_own_platform_and_its_32_bits(host):
    """Case 26."""
    assert kernels(host, "x86_64") == ("x86_64-linux", "i686-linux")
    assert kernels(host, "aarch64") == ("aarch64-linux", "armv7l-linux", "armv6l-linux", "armv5tel-linux")
    assert kernels(host, "aarch64", bits=1) == ("aarch64-linux",)
    assert kernels(host, "armv6l") == ("armv6l-linux", "armv5tel-linux")
    assert kernels(host, "something-new") == ()


def test_a_kernel_that_does_not_say_what_it_is_is_asked_by_uname(host):
    assert kernels(host, "armv6l", tells=False) == ("armv6l-linux", "armv5tel-linux")


@pytest.mark.skipif(not Path("/proc/sys/fs/binfmt_misc").is_dir(), reason="this kernel has no binfmt_misc")
def test_a_kernel_runs_what_binfmt_has_an_interpreter_for(host):
    """Case 26: known by the head of the files, since each distribution names its entries otherwise."""
    script = "enabled\\noffset 0\\nmagic 2321\\n"
    assert "aarch64-linux" in kernels(host, "x86_64", arm=AARCH64, other=script)
    assert "aarch64-linux" not in kernels(host, "x86_64", arm=AARCH64.replace("enabled", "disabled"))


@pytest.mark.parametrize(
    ("head", "kind", "platform"),
    [
        ("02010100", "0200b700", "aarch64-linux"),
        ("01010100", "02002800", "armv7l-linux"),
        ("01010100", "02000300", "i686-linux"),
        ("02010100", "0200f300", "riscv64-linux"),
        ("02020100", "00020016", "s390x-linux"),
        ("02010100", "02001500", "powerpc64le-linux"),
    ],
)
def test_entries_of_binfmt_are_read_by_the_head_of_an_elf_file(head, kind, platform):
    """Case 26."""
    entry = QEMU.format(head=head, kind=kind).replace("\\n", " ")
    assert platform in platforms_of("x86_64", "", [entry])
    assert platforms_of("x86_64", "", [entry.replace("enabled", "disabled")])[0] == "x86_64-linux"
    assert platform == "i686-linux" or platform not in platforms_of(
        "x86_64", "", [entry.replace("enabled", "disabled")]
    )


@pytest.mark.parametrize(
    ("machine", "platform", "runs"),
    [
        ("x86_64", "i686-linux", True),
        ("x86_64", "x86_64-v3-linux", True),
        ("x86_64", "aarch64-linux", False),
        ("i686", "x86_64-linux", False),
        ("aarch64", "armv7l-linux", True),
        ("armv7l", "aarch64-linux", False),
        ("something-new", "aarch64-linux", True),
        ("x86_64", "", True),
    ],
)
def test_what_a_kernel_cannot_run_is_known_and_what_is_not_known_is_not_refused(machine, platform, runs):
    """Case 26."""
    assert HostFacts(runs=platforms_of(machine, "", [])).can_run(platform) is runs


def test_a_machine_is_told_by_a_hash_of_its_id(host):
    """N5: systemd wants the id itself to be kept from others."""
    said = host(FACTS, "echo 0123456789abcdef0123456789abcdef >/run/id; mount --bind /run/id /etc/machine-id || true")
    assert "0123456789abcdef" not in said
    assert re.fullmatch(r"([0-9a-f]{32})?", parse_facts(said).machine_id)


_GRUB = """if [ "${next_entry}" ]; then
  set default="${next_entry}"
else
  set default=%s
fi
menuentry "NixOS" {
  linux ($drive1)//kernels/x-bzImage init=%s/init loglevel=4
}
menuentry "NixOS - older" {
  linux ($drive1)//kernels/x-bzImage init=/nix/store/older/init
}
"""
_EXTLINUX = "DEFAULT nixos-default\nLABEL nixos-default\n  APPEND init=%s/init\nLABEL nixos-1\n  APPEND init=/old\n"
_ENTRY = "title NixOS\nlinux /EFI/nixos/x.efi\noptions init=%s/init loglevel=4\n"


def _files(**texts):
    """Return the words that make files below a /boot of the host's own."""
    made = ["mount -t tmpfs none /boot"]
    for name, text in texts.items():
        made.append(f"mkdir -p $(dirname /boot/{name}); printf %s {shlex.quote(text)} >/boot/{name}")
    return "\n".join(made)


@pytest.mark.parametrize(
    ("files", "starts"),
    [
        ({}, ""),
        ({"extlinux/extlinux.conf": _EXTLINUX % NEW}, NEW),
        ({"grub/grub.cfg": _GRUB % ("0", NEW)}, NEW),
        ({"grub/grub.cfg": _GRUB % ('"0"', NEW)}, NEW),
        ({"grub/grub.cfg": _GRUB % ("saved", NEW)}, ""),
        ({"loader/loader.conf": "timeout 5\ndefault nixos-generation-7.conf\n",
          "loader/entries/nixos-generation-7.conf": _ENTRY % NEW,
          "loader/entries/nixos-generation-8.conf": _ENTRY % "/nix/store/other"}, NEW),
        ({"loader/loader.conf": "default @saved\n"}, ""),
        ({"loader/loader.conf": "#\ndefault x.conf", "loader/entries/x.conf": _ENTRY % NEW}, NEW),
        ({"loader/loader.conf": "timeout 5\n", "loader/entries/x.conf": _ENTRY % NEW}, ""),
    ],
    ids=["none", "extlinux", "grub", "grub quoted", "grub that remembers",
         "systemd-boot", "saved", "no newline", "no default"],
)  # fmt: skip
def test_what_the_boot_loader_starts_is_asked_of_it(host, files, starts):
    """A4."""
    assert parse_facts(host(FACTS, f"{ACTIVATED}\n{_files(**files)}")).loader == starts


@pytest.mark.parametrize(
    ("mark", "unclean"),
    [
        ("", ""),
        (f"echo {NEW} >$mark", NEW),
        (f"printf '%s\\n' {NEW} \"$(stat -c '%i %Z' /run/current-system)\" >$mark", NEW),
        (f"printf '%s\\n' {NEW} '1 2' >$mark", ""),
    ],
    ids=["none", "killed in the middle", "ended badly", "somebody has activated since"],
)
def test_an_activation_that_did_not_end_well_is_known(host, mark, unclean):
    """A1."""
    words = f"{ACTIVATED}\nmkdir -p /run/nixhive; mark=/run/nixhive/unclean\n{mark}"
    assert parse_facts(host(FACTS, words)).unclean == unclean


def test_switch_inhibitors_are_read_on_one_line_or_many_and_nonsense_is_none():
    """A6."""
    assert inhibitors_in('{\n  "kernel": "6.6",\n  "dbus": "broker"\n}'.replace("\n", "")) == (
        ("dbus", "broker"),
        ("kernel", "6.6"),
    )
    for text in ("", "{", "[]", '{"dbus": 7}', "/nix/store/x\n/nix/store/y"):
        assert inhibitors_in(text) == ()
    assert read_inhibitors('current=x\ninhibitors={"a": "b"}\n', "inhibitors") == (("a", "b"),)


def test_switch_inhibitors_of_what_runs_are_asked_for(host):
    """A6."""
    words = f'{ACTIVATED}\nprintf \'{{\n"dbus": "dbus"}}\n\' >$(readlink -f /run/current-system)/switch-inhibitors'
    assert parse_facts(host(FACTS, words)).inhibitors == (("dbus", "dbus"),)


def test_a_host_that_is_being_activated_is_no_mixture(host):
    """A1: how it will end is not known while somebody is at it."""
    words = f"{ACTIVATED}\nmkdir -p /run/nixhive; echo {NEW} >/run/nixhive/unclean\n"
    facts = parse_facts(host(FACTS, f"{words}exec 9>/run/nixhive/lock; flock -x 9"))
    assert (facts.unclean, facts.holder != "") == ("", True)


def test_few_processes_are_started_for_it(tmp_path):
    """Each takes as long as all else: there were 17, and 12 of them programs."""
    for name in (
        "readlink",
        "sha256sum",
        "df",
        "uname",
        "flock",
        "id",
        "cat",
        "sed",
        "head",
        "tail",
        "cut",
        "grep",
        "tr",
    ):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} >>{tmp_path}/started\nexec {shutil.which(name)} "$@"\n')
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["/bin/sh", "-c", FACTS], env=environment, check=True, capture_output=True)
    started = (tmp_path / "started").read_text().split()
    assert len(started) <= 5, started
    assert started.count("sha256sum") == 1


PROGRAMS = "readlink sha256sum df uname flock id cat sed head tail cut grep tr true"
COUNTED = """
mkdir /run/count
for one in {programs}; do
  printf '#!/bin/sh\\necho %s >>/run/count/started; exec %s "$@"\\n' "$one" "$(command -v "$one")" >/run/count/"$one"
done
chmod +x /run/count/*; PATH=/run/count:$PATH
"""


def test_programs_that_are_started_on_a_host_where_there_is_most_to_tell(host):
    """Where it boots another system than it runs, has inhibitors, a boot loader and a lock: there were 14 of them."""
    if host.shell == "busybox":
        pytest.skip("it has programs of its own")
    words = f"{ACTIVATED}\nprintf '{{}}' >$(readlink -f /run/current-system)/switch-inhibitors\nmkdir -p /run/nixhive\n"
    words += f": >/run/nixhive/lock; echo {NEW} >/run/nixhive/unclean"
    words += COUNTED.format(programs=PROGRAMS)
    said = host(f"{FACTS}; PATH=${{PATH#*:}}; sort /run/count/started", words)
    started = said.rpartition("machine=")[2].split("\n")[1:-1]
    expected = ["df", "flock", "readlink", "readlink", "readlink", "sed", "sha256sum", "sha256sum"]
    own = ["uname"] if not ARCH.exists() else []
    hashed = ["sha256sum"] if Path("/etc/machine-id").exists() else []
    assert [one for one in started if "=" not in one] == sorted([*expected, *own, *hashed])


def test_a_host_whose_kernels_are_known_starts_half_of_them(host):
    if host.shell == "busybox":
        pytest.skip("it has programs of its own")
    words = f"{ACTIVATED}\n{_files(**{'extlinux/extlinux.conf': _EXTLINUX % NEW})}\nmkdir -p /run/nixhive\n"
    words += f": >/run/nixhive/lock\n{COUNTED.format(programs=PROGRAMS)}"
    said = host(f"{known_words([OLD, NEW])}{FACTS}; PATH=${{PATH#*:}}; echo; sort /run/count/started", words)
    own = ["uname"] if not ARCH.exists() else []
    hashed = ["sha256sum"] if Path("/etc/machine-id").exists() else []
    assert said.rpartition("\n\n")[2].split() == sorted(["df", "flock", "readlink", *own, *hashed])
    assert parse_facts(said).loader == NEW


def test_a_kernel_that_is_known_is_not_told_again_and_one_that_is_not_is(host):
    first = parse_facts(host(FACTS, ACTIVATED))
    known = kernels_of(first)
    assert known == {NEW: kernel(OTHER), OLD: kernel(KERNEL)}
    said = host(known_words(known) + FACTS, ACTIVATED)
    assert "_kernel=" not in said
    assert kernels_of(parse_facts(said, known)) == known
    said = host(known_words([OLD]) + FACTS, ACTIVATED)
    assert "current_kernel=" in said
    assert "booted_kernel=" not in said
    assert kernels_of(parse_facts(said)) == {NEW: kernel(OTHER)}


def test_a_profile_that_is_no_folder_is_told_as_well(host):
    said = host(FACTS, f"{ACTIVATED}\necho x >{KERNEL}/file; ln -sfn {KERNEL}/file /nix/var/nix/profiles/system")
    assert parse_facts(said).profile == f"{KERNEL}/file"
