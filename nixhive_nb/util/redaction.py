"""Secrets in text: the one function that cuts them, for all that is shown, noted or logged.

It knows the forms that secrets have in what this program handles: passwords and tokens in URLs, what is assigned to a
name that tells of a secret, headers of HTTP, a netrc, `access-tokens` of Nix, keys. Beyond the form, values that are
known to be secret are cut wherever they stand. It never decides what is carried out: only what is written of it.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CUT = "***"
"""What stands in place of a secret."""
SHORTEST = 4
"""The value of a variable that is shorter is cut only where it is given: `1` stands everywhere."""
_ROUNDS = 4
"""A text is done when another round changes nothing: two, but for texts that are made to need more."""
_LINE = 8
"""From so many characters on, a line of a secret of several lines is a secret of its own."""

# Every repetition is bounded, or ends at a character that no other match can begin before: the time is linear.
_WORD = re.compile(r"\S+")
_USER = re.compile(r"[^/:@?#]*")
_PORT = re.compile(r"\d{1,5}/")
_NAMES = r"secret|token|passw|passphrase|credential|(?:api|access|private)[-_]?key"
_QUERY = re.compile(
    rf"([?&;#](?:[\w.%-]{{0,40}}(?:{_NAMES}|signature)[\w.%-]{{0,40}}|(?:[\w.-]{{0,40}}[-_.])?(?:key|sig|pass|pwd|auth))=)"
    r"[^&#\s\"'<>]+",
    re.IGNORECASE,
)
_NOT_SECRET = re.compile(r"(?:public[\w.-]{0,20}|[?&;#]ssh-)key=\Z", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"((?:{_NAMES}|(?<![a-z])pass|pass(?=[ \t]{{0,8}}=))(?P<rest>[\w.%-]{{0,40}})[ \t]{{0,8}}={{1,2}}[ \t]{{0,8}})"
    r"(?P<value>\"[^\"\r\n]*\"?|'[^'\r\n]*'?|[^\s\"'<>]+)",
    re.IGNORECASE,
)
_QUOTED = re.compile(
    rf"((?:{_NAMES}|authorization|cookie)(?P<rest>[\w.-]{{0,40}})(?:(?P<slash>\\)?[\"'])\s{{0,8}}[:,]\s{{0,8}}[bru]?)"
    r"(?P<value>(?(slash)\\[\"'](?:[^\"'\\\r\n]|\\[^\"'])*|(?:\"(?:[^\"\\\r\n]|\\.)*\"?|'(?:[^'\\\r\n]|\\.)*'?)))",
    re.IGNORECASE,
)
_YAML = re.compile(rf"^([ \t]{{0,40}}[\w.-]{{0,40}}?(?:{_NAMES})(?P<rest>[\w.-]{{0,40}}):[ \t]+)(?P<value>\S+)[ \t]*$",
                   re.IGNORECASE | re.MULTILINE)  # fmt: skip
_OPTION_NAME = rf"--?[\w-]{{0,40}}(?:{_NAMES})(?:or)?d?"  # of which `passw` may be all
_OPTION = re.compile(
    rf"((?<!\S){_OPTION_NAME}[ \t]{{1,8}})(?!-)(?:\"[^\"\r\n]*\"?|'[^'\r\n]*'?|[^\s\"'<>]+)",
    re.IGNORECASE,
)
_DONE = re.compile(r"\*\*\*(?:[&#;,)\]}]|\Z)")
_VARIABLE_OPTIONS = ("-v", "--var", "--variable")
_ONE_VARIABLE = re.compile(r"\A((?:-v|--var=)?[A-Za-z_]\w*=)(.*)", re.DOTALL)
_LONGEST = 1000
"""How long a password with a slash may be."""
_A_PATH = re.compile(r"(?:file|files|path|paths|dir|folder)\Z", re.IGNORECASE)
_HEADER = re.compile(
    r"((?:proxy-)?authorization:[ \t]{0,8}|(?:set-)?cookie:[ \t]{0,8}|x-[\w-]{0,30}(?:token|key|secret):[ \t]{0,8})"
    r"[^\r\n\"']+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\bbearer\s{1,8})(?=\S{0,200}\d|\S{16})[\w.~+/=-]{6,}", re.IGNORECASE)
_NETRC = re.compile(
    r"(\b(?:machine|login|account)\s{1,40}\S{1,200}\s{1,40}password\s{1,40}"
    r"|^[ \t]{0,40}password[ \t]{1,40}(?=\S+[ \t]*$))\S+",
    re.IGNORECASE | re.MULTILINE,
)
_USER_OPTION = re.compile(r"((?<!\S)(?:-u|--user|--proxy-user)[ =][\"']?[^\s:\"'/]{0,100}:)[^\s\"']+")
_PROXY = re.compile(r"((?:proxy|PROXY)[=:][ \t]{0,4}[\"']?[^\s:/@\"']{1,200}:)[^\s@/]{1,200}(?=@)")
_SSHPASS = re.compile(r"(\bsshpass\s{1,8}-p\s{0,8})(?:\"[^\"]*\"?|'[^']*'?|\S+)")
_ACCESS_TOKENS = re.compile(
    r"(access-tokens[\"']?[ \t]{0,8}[=:, \t][ \t]{0,8}[\"']?)(?P<pairs>(?:[^\s\"'=]{1,200}=[^\s\"']+[ \t]*)+)"
)
_SECRET_OPTION = re.compile(rf"{_OPTION_NAME}|--?[\w-]{{0,40}}authorization", re.IGNORECASE)
_PAIR = re.compile(r"=[^\s\"']+")
_SHOWN_TOKENS = re.compile(r"(access-tokens\\?\"\s{0,8}:\s{0,8}\{)(?:[^{}]{0,2000}\{)?[^{}]{0,2000}\}?")
_VARIABLE = re.compile(
    r"((?<!\S)(?:-v\s{0,8}|--var(?:iable)?[= ]))"
    r"(?:([A-Za-z_]\w{0,100}=)(?:\"[^\"]*\"?|'[^']*'?|\S*)"
    r"|(?P<quote>[\"'])([A-Za-z_]\w{0,100}=)(?:(?!(?P=quote)).)*(?:(?P=quote)\S*)?)",
    re.DOTALL,
)
_BARE = re.compile(  # tokens of forges, JWT, secret keys of Nix
    r"\b(?:gh[a-z]_|github_pat_|glpat-|xox[a-z]-|npm_|pypi-|hf_)[\w-]{10,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?|(?<=:)[A-Za-z0-9+/]{86}=="
)
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----).*?(?:(?=-----END )|\Z)", re.DOTALL)


def redact(text: str, *values: str) -> str:
    """Return a text with `***` for each secret in it, always UTF-8. `values` are secrets whatever they look like.

    What is returned stays as it is when it is given again. Never raises; the time is linear in the length of the text.
    """
    plain = text.encode("utf-8", "backslashreplace").decode()
    known = _pattern_of(tuple(values)) if values else None
    for _ in range(_ROUNDS):
        before, plain = plain, _cut(plain, known)
        if plain == before:
            break
    return plain


def redact_words(words: Sequence[str], *values: str) -> str:
    """Return the words of a command as a shell takes them, without secrets.

    `-v NAME=VALUE` keeps its name, and its value is cut from the other words too.
    """
    found = [_ONE_VARIABLE.match(word) if _names_a_variable(words, at) else None for at, word in enumerate(words)]
    plain = [f"{one[1]}{CUT}" if one is not None else word for one, word in zip(found, words, strict=True)]
    own = [one[2] for one in found if one is not None and len(one[2]) >= SHORTEST]
    return redact(shlex.join(plain), *values, *own)


def redact_each(words: Sequence[str]) -> list[str]:
    """Return the words of a command one by one, without secrets: also where the word before tells that one is."""
    plain: list[str] = []
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        pairs = before.endswith("access-tokens")
        plain.append(_PAIR.sub(f"={CUT}", word) if pairs else CUT if _SECRET_OPTION.fullmatch(before) else redact(word))
    return plain


def _names_a_variable(words: Sequence[str], at: int) -> bool:
    return words[at].startswith(("-v", "--var=")) or (at > 0 and words[at - 1] in _VARIABLE_OPTIONS)


def _cut(text: str, known: re.Pattern[str] | None) -> str:
    if known is not None:
        text = known.sub(CUT, text)
    low = text.lower()
    if _ANY_SIGN.search(low) is None:
        return text
    for signs, pattern, replacement in _RULES:
        if any(sign in low for sign in signs):
            text = pattern.sub(replacement, text)
    return text


def _in_url(found: re.Match[str]) -> str:
    return _without_login(found[0]) if "://" in found[0] else found[0]


def _without_login(word: str) -> str:
    """Return a word that has URLs without passwords, and without what stands alone before the `@` of an http URL."""
    parts: list[str] = []
    done = at = 0
    while True:
        begin = word.find("://", at)
        if begin < 0:
            break
        at = begin + 3
        name = _USER.match(word, at)
        end = name.end() if name else at
        last = _end_of_login(word, at, end)
        if last < 0:
            continue
        keep = end + 1 if word[end] == ":" else at
        parts += [word[done:keep], CUT]
        done = at = last
    return "".join([*parts, word[done:]])


def _end_of_login(word: str, begin: int, end: int) -> int:
    """Return where the `@` after a secret is, or -1. A login begins at `begin`, and its name ends at `end`."""
    if end >= len(word):
        return -1
    if word[end] == "@":
        return end if end > begin and word[: begin - 3].lower().endswith(("http", "https")) else -1
    if word[end] != ":":
        return -1
    slash = word.find("/", end)
    last = word.rfind("@", end, slash if slash >= 0 else len(word))
    if last >= 0 or word[begin] == "[" or _PORT.match(word, end + 1):
        return last
    last = word.find("@", end, end + _LONGEST)
    return -1 if any(mark in word[end : max(end, last)] for mark in "\"'<>") else last


def _assigned(found: re.Match[str]) -> str:
    value = found["value"]
    if _A_PATH.search(found["rest"]) or _DONE.match(value) or _of_hosts(found):
        return found[0]
    if value.startswith("\\"):
        return f"{found[1]}{value[:2]}{CUT}"
    mark = value[0] if value[0] in "\"'" else ""
    return f"{found[1]}{mark}{CUT}{mark}"


def _asked(found: re.Match[str]) -> str:
    return found[0] if _NOT_SECRET.search(found[1]) else f"{found[1]}{CUT}"


def _tokens_of_hosts(found: re.Match[str]) -> str:
    return found[1] + _PAIR.sub(f"={CUT}", found["pairs"])


def _variable(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2] or found[3] + found[4]}{CUT}{found[3] or ''}"


def _of_hosts(found: re.Match[str]) -> bool:
    """Return whether these are `access-tokens`, of which the hosts stay."""
    begin = found.start()
    return found["rest"] == "s" and "=" in found["value"] and found.string[max(0, begin - 7) : begin] == "access-"


@functools.lru_cache(maxsize=8)
def _pattern_of(values: tuple[str, ...]) -> re.Pattern[str] | None:
    """Return what finds the values, as they are and as they are quoted by a shell, Python, JSON and a URL."""
    forms = {form for value in values for one in (value, *_long_lines(value)) for form in _forms(one)}
    known = sorted((form for form in forms if form.strip("*")), key=lambda form: (-len(form), form))
    return re.compile("|".join(map(re.escape, known))) if known else None


def _long_lines(value: str) -> list[str]:
    lines = value.splitlines()
    return [line for line in lines if len(line) >= _LINE] if len(lines) > 1 else []


def _forms(value: str) -> tuple[str, ...]:
    plain = value.encode("utf-8", "backslashreplace").decode()
    in_shell = shlex.quote(plain)
    return (
        plain,
        plain.strip(),
        in_shell[1:-1] if in_shell[:1] == "'" else in_shell if plain else "",
        repr(plain)[1:-1],
        json.dumps(plain)[1:-1],
        json.dumps(plain, ensure_ascii=False)[1:-1],
        quote(plain),
        quote(plain, safe=""),
    )


_AFTER = rf"\1{CUT}"
_SIGNS = ("secret", "token", "passw", "passphrase", "credential", "key")
# What a text must have (in lower case) for a pattern to be tried at all: nearly all lines have none of it.
_RULES: tuple[tuple[tuple[str, ...], re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (("://",), _WORD, _in_url),
    (("?", "&", ";", "#"), _QUERY, _asked),
    (("access-tokens",), _ACCESS_TOKENS, _tokens_of_hosts),
    (("access-tokens",), _SHOWN_TOKENS, rf"\1{CUT}}}"),
    (("-v",), _VARIABLE, _variable),
    ((*_SIGNS, "pass"), _ASSIGNED, _assigned),
    ((*_SIGNS, "authorization", "cookie"), _QUOTED, _assigned),
    (_SIGNS, _YAML, _assigned),
    (_SIGNS, _OPTION, _AFTER),
    (("authorization:", "cookie:", "x-"), _HEADER, _AFTER),
    (("bearer",), _BEARER, _AFTER),
    (("password",), _NETRC, _AFTER),
    (("-u", "--user", "--proxy-user"), _USER_OPTION, _AFTER),
    (("proxy",), _PROXY, _AFTER),
    (("sshpass",), _SSHPASS, _AFTER),
    (("private key-----",), _PRIVATE_KEY, _AFTER),
    (("gh", "glpat-", "xox", "npm_", "pypi-", "hf_", "eyj", "=="), _BARE, CUT),
)
_ANY_SIGN = re.compile("|".join(re.escape(sign) for sign in sorted({sign for signs, _, _ in _RULES for sign in signs})))
"""One search for all signs: a journal has millions of texts without any."""
