"""Which platforms the kernel of a host runs: its own, 32 bits of it, and what `binfmt_misc` has an interpreter for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_BINFMT = "/proc/sys/fs/binfmt_misc"
_ARCH = "/proc/sys/kernel/arch"

KERNEL = (
    # Linux tells it without a program from 6.1 on.
    f'line {_ARCH}; machine=${{it:-$(uname -m)}}; say machine "$machine"; '
    # Many ARM processors have no 32 bits any more, and their kernel refuses to be asked for them.
    'if test "$machine" = aarch64 && command -v setarch >/dev/null 2>&1; then '
    "setarch linux32 true 2>/dev/null || say bits 64; fi; "
    f'line {_BINFMT}/status; if test "$it" = enabled; then for entry in {_BINFMT}/*; do said=; '
    '{ while read -r it; do case "$it" in (enabled|offset*|magic*) said="$said $it";; esac; done <"$entry"; } '
    '2>/dev/null; say binfmt "$said"; done; fi; '
)
"""Shell words that print what `platforms_of` reads; `say` and `line` are functions of theirs."""

_ARM = ("armv7l-linux", "armv6l-linux", "armv5tel-linux")
_OF_MACHINE = {
    "x86_64": ("x86_64-linux", "i686-linux"),
    "i686": ("i686-linux",),
    "aarch64": ("aarch64-linux", *_ARM),
    "armv8l": _ARM,
    "armv7l": _ARM,
    "armv6l": _ARM[1:],
    "armv5tel": _ARM[2:],
    "armv5tejl": _ARM[2:],
    "ppc64le": ("powerpc64le-linux",),
    "ppc64": ("powerpc64-linux", "powerpc-linux"),
    "riscv64": ("riscv64-linux",),
    "s390x": ("s390x-linux",),
    "loongarch64": ("loongarch64-linux",),
}
"""By what `uname -m` says. What is missing here is not known, and nothing is refused for it."""

# By the class (32, 64 bits), the byte order and the machine in the head of an ELF file.
_OF_ELF = {
    (2, "little", 0x3E): ("x86_64-linux",),
    (1, "little", 0x03): ("i686-linux",),
    (2, "little", 0xB7): ("aarch64-linux",),
    (1, "little", 0x28): _ARM,
    (2, "little", 0xF3): ("riscv64-linux",),
    (1, "little", 0xF3): ("riscv32-linux",),
    (2, "little", 0x15): ("powerpc64le-linux",),
    (2, "big", 0x15): ("powerpc64-linux",),
    (1, "big", 0x14): ("powerpc-linux",),
    (2, "big", 0x16): ("s390x-linux",),
    (1, "little", 0x08): ("mipsel-linux",),
    (2, "little", 0x08): ("mips64el-linux",),
    (2, "little", 0x102): ("loongarch64-linux",),
}
_MAGIC = re.compile(r"\benabled\b.*\boffset 0\b.*\bmagic 7f454c46(0[12])(0[12])[0-9a-f]{24}([0-9a-f]{4})")


def platforms_of(machine: str, bits: str, binfmts: Iterable[str]) -> tuple[str, ...]:
    """Return the platforms that a kernel runs, such as `x86_64-linux`; none where its machine is not known."""
    own = _OF_MACHINE.get(machine, ())
    if not own:
        return ()
    native = own[:1] if bits == "64" else own
    interpreted = (platform for entry in binfmts for platform in _interpreted(entry))
    return tuple(dict.fromkeys([*native, *interpreted]))


def _interpreted(entry: str) -> tuple[str, ...]:
    found = _MAGIC.search(entry)
    if found is None:
        return ()
    order = "little" if found[2] == "01" else "big"
    machine = int.from_bytes(bytes.fromhex(found[3]), "little" if order == "little" else "big")
    return _OF_ELF.get((int(found[1]), order, machine), ())
