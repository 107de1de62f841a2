"""What `systemctl show` prints, read back.."""

from __future__ import annotations

import pytest

from reconciler.core.observed import State
from reconciler.launchers.systemd import show
from reconciler.launchers.systemd.show import Now

NOW = Now(epoch=1_000_000.0, monotonic=5_000.0)

RUNNING = {
    "Id": "a.service",
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
    "MainPID": "4711",
    "ExecMainStartTimestampMonotonic": "4990000000",
    "StateChangeTimestampMonotonic": "4995000000",
}


def printed(**changes: str) -> str:
    """A block as it is printed, with some properties changed."""
    return "".join(f"{key}={value}\n" for key, value in (RUNNING | changes).items())


def read(**changes: str) -> tuple[State, int, float, str]:
    (block,) = show.parse(printed(**changes))
    unit = show.unit(block, NOW)
    assert unit.name == "a.service"
    return unit.state, unit.pid, unit.since, unit.detail


def test_blocks_are_parted_by_empty_lines() -> None:
    text = printed() + "\n" + printed(Id="b.service", ExecStart="{ path=/a=b ; argv[]=/a=b c }") + "\nMainPID=3\n"
    blocks = show.parse(text)
    assert [block["Id"] for block in blocks] == ["a.service", "b.service"]
    assert blocks[1]["ExecStart"] == "{ path=/a=b ; argv[]=/a=b c }"
    assert show.parse("") == []


def test_an_empty_line_in_a_command_parts_nothing() -> None:
    """systemctl prints commands as they are; every block begins with the same property."""
    command = "{ path=/bin/sh ; argv[]=/bin/sh -c one\n\ntwo ; ignore_errors=no ; pid=0 }"
    text = f"MainPID=1\nExecStartPre={command}\n{printed()}\nMainPID=2\nExecStartPre=\n{printed(Id='b.service')}"
    assert [(block["Id"], block["ActiveState"]) for block in show.parse(text)] == [
        ("a.service", "active"),
        ("b.service", "active"),
    ]
    assert all(block["MainPID"] and block["LoadState"] for block in show.parse(text))


def test_times_are_since_the_epoch() -> None:
    assert read() == (State.RUNNING, 4711, 999_990.0, "")
    assert read(ActiveState="activating", SubState="start") == (State.STARTING, 4711, 999_995.0, "")


@pytest.mark.parametrize(
    ("load", "active", "sub", "state"),
    [
        ("loaded", "active", "running", State.RUNNING),
        ("loaded", "active", "exited", State.EXITED),
        ("loaded", "reloading", "reload", State.RUNNING),
        ("loaded", "activating", "start-pre", State.STARTING),
        ("loaded", "activating", "auto-restart", State.BACKOFF),
        ("loaded", "activating", "auto-restart-queued", State.BACKOFF),  # systemd 254
        ("loaded", "deactivating", "stop-sigterm", State.STOPPING),
        ("loaded", "deactivating", "final-sigkill", State.STOPPING),
        ("loaded", "failed", "failed", State.FATAL),
        ("loaded", "inactive", "dead", State.STOPPED),
        ("loaded", "maintenance", "cleaning", State.UNKNOWN),
        ("loaded", "", "", State.UNKNOWN),
        ("masked", "inactive", "dead", State.STOPPED),
        ("masked", "active", "running", State.RUNNING),
        ("bad-setting", "inactive", "dead", State.FATAL),
        ("bad-setting", "active", "running", State.RUNNING),
        ("not-found", "inactive", "dead", State.ABSENT),
        ("not-found", "active", "running", State.RUNNING),
        ("not-found", "activating", "auto-restart", State.BACKOFF),
        ("not-found", "deactivating", "stop-sigterm", State.STOPPING),
        ("not-found", "failed", "failed", State.ABSENT),
    ],
)
def test_every_state(load: str, active: str, sub: str, state: State) -> None:
    """Whatever is still doing something is not absent."""
    assert read(LoadState=load, ActiveState=active, SubState=sub)[0] is state


ENDED = {
    "MainPID": "0",
    "ActiveState": "failed",
    "SubState": "failed",
    "Result": "exit-code",
    "ExecMainCode": "1",
    "ExecMainStatus": "3",
    "ExecMainExitTimestampMonotonic": "4996000000",
    "ActiveExitTimestampMonotonic": "4996000010",
    "StateChangeTimestampMonotonic": "4997000000",
}


@pytest.mark.parametrize(
    ("changes", "state", "detail"),
    [
        ({}, State.FATAL, "exit status 3"),
        ({"ExecMainStatus": "203"}, State.FATAL, "exit status 203 (its program could not be executed)"),
        ({"Result": "signal", "ExecMainCode": "2", "ExecMainStatus": "9"}, State.FATAL, "killed by signal 9"),
        ({"Result": "core-dump", "ExecMainCode": "3", "ExecMainStatus": "6"}, State.FATAL, "killed by signal 6"),
        ({"Result": "oom-kill"}, State.FATAL, "was killed for its memory"),
        ({"Restart": "always"}, State.FATAL, "start-limit-hit: ended too often, last with exit status 3"),
        ({"Result": "start-limit-hit"}, State.FATAL, "start-limit-hit: ended too often, last with exit status 3"),
        (
            {"Result": "start-limit-hit", "ExecMainExitTimestampMonotonic": "0"},
            State.FATAL,
            "start-limit-hit",
        ),
        ({"ActiveExitTimestampMonotonic": "4995999990"}, State.STOPPED, "exit status 3"),
        (
            {"ActiveExitTimestampMonotonic": "4995999990", "Result": "timeout"},
            State.STOPPED,
            "took too long and was killed",
        ),
        ({"ActiveState": "inactive", "SubState": "dead", "Result": "success"}, State.EXITED, "exit status 3"),
        (
            {
                "ActiveState": "inactive",
                "SubState": "dead",
                "Result": "success",
                "ActiveExitTimestampMonotonic": "4995999990",
            },
            State.STOPPED,
            "",
        ),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, State.BACKOFF, "exit status 3"),
        (
            {
                "LoadState": "bad-setting",
                "ActiveState": "inactive",
                "LoadError": 'org.freedesktop.systemd1.BadUnitSetting "Unit a.service has a bad unit file setting."',
            },
            State.FATAL,
            "Unit a.service has a bad unit file setting.",
        ),
    ],
)
def test_how_it_ended(changes: dict[str, str], state: State, detail: str) -> None:
    assert read(**(ENDED | changes)) == (state, 0, 999_997.0, detail)


def test_one_that_was_never_started() -> None:
    never = dict.fromkeys(("ExecMainStartTimestampMonotonic", "StateChangeTimestampMonotonic", "MainPID"), "0")
    assert read(ActiveState="inactive", SubState="dead", **never) == (State.STOPPED, 0, 0.0, "not started yet")


@pytest.mark.parametrize("active", ["inactive", "failed"])
def test_a_start_that_systemd_has_queued(active: str) -> None:
    """Right after it was asked for, the unit is as it was before: that is no start that has failed."""
    assert read(ActiveState=active, SubState="dead", MainPID="0", Job="55")[0] is State.STARTING
    assert read(ActiveState=active, SubState="dead", MainPID="0", Job="0")[0].down
