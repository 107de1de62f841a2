"""The notify file: all that is wrong with it at once, with its place and how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.telling import Happening
from reconciler.notify.settings import load

GOOD = """
receivers:
  ops:
    slack: {url_file: slack-url}
    on: [failure, rollback, recovery]
    environments: [prod]
  people:
    mail: {to: [ops@example.org], from: jaws@example.org}
  pager:
    command: page-me
commit_status:
  gitlab: {url: "https://git.example.org/", project: jaws/deploy, token_file: token}
"""


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "notify.yaml"
    path.write_text(GOOD)
    told, problems = load(str(path), "aws")
    assert problems == ()
    ops, people, pager = told.receivers
    assert (ops.kind, ops.url_file, ops.environments) == ("slack", str(tmp_path / "slack-url"), ("prod",))
    assert ops.on == (Happening.FAILURE, Happening.ROLLBACK, Happening.RECOVERY)
    assert (people.to, people.sender) == (("ops@example.org",), "jaws@example.org")
    assert people.sendmail == "/usr/sbin/sendmail"
    assert set(people.on) == {happening for happening in Happening if happening.is_of_passes}
    assert (pager.kind, pager.command) == ("command", "page-me")
    assert told.forge is not None
    assert (told.forge.url, told.forge.context) == ("https://git.example.org", "reconcile/aws")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("receiver: {}", ":1:1: unknown key `receiver`\n    did you mean `receivers`?"),
        ("receivers: [a]", ":1:12: a list stands where a mapping of names to receivers is wanted"),
        ("receivers: {a: {on: [failure]}}", ":1:16: `a` must have one way to be told"),
        ("receivers: {a: {slack: {url: 'ftp://x'}}}", "`url` is no address of HTTP"),
        ("receivers: {a: {slack: {}}}", "slack needs either `url` or `url_file`"),
        ("receivers: {a: {slack: {url: 'http://h/x', url_file: x}}}", "slack needs either `url` or `url_file`"),
        ("receivers: {a: {mail: {}}}", "mail needs `to`"),
        ("receivers: {a: {mail: {to: [no one]}}}", "`no one` is no address"),
        ("receivers: {a: {command: x, on: [failures]}}", "`failures` never happens\n    did you mean `failure`?"),
        ("receivers: {a: {command: x, on: []}}", "`on` is empty"),
        ("receivers: {a: {command: x, on: [test]}}", "`test` never happens"),
        ("receivers: {a: {command: }}", "empty stands where a text is wanted"),
        ("commit_status: {github: {repository: o/r}}", "github needs `token_file`"),
        ("commit_status: {gitlab: {project: o/r, token_file: t}}", "gitlab needs `url`"),
        ("commit_status: {bitbucket: {}}", "unknown key `bitbucket`"),
        ("receivers: {", "not YAML: did not find expected node content"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "notify.yaml"
    path.write_text(text + "\n")
    _, problems = load(str(path), "aws")
    assert said in "\n".join(map(str, problems))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    _, problems = load(str(tmp_path / "no.yaml"), "aws")
    assert "cannot be read: No such file" in str(problems[0])
