"""Passes on a real supervisord tell of what is new, once; what could not be told waits."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.notify.receiving import Receiving, receiving
from tests.scenarios.site import Site, Told

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor]


class Noisy(Site):
    """A site whose agent tells a server of the test's own."""

    server: Receiving

    def tells(self, server: Receiving, **more: Any) -> None:
        self.server = server
        receivers = {"ops": {"webhook": {"url": f"{server.url}/ops"}}, **more.pop("receivers", {})}
        (self.folder / "notify.yaml").write_text(json.dumps({"receivers": receivers, **more}))
        words = {"notify": "notify.yaml", "metrics": "reconcile.prom"}
        (self.folder / "agent.yaml").write_text("".join(f"{key}: {word}\n" for key, word in words.items()))

    def run(self, *arguments: str) -> Told:
        return super().run("--config", str(self.folder / "agent.yaml"), *arguments)

    def told(self) -> list[tuple[str, ...]]:
        """What receivers heard since the last look."""
        return [tuple(posted.body["happenings"]) for posted in self.server.taken("/ops")]


@pytest.fixture
def noisy(short_folder: Path) -> Iterator[Noisy]:
    with receiving() as server:
        made = Noisy(short_folder / "n")
        made.services.clear()
        made.services["one"] = {"component": "site", "command": "sleep 1000", "supervisor": {"startsecs": 0}}
        made.commit()
        made.tells(server)
        try:
            yield made
        finally:
            made.end()


def test_each_thing_is_told_once(noisy: Noisy) -> None:
    noisy.once()
    (first,) = noisy.server.taken("/ops")
    assert first.body["title"] == "here dev: changed"
    assert first.body["changes"] == ["create one 2.8.1"] or first.body["changes"][0].startswith("create one 2.8.1")
    noisy.once()
    assert noisy.told() == []
    noisy.services["one"]["command"] = "/nowhere/at-all"
    noisy.commit()
    noisy.once(1)
    assert noisy.told()[0][0] == "failure"
    noisy.once(1)
    noisy.once(1)
    assert noisy.told() == []
    noisy.services["one"]["command"] = "sleep 1001"
    noisy.commit()
    noisy.once()
    assert noisy.told() == [("recovery", "change")]
    noisy.once()
    assert noisy.told() == []


def test_a_plan_that_waits_is_told_once_and_another_one_again(noisy: Noisy) -> None:
    noisy.layer["policy"] = {"sync": "manual"}
    noisy.commit()
    noisy.once(2)
    (first,) = noisy.server.taken("/ops")
    assert first.body["happenings"] == ["approval"]
    assert first.body["title"] == "here dev: waits for approval"
    assert first.body["waits"][0].startswith("reconcile approve ")
    assert first.body["waits"][1].startswith("+ one 2.8.1")
    assert (first.body["changes"], first.body["troubles"]) == ([], [])
    noisy.once(2)
    assert noisy.told() == []
    noisy.services["one"]["command"] = "sleep 1001"
    noisy.commit()
    noisy.once(2)
    (second,) = noisy.server.taken("/ops")
    assert second.body["happenings"] == ["approval"]
    assert second.body["waits"][0] != first.body["waits"][0]
    noisy.run("approve", second.body["waits"][0].split()[-1], "--reason", "fine")
    noisy.once()
    assert noisy.told() == [("change",)]
    noisy.once()
    assert noisy.told() == []


def test_a_rollback_is_told_as_such(noisy: Noisy) -> None:
    health = {"exec": {"command": 'test "$GOOD" = 1'}, "start_period": "0s", "settle": "0s"}
    noisy.services["one"] |= {"health": health, "env": {"GOOD": "1"}}
    noisy.commit()
    noisy.once()
    noisy.told()
    noisy.services["one"]["env"] = {"GOOD": "0"}
    noisy.commit()
    noisy.once(1)
    (posted,) = noisy.server.taken("/ops")
    assert posted.body["happenings"] == ["rollback", "change"]
    assert posted.body["troubles"] == ["one: rolled-back: 2.8.1 failed: exec: exit status 1; 2.8.1 is kept"]
    noisy.once(1)
    assert noisy.told() == []


def test_an_invalid_commit_is_told_for_the_site(noisy: Noisy) -> None:
    noisy.once()
    noisy.told()
    noisy.services["one"]["launcher"] = "nothing"
    noisy.commit()
    noisy.once(3)
    (posted,) = noisy.server.taken("/ops")
    assert (posted.body["environment"], posted.body["happenings"]) == ("", ["failure"])
    noisy.once(3)
    assert noisy.told() == []


def test_what_could_not_be_told_waits_in_order_and_does_not_fail_the_pass(noisy: Noisy) -> None:
    noisy.server.answers["/ops"] = (503, "later")
    told = noisy.run("--once")
    assert told.code == 0
    assert "HTTP 503: later" in told.err
    noisy.kill("one")
    noisy.await_state("one", "RUNNING")
    noisy.services["one"]["command"] = "sleep 1001"
    noisy.commit()
    assert "could not be delivered" not in noisy.run("--once").err  # it was said
    noisy.server.taken()
    del noisy.server.answers["/ops"]
    noisy.once()
    commits = [posted.body["commit"] for posted in noisy.server.taken("/ops")]
    assert len(commits) == 2
    assert commits[0] != commits[1]
    noisy.once()
    assert noisy.told() == []


def test_who_wants_to_hear_of_failures_only(noisy: Noisy) -> None:
    command = {"command": f"cat >> {noisy.folder}/heard", "on": ["failure"]}
    elsewhere = {**command, "on": ["change"], "environments": ["x"]}
    noisy.tells(noisy.server, receivers={"pager": command, "other": elsewhere})
    noisy.once()
    assert not (noisy.folder / "heard").exists()
    noisy.services["one"]["command"] = "/nowhere/at-all"
    noisy.commit()
    noisy.once(1)
    (line,) = (noisy.folder / "heard").read_text().splitlines()
    assert json.loads(line)["happenings"][0] == "failure"


def test_the_state_of_the_commit_is_shown_when_it_changes(noisy: Noisy) -> None:
    (noisy.folder / "token").write_text("t\n")
    gitlab = {"url": noisy.server.url, "project": "12", "token_file": "token"}
    noisy.tells(noisy.server, commit_status={"gitlab": gitlab})
    noisy.once()
    noisy.once()
    (posted,) = noisy.server.taken("/api")
    assert posted.body == {"state": "success", "name": "reconcile/here", "description": "applied"}
    noisy.services["one"]["command"] = "/nowhere/at-all"
    commit = noisy.commit()
    noisy.once(1)
    noisy.once(1)
    (posted,) = noisy.server.taken("/api")
    assert posted.path.endswith(commit)
    assert (posted.body["state"], "one" in posted.body["description"]) == ("failed", True)


def test_a_notify_file_that_cannot_be_used_keeps_nothing_from_being_done(noisy: Noisy) -> None:
    (noisy.folder / "notify.yaml").write_text("receivers: {ops: {}}\n")
    report = noisy.once(1)
    assert "must have one way to be told" in report["notices"][0]
    assert noisy.pids()["one"]


def test_the_metrics_file_is_written_on_change_and_touched_otherwise(noisy: Noisy) -> None:
    noisy.once()
    path = noisy.folder / "reconcile.prom"
    text = path.read_text()
    assert 'reconcile_service_healthy{site="here",environment="dev",service="one"}' in text
    noisy.once()
    text = path.read_text()
    assert 'reconcile_converged{site="here",environment="dev"} 1\n' in text
    labels = 'site="here",environment="dev",service="one",version="2.8.1",wanted="2.8.1"'
    assert f"reconcile_service_info{{{labels}}} 1\n" in text
    os.utime(path, (1, 1))
    before = path.stat()
    noisy.once()
    after = path.stat()
    assert (after.st_ino, path.read_text()) == (before.st_ino, text)
    assert after.st_mtime > before.st_mtime


def test_a_test_message(noisy: Noisy) -> None:
    noisy.tells(noisy.server, receivers={"gone": {"command": "exit 9"}})
    told = noisy.run("notify")
    assert told.code == 1
    assert told.out == "told: ops\nfailed: gone: exit status 9\n"
    assert noisy.told() == [("test",)]
    assert noisy.run("notify", "ops").code == 0
    unknown = noisy.run("notify", "opps")
    assert (unknown.code, "did you mean `ops`?" in unknown.err) == (3, True)
