"""Which addresses and branches are taken, and what of an address may be shown."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.source import Mirror, SourceError, check_branch, check_url, is_local
from reconciler.source.address import take_apart

GOOD = [
    "https://github.com/org/repo.git",
    "https://user:token@github.com/org/repo",
    "https://host:8443/x",
    "http://localhost:80/x",
    "http://ann:pw@127.0.0.1:8000/x",
    "http://[::1]:8000/x",
    "ssh://git@host/repo",
    "ssh://git@host:2222/~/repo",
    "git://host/repo",
    "file:///srv/repo.git",
    "git@github.com:org/repo.git",
    "host:repo",
    "/srv/repo",
    "./repo",
    "~/repo",
    "repo",
    "/srv/with:colon",
]
HOSTILE = [
    "",
    "-oProxyCommand=touch /tmp/x",
    "--upload-pack=touch x",
    "ext::sh -c touch% /tmp/x",
    "fd::17",
    "::x",
    "git+ext::x",
    "http://example.org/x",
    "http://localhost.evil.org/x",
    "http://127.0.0.1@evil.org/x",
    "ftp://host/x",
    "gopher://host/x",
    "EXT://x/y",
    "ssh://-oProxyCommand=x/y",
    "ssh://-l@host/y",
    "ssh://git:password@host/y",
    "-x@host:path",
    "user@-oProxyCommand=x:path",
    "host:-path",
    "host:",
    "user@:path",
    "https:///x",
    "https://host",
    "https://:80/x",
    "file://host/x",
    "/srv/re\npo",
    "/srv/re\x00po",
    "/srv/re\x1bpo",
    "https://host/\x85x",
]


@pytest.mark.parametrize("repo", GOOD)
def test_good_addresses(repo: str) -> None:
    assert check_url(repo) == ""


@pytest.mark.parametrize("repo", HOSTILE)
def test_hostile_addresses_are_refused_before_git_sees_them(repo: str) -> None:
    assert check_url(repo)
    with pytest.raises(SourceError):
        Mirror(repo, "main", "/nowhere")


@pytest.mark.git
@pytest.mark.parametrize(
    "name",
    [
        "main",
        "feature/x",
        "a.b",
        "1",
        "ä",
        "-x",
        "@",
        "HEAD",
        "a..b",
        "a@{b",
        "a~",
        "a^",
        "a:",
        "a?",
        "a*",
        "a[",
        "a\\",
        ".a",
        "a/.b",
        "a.lock",
        "a.lock/b",
        "a/",
        "/a",
        "a//b",
        "a.",
        "x@y",
        "",
        "a b",
        "a\tb",
        "a\x7fb",
    ],
)
def test_branches_are_judged_as_git_does(name: str) -> None:
    known = subprocess.run(["git", "check-ref-format", "--branch", name], capture_output=True, check=False)
    # git takes HEAD in old versions, and expands @ to it
    assert (check_branch(name) == "") == (known.returncode == 0 and name not in ("HEAD", "@"))


@given(st.text(max_size=20))
def test_no_branch_leaves_its_folder_or_becomes_an_option(name: str) -> None:
    if check_branch(name) == "":
        path = os.path.normpath(os.path.join("/refs/heads", name))
        assert path == "/refs/heads/" + name
        assert not name.startswith("-")


@given(st.text(max_size=40))
def test_any_text_gets_a_verdict(repo: str) -> None:
    assert isinstance(check_url(repo), str)
    take_apart(repo)


def test_local_repositories_are_told_by_their_paths() -> None:
    assert is_local("file:///srv/a%20b") == "/srv/a b"
    assert is_local("/srv/a") == "/srv/a"
    assert is_local("~/a") == os.path.expanduser("~/a")
    assert is_local("a") == os.path.abspath("a")
    assert is_local("host:a") is None
    assert is_local("https://host/a") is None


def test_credentials_are_taken_out_of_the_address() -> None:
    address = take_apart("https://ann:p%40ss@host:8443/x?y=1")
    assert (address.url, address.base) == ("https://host:8443/x?y=1", "https://host:8443")
    assert (address.user, address.password) == ("ann", "p@ss")
    assert "p%40ss" in address.secrets
    assert "p@ss" in address.secrets


def test_a_lone_user_name_may_be_a_token_and_is_hidden_too() -> None:
    address = take_apart("https://ghp_token@host/x")
    assert address.url == "https://host/x"
    assert address.secrets == ("ghp_token",)
