"""The agent's file: read the short way and the long way it means the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.agent.config import Agent, InvalidInput, Options, _read_simple, _read_yaml, load_agent, seconds

KEYS = ("repo", "branch", "site", "environments", "state_dir", "interval", "timeout", "max_staleness", "other")
WORDS = st.one_of(
    st.sampled_from(["main", "5m", "1e5", "0x1f", "null", "~", "yes", "true", "12", "1.5h", "a: b", "a:", "#x"]),
    st.sampled_from(["-", "'q'", "git@git.example.org:x/y.git", "https://x/y.git", "/srv/repo", "[dev]", "{a: b}"]),
    st.sampled_from(["*a", "&a", "", "a #b", "|"]),
    st.text(st.sampled_from(list("ab:/.#-'\" ~5em@\t")), max_size=8),
)
LINES = st.lists(st.tuples(st.sampled_from(KEYS), WORDS), max_size=5)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(LINES)
def test_the_short_way_is_taken_only_where_it_means_the_same(lines: list[tuple[str, str]]) -> None:
    content = "".join(f"{key}: {word}\n" for key, word in lines).encode()
    simple = _read_simple("agent.yaml", content)
    if simple is not None:
        assert (simple, []) == _read_yaml("agent.yaml", content)


def test_an_ordinary_file_is_read_the_short_way(tmp_path: Path) -> None:
    content = b"# what this host is\nrepo: git@git.example.org:jaws/deployment.git\nsite: aws\n\ninterval: 5m\n"
    simple = _read_simple("agent.yaml", content)
    assert simple is not None
    assert {key: value for key, (value, _) in simple.items()} == {
        "repo": "git@git.example.org:jaws/deployment.git",
        "site": "aws",
        "interval": "5m",
    }


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90.0), ("5m", 300.0), ("24h", 86400.0), ("7d", 604800.0), ("x", None)]
)
def test_times(text: str, expected: float | None) -> None:
    assert expected == seconds(text)


OF_VERIFY = (
    *("verify:", "  ssh: /etc/signers", "  gpg: /etc/keys", "  require: all", "repo: /srv/repo", "site: x"),
    *(" ssh: a", "   ssh: a", "  site: x", "ssh: a", "  ssh: yes", "  sources: a", "sources: a", "# no", ""),
    *("verify: x", "verify: ", "  ssh:", "   ", "  # no"),
)


@settings(deadline=None)
@given(st.lists(st.sampled_from(OF_VERIFY), max_size=7))
def test_so_is_the_mapping_of_whom_to_trust(lines: list[str]) -> None:
    """A key that the short way reads and YAML does not, or otherwise, would open or shut a door unseen."""
    content = "\n".join(lines).encode()
    simple = _read_simple("agent.yaml", content)
    if simple is not None:
        read, problems = _read_yaml("agent.yaml", content)
        if simple.get("verify", ({}, None))[0] == {} and "verify" in simple:
            return  # nothing below it: each way tells that in its own words
        assert (simple, []) == (read, problems)


def test_it_is_read_the_short_way_with_whom_to_trust() -> None:
    content = b"repo: /srv/repo\nverify:\n  ssh: /etc/signers\n  require: all\nsite: x\n"
    simple = _read_simple("agent.yaml", content)
    assert simple is not None
    assert set(simple) == {"repo", "verify", "site"}
    assert (simple, []) == _read_yaml("agent.yaml", content)


def agent(tmp_path: Path, text: str) -> Agent:
    (tmp_path / "agent.yaml").write_text(f"repo: /srv/repo\nsite: x\n{text}\n")
    return load_agent(Options(config=str(tmp_path / "agent.yaml")), {"HOME": "/home/ann"})


def test_a_private_key_counts_from_the_file_that_names_it(tmp_path: Path) -> None:
    assert agent(tmp_path, "age_identity: keys/id").age_identity == str(tmp_path / "keys/id")
    assert not agent(tmp_path, "").age_identity


def test_roots_are_a_list_of_absolute_paths(tmp_path: Path) -> None:
    assert agent(tmp_path, "roots: [/srv/ours, /opt]").roots == ("/srv/ours", "/opt")
    assert agent(tmp_path, "").roots == ()


@pytest.mark.parametrize("roots", ["[]", "/srv", "[srv]", "[/srv/../etc]", "[/srv/]", '[""]', "{a: /srv}"])
def test_what_could_be_read_as_another_limit_is_refused(roots: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        agent(tmp_path, f"roots: {roots}")
    assert refused.value.problems[0].origin.line == 3


@pytest.mark.parametrize("quoted", [False, True])
def test_what_names_a_file_is_known_with_its_line(tmp_path: Path, *, quoted: bool) -> None:
    """Of whichever way the agent's file was read."""
    config = tmp_path / "agent.yaml"
    more = "environments: [dev]\n" if quoted else ""
    config.write_text(f"repo: /srv/x\nsite: x\nnotify: n.yaml\nverify:\n  gpg: keys\nage_identity: key\n{more}")

    agent = load_agent(Options(config=str(config)), {"HOME": "/nobody"})

    assert agent.naming(str(tmp_path / "n.yaml")) == f"`notify` in {config}:3 names it"
    assert agent.naming(str(tmp_path / "keys/ann.asc")) == f"`verify.gpg` in {config}:5 names it"
    assert agent.naming(f"{tmp_path}/key") == f"`age_identity` in {config}:6 names it"
    assert agent.naming(str(tmp_path / "other")) == ""
