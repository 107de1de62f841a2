"""Who uses what lies at a path, as an ordinary account sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.host.holders import holders
from tests.backends.account import ordinary, python_for

BEGUN = "print(1, flush=True); import time; time.sleep(1000)"
CLOSED = f"import ctypes; ctypes.CDLL(None).prctl(4, 0); {BEGUN}"  # PR_SET_DUMPABLE, as ssh-agent
LOOK = "import json, sys; from reconciler.host import holders as h; print(json.dumps(h.holders({'it': [sys.argv[1]]})))"

Start = Callable[..., int]


@pytest.fixture
def start() -> Iterator[Start]:
    """A process of the account's that has begun; its pid."""
    account, started = ordinary(), list[subprocess.Popen[str]]()

    def begin(code: str, *words: str, env: dict[str, str] | None = None) -> int:
        argv = [python_for(account), "-c", code, *words]
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, cwd="/", env=env or {}, stdout=pipe, text=True, **account.become)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        return process.pid

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def used(place: Path) -> str:
    """By whom, in words; empty: by nobody."""
    account = ordinary()
    argv = [python_for(account), "-c", LOOK, f"/srv/{place.name}"]
    done = subprocess.run(argv, cwd="/", env={}, capture_output=True, text=True, check=False, **account.become)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout).get("it", ""))


def test_a_command_line_tells(start: Start, tmp_path: Path) -> None:
    assert used(tmp_path) == ""
    pid = start(BEGUN, f"/srv/{tmp_path.name}/bin/web")
    assert used(tmp_path) == f"process {pid}"


def test_an_environment_tells(start: Start, tmp_path: Path) -> None:
    pid = start(BEGUN, env={"VIRTUAL_ENV": f"/srv/{tmp_path.name}"})
    assert used(tmp_path) == f"process {pid}"


def test_one_that_has_closed_itself_tells_by_its_command_line_only(start: Start, tmp_path: Path) -> None:
    """It keeps no old version of anything for as long as it runs."""
    start(CLOSED)
    assert used(tmp_path) == ""
    pid = start(CLOSED, f"/srv/{tmp_path.name}/bin/web")
    assert used(tmp_path) == f"process {pid}"


# ---------------------------------------------------------------- other names of the same folder


@pytest.fixture
def aliased(tmp_path: Path) -> tuple[Path, Path]:
    """A version in a store, and the store by another name, as `/home` often has two. A program in it is a link."""
    version, alias = tmp_path / "store/hello-1.0", tmp_path / "home/alias"
    for folder in (version / "bin", alias.parent):
        folder.mkdir(parents=True)
    (version / "bin/python").symlink_to(sys.executable)
    (version / "module.so").write_bytes(b"x" * 4096)
    alias.symlink_to("../store")
    return version, alias / "hello-1.0"


@pytest.mark.parametrize(
    ("words", "env", "cwd"),
    [
        (("{alias}/bin/python",), {}, "/"),
        (("--bin={alias}/bin/python",), {}, "/"),
        (("-c", "exec '{alias}/bin/python' x"), {}, "/"),
        (("{link}",), {}, "/"),
        (("alias/hello-1.0/bin/python",), {}, "{home}"),
        (("../home/alias/../store/hello-1.0/bin/python",), {}, "{home}"),
        ((), {"PATH": "/usr/bin:{alias}/bin"}, "/"),
        ((), {}, "{alias}"),
    ],
)
def test_a_version_is_used_by_whatever_name_it_goes(
    aliased: tuple[Path, Path], words: tuple[str, ...], env: dict[str, str], cwd: str
) -> None:
    version, alias = aliased
    link = alias.parent.parent / "python"
    link.symlink_to(alias / "bin/python")
    named = {"alias": alias, "link": link, "home": link.parent}
    argv = [sys.executable, "-c", BEGUN, *(word.format(**named) for word in words)]
    env = {key: value.format(**named) for key, value in env.items()}
    with running(argv, cwd=cwd.format(**named), env=env) as pid:
        assert holders({"it": [str(version)]}) == {"it": f"process {pid}"}
    assert holders({"it": [str(version)]}) == {}


@pytest.mark.parametrize(
    "code",
    [
        "held = open('{}/module.so')",
        "import mmap; file = open('{}/module.so'); held = mmap.mmap(file.fileno(), 0, access=1); file.close()",
    ],
)
def test_what_is_open_or_mapped_is_known_by_its_own_name(aliased: tuple[Path, Path], code: str) -> None:
    """The program is gone from the command line here: it is read from a pipe."""
    version, alias = aliased
    code = f"{code.format(alias)}\n{BEGUN}"
    with running([sys.executable, "-"], cwd="/", env={}, feed=code) as pid:
        assert holders({"it": [str(version)]}) == {"it": f"process {pid}"}


def test_links_that_lead_in_circles_and_to_nowhere_say_nothing(aliased: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "nowhere").symlink_to("gone")
    words = (f"{tmp_path}/circle/x", f"{tmp_path}/nowhere/x", "http://host//x", "/", "//", "/" + "x/" * 40_000)
    with running([sys.executable, "-c", BEGUN, *words], cwd="/", env={}):
        assert holders({"it": [str(aliased[0])]}) == {}


@contextmanager
def running(argv: list[str], cwd: str, env: dict[str, str], feed: str = "") -> Iterator[int]:
    """A process of this account's that has begun; its pid."""
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=cwd, env=env, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdin.write(feed)
        process.stdin.close()
        try:
            assert process.stdout.readline() == "1\n"
            yield process.pid
        finally:
            process.kill()
