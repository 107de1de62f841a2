"""A schedule in a real crontab, through the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.backends.crontabs import Crontabs, until
from tests.scenarios.world import World

pytestmark = [pytest.mark.scenario, pytest.mark.git]

FOREIGN = b"MAILTO=ann\r\n# mine\n\n  */7 * * * * echo 100\\% %in\b \\r\n#SCRON --x\n"


def lines(table: bytes | None) -> list[str]:
    """Those of the one agent that stands in it."""
    assert table is not None
    text = table.decode()
    return text[text.index("# BEGIN reconcile") : text.rindex("# END reconcile")].splitlines()[2:]


def test_it_is_installed_once_and_taken_away_whole(users_world: World, crontabs: Crontabs) -> None:
    crontabs.write(FOREIGN)
    assert crontabs.reconcile(users_world, "schedule", "status").code == 2
    done = crontabs.reconcile(users_world, "schedule", "install")
    assert (done.code, "chosen: not systemd, since" in done.out) == (0, True), done.said
    table = crontabs.read()
    (line,) = lines(table)
    assert re.match(r"(\*/5|[1-4]-59/5) \* \* \* \* (sleep \d+ && )?/", line)
    assert (table or b"").startswith(FOREIGN)
    again = crontabs.reconcile(users_world, "schedule", "install")
    assert (again.code, again.out.startswith("nothing to change: cron, every 5m")) == (0, True), again.said
    assert crontabs.read() == table
    status = crontabs.reconcile(users_world, "schedule", "status", "--json").json()
    assert (status["kind"], status["stands"], status["findings"]) == ("cron", True, [])
    assert status["next_run"]
    for said in ("removed: cron", "nothing to remove"):
        done = crontabs.reconcile(users_world, "schedule", "remove")
        assert (done.code, done.out) == (0, f"{said}\n")
        assert crontabs.read() == FOREIGN
    assert crontabs.reconcile(users_world, "schedule", "status").code == 2


def test_no_crontab_is_left_where_there_was_none(users_world: World, crontabs: Crontabs) -> None:
    for words in (("install", "--with", "cron"), ("remove",)):
        assert crontabs.reconcile(users_world, "schedule", *words).code == 0
    assert crontabs.read() is None


def test_what_is_not_given_stays_as_it_is_installed(users_world: World, crontabs: Crontabs) -> None:
    crontabs.reconcile(users_world, "schedule", "install", "--with", "cron", "--every", "2h")
    before = crontabs.read()
    assert re.match(r"\d+ (\*/2|1-23/2) \* \* \* ", lines(before)[0])
    assert crontabs.reconcile(users_world, "schedule", "install").out.startswith("nothing to change: cron, every 2h")
    done = crontabs.reconcile(users_world, "schedule", "install", "--every", "1m")
    assert (done.code, lines(crontabs.read())[0].startswith("* * * * * ")) == (0, True)
    done = crontabs.reconcile(users_world, "schedule", "install", "--every", "7m")
    assert (done.code, "--every: `7m` does not divide an hour" in done.err) == (3, True), done.said


def test_agents_live_side_by_side(users_world: World, crontabs: Crontabs) -> None:
    other = [users_world.python, "-m", "reconciler", "schedule", "install", "--with", "cron", "--repo", users_world.url]
    other += ["--site", users_world.site, "--state-dir", str(users_world.folder / "s2")]
    crontabs.reconcile(users_world, "schedule", "install", "--with", "cron")
    alone = crontabs.read() or b""
    assert crontabs.run(other, users_world.env).code == 0
    both = crontabs.read() or b""
    assert (both.startswith(alone), both.count(b" --once ")) == (True, 2)
    crontabs.reconcile(users_world, "schedule", "remove")
    left = crontabs.read()
    assert left == both.removeprefix(alone)


def test_the_agents_file_is_named(users_world: World, crontabs: Crontabs) -> None:
    """With its whole path, and the state directory where nothing but this terminal's environment tells it."""
    config = users_world.folder / "it's 5%.yaml"
    config.write_text(f"repo: {users_world.url}\nsite: {users_world.site}\n")
    env = {"XDG_STATE_HOME": str(users_world.folder / "xdg"), "RECONCILE_CONFIG": config.name}
    done = crontabs.reconcile(users_world, "schedule", "install", where=False, **env)
    assert done.code == 0, done.said
    (line,) = lines(crontabs.read())
    quoted = str(config).replace("'", "'\"'\"'").replace("%", "\\%")
    assert line.endswith(f"--once --config '{quoted}' --state-dir {env['XDG_STATE_HOME']}/reconcile")
    config.unlink()
    status = crontabs.reconcile(users_world, "schedule", "status", "--state-dir", f"{env['XDG_STATE_HOME']}/reconcile")
    assert (status.code, "the agent's file that it names is gone" in status.out) == (2, False), status.said


def test_what_has_gone_is_told_with_every_pass_and_mended_where_git_says_so(
    users_world: World, crontabs: Crontabs
) -> None:
    users_world.commit()
    crontabs.reconcile(users_world, "schedule", "install", "--with", "cron", "--every", "10m")
    table = crontabs.read()
    assert table
    crontabs.reconcile(users_world, "--once")
    assert crontabs.reconcile(users_world, "--once") == (0, "", "")
    crontabs.write(FOREIGN)
    for words in (("--once",), ("plan",), ("status",)):
        done = crontabs.reconcile(users_world, *words)
        assert (done.code, "its lines in the crontab are missing; `" in done.out) == (0, True), done.said
        assert "schedule install --repo" in done.out
    assert crontabs.reconcile(users_world, "schedule", "status").code == 1
    assert crontabs.read() == FOREIGN
    keep = f'policy: {{keep_schedule: true}}\nenvironments: [dev]\npaths: {{root: "{users_world.root}"}}\n'
    users_world.commit({f"desired/sites/{users_world.site}.yaml": keep})
    assert "mends it" in crontabs.reconcile(users_world, "plan").out
    done = crontabs.reconcile(users_world, "--once")
    assert (done.code, "it was mended, since policy.keep_schedule is set" in done.out) == (0, True), done.said
    assert crontabs.read() == FOREIGN + table
    assert crontabs.reconcile(users_world, "--once") == (0, "", "")


def test_a_line_that_was_changed_by_hand(users_world: World, crontabs: Crontabs) -> None:
    crontabs.reconcile(users_world, "schedule", "install", "--with", "cron", "--every", "1h")
    table = crontabs.read()
    assert table
    crontabs.write(FOREIGN + table.replace(b" * * * * ", b" 3 * * * ") + b"# after\n")
    status = crontabs.reconcile(users_world, "schedule", "status", "--json")
    assert (status.code, [f["trouble"] for f in status.json()["findings"]]) == (1, ["changed by hand"])
    done = crontabs.reconcile(users_world, "schedule", "install")
    assert (done.code, done.out.startswith("installed: cron, every 1h")) == (0, True), done.said
    assert crontabs.read() == FOREIGN + table + b"# after\n"


def test_a_crontab_that_cannot_be_read_is_not_an_empty_one(users_world: World, crontabs: Crontabs) -> None:
    keep = f'policy: {{keep_schedule: true}}\nenvironments: [dev]\npaths: {{root: "{users_world.root}"}}\n'
    users_world.commit({f"desired/sites/{users_world.site}.yaml": keep})
    crontabs.reconcile(users_world, "schedule", "install", "--with", "cron")
    crontabs.refuse()
    done = crontabs.reconcile(users_world, "--once")
    assert (done.code, "whether the schedule stands cannot be told: `" in done.out) == (0, True), done.said
    assert crontabs.reconcile(users_world, "schedule", "status").code == 1
    for words in (("install",), ("remove",)):
        assert crontabs.reconcile(users_world, "schedule", *words).code == 1
    assert (users_world.state / users_world.site / "schedule.json").exists()


def test_what_is_not_noted_any_more_is_found_by_its_marks(users_world: World, crontabs: Crontabs) -> None:
    crontabs.reconcile(users_world, "schedule", "install", "--with", "cron")
    table = crontabs.read()
    (users_world.state / users_world.site / "schedule.json").unlink()
    status = crontabs.reconcile(users_world, "schedule", "status")
    assert (status.code, status.out.startswith("nothing is noted of it, but cron has")) == (1, True), status.said
    assert crontabs.reconcile(users_world, "schedule", "install").code == 0
    assert crontabs.read() == table
    (users_world.state / users_world.site / "schedule.json").write_text("{")
    done = crontabs.reconcile(users_world, "schedule", "status")
    assert (done.code, "is damaged" in done.out) == (1, True), done.said
    assert crontabs.reconcile(users_world, "schedule", "remove").out == "removed: cron\n"
    assert crontabs.read() is None


def test_another_host_cannot_tell(users_world: World, crontabs: Crontabs) -> None:
    """A home that several login nodes share."""
    crontabs.reconcile(users_world, "schedule", "install", "--with", "cron")
    record = users_world.state / users_world.site / "schedule.json"
    noted = json.loads(record.read_text())
    record.write_text(json.dumps(noted | {"host": "elsewhere"}))
    status = crontabs.reconcile(users_world, "schedule", "status")
    assert (status.code, "it is installed on elsewhere, and this is" in status.out) == (1, True), status.said
    for words in (("install",), ("remove",)):
        done = crontabs.reconcile(users_world, "schedule", *words)
        assert (done.code, "it is installed on elsewhere" in done.err) == (1, True), done.said


def test_what_cannot_run_from_cron_is_not_installed(users_world: World, crontabs: Crontabs) -> None:
    """A program that needs what only this terminal has."""
    program = users_world.account.folder(users_world.folder / "b") / "reconcile"
    program.write_text(
        f'#!/bin/sh\n[ "$ONLY_HERE" ] || {{ echo lost >&2; exit 4; }}\nexec {users_world.python} -m reconciler "$@"\n'
    )
    program.chmod(0o755)
    code = f"import sys; sys.argv[0] = {str(program)!r}; from reconciler.cli.main import run; run()"
    argv = [users_world.python, "-c", code, *users_world.argv("schedule", "install", "--with", "cron")[3:]]
    done = crontabs.run(argv, users_world.env)
    assert (done.code, "lost" in done.err) == (1, True), done.said
    assert crontabs.read() is None
    program.write_text(f'#!/bin/sh\nexec {users_world.python} -m reconciler "$@"\n')
    assert crontabs.run(argv, users_world.env).code == 0
    assert f" {program} --once " in lines(crontabs.read())[0]
    program.unlink()
    status = crontabs.reconcile(users_world, "schedule", "status")
    assert (status.code, f"the program that it calls is gone: {program}" in status.out) == (1, True), status.said


def test_a_login_in_the_address_is_not_written_into_a_crontab(users_world: World, crontabs: Crontabs) -> None:
    argv = [users_world.python, "-m", "reconciler", "schedule", "install", "--with", "cron", "--site", "x"]
    done = crontabs.run([*argv, "--repo", "https://ann:hush@127.0.0.1/x.git"], users_world.env)
    assert (done.code, "hush" in done.said) == (3, False), done.said
    assert crontabs.read() is None


def test_nothing_is_loaded_or_asked_where_none_was_installed(users_world: World) -> None:
    users_world.commit()
    words = users_world.argv("--once")[3:]
    code = f"import sys; from reconciler.cli.main import main; main({words!r}); print(*sys.modules)"
    done = users_world.run_python(code)
    loaded = done.out.split()
    assert "reconciler.agent.run" in loaded
    assert [name for name in loaded if "schedule" in name] == []


@pytest.mark.slow
def test_cron_makes_a_pass(users_world: World, crontabs: Crontabs, tmp_path: Path) -> None:
    """The real daemon, at the next minute: percent signs, quotes and all."""
    users_world.commit(users_world.services("one"))
    config = users_world.folder / "it's 5%.yaml"
    config.write_text(f"repo: {users_world.url}\nsite: {users_world.site}\nstate_dir: {users_world.state}\n")
    done = crontabs.reconcile(
        users_world, "schedule", "install", "--every", "1m", "--with", "cron", where=False, RECONCILE_CONFIG=str(config)
    )
    assert done.code == 0, done.said
    remark = "no cron daemon is seen"
    crontabs.start_daemon()
    until(lambda: remark not in crontabs.reconcile(users_world, "schedule", "status").out, 10)
    until(lambda: "one" in users_world.pids(), 135)
