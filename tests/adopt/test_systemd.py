"""Units that somebody has written for `systemd --user` come in without a restart, and leave with their first change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adopt.byhand import ENVIRONMENT, PROGRAM, SECRET, Place
from tests.backends.manager import Manager
from tests.scenarios.site import until

UNITS = {
    "plain.service": "[Service]\nExecStart={prog} plain\n[Install]\nWantedBy=default.target\n",
    "worded.service": """[Unit]
Description=A % and a [thing]
[Service]
Environment="T_A=x, y" T_B=%%h T_H=%h
Environment='T_Q=say "hi"'
ExecStart={prog} worded "two words" \\
    'single "double"' back\\\\slash ${{T_A}} $$HOME %n a\\x20b {{{{ x }}}} %%s ""
Restart=on-failure
RestartSec=2
KillSignal=SIGINT
TimeoutStopSec=5
UMask=0027
WorkingDirectory={folder}
""",
    "temp@.service": "[Service]\nType=exec\nExecStart={prog} temp-%i %p\nNice=3\n",
    "secret.service": "[Service]\nEnvironmentFile={folder}/secret.env\nExecStart={prog} secret\nRestart=always\n",
    "forks.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
    "walled.service": "[Service]\nExecStart={prog} walled\nRestrictAddressFamilies=AF_UNIX\n",
    "plain-dev.service": "[Service]\nExecStart=/bin/true\n",  # what `plain` would be called
    "down.service": "[Service]\nExecStart={prog} down\n",
}
UP = ("plain", "worded", "temp@x", "secret", "forks", "walled")
LEFT = {"forks.service", "walled.service"}


@pytest.fixture
def systemd(short_folder: Path) -> Iterator[Manager]:
    """A manager of this very account, which is not running yet."""
    made = Manager(short_folder)
    yield made
    made.end()


@pytest.mark.systemd
def test_comes_in_without_a_restart(systemd: Manager, place: Place, short_folder: Path) -> None:
    folder = short_folder / "u"
    (folder / "said").mkdir(parents=True)
    (folder / "prog").write_text(PROGRAM)
    (folder / "prog").chmod(0o755)
    (folder / "secret.env").write_text(f"# of the database\nT_TOKEN='{SECRET}'\nT_MODE=fast\n")
    for name, text in UNITS.items():
        systemd.write(name, text.format(prog=folder / "prog", folder=folder))
    systemd.boot()
    units = [f"{name}.service" for name in UP]
    systemd.systemctl("enable", "plain.service")
    systemd.systemctl("start", *units)
    until(lambda: len({p.name for p in (folder / "said").iterdir() if p.suffix != ".tmp"}) == 5)
    said = {path.name: path.read_text() for path in (folder / "said").iterdir()}
    before = {name: systemd.show(name, "MainPID")["MainPID"] for name in units}

    env = {key: systemd.env[key] for key in ("HOME", "XDG_RUNTIME_DIR")}
    told = place.adopt("systemd", *units, "down.service", env=env).json
    assert {one["unit"] for one in told["services"] if not one["managed"]} == LEFT, told["services"]
    place.commit()
    for arguments in (("plan",), ("--once",), ("--once",)):
        found = place.deployment(*arguments, env=env)
        assert found["steps"] == []
        assert {c["kind"] for c in found["changes"]} == {"keep"}
        assert {name: systemd.show(name, "MainPID")["MainPID"] for name in units} == before

    place.bump(["plain"], "2")
    assert {c["service"] for c in place.deployment("--once", env=env)["changes"] if c["kind"] != "keep"} == {"plain"}
    after = {name: systemd.show(name, "MainPID")["MainPID"] for name in units}
    assert after == {**before, "plain.service": "0"}
    assert systemd.show("plain.service", "UnitFileState")["UnitFileState"] == "disabled"
    assert systemd.show("plain-dev-reconcile.service", "ActiveState")["ActiveState"] == "active"
    assert place.deployment("--once", env=env)["steps"] == []

    # The others with the very words, variables, folder and umask that they had.
    place.bump(["worded", "temp", "secret"], "2")
    place.deployment("--once", env=env)
    until(lambda: systemd.show("secret-dev.service", "ActiveState")["ActiveState"] == "active")
    assert {path.name: path.read_text() for path in (folder / "said").iterdir()} == said
    assert place.deployment("--once", env=env)["steps"] == []
    assert {name for name in units if systemd.show(name, "MainPID")["MainPID"] != "0"} == {"walled.service"}
    for path in (place.repo / "desired").rglob("*.yaml"):
        assert SECRET not in path.read_text()


_DESIRED = """\
paths: {{root: "{root}"}}
components: {{app: {{install: none}}}}
versions: {{app: "1"}}
services:
  plain: {{component: app, launcher: systemd, command: "{prog} plain", systemd: {{start_seconds: 0}}}}
  walled: {{component: app, launcher: systemd, command: "{prog} walled --now", systemd: {{start_seconds: 0}}}}
"""
_UNITS = {
    "plain-dev.service": "[Service]\nWorkingDirectory={root}\nExecStart={prog} plain\n",  # as git calls it
    # what a service cannot say does not matter where git says it already
    "old-walled.service": """[Service]
WorkingDirectory={root}
ExecStart={prog} walled
RestrictAddressFamilies=AF_UNIX
""",
}


@pytest.mark.systemd
def test_what_git_has_by_that_name(systemd: Manager, place: Place, short_folder: Path) -> None:
    """Under the very name that git gives the unit, and under another one; one is the same, and one is not."""
    folder = short_folder / "u"
    (folder / "said").mkdir(parents=True)
    place.root.mkdir()
    (folder / "prog").write_text(PROGRAM)
    (folder / "prog").chmod(0o755)
    desired = place.repo / "desired"
    for name in ("environments", "sites"):
        (desired / name).mkdir(parents=True)
    (desired / "defaults.yaml").write_text(_DESIRED.format(root=place.root, prog=folder / "prog"))
    (desired / f"environments/{ENVIRONMENT}.yaml").write_text("")
    (desired / f"sites/{place.site}.yaml").write_text("")
    place.commit()
    for name, text in _UNITS.items():
        systemd.write(name, text.format(prog=folder / "prog", root=place.root))
    systemd.boot()
    systemd.systemctl("start", *_UNITS)
    until(lambda: len({p.name for p in (folder / "said").iterdir() if p.suffix != ".tmp"}) == 2)
    before = {name: systemd.show(name, "MainPID")["MainPID"] for name in _UNITS}
    env = {key: systemd.env[key] for key in ("HOME", "XDG_RUNTIME_DIR")}

    told = place.adopt("systemd", *_UNITS, "--as", "old-walled=walled", env=env).json
    assert {one["service"]: one["fate"] for one in told["services"]} == {"plain": "same", "walled": "waits"}
    assert place.layer.read_text() == "services:\n  plain:\n    name: plain-dev-reconcile\n"
    # Not in git yet: its own name is somebody else's until then, and nothing happens.
    for _ in range(2):
        found = place.deployment("--once", env=env, code=1)
        assert found["steps"] == []
    place.commit()
    for _ in range(2):
        found = place.deployment("--once", env=env, code=2)
        assert {c["service"]: c["kind"] for c in found["changes"]} == {"plain": "keep", "walled": "blocked"}
        assert found["steps"] == []
    again = place.adopt("systemd", *_UNITS, "--as", "old-walled=walled", env=env).json
    assert {one["service"]: one["fate"] for one in again["services"]} == {"plain": "adopted", "walled": "waits"}
    assert again["files"] == []
    assert {name: systemd.show(name, "MainPID")["MainPID"] for name in _UNITS} == before

    layer = place.layer.read_text()
    place.layer.write_text(f'versions: {{app: "2"}}\n{layer}')
    place.commit()
    place.deployment("--once", env=env)
    assert {systemd.show(name, "MainPID")["MainPID"] for name in _UNITS} == {"0"}
    own = ("plain-dev-reconcile.service", "walled-dev.service")
    assert {systemd.show(name, "ActiveState")["ActiveState"] for name in own} == {"active"}
    assert place.deployment("--once", env=env)["steps"] == []
