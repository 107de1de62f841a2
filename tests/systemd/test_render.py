"""What is written for systemd, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.core.desired import Role
from reconciler.launchers import launcher, shim
from reconciler.launchers.base import Rendering, ServiceSpec
from reconciler.launchers.systemd import LAUNCHER
from tests.systemd.deployment import instance, place, service


def render(*services: ServiceSpec, root: str = "/srv/jaws", settings: Mapping[str, object] | None = None) -> Rendering:
    return LAUNCHER.render(place(root, settings), services)


def text(rendering: Rendering, role: Role = Role.UNIT) -> str:
    (file,) = (file for file in rendering.files if file.role is role)
    return file.content.decode()


def test_it_is_in_the_registry() -> None:
    assert launcher("systemd") is LAUNCHER


@pytest.mark.parametrize(
    ("name", "unit"),
    [("", "rpc-dev.service"), ("jaws", "jaws.service"), ("jaws.service", "jaws.service"), ("a.b", "a.b.service")],
)
def test_the_name_of_a_unit(name: str, unit: str) -> None:
    assert LAUNCHER.unit("rpc", "dev", name) == unit


def test_the_files_of_a_deployment() -> None:
    files = render(service("rpc")).files
    assert [(file.path, oct(file.mode), file.role, file.service, file.secret) for file in files] == [
        ("/home/jaws/.config/systemd/user/rpc-dev.service", "0o644", Role.UNIT, "rpc", False),
        ("/srv/jaws/bin/rpc-dev", "0o700", Role.SHIM, "rpc", False),
        ("/srv/jaws/config/env/rpc-dev.env", "0o600", Role.ENV, "rpc", False),
    ]


def test_every_file_says_whose_it_is() -> None:
    owners = {shim.owner_of(file.content.decode()) for file in render(service("rpc")).files}
    assert owners == {("dori/dev", "rpc-dev.service", "/srv/jaws")}


def test_a_unit_file() -> None:
    options = {"start_seconds": 3, "restart": "on-failure", "umask": "027", "memory_max": "2G", "nice": 5}
    rendering = render(service("rpc", stop_signal="sigint", stop_seconds=7.2, options=options))
    assert text(rendering) == (
        "# managed by reconcile: deployment=dori/dev unit=rpc-dev.service root=/srv/jaws\n"
        "[Unit]\n"
        "Description=rpc of dori/dev (reconcile)\n"
        "StartLimitBurst=4\n"
        "StartLimitIntervalSec=10\n"
        "\n"
        "[Service]\n"
        'ExecStart="/srv/jaws/bin/rpc-dev"\n'
        "Type=simple\n"
        "Restart=on-failure\n"
        "RestartSec=1\n"
        "KillMode=mixed\n"
        "KillSignal=SIGINT\n"
        "TimeoutStopSec=8\n"
        "UMask=027\n"
        "MemoryMax=2G\n"
        "Nice=5\n"
        'Environment="PATH=/usr/local/bin:/usr/bin:/bin" "LANG=C.UTF-8" "RECONCILE_DEPLOYMENT=dori/dev" '
        '"RECONCILE_ROOT=/srv/jaws" "RECONCILE_SERVICE=rpc" "RECONCILE_DAEMON=" "RECONCILE_PID=" '
        f'"RECONCILE_SPEC=" "RECONCILE_LAUNCH={rendering.launch["rpc"]}"\n'
        "\n"
        "[Install]\n"
        "WantedBy=default.target\n"
        "\n"
        "[X-Reconcile]\n"
        "StartSeconds=3\n"
    )
    assert rendering.ready_seconds == {"rpc": 3.0}


def test_an_instance() -> None:
    """A shell is its main process, and hands the signal on."""
    written = text(render(instance("db", "/srv/db.sif", stop_signal="INT")))
    (line,) = (line for line in written.splitlines() if line.startswith("ExecStart="))
    assert line.startswith('ExecStart=/bin/sh "-c" "')
    assert line.endswith(
        '"sh" "/srv/jaws/bin/db-dev" "/srv/jaws/run/db-dev.pid" "INT" "/home/jaws/.apptainer" "db-dev"'
    )
    assert "\nType=simple\n" in written
    assert "\nKillSignal=SIGTERM\n" in written
    assert '"RECONCILE_PID=1"' in written
    assert "PidFile=/srv/jaws/run/db-dev.pid\nInstance=db-dev\nFolder=/home/jaws/.apptainer\n" in written


def test_another_stop_signal_of_an_instance_is_another_launch() -> None:
    """systemd does not send it, so it is not among systemd's options."""
    one, other = (render(instance("db", "/srv/db.sif", stop_signal=name)) for name in ("INT", "TERM"))
    assert one.launch != other.launch


def test_another_way_to_keep_an_instance_is_no_other_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version of this tool restarts nothing."""
    one = render(instance("db", "/srv/db.sif"))
    monkeypatch.setattr("reconciler.launchers.systemd.instance._KEEP", ("true",))
    other = render(instance("db", "/srv/db.sif"))
    assert text(one) != text(other)
    assert one.launch == other.launch


def test_the_system_manager() -> None:
    rendering = render(service("rpc"), settings={"scope": "system"})
    assert rendering.files[0].path == "/etc/systemd/system/rpc-dev.service"
    assert "User=root\n" in text(rendering)
    assert "WantedBy=multi-user.target\n" in text(rendering)
    assert "User=" not in text(render(service("rpc")))


def test_it_is_no_daemon_and_knows_what_git_wants() -> None:
    manager = render(service("rpc"), service("log")).manager
    assert not manager.is_daemon
    assert dict(manager.address)["wanted"] == "rpc-dev.service log-dev.service"


def test_no_unit_file_changes_with_a_version() -> None:
    old = render(service("rpc"))
    new = render(service("rpc", "other", version="2.9.0", spec="spec-2", env=(("A", "b"),), prologue="true"))
    assert text(old) == text(new)
    assert (old.launch, old.manager) == (new.launch, new.manager)


@pytest.mark.parametrize(
    "changes",
    [
        {"stop_seconds": 6.0},
        {"stop_signal": "INT"},
        {"options": {"restart": "no"}},
        {"unit": "rpc2.service"},
        {"options": {"nice": 3}},
    ],
)
def test_a_unit_file_that_changes_is_another_launch(changes: dict[str, Any]) -> None:
    assert render(service("rpc", **changes)).launch != render(service("rpc")).launch


def test_what_systemd_does_not_know_is_no_other_launch() -> None:
    """A service is not restarted because it is watched for longer."""
    one, other = render(service("rpc")), render(service("rpc", options={"start_seconds": 9}))
    assert one.launch == other.launch
    assert text(one) != text(other)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unit": "a@b.service"}, "cannot be a unit's name"),
        ({"unit": "a b.service"}, "cannot be a unit's name"),
        ({"unit": "-a.service"}, "cannot be a unit's name"),
        ({"unit": "é.service"}, "cannot be a unit's name"),
        ({"unit": "x" * 250 + ".service"}, "longer than the 255"),
        ({"stop_signal": "TREM"}, "there is no signal 'TREM'"),
        ({"options": {"umask": "9"}}, "umask '9'"),
        ({"options": {"memory_max": "2 gigs"}}, "write it like '2G'"),
        ({"options": {"cpu_quota": "1.5"}}, "write it like '150%'"),
        ({"options": {"nice": 20}}, "nice '20'"),
        ({"command": "a; b"}, "command: has ';'"),
        ({"env": (("RECONCILE_X", "1"),)}, "one of the marks"),
    ],
)
def test_a_service_that_is_refused(changes: dict[str, Any], words: str) -> None:
    assert words in LAUNCHER.check(place("/srv/jaws"), service("rpc")._replace(**changes))


def test_a_service_that_is_not_refused() -> None:
    options = {"umask": "027", "memory_max": "2G", "cpu_quota": "150%", "nice": -20, "limit_nofile": 4096}
    assert LAUNCHER.check(place("/srv/jaws"), service("rpc", options=options)) == ""


@pytest.mark.parametrize(
    ("root", "settings", "words"),
    [
        ("/srv/jaws", {"wanted_by": "default"}, "not the name of a target"),
        ("/srv/jaws", {"unit_folder": "units"}, "not an absolute path"),
        ("/srv/ja\nws", {}, "control character"),
        ("/srv/ja'ws", {}, "allows in no program's path"),
        ("/srv/ja\\ws", {}, "allows in no program's path"),
    ],
)
def test_settings_that_are_refused(root: str, settings: dict[str, object], words: str) -> None:
    assert words in LAUNCHER.check_settings(place(root, settings))


@pytest.mark.parametrize(
    ("root", "settings"),
    [
        ("/srv/ja ws%h$x#;", {}),
        ("/srv/jaws", {"scope": "system", "wanted_by": "jaws.target"}),
        ("/srv/jaws", {"unit_folder": "/etc/systemd/user"}),
    ],
)
def test_settings_that_are_not_refused(root: str, settings: dict[str, object]) -> None:
    assert LAUNCHER.check_settings(place(root, settings)) == ""
