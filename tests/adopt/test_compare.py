"""Only what is known to be equal counts as equal, and no secret is told of what is not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from reconciler.adopt.compare import Wanted, compare
from reconciler.adopt.found import Found
from reconciler.adopt.running import Running
from reconciler.core.desired import Service
from reconciler.host.twins import Command, find, is_alike, is_part
from tests.scenarios.site import until

ROOT = "/srv/app"
SERVICE = Service(
    "web", "web", "app", "1.0", "supervisor", "", "spec", "launch", "", (), 1.0, 10.0, "", "",
)  # fmt: skip
FOUND = Found("web", "web", "web", "", (), {}, "", {}, "", None, 7, 1.0, "RUNNING", "x")
LATER = 4e9  # seconds since the epoch


def wanted(command: str, **more: Any) -> Wanted:
    return Wanted(SERVICE, ROOT, command, {}, frozenset(), {}, "", "", "")._replace(**more)


def running(*argv: str, env: dict[str, str] | None = None, folder: str = ROOT, image: str = "") -> Running:
    return Running(argv, {"HOME": "/", **(env or {})}, folder, LATER, image)


def differs(want: Wanted, now: Running, found: Found = FOUND) -> list[str]:
    return list(compare(found, now, want).differs)


@pytest.mark.parametrize(
    ("command", "argv", "said"),
    [
        ("/bin/cat --x 1", ("/bin/cat", "--x", "1"), []),
        ("exec /bin/cat --x 1", ("/bin/cat", "--x", "1"), []),
        ("cat 'a b'", ("/bin/cat", "a b"), []),
        ("/bin/cat 1", ("/bin/cat", "2"), ["runs with `2`, and git says `1`"]),
        ("/bin/cat 1", ("/bin/cat", "1", "2"), ["runs with `1 2`, and git says `1`"]),
        ("/bin/cat 1", ("/bin/tac", "1"), ["runs /bin/tac, and git says /bin/cat"]),
        ("/bin/cat 1", (), ["runs what cannot be seen, and git says /bin/cat"]),
        ("/bin/cat 1", ("/opt/bin/cat", "1"), ["runs /opt/bin/cat, and git says /bin/cat"]),
        ("/bin/cat $HOME", ("/bin/cat", "/"), ["its command in git is for a shell, and cannot be compared"]),
        ("/bin/cat a-1.0.jar", ("/bin/cat", "a-0.9.jar"), ["runs version 0.9, and git wants 1.0"]),
        ("/bin/cat a-1.0.jar", ("/bin/cat", "b-0.9.jar"), ["runs with `b-0.9.jar`, and git says `a-1.0.jar`"]),
        ("/bin/cat 1.0 x-1.0", ("/bin/cat", "0.9", "x-0.9"), ["runs version 0.9, and git wants 1.0"]),
        ("/bin/cat 1.0 1.0", ("/bin/cat", "0.9", "0.8"), ["runs with `0.9`, and git says `1.0`"]),
        ("/bin/cat v", ("/bin/cat", "--password=hunter2"), ["its command line seems to hold a secret"]),
    ],
)  # fmt: skip
def test_commands(command: str, argv: tuple[str, ...], said: list[str]) -> None:
    told = differs(wanted(command.removeprefix("exec ")), running(*argv))
    assert [line[: len(start)] for line, start in zip(told, said, strict=False)] == said
    assert bool(told) == bool(said)
    assert "hunter2" not in str(told)


def test_a_script_has_its_interpreter_before_it() -> None:
    assert differs(wanted("/bin/which x"), running("/bin/sh", "/bin/which", "x")) == []
    assert differs(wanted("/bin/sh -c x"), running("/bin/sh", "-c", "x")) == []
    assert differs(wanted("/bin/which x"), running("/bin/sh", "/bin/other", "x")) != []


def test_variables() -> None:
    want = wanted("/bin/cat", env={"LANG": "C", "DB_PASSWORD": "hunter2", "MODE": "x"})
    same = {"LANG": "C", "DB_PASSWORD": "hunter2", "MODE": "x"}
    assert differs(want, running("/bin/cat", env=same)) == []
    told = differs(want, running("/bin/cat", env={"LANG": "de", "DB_PASSWORD": "hunter3"}))
    assert told == [
        "runs with another DB_PASSWORD",
        "runs with another LANG: 'de', and git says 'C'",
        "runs without MODE, and git sets it to 'x'",
    ]
    assert differs(want, running("/bin/cat")._replace(env={})) == ["its variables cannot be seen"]
    more = FOUND._replace(env={"EXTRA": "1", "PATH": "/x", "LANG": "C"})
    assert differs(want, running("/bin/cat", env=same | {"EXTRA": "1"}), more) == [
        "runs with EXTRA, which git does not set"
    ]
    assert differs(want, running("/bin/cat", env=same), more) == []  # what starts it keeps it for itself
    told = differs(want._replace(hidden=frozenset({"TOKEN"})), running("/bin/cat", env=same))
    assert told == ["whether TOKEN is the secret that git means is not compared"]


def test_folders() -> None:
    assert differs(wanted("/bin/cat"), running("/bin/cat", folder="/tmp")) == ["runs in /tmp, and git says /srv/app"]
    assert "cannot be seen" in differs(wanted("/bin/cat"), running("/bin/cat", folder=""))[0]


def test_files(tmp_path: Path) -> None:
    meant, other = tmp_path / "config/app.conf", tmp_path / "configs/app.conf"
    for path in (meant, other):
        path.parent.mkdir()
    want = wanted(f"/bin/cat --config={meant}", files={str(meant): b"a = 1\nkey = 2\n"})
    here, there = running("/bin/cat", f"--config={meant}"), running("/bin/cat", f"--config={other}")
    assert differs(want, here) == [f"app.conf: there is no {meant}"]
    other.write_text("a = 1\nkey = hunter2\n\n")
    assert differs(want, there) == [f"app.conf: {other} is another one than git's, in 2 lines (key)"]
    other.write_bytes(b"a = 1\nkey = 2\n")
    assert differs(want, there) == []
    assert compare(FOUND, there, want).version == "1.0"
    early = there._replace(started=time.time() - 1000)
    assert differs(want, early) == [f"app.conf: {other} was changed since it was started"]
    assert compare(FOUND, early, want).in_files
    meant.mkdir()
    assert differs(want, here) == [f"app.conf: {meant} cannot be read: Is a directory"]


def test_versions_of_a_venv(tmp_path: Path) -> None:
    program = tmp_path / "venv/bin/our-app"
    info = tmp_path / "venv/lib/python3.11/site-packages/Our_App-1.0.dist-info"
    for folder in (program.parent, info):
        folder.mkdir(parents=True)
    want = wanted("our-app x", requirement="--no-index 'our.app[a]==1.0'")
    now = running("/usr/bin/python3", str(program), "x")
    assert "which version of our.app runs cannot be told" in differs(want, now)[0]  # it is no venv
    (tmp_path / "venv/pyvenv.cfg").write_text("")
    assert differs(want, now) == []
    assert differs(want._replace(requirement="our-app==1.1"), now) == ["runs version 1.0, and git wants 1.1"]
    assert "NAME==VERSION" in differs(want._replace(requirement="/srv/our_app.whl"), now)[0]
    early = now._replace(started=os.stat(info).st_ctime - 1000)
    assert "installed anew since it was started" in differs(want, early)[0]


def test_images() -> None:
    want = wanted("--log x serve", image="/i/app-1.0.sif")
    inside = ("/usr/bin/python3", "/usr/bin/app", "--log", "x", "serve")
    assert differs(want, running(*inside, folder="/", image="/else/app-1.0.sif")) == []
    assert differs(want, running(*inside, image="/else/app-0.9.sif")) == ["runs version 0.9, and git wants 1.0"]
    assert differs(want, running(*inside, image="/else/b.sif")) == ["runs b.sif, and git wants app-1.0.sif"]
    assert "cannot be told" in differs(want, running(*inside))[0]


def test_what_was_written_from_the_section_is_the_same() -> None:
    found = FOUND._replace(argv=("/bin/sh", "-c", "a $b"), directory="/tmp")
    want = wanted("""sh -c 'cd "$0" && exec "$@"' /tmp /bin/sh -c 'a $b'""")
    assert differs(want, running("/bin/whatever"), found) == []
    assert differs(want, running("/bin/whatever"), found._replace(unwritable="it was changed")) != []


@pytest.mark.parametrize(
    ("argv", "alike"),
    [
        (("/x/app", "--conf", "/srv/app/c", "serve"), True),
        (("python3", "/x/app", "--conf", "/srv/app/c", "serve"), True),
        (("python3", "/x/app", "--conf", "/srv/app/c", "work"), False),
        (("less", "/srv/app/c", "serve"), False),
        (("a", "b", "app", "/srv/app/c", "serve"), False),
        (("app",), False),
        ((), False),
    ],
)
def test_what_does_the_same(argv: tuple[str, ...], alike: bool) -> None:
    command = Command(("app", "--conf", "/srv/app/c", "serve"), ROOT)
    assert is_alike(argv, command) == alike
    assert not is_alike(argv, Command((), ROOT))


def test_what_may_be_several_is_the_one_that_it_is_most_like(tmp_path: Path) -> None:
    program = tmp_path / "runner"
    program.write_text("#!/bin/sh\nsleep 1000\n")
    program.chmod(0o755)
    fast, slow = (Command((str(program), "--dir", f"{tmp_path}/{name}", "run"), str(tmp_path)) for name in ("f", "s"))
    process = subprocess.Popen(slow.words, start_new_session=True)
    try:
        until(lambda: find({"fast": fast}) == {"fast": process.pid})  # it comes with its interpreter before it
        assert find({"fast": fast, "slow": slow}) == {"slow": process.pid}
        assert find({"fast": fast, "other": fast}) == {"fast": process.pid, "other": process.pid}
        assert find({"fast": fast, "slow": slow}, {process.pid}) == {}
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def test_what_is_mounted_is_told_within_its_file_system() -> None:
    for mounted in ("/srv/app/logs", "/app/logs", "/app"):
        assert is_part(mounted, ROOT)
    for mounted in ("/", "/srv", "/srv/app-2/logs", "/logs", "/x/srv/app/logs"):
        assert not is_part(mounted, ROOT)
