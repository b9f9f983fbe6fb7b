"""Our scripts as a host keeps them: an activation leaves them below /run, by their hashes, so that they are sent once.

Root alone can write there, and before each use the hash is compared; what differs, or is gone, is sent again.
"""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING

from nixhive_nb.hosts import command
from nixhive_nb.hosts.facts import DEFINED, FACTS, TOLD, kernels_of, known_words, parse_facts

if TYPE_CHECKING:
    from nixhive_nb.plan.facts import HostFacts
    from nixhive_nb.ssh.link import HostLinks


LOOK_SECONDS = 30
"""How long a host may take to say how it is."""
_HASH_LENGTH = 32
_KEPT_FACTS = f"{FACTS}\n"
GONE = "nixhive-gone"
"""What a host says that does not keep a script, or not as it was."""


def hash_of(text: str) -> str:
    """Return what a script is called on a host: the first half of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


@functools.cache
def activation_script() -> str:
    """Return the text that a host runs for an activation or a reboot."""
    return (
        f"hive_facts={hash_of(_KEPT_FACTS)}\nhive_defined='{DEFINED}'\nhive_told='{TOLD}'\n"
        f'eval "$hive_defined"\n{command.own_script("hosts/activation.sh")}'
    )


@functools.cache
def activation_hash() -> str:
    """Return the name under which a host keeps that text."""
    return hash_of(activation_script())


def by_hash(name: str, words: str) -> str:
    """Return shell words that do something with a kept script, `$hive_kept`, or say that it is gone."""
    return (
        f"hive_kept=/run/nixhive/script-{name}; case $(sha256sum 2>/dev/null <$hive_kept) in "
        f"({name}*) {words};; (*) echo {GONE};; esac"
    )


def is_gone(stdout: str) -> bool:
    """Return whether a host said that it does not keep a script."""
    return GONE in stdout.split()


# Nothing on the host sees there that we are gone: it ends by itself. It is told in one piece: each line by itself would
# be a packet, which costs its host and us as much as a program.
_ASK_KEPT = by_hash(
    hash_of(_KEPT_FACTS),
    f'hive_said=$(exec timeout -k 5 {LOOK_SECONDS} /bin/sh $hive_kept); hive_status=$?; echo "$hive_said"; '
    "exit $hive_status",
)


async def ask(links: HostLinks, instance: str, keeping: dict[str, HostFacts]) -> HostFacts:
    """Ask a host how it is.

    `keeping` has what those instances said last that keep the words for it, as far as that is known. Raises
    `ConnectionFailed`, `LinkLost` or `NoAnswer`.
    """
    link = links.kept(instance)
    last = keeping.get(instance)
    if last is not None:
        known = kernels_of(last)
        words = f"{known_words(known)}export hive_known; {_ASK_KEPT}"
        ended = await link.run(words, seconds=LOOK_SECONDS, stdin="")
        if ended.exited == 0 and not is_gone(ended.stdout):
            facts = keeping[instance] = parse_facts(ended.stdout, known)
            return facts
        del keeping[instance]
    facts = parse_facts((await link.run(FACTS, seconds=LOOK_SECONDS)).stdout)
    if hash_of(_KEPT_FACTS) in facts.kept:
        keeping[instance] = facts
    return facts
