"""Real builds: what is complete, what a failure and a kill leave behind, and what nobody may see."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread
from typing import NoReturn

import pytest

from reconciler.core.desired import Install
from reconciler.install import method
from reconciler.install.base import ComponentSpec, InstallError
from reconciler.install.building import processes_of
from reconciler.install.venv import METHOD
from reconciler.install.workbench import hint
from tests.install.packages import Describe, Index, write_source, write_wheel


def silent(line: str) -> None:
    pass


def output(install: Install, program: str = "hello") -> str:
    path = METHOD.find_program(install, program)
    return subprocess.run([path], capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def store(install: Install) -> list[str]:
    """What lies in the store, without the locks."""
    return sorted(name for name in os.listdir(os.path.dirname(install.path)) if not name.endswith(".lock"))


def link(install: Install) -> str:
    return os.path.join(os.path.dirname(os.path.dirname(install.path)), install.id)


def at_work(install: Install) -> list[int]:
    return processes_of(install.path)


# ---------------------------------------------------------------- pure


def test_the_digest_covers_all_that_goes_into_a_build(describe: Describe) -> None:
    one = describe("1", "hello==1.0")
    others = [
        describe("1", "hello==1.1"),
        describe("1", "hello==1.0", "python3.12"),
        describe("1", "hello==1.0", "", "x"),
    ]
    assert describe("1", "hello==1.0") == one
    assert len({one.digest, *(other.digest for other in others)}) == 4
    assert len({one.path, *(other.path for other in others)}) == 4
    assert {other.id for other in others} == {"hello-1"}


def test_a_version_cannot_leave_the_folder(describe: Describe, tmp_path: Path) -> None:
    assert Path(describe("../../x", "hello").path).parent == tmp_path / "venvs" / ".store"


def test_exports_put_the_environment_first(describe: Describe, tmp_path: Path) -> None:
    spec = ComponentSpec("hello", "1", "hello", "", "", "", "")
    install = METHOD.describe(spec, {"venvs": "/srv/it's here"})
    assert install is not None
    script = "\n".join((*METHOD.exports(install), 'echo "$VIRTUAL_ENV:$PATH:${PYTHONHOME-none}"'))
    env = {"PATH": "/usr/bin:/bin", "PYTHONHOME": "/nowhere"}
    printed = subprocess.run(["/bin/sh", "-c", script], env=env, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == f"{install.path}:{install.path}/bin:/usr/bin:/bin:none"


@pytest.mark.parametrize(
    ("printed", "word"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "full"),
        ("Failed to establish a new connection: Connection refused\nERROR: No matching distribution found", "reached"),
        ("ERROR: No matching distribution found for x==9", "no such version"),
        ("ERROR: Package 'x' requires a different Python: 3.6.8 not in '>=3.8'", "choose another"),
        ("401 Error, Credentials not correct", "password"),
        ("something new", ""),
    ],
)
def test_known_errors_have_advice(printed: str, word: str) -> None:
    assert word in hint(printed)
    assert bool(hint(printed)) is bool(word)


# ---------------------------------------------------------------- builds that succeed


def test_from_a_local_folder(describe: Describe, tmp_path: Path) -> None:
    source = write_source(tmp_path / "my source", "hello", "1.0")
    install = describe("1.0", f"'{source}'")
    assert METHOD.complete(install) is False
    told: list[str] = []
    METHOD.build(install, told.append)
    assert METHOD.complete(install) is True
    assert output(install) == "1.0"
    assert any("Processing" in line for line in told)
    assert store(install) == [os.path.basename(install.path)]
    assert not os.path.exists(os.path.join(install.path, ".building"))
    assert subprocess.run([f"{link(install)}/bin/hello"], check=True, capture_output=True).stdout == b"1.0\n"


def test_versions_stand_side_by_side(describe: Describe, wheels: Path) -> None:
    """One from a wheel, one from a folder of wheels without an index; a second build of the same is nothing."""
    first = describe("1.0", f"--no-index {wheels}/hello-1.0-py3-none-any.whl")
    second = describe("2.0", f"--no-index --find-links {wheels} hello==2.0")
    METHOD.build(first, silent)
    METHOD.build(second, silent)
    assert [output(first), output(second)] == ["1.0", "2.0"]
    assert METHOD.complete(first)
    before = os.stat(first.path).st_ctime_ns
    told: list[str] = []
    METHOD.build(first, told.append)
    assert (told, os.stat(first.path).st_ctime_ns) == ([], before)


def test_another_build_of_the_same_version_leaves_the_first_alone(describe: Describe, wheels: Path) -> None:
    first = describe("1", f"--no-index -f {wheels} hello==1.0")
    second = describe("1", f"--no-index -f {wheels} hello==2.0")
    METHOD.build(first, silent)
    METHOD.build(second, silent)
    assert [output(first), output(second)] == ["1.0", "2.0"]
    assert [METHOD.complete(first), METHOD.complete(second)] == [False, True]
    METHOD.build(first, silent)  # back again: only the name changes
    assert [METHOD.complete(first), METHOD.complete(second)] == [True, False]


def test_the_prologue_is_honoured(describe: Describe, wheels: Path, tmp_path: Path) -> None:
    fake = tmp_path / "bin" / "mypython"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexec {sys.executable} "$@"\n')
    fake.chmod(0o755)
    prologue = f"export PATH={fake.parent}:$PATH PYTHONHOME=/nowhere"
    install = describe("1", f"--no-index -f {wheels} hello", "mypython", prologue)
    METHOD.build(install, silent)
    assert output(install) == "2.0"
    assert (tmp_path / "calls").read_text().startswith("-m venv")


def test_the_surroundings_do_not_leak_in(describe: Describe, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PYTHONPATH": "/nowhere",
        "PIP_TARGET": "/nowhere",
        "PIP_USER": "1",
        "VIRTUAL_ENV": "/x",
    }.items():
        monkeypatch.setenv(name, value)
    install = describe("1", f"--no-index -f {wheels} hello==1.0")
    METHOD.build(install, silent)
    assert output(install) == "1.0"


@pytest.mark.slow
def test_without_a_pip_beside_reconcile(describe: Describe, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's own pip serves then, from ensurepip."""
    if subprocess.run([sys.executable, "-c", "import ensurepip"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this Python has no ensurepip")
    monkeypatch.setattr("reconciler.install.workbench._runner", lambda: "")
    install = describe("1", f"--no-index -f {wheels} hello==1.0", sys.executable)
    METHOD.build(install, silent)
    assert output(install) == "1.0"
    assert METHOD.find_program(install, "pip3") != ""


def test_two_passes_at_once_build_it_once(describe: Describe, index: Index) -> None:
    """Two deployments may share the folder."""
    install = describe("1.0", f"-i {index.url()} hello==1.0")
    told: list[str] = []
    index.go_on.clear()
    threads = [Thread(target=METHOD.build, args=(install, told.append)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert index.asked.wait(60)
    index.go_on.set()
    for thread in threads:
        thread.join(60)
    assert METHOD.complete(install)
    assert sum("makes an environment" in line for line in told) == 1
    assert index.requests.count("/files/hello-1.0-py3-none-any.whl") <= 2  # the second with credentials


@pytest.mark.network
def test_from_the_configured_index(describe: Describe) -> None:
    install = describe("1.16.0", "six==1.16.0")
    METHOD.build(install, silent)
    python = METHOD.find_program(install, "python")
    printed = subprocess.run(
        [python, "-c", "import six; print(six.__version__)"], capture_output=True, check=True
    ).stdout
    assert printed == b"1.16.0\n"


# ---------------------------------------------------------------- builds that do not


def test_a_failure_leaves_the_old_and_no_rubbish(describe: Describe, wheels: Path) -> None:
    old = describe("1.0", f"--no-index -f {wheels} hello==1.0")
    METHOD.build(old, silent)
    new = describe("3.0", f"--no-index -f {wheels} hello==3.0")
    with pytest.raises(
        InstallError, match=r"pip install --no-index .*hello==3\.0: exit status 1[\s\S]*no such version"
    ):
        METHOD.build(new, silent)
    assert METHOD.complete(old)
    assert output(old) == "1.0"
    assert store(new) == [os.path.basename(old.path)]
    assert not os.path.lexists(link(new))


@pytest.mark.parametrize("prologue", ["", "true"])
def test_a_missing_python_says_what_to_do(describe: Describe, prologue: str) -> None:
    install = describe("1", "hello", "python9.9", prologue)
    with pytest.raises(InstallError, match=r"interpreter was not found: name it with `python:`"):
        METHOD.build(install, silent)
    assert store(install) == []


def test_a_failing_prologue_fails_the_build(describe: Describe, wheels: Path) -> None:
    install = describe("1", f"--no-index -f {wheels} hello", "", "export TOKEN=not-to-be-shown\nfalse")
    with pytest.raises(InstallError, match="the prologue failed with exit status 1") as error:
        METHOD.build(install, silent)
    assert "not-to-be-shown" not in str(error.value)


def test_a_folder_that_cannot_be_written(describe: Describe, tmp_path: Path) -> None:
    (tmp_path / "venvs").write_text("a file stands in the way")
    with pytest.raises(InstallError, match=r"hello-1 could not be built: .*venvs"):
        METHOD.build(describe("1", "hello"), silent)


def test_a_full_disk(describe: Describe, wheels: Path, tmp_path: Path) -> None:
    """A really full file system; only root may mount one."""
    folder = tmp_path / "venvs"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("cannot mount a small file system here")
    try:
        with pytest.raises(InstallError, match="make room"):
            METHOD.build(describe("1", f"--no-index -f {wheels} hello"), silent)
        assert [name for name in os.listdir(folder / ".store") if not name.endswith(".lock")] == []
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_what_is_not_ours_is_not_replaced(describe: Describe, wheels: Path) -> None:
    install = describe("1", f"--no-index -f {wheels} hello")
    os.makedirs(link(install))
    with pytest.raises(InstallError, match="not ours"):
        METHOD.build(install, silent)
    assert os.path.isdir(link(install))


def test_a_bad_requirement_is_told_before_anything_is_made(describe: Describe) -> None:
    install = describe("1", "--target /x hello")
    with pytest.raises(InstallError, match="the option --target is not allowed here"):
        METHOD.build(install, silent)
    assert store(install) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a link to another account")
def test_a_store_behind_a_link_of_a_strangers(describe: Describe, tmp_path: Path) -> None:
    """What is unfinished in the folder that it leads to is not ours."""
    install = describe("1.0", "hello==1.0")
    theirs = tmp_path / "theirs" / os.path.basename(install.path)
    theirs.mkdir(parents=True)
    (theirs / "file").write_text("keep me")
    store = Path(install.path).parent
    store.parent.mkdir()
    store.symlink_to(theirs.parent)
    os.chown(store, pwd.getpwnam("nobody").pw_uid, -1, follow_symlinks=False)
    with pytest.raises(InstallError, match="on the way is a link of another account's"):
        METHOD.build(install, silent)
    assert (theirs / "file").read_text() == "keep me"


def test_killed_in_the_middle(describe: Describe, index: Index) -> None:
    """The builder is gone, its pip is not: the next build ends it, and succeeds."""
    install = describe("1.0", f"-i {index.url()} hello==1.0")
    index.go_on.clear()
    code = "import sys; from reconciler.install.venv import *; METHOD.build(Install(*sys.argv[1:]), print)"
    builder = subprocess.Popen([sys.executable, "-c", code, *install], stdout=subprocess.DEVNULL)
    assert index.asked.wait(60)
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    assert METHOD.complete(install) is False
    assert METHOD.find_program(install, "hello") == ""
    assert os.path.isdir(install.path)
    orphans = at_work(install)
    assert orphans
    index.asked.clear()
    second = Thread(target=METHOD.build, args=(install, silent))
    second.start()
    assert index.asked.wait(60)
    assert not set(orphans) & set(at_work(install))
    index.go_on.set()
    second.join(60)
    assert METHOD.complete(install) is True
    assert store(install) == [os.path.basename(install.path)]


def test_interrupted(describe: Describe, index: Index) -> None:
    """Control-C while pip works: nothing stays, neither folder nor process."""
    install = describe("1.0", f"-i {index.url()} hello==1.0")
    index.go_on.clear()

    def interrupt(line: str) -> None:
        if "Downloading" in line or "Collecting" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        METHOD.build(install, interrupt)
    assert (store(install), at_work(install)) == ([], [])


@pytest.mark.parametrize("when", ["before", "while pip works"])
def test_asked_to_stop(when: str, describe: Describe, index: Index) -> None:
    """The build is given up, its processes are ended, and the next one begins anew."""
    install = describe("1.0", f"-i {index.url()} hello==1.0")
    index.go_on.clear()
    asked = index.asked.is_set if when == "while pip works" else lambda: True
    with pytest.raises(InstallError, match=r"hello-1\.0 was not built: the pass was asked to stop"):
        METHOD.build(install, silent, asked)
    assert (store(install), at_work(install)) == ([], [])
    index.go_on.set()
    METHOD.build(install, silent)
    assert output(install) == "1.0"


def test_asked_to_stop_while_another_builds(describe: Describe, index: Index) -> None:
    install = describe("1.0", f"-i {index.url()} hello==1.0")
    index.go_on.clear()
    first = Thread(target=METHOD.build, args=(install, silent))
    first.start()
    assert index.asked.wait(60)
    told: list[str] = []
    with pytest.raises(InstallError, match="the pass was asked to stop"):
        METHOD.build(install, told.append, lambda: bool(told))
    index.go_on.set()
    first.join(60)
    assert METHOD.complete(install) is True


# ---------------------------------------------------------------- what was complete once


def test_without_its_python_it_is_incomplete(describe: Describe, wheels: Path, tmp_path: Path) -> None:
    """As after an upgrade of the system. It is made anew with the Python of the day; if that fails it stays."""
    base = tmp_path / "base"
    base.mkdir()
    install = describe("1", f"--no-index -f {wheels} hello==1.0", "mypython", f"PATH={base}:$PATH")
    (base / "mypython").symlink_to(sys.executable)
    METHOD.build(install, silent)
    python = Path(install.path, "bin", "python")
    target = os.readlink(python)
    python.unlink()
    python.symlink_to(tmp_path / "gone")
    assert METHOD.complete(install) is False
    (base / "mypython").unlink()
    with pytest.raises(InstallError):
        METHOD.build(install, silent)
    assert Path(install.path, "bin", "hello").exists()
    assert store(install) == [os.path.basename(install.path)]
    (base / "mypython").symlink_to(target if os.path.isabs(target) else sys.executable)
    METHOD.build(install, silent)
    assert (METHOD.complete(install), output(install)) == (True, "1.0")
    assert store(install) == [os.path.basename(install.path)]


@pytest.mark.parametrize("damage", ["marker", "foreign marker", "link", "folder"])
def test_what_is_damaged_is_mended(describe: Describe, wheels: Path, damage: str) -> None:
    install = describe("1", f"--no-index -f {wheels} hello==1.0")
    METHOD.build(install, silent)
    if damage == "folder":
        shutil.rmtree(install.path)
    elif damage == "link":
        os.unlink(link(install))
    elif damage == "marker":
        os.unlink(os.path.join(install.path, ".complete"))
    else:
        Path(install.path, ".complete").write_text("")  # a power cut that the file system did not survive well
    assert METHOD.complete(install) is False
    METHOD.build(install, silent)
    assert (METHOD.complete(install), output(install)) == (True, "1.0")


def test_unreadable_is_not_incomplete(describe: Describe, wheels: Path) -> None:
    """Unknown is not absent: an account that may not look gets an error, not a no."""
    if os.getuid() != 0:
        pytest.skip("becomes another user, which only root can")
    install = describe("1", "hello")
    os.makedirs(install.path)
    os.chmod(os.path.dirname(install.path), 0o700)
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir("/")
            os.setuid(65534)
            METHOD.complete(install)
        except PermissionError:
            os._exit(42)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42


# ---------------------------------------------------------------- secrets


def test_a_password_never_shows(describe: Describe, index: Index, tmp_path: Path) -> None:
    """Not in the arguments of any process, not even of the pip that pip starts for a source build; not in what is
    told; not in what stays on disk."""
    write_wheel(index.folder, "helper", "1.0")
    source = write_source(tmp_path / "source", "app", "1.0", requires=("helper",))
    install = describe("1", f"--index-url {index.url()} hello==1.0 {source}")
    told: list[str] = []
    METHOD.build(install, told.append)
    assert output(install) == "1.0"
    assert any("helper" in path for path in index.requests)
    assert index.seen_in_arguments == []
    assert "sesame" not in "\n".join(told)
    kept = [path for path in Path(install.path).rglob("*") if path.is_file() and b"sesame" in path.read_bytes()]
    assert kept == []


def test_a_password_never_shows_in_an_error(describe: Describe, index: Index) -> None:
    install = describe("1", f"-i {index.url('svc:sesame-wrong@')} hello==1.0")
    with pytest.raises(InstallError) as error:
        METHOD.build(install, silent)
    assert "sesame" not in str(error.value)
    assert "****@127.0.0.1" in str(error.value)
    assert index.seen_in_arguments == []


def test_a_wheel_url_with_a_password(describe: Describe, index: Index) -> None:
    url = index.url().replace("/simple", "/files/hello-2.0-py3-none-any.whl")
    install = describe("2", url)
    METHOD.build(install, silent)
    assert output(install) == "2.0"
    assert index.seen_in_arguments == []


# ---------------------------------------------------------------- none


def test_none_has_nothing_to_build() -> None:
    none = method("none")
    assert none.required == ()
    assert none.describe(ComponentSpec("cromwell", "86", "", "", "", "", ""), {"venvs": "/x"}) is None


def _never(line: str) -> NoReturn:
    raise AssertionError(line)


def test_none_is_always_complete(describe: Describe) -> None:
    none, install = method("none"), describe("1", "hello")
    none.build(install, _never)
    assert (none.complete(install), none.exports(install), none.find_program(install, "sh")) == (True, (), "")
