"""What is cut from text, and what is left (E3, and section 2 of the workshop)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nixhive_nb.util.redaction import redact, redact_each, redact_words

KEY = "A" * 86 + "=="
CASES = [
    # URLs
    ("ssh://root:pw@h", "ssh://root:***@h"),
    ("ssh://:p@w@h?x=y and ssh-ng://a:b@c/d", "ssh://:***@h?x=y and ssh-ng://a:***@c/d"),
    ("ssh://root:p/w@h/x@y", "ssh://root:***@h/x@y"),
    ("ssh://root:p://w@h ssh://a", "ssh://root:***@h ssh://a"),
    ('ssh://root:p"w@h', "ssh://root:***@h"),
    ("'ssh://h:x/y' and 'a@b'", None),
    ("ssh://a:b@c,https://d:e@f", "ssh://a:***@c,https://d:***@f"),
    ("https://TOKEN@forge/x.git", "https://***@forge/x.git"),
    ("git+HTTPS://TOKEN@forge/x.git", "git+HTTPS://***@forge/x.git"),
    ("push:www>https://ci:hunter2@cache.example", "push:www>https://ci:***@cache.example"),
    ("s3://b?region=eu&secret-key=abc&x=y", "s3://b?region=eu&secret-key=***&x=y"),
    ("'https://h/x?token=abc' failed", "'https://h/x?token=***' failed"),
    ("https://h/x?A=1&X-Amz-Signature=abc#x", "https://h/x?A=1&X-Amz-Signature=***#x"),
    ("https://h/?access_token=abc&PASSWORD=x", "https://h/?access_token=***&PASSWORD=***"),
    ("https://h/?key=abc&api_key=x&sig=y&pass=z", "https://h/?key=***&api_key=***&sig=***&pass=***"),
    ("ssh-ng://h?ssh-key=/root/id&base64-ssh-public-host-key=abc", None),
    ("ssh://h:2222/store@1 ssh://[::1]:22/x@y", None),
    ("ssh://root@portico", None),
    ("https://cache:8080/nix?to=a@b", None),
    ("12:30: mail to root@portico", None),
    # What is assigned
    ("what token=abc is, and ssh://h?compress=true", "what token=*** is, and ssh://h?compress=true"),
    ("GITHUB_TOKEN=abc make", "GITHUB_TOKEN=*** make"),
    ("password = 'a b'; x", "password = '***'; x"),
    ('{"token": "a\\"b", "n": 1}', '{"token": "***", "n": 1}'),
    ("{'Authorization': 'Basic abc'}", "{'Authorization': '***'}"),
    ('"{\\"password\\": \\"abc\\"}"', '"{\\"password\\": \\"***\\"}"'),
    ("db:\n  password: hunter2\n", "db:\n  password: ***\n"),
    ("DBPASS='a b' make; mypass=x", "DBPASS='***' make; mypass=***"),
    ("tool --password hunter2 --token 'a b' -x", "tool --password *** --token *** -x"),
    ("tool --api-key hunter2", "tool --api-key ***"),
    ("tool --password --token-file /run/x --show-tokens", None),
    ("tokenFile = /run/token; secret-key-files = /root/key", None),
    ("/root/keys/hive.secret: No such file or directory", None),
    ("Permission denied (publickey,password).", None),
    ("the password is wrong: try the key", None),
    # Nix
    ("access-tokens = github.com=gh_1 g.x/y=PAT:2\ncores = 0", "access-tokens = github.com=*** g.x/y=***\ncores = 0"),
    ("--option access-tokens 'github.com=abc b=c' -v", "--option access-tokens 'github.com=*** b=***' -v"),
    ('{"access-tokens":{"value":{"github.com":"abc"}}}', '{"access-tokens":{***}}}'),
    (f"hive-1:{KEY}", "hive-1:***"),
    ("hive-1:" + "A" * 43 + "=", None),
    # Headers, netrc, programs
    ("curl -H 'Authorization: token abc' h", "curl -H 'Authorization: ***' h"),
    ("> Authorization: Basic abc=\n> Host: h", "> Authorization: ***\n> Host: h"),
    ("Bearer abc123def", "Bearer ***"),
    ("machine h login u password p@w", "machine h login u password ***"),
    ("machine h\n  login u\n  password pw\n", "machine h\n  login u\n  password ***\n"),
    ("curl -u ci:hunter2 https://h", "curl -u ci:*** https://h"),
    ("HTTPS_PROXY=ci:pw@proxy:3128", "HTTPS_PROXY=ci:***@proxy:3128"),
    ("ProxyCommand sshpass -p 'a b' ssh -W %h:%p jump", "ProxyCommand sshpass -p *** ssh -W %h:%p jump"),
    ("run -v TOKEN=abc -v 'B=c d' web id", "run -v TOKEN=*** -v 'B=***' web id"),
    ("ghp_0123456789abcdef and glpat-0123456789x", "*** and ***"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\nx",
     "-----BEGIN OPENSSH PRIVATE KEY-----***-----END OPENSSH PRIVATE KEY-----\nx"),
    # Always UTF-8
    ("not \ud800 UTF-8", "not \\ud800 UTF-8"),
]  # fmt: skip
SAFE = st.text("abcXYZ019._~+", min_size=6)


@pytest.mark.parametrize(("text", "written"), CASES)
def test_secrets_are_cut_and_nothing_else(text, written):
    assert redact(text) == (text if written is None else written)


def test_words_of_a_command_keep_the_names_of_variables():
    words = ["run", "-v", "A=x y z", "-vB=z", "--var=C=w", "web", "echo x y z $A"]
    assert redact_words(words) == "run -v 'A=***' '-vB=***' '--var=C=***' web 'echo *** $A'"


@pytest.mark.parametrize(
    "written",
    [
        'it\'s = "5" %',
        "'it'\"'\"'s = \"5\" %'",
        repr('it\'s = "5" %'),
        'it\'s = \\"5\\" %',
        "it%27s%20%3D%20%225%22%20%25",
    ],
)
def test_a_known_value_is_cut_however_it_is_quoted(written):
    assert "5" not in redact(f"<{written}>", 'it\'s = "5" %')


def test_each_line_of_a_known_value_is_cut():
    assert redact("said: second line", "first\nsecond line") == "said: ***"


@given(
    st.text() | st.text("ab:/@?&=-v'\"\\{}* \ntoken", max_size=60),
    st.lists(st.text("ab*'\\\n", max_size=4), max_size=3),
)
@example("-v 'A=", ["", "*", "***"])
@example("://a:b@c", ["***@"])
def test_it_never_raises_and_what_is_cut_stays_as_it_is(text, values):
    once = redact(text, *values)
    assert redact(once, *values) == once
    once.encode()


@given(st.text(max_size=30), st.text("abcdef'\" \\é%", min_size=1, max_size=12).filter(str.strip), st.text(max_size=30))
def test_a_known_value_is_nowhere_in_what_is_written(before, secret, after):
    assert secret not in redact(f"{before}{secret}{after}", secret)


@pytest.mark.parametrize(
    "form",
    [
        "ssh://root:{}@h", "https://{}@h/x", "s3://b?secret-key={}&x=1", "https://h?token={}", "TOKEN={} make",
        "access-tokens = github.com={}", "Authorization: Bearer {}", "machine h login u password {}", "run -v A={} web",
        '{{"password": "{}"}}', "error: unable to download 'https://u:{}@h/nix-cache-info'",
    ],
)  # fmt: skip
@given(secret=SAFE)
def test_a_secret_in_its_form_is_nowhere_in_what_is_written(form, secret):
    assert secret not in redact(form.format(secret))


@pytest.mark.parametrize(
    "piece",
    ["://", "://a:", "://a:1/", "http://a", "?", "&token", "token", "token=", "--token ", "--token '", "-v 'A=", "pass",
     '"token":"', '\\"token\\":\\"',
     "password ", "machine a password ", "login ", "bearer ", "access-tokens ", 'access-tokens":{', "access-tokens=a=",
     "a=",     "-----BEGIN PRIVATE KEY-----", ":AAAA", "eyJaaaaaaaa.", "x-", "@", ":", "*", "'", "-u a:",
     "proxy=a:", "sshpass -p '", " ", "\n"],
)  # fmt: skip
@pytest.mark.timeout(60)
def test_a_long_hostile_text_comes_to_an_end(piece):
    """At a cost that is the square of the length it would take hours."""
    text = (piece * 300_000)[:300_000]
    assert redact(text)


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["curl", "--password", "a b"], ["curl", "--password", "***"]),
        (["tool", "--passwd", "x", "--api-key", "y", "z"], ["tool", "--passwd", "***", "--api-key", "***", "z"]),
        (["nix", "--option", "access-tokens", "h=x g=y"], ["nix", "--option", "access-tokens", "h=*** g=***"]),
        (["tool", "--token-file", "/run/x"], ["tool", "--token-file", "/run/x"]),
    ],
)
def test_the_word_after_an_option_that_tells_of_a_secret_is_one(words, written):
    assert redact_each(words) == written
