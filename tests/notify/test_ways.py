"""Each way to tell somebody, as its receiver's documentation wants it."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from reconciler.core.telling import Happening, Message
from reconciler.notify import Receiver, Undelivered, way
from reconciler.notify.base import Forge
from reconciler.notify.forge import CommitState, show
from tests.notify.receiving import Receiving, receiving

MESSAGE = Message(
    site="aws",
    environment="prod",
    happenings=(Happening.FAILURE, Happening.CHANGE),
    commit="9fa0eb5f" * 5,
    subject="Bump site to <2.8.2> & more",
    author="Ann",
    run="20261129T080000Z-1",
    place="jaws on login01",
    changes=("update rpc-server 2.8.1 -> 2.8.2",),
    troubles=("restart:rpc-server: did not start: ``` <!channel>",),
)


@pytest.fixture
def server() -> Iterator[Receiving]:
    with receiving() as found:
        yield found


def tell(kind: str, **settings: object) -> None:
    way(kind)(Receiver("ops", kind, tuple(Happening), **settings), MESSAGE)  # type: ignore[arg-type]


def test_slack_gets_text_in_which_no_character_means_more(server: Receiving) -> None:
    tell("slack", url=f"{server.url}/services/T0/B0/X")
    (posted,) = server.taken()
    assert posted.body.keys() == {"text"}
    text = posted.body["text"]
    assert text.startswith("*aws prod: failed and changed*\n```\nupdate rpc-server 2.8.1 -&gt; 2.8.2\n")
    assert "&lt;!channel&gt;" in text
    assert "&lt;2.8.2&gt; &amp; more" in text
    assert text.count("```") == 2


def test_mattermost_gets_markdown(server: Receiving) -> None:
    tell("mattermost", url=f"{server.url}/hooks/x")
    (posted,) = server.taken()
    assert posted.body["text"].startswith("**aws prod: failed and changed**\n```\nupdate rpc-server 2.8.1 -> 2.8.2\n")


def test_a_long_message_is_cut_and_stays_a_block(server: Receiving) -> None:
    long = MESSAGE._replace(troubles=tuple("x" * 200 for _ in range(50)))
    way("slack")(Receiver("ops", "slack", tuple(Happening), url=f"{server.url}/x"), long)
    (posted,) = server.taken()
    assert len(posted.body["text"]) < 4000
    assert posted.body["text"].endswith("\n…\n```")


def test_a_program_gets_all_of_it_as_json_with_its_token(server: Receiving, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"{server.url}/hook\n")
    (tmp_path / "token").write_text("t0ken\n")
    tell("webhook", url_file=str(tmp_path / "url"), token_file=str(tmp_path / "token"))
    (posted,) = server.taken()
    assert posted.headers["authorization"] == "Bearer t0ken"
    assert posted.body["happenings"] == ["failure", "change"]
    assert (posted.body["site"], posted.body["environment"]) == ("aws", "prod")
    assert posted.body["changes"] == list(MESSAGE.changes)


@pytest.mark.parametrize("answer", [(500, "no"), (404, ""), (302, "")])
def test_any_other_answer_is_a_failure_and_a_redirect_is_not_followed(
    server: Receiving, answer: tuple[int, str]
) -> None:
    server.answers["/secret"] = answer
    with pytest.raises(Undelivered) as failed:
        tell("webhook", url=f"{server.url}/secret")
    assert str(failed.value).startswith(f"HTTP {answer[0]}")
    assert [posted.path for posted in server.taken()] == ["/secret"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/s3cret", "http://nowhere.invalid/s3cret", "https://[::1/s3cret"])
def test_an_address_is_never_told(url: str) -> None:
    with pytest.raises(Undelivered) as failed:
        tell("slack", url=url)
    assert str(failed.value)
    assert "s3cret" not in str(failed.value)


def test_a_proxy_is_taken_from_the_environment(server: Receiving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    tell("webhook", url="http://chat.invalid/hook")
    (posted,) = server.taken()
    assert posted.path == "http://chat.invalid/hook"


def test_mail_goes_by_sendmail(tmp_path: Path) -> None:
    sendmail, got = tmp_path / "sendmail", tmp_path / "got"
    sendmail.write_text(f'#!/bin/sh\necho "$@" > {got}.args\ncat > {got}\n')
    sendmail.chmod(sendmail.stat().st_mode | stat.S_IXUSR)
    tell("mail", to=("ops@example.org", "ann@example.org"), sender="jaws@example.org", sendmail=str(sendmail))
    mail = message_from_bytes(got.read_bytes(), policy=policy.default)
    assert Path(f"{got}.args").read_text() == "-t -i\n"
    assert mail["To"] == "ops@example.org, ann@example.org"
    assert mail["Subject"] == "reconcile: aws prod: failed and changed"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "update rpc-server 2.8.1 -> 2.8.2" in mail.get_content()


def test_a_command_gets_json_and_its_failure_is_told(tmp_path: Path) -> None:
    tell("command", command=f"cat > {tmp_path}/got")
    assert json.loads((tmp_path / "got").read_text())["title"] == "aws prod: failed and changed"
    with pytest.raises(Undelivered, match="exit status 3: no pager"):
        tell("command", command="echo no pager >&2; exit 3")


# ---------------------------------------------------------------- the state of a commit


def forge(server: Receiving, kind: str, folder: Path) -> Forge:
    (folder / "token").write_text("t0ken\n")
    return Forge(kind, server.url, "group/deploy", str(folder / "token"), "reconcile/aws")


def test_gitlab_is_shown_the_state(server: Receiving, tmp_path: Path) -> None:
    show(forge(server, "gitlab", tmp_path), "c0ffee", CommitState.FAILURE, "x" * 200)
    (posted,) = server.taken()
    assert posted.path == "/api/v4/projects/group%2Fdeploy/statuses/c0ffee"
    assert posted.headers["private-token"] == "t0ken"
    assert posted.body == {"state": "failed", "name": "reconcile/aws", "description": "x" * 139 + "…"}


def test_gitlab_refuses_the_state_that_stands_already(server: Receiving, tmp_path: Path) -> None:
    said = "Cannot transition status via :enqueue from :pending"
    server.answers["/api/v4/projects/group%2Fdeploy/statuses/c0ffee"] = (400, json.dumps({"message": said}))
    show(forge(server, "gitlab", tmp_path), "c0ffee", CommitState.PENDING, "")
    server.answers["/api/v4/projects/group%2Fdeploy/statuses/c0ffee"] = (400, "name is missing")
    with pytest.raises(Undelivered, match="HTTP 400: name is missing"):
        show(forge(server, "gitlab", tmp_path), "c0ffee", CommitState.PENDING, "")


def test_github_is_shown_the_state(server: Receiving, tmp_path: Path) -> None:
    show(forge(server, "github", tmp_path), "c0ffee", CommitState.SUCCESS, "applied")
    (posted,) = server.taken()
    assert posted.path == "/repos/group/deploy/statuses/c0ffee"
    assert posted.headers["authorization"] == "Bearer t0ken"
    assert posted.headers["accept"] == "application/vnd.github+json"
    assert posted.headers["x-github-api-version"] == "2022-11-28"
    assert posted.body == {"state": "success", "context": "reconcile/aws", "description": "applied"}
