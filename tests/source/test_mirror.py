"""The mirror against real repositories and real servers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.source import BadTree, Mirror, NoBranch, SourceError, Stopped, UnknownCommit, Unreachable, refs, tree_at
from reconciler.source.command import answer, ask, remote
from reconciler.source.objects import MAX_FILE
from tests.source.conftest import Ssh, Upstream

pytestmark = pytest.mark.git
MakeMirror = Callable[..., Mirror]

ROOT = Path(__file__).parents[2]
FILES = {"desired/defaults.yaml": b"vars: {}\n", "templates/sub/a.j2": b"a\n"}


def _story(mirror: Mirror, upstream: Upstream) -> None:
    """The same for every transport: ask, fetch, read; then news."""
    assert mirror.poll().head() == upstream.first
    assert mirror.fetch() == upstream.first
    assert mirror.tree(upstream.first) == FILES
    second = upstream.bump("2.8.2")
    assert mirror.poll().head() == second
    assert not mirror.has(second)
    assert mirror.fetch() == second
    assert mirror.has(second)
    assert mirror.is_ancestor(upstream.first, second)
    assert set(mirror.tree(second)) == {*FILES, "desired/environments/dev.yaml"}


# ---------------------------------------------------------------- transports


def test_a_path(upstream: Upstream, mirror_of: MakeMirror) -> None:
    _story(mirror_of(upstream.path), upstream)


def test_a_file_address(upstream: Upstream, mirror_of: MakeMirror) -> None:
    _story(mirror_of(f"file://{upstream.path}"), upstream)


def test_a_path_below_the_home(upstream: Upstream, mirror_of: MakeMirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(upstream.path.parent))
    _story(mirror_of("~/upstream"), upstream)


def test_git_daemon(daemon: str, upstream: Upstream, mirror_of: MakeMirror) -> None:
    _story(mirror_of(daemon), upstream)


def test_http_with_credentials_in_the_address(http_port: int, upstream: Upstream, mirror_of: MakeMirror) -> None:
    _story(mirror_of(f"http://ann:pa%3Ass%40word@127.0.0.1:{http_port}/upstream/.git"), upstream)


def test_https(https_port: int, upstream: Upstream, mirror_of: MakeMirror) -> None:
    _story(mirror_of(f"https://ann:pa%3Ass%40word@127.0.0.1:{https_port}/upstream/.git"), upstream)


def test_ssh(sshd: Ssh, upstream: Upstream, mirror_of: MakeMirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", sshd.command)
    _story(mirror_of(sshd.url), upstream)


def test_ssh_keeps_the_command_that_git_is_configured_with(
    sshd: Ssh, upstream: Upstream, mirror_of: MakeMirror
) -> None:
    subprocess.run(["git", "config", "--global", "core.sshCommand", sshd.command], check=True)
    mirror = mirror_of(sshd.url)
    assert mirror.fetch() == upstream.first
    assert "BatchMode=yes" in mirror._source.env["GIT_SSH_COMMAND"]


def test_a_sha256_repository(tmp_path: Path, mirror_of: MakeMirror) -> None:
    upstream = Upstream(tmp_path / "new", "--object-format=sha256")
    assert len(upstream.first) == 64
    _story(mirror_of(upstream.path), upstream)


# ---------------------------------------------------------------- what cannot be reached


def test_an_unknown_host_key_is_told_and_never_asked_about(
    sshd: Ssh, mirror_of: MakeMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sshd.folder / "known_hosts").write_text("")
    monkeypatch.setenv("GIT_SSH_COMMAND", sshd.command)
    with pytest.raises(Unreachable, match="known_hosts"):
        mirror_of(sshd.url, timeout=30).poll().head()


def test_a_refused_key(sshd: Ssh, mirror_of: MakeMirror, monkeypatch: pytest.MonkeyPatch) -> None:
    (sshd.folder / "authorized_keys").write_text("")
    monkeypatch.setenv("GIT_SSH_COMMAND", sshd.command)
    with pytest.raises(Unreachable, match="deploy key"):
        mirror_of(sshd.url, timeout=30).fetch()


@pytest.mark.parametrize("how", ["poll", "fetch"])
def test_wrong_credentials_are_told_without_being_shown(how: str, http_port: int, mirror_of: MakeMirror) -> None:
    mirror = mirror_of(f"http://ann:s3cr%40t@127.0.0.1:{http_port}/upstream/.git")
    with pytest.raises(Unreachable) as caught:
        mirror.fetch() if how == "fetch" else mirror.poll().head()
    assert f"127.0.0.1:{http_port}/upstream" in str(caught.value)
    assert "refused the credentials" in str(caught.value)
    assert "ann" not in str(caught.value)
    assert "s3cr" not in str(caught.value)


def test_missing_credentials_are_told_and_never_asked_for(
    http_port: int, mirror_of: MakeMirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    program = tmp_path / "askpass"
    program.write_text(f"#!/bin/sh\ntouch {asked}\n")
    program.chmod(0o755)
    for name in ("GIT_ASKPASS", "SSH_ASKPASS"):
        monkeypatch.setenv(name, str(program))
    with pytest.raises(Unreachable, match="credential helper"):
        mirror_of(f"http://127.0.0.1:{http_port}/upstream/.git").poll().head()
    assert not asked.exists()


def test_no_credential_stands_in_a_process_list(silent_port: int, mirror_of: MakeMirror) -> None:
    poll = mirror_of(f"http://ann:s3cret@127.0.0.1:{silent_port}/x").poll()
    try:
        assert poll._child is not None
        until = time.monotonic() + 20
        lines: list[str] = []
        while not any("remote-http" in line for line in lines):
            assert time.monotonic() < until, lines
            time.sleep(0.01)
            lines = _command_lines(poll._child.pid)
        assert not any("s3cret" in line for line in lines)
    finally:
        poll.close()


def _command_lines(session: int) -> list[str]:
    """Of all living processes of a session; a container's init may leave the dead ones lying about."""
    argv = ["ps", "-ww", "-o", "args=", "-s", str(session)]
    listed = subprocess.run(argv, capture_output=True, text=True, check=False)
    return [line for line in listed.stdout.splitlines() if "<defunct>" not in line]


@pytest.mark.parametrize("scheme", ["git", "http", "ssh"])
def test_a_server_that_never_answers_ends_within_the_limit(
    scheme: str, silent_port: int, mirror_of: MakeMirror
) -> None:
    mirror = mirror_of(f"{scheme}://127.0.0.1:{silent_port}/x", timeout=1.0)
    began = time.monotonic()
    poll = mirror.poll()
    assert poll._child is not None
    session = poll._child.pid
    with pytest.raises(Unreachable):
        poll.head()
    with pytest.raises(Unreachable):
        mirror.fetch()
    assert time.monotonic() - began < 30
    assert _command_lines(session) == []


def test_a_closed_question_leaves_no_process(silent_port: int, mirror_of: MakeMirror) -> None:
    poll = mirror_of(f"git://127.0.0.1:{silent_port}/x").poll()
    assert poll._child is not None
    session = poll._child.pid
    poll.close()
    poll.close()
    assert _command_lines(session) == []
    with pytest.raises(SourceError):
        poll.head()


def test_nobody_listens(mirror_of: MakeMirror) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="refused"):
            mirror_of(f"git://127.0.0.1:{taken.getsockname()[1]}/x").poll().head()


def test_no_repository(tmp_path: Path, mirror_of: MakeMirror) -> None:
    with pytest.raises(Unreachable, match="does not appear to be a git repository"):
        mirror_of(tmp_path / "nothing").poll().head()


def test_no_branch(upstream: Upstream, daemon: str, mirror_of: MakeMirror) -> None:
    for repo in (upstream.path, daemon):
        mirror = mirror_of(repo, branch="prod")
        with pytest.raises(NoBranch, match="prod"):
            mirror.poll().head()
        with pytest.raises(NoBranch, match="prod"):
            mirror.fetch()


def test_a_branch_that_went_away_is_told_by_the_fetch(upstream: Upstream, mirror_of: MakeMirror) -> None:
    mirror = mirror_of(upstream.path)
    mirror.fetch()
    upstream.git("branch", "--move", "main", "other")
    with pytest.raises(NoBranch):
        mirror.fetch()


def test_a_longer_name_with_the_same_end_is_another_branch(upstream: Upstream, mirror_of: MakeMirror) -> None:
    upstream.git("branch", "refs/heads/prod")
    source = remote(str(upstream.path), 60)
    with pytest.raises(NoBranch):
        answer(source, "prod", ask(source, "prod").finish(time.monotonic() + 60), 60)


def test_the_mirror_serves_while_the_remote_is_away(upstream: Upstream, mirror_of: MakeMirror) -> None:
    mirror = mirror_of(upstream.path)
    valid = mirror.fetch()
    mirror.pin("valid", valid)
    upstream.path.rename(upstream.path.with_name("away"))
    with pytest.raises(Unreachable):
        mirror.fetch()
    assert mirror.tree(valid) == FILES
    assert mirror.commit_info(valid).subject == "first"


# ---------------------------------------------------------------- refs read without git


def _asked(upstream: Upstream, branch: str = "main") -> str:
    return upstream.git("rev-parse", f"refs/heads/{branch}")


def test_refs_are_read_as_git_reads_them(upstream: Upstream, tmp_path: Path) -> None:
    """Loose, packed, loose over packed, a work tree, a bare repository."""
    path = str(upstream.path)
    assert refs.branch_head(path, "main") == upstream.first
    upstream.git("pack-refs", "--all")
    assert refs.branch_head(path, "main") == upstream.first
    second = upstream.bump("1")
    assert refs.branch_head(path, "main") == second
    upstream.git("worktree", "add", "--quiet", "-b", "side/a", str(tmp_path / "tree"))
    assert refs.branch_head(str(tmp_path / "tree"), "main") == second
    assert refs.branch_head(str(tmp_path / "tree"), "side/a") == second
    upstream.git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare.git"))
    assert refs.branch_head(str(tmp_path / "bare.git"), "main") == second


def test_what_is_not_certain_is_left_to_git(upstream: Upstream, mirror_of: MakeMirror) -> None:
    path = str(upstream.path)
    assert refs.branch_head(path, "none") == ""
    assert refs.branch_head(path, "side") == ""
    upstream.git("symbolic-ref", "refs/heads/alias", "refs/heads/main")
    assert refs.branch_head(path, "alias") == ""
    assert mirror_of(path, branch="alias").poll().head() == upstream.first
    (upstream.path / ".git/refs/heads/cut").write_text("")
    assert refs.branch_head(path, "cut") == ""
    upstream.git("config", "transfer.hideRefs", "refs/heads/secret")
    assert refs.branch_head(path, "main") == ""
    assert mirror_of(path).poll().head() == upstream.first


def test_a_repository_with_reftables_is_asked_through_git(upstream: Upstream) -> None:
    """As such a repository looks; git can make one from 2.45 on."""
    config = upstream.path / ".git/config"
    config.write_text(config.read_text() + "[extensions]\n\trefStorage = reftable\n")
    assert refs.branch_head(str(upstream.path), "main") == ""


# ---------------------------------------------------------------- reading


def test_only_committed_bytes_count(upstream: Upstream, mirror_of: MakeMirror) -> None:
    upstream.write({".gitattributes": "* text eol=crlf\n*.j2 export-subst export-ignore\n"})
    upstream.write({"templates/sub/a.j2": "$Format:%H$\n", "desired/empty.yaml": ""})
    commit = upstream.commit("attributes")
    upstream.write({"desired/defaults.yaml": "not committed\n"})
    mirror = mirror_of(upstream.path)
    mirror.fetch()
    wanted = FILES | {"templates/sub/a.j2": b"$Format:%H$\n", "desired/empty.yaml": b""}
    assert mirror.tree(commit) == wanted
    assert tree_at(str(upstream.path / "desired"), "main") == (commit, wanted)


def test_a_large_tree_is_read_whole(upstream: Upstream, mirror_of: MakeMirror) -> None:
    files = {f"desired/sites/{number}/x.yaml": f"{number}\n" * 500 for number in range(700)}
    upstream.write(files)
    commit = upstream.commit("many")
    mirror = mirror_of(upstream.path)
    mirror.fetch()
    assert mirror.tree(commit) == FILES | {name: text.encode() for name, text in files.items()}


def test_what_is_not_a_regular_file_is_refused_by_its_name(upstream: Upstream) -> None:
    os.symlink("/etc/passwd", upstream.path / "desired/link.yaml")
    upstream.commit("link")
    with pytest.raises(BadTree, match=r"desired/link\.yaml: a symbolic link"):
        tree_at(str(upstream.path))
    upstream.git("rm", "--quiet", "desired/link.yaml")
    upstream.git("update-index", "--add", "--cacheinfo", f"160000,{upstream.first},templates/module")
    upstream.git("commit", "--quiet", "--message", "submodule")
    with pytest.raises(BadTree, match="templates/module: a submodule"):
        tree_at(str(upstream.path))


def test_a_link_in_the_place_of_a_folder_is_refused(upstream: Upstream) -> None:
    (upstream.path / "desired").rename(upstream.path / "elsewhere")
    os.symlink("elsewhere", upstream.path / "desired")
    upstream.commit("link")
    with pytest.raises(BadTree, match="desired: a symbolic link"):
        tree_at(str(upstream.path))


def test_limits(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream.write({"desired/big.yaml": "x" * MAX_FILE})
    upstream.commit("just right")
    assert len(tree_at(str(upstream.path))[1]) == 3
    upstream.write({"desired/big.yaml": "x" * (MAX_FILE + 1)})
    upstream.commit("too big")
    with pytest.raises(BadTree, match=r"desired/big\.yaml: 1048577 bytes"):
        tree_at(str(upstream.path))
    monkeypatch.setattr("reconciler.source.objects.MAX_FILES", 3)
    with pytest.raises(BadTree, match="more than 3"):
        tree_at(str(upstream.path))


def test_neither_folder_is_no_error(upstream: Upstream) -> None:
    upstream.git("rm", "-rq", "desired", "templates")
    commit = upstream.commit("empty")
    assert tree_at(str(upstream.path)) == (commit, {})


def test_revisions(upstream: Upstream, mirror_of: MakeMirror) -> None:
    second = upstream.bump("1")
    mirror = mirror_of(upstream.path)
    mirror.fetch()
    mirror.pin("valid", upstream.first)
    assert mirror.pinned("valid") == upstream.first
    assert mirror.resolve("main") == second
    assert mirror.resolve("main~1") == mirror.resolve("HEAD^") == upstream.first
    assert mirror.resolve("valid") == upstream.first
    assert mirror.resolve(second[:10]) == second
    hostile = (
        "--all",
        "-h",
        "",
        "no-such",
        "main\nmain",
        "a b",
        "x" * 2000,
        "main:desired",
        "HEAD^{blob}",
        "..",
        "@{-1}",
    )
    for rev in hostile:
        with pytest.raises(SourceError):
            mirror.resolve(rev)
    for commit in ("main", "--all", second[:10], second.upper(), ""):
        with pytest.raises(UnknownCommit):
            mirror.tree(commit)
    with pytest.raises(SourceError):
        mirror.pin("../x", second)


def test_a_bump_needs_no_heavy_import(upstream: Upstream, mirror_of: MakeMirror) -> None:
    mirror = mirror_of(upstream.path)
    mirror.fetch()
    mirror.pin("valid", upstream.first)
    upstream.bump("2")
    code = """
import sys
from reconciler.source import Mirror
from reconciler.host.lock import Lock
lock = Lock(sys.argv[3] + ".lock")
assert lock.acquire() is None
mirror = Mirror(*sys.argv[1:])
commit = mirror.poll().head()
assert mirror.fetch() == commit
assert mirror.is_ancestor(mirror.pinned("valid"), commit) and mirror.tree(commit) and mirror.commit_info(commit)
mirror.pin("valid", commit)
lock.release()
print(*sorted({"git", "subprocess", "signal", "logging", "json", "urllib", "shutil", "dataclasses"} & set(sys.modules)))
"""
    argv = [sys.executable, "-S", "-c", code, str(upstream.path), "main", mirror.folder]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_an_interrupted_question_leaves_no_process(silent_port: int, mirror_of: MakeMirror) -> None:
    poll = mirror_of(f"git://127.0.0.1:{silent_port}/x").poll()
    assert poll._child is not None
    session = poll._child.pid
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        poll.head()
    timer.join()
    assert _command_lines(session) == []


def test_a_repository_of_another_account(upstream: Upstream, mirror_of: MakeMirror) -> None:
    """Who names a path in the agent's file trusts it."""
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    for place, folders, files in os.walk(upstream.path):
        for name in (".", *folders, *files):
            os.chown(os.path.join(place, name), 65534, 65534)
    mirror = mirror_of(upstream.path)
    assert mirror.fetch() == upstream.first
    assert mirror.tree(upstream.first) == tree_at(str(upstream.path))[1] == FILES


def test_history(upstream: Upstream, mirror_of: MakeMirror) -> None:
    second, third = upstream.bump("1"), upstream.commit("nothing")
    mirror = mirror_of(upstream.path)
    mirror.fetch()
    assert [entry.sha for entry in mirror.log(third)] == [third, second, upstream.first]
    (entry,) = mirror.log(third, ["desired/environments"], 5)
    assert entry == mirror.commit_info(second)
    assert entry.author == "Ann <ann@example.org>"
    assert entry.subject == "site 1"
    assert abs(entry.when - time.time()) < 3600
    with pytest.raises(SourceError):
        mirror.log("0" * 40)


def test_a_rewound_and_a_rewritten_branch_are_seen(upstream: Upstream, mirror_of: MakeMirror) -> None:
    second = upstream.bump("1")
    mirror = mirror_of(upstream.path)
    mirror.fetch()
    mirror.pin("valid", second)
    upstream.git("reset", "--quiet", "--hard", upstream.first)
    assert mirror.fetch() == upstream.first
    assert not mirror.is_ancestor(second, upstream.first)
    other = upstream.bump("2")
    assert mirror.fetch() == other
    assert not mirror.is_ancestor(second, other)
    assert mirror.is_ancestor(upstream.first, other)
    assert mirror.has(second)
    assert not mirror.is_ancestor("1" * 40, other)


def test_the_callers_git_variables_lead_nowhere_else(
    upstream: Upstream, mirror_of: MakeMirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As within a hook of another repository."""
    elsewhere = Upstream(tmp_path / "elsewhere")
    before = sorted(path.name for path in (elsewhere.path / ".git").rglob("*"))
    with monkeypatch.context() as hook:
        hook.setenv("GIT_DIR", str(elsewhere.path / ".git"))
        hook.setenv("GIT_WORK_TREE", str(elsewhere.path))
        hook.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
        hook.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "objects"))
        hook.setenv("GIT_TRACE", "1")
        mirror = mirror_of(upstream.path)
        assert mirror.fetch() == upstream.first
        assert mirror.tree(upstream.first) == FILES
        assert len(mirror.log(upstream.first)) == 1
        assert os.environ["GIT_DIR"] == str(elsewhere.path / ".git")
    assert sorted(path.name for path in (elsewhere.path / ".git").rglob("*")) == before


def test_many_fetches_leave_few_packs(
    upstream: Upstream, mirror_of: MakeMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.source.mirror._MANY_PACKS", 5)
    mirror = mirror_of(upstream.path)
    for number in range(8):
        upstream.bump(str(number))
        mirror.fetch()
    packs = list(Path(mirror.folder, "objects/pack").glob("*.pack"))
    assert len(packs) <= 6
    assert mirror.tree(upstream.first) == FILES


def test_a_pass_without_news_opens_and_leaves_nothing(upstream: Upstream, mirror_of: MakeMirror) -> None:
    mirror = mirror_of(upstream.path)
    mirror.fetch()
    before, children = os.listdir("/proc/self/fd"), of_ours()
    for _ in range(3):
        mirror.poll().head()
        mirror.fetch()
        mirror.tree(upstream.first)
        mirror.log(upstream.first)
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert of_ours() == children


def of_ours() -> str:
    """The processes that this one has begun and not waited for; what calls `reconcile` for tests is one of them."""
    return "".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))


# ---------------------------------------------------------------- asked to stop


@pytest.mark.parametrize("scheme", ["git", "http", "ssh"])
@pytest.mark.parametrize("how", ["poll", "fetch"])
def test_who_asks_to_stop_need_not_wait_for_git(
    scheme: str, how: str, silent_port: int, upstream: Upstream, mirror_of: MakeMirror
) -> None:
    """A server that takes the connection and says nothing; git and its helpers are gone afterwards."""
    mirror_of(upstream.path).fetch()
    asked = threading.Event()
    mirror = mirror_of(f"{scheme}://127.0.0.1:{silent_port}/x", asked_to_stop=asked.is_set)
    timer = threading.Timer(0.5, asked.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(Stopped, match="the pass was asked to stop"):
        mirror.fetch() if how == "fetch" else mirror.poll().head()
    assert time.monotonic() - began < 4
    timer.join()
    assert mirror_of(upstream.path).tree(upstream.first) == FILES
    assert not [line for line in _all_command_lines() if f":{silent_port}/x" in line]


def _all_command_lines() -> list[str]:
    listed = subprocess.run(["ps", "-ww", "-e", "-o", "args="], capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def test_what_is_answered_at_once_is_read_though_the_pass_ends(upstream: Upstream, mirror_of: MakeMirror) -> None:
    """A pass that ends still says what it has done, and reads the commit for that."""
    mirror_of(upstream.path).fetch()
    mirror = mirror_of(upstream.path, asked_to_stop=lambda: True)
    assert mirror.tree(upstream.first) == FILES
    assert mirror.commit_info(upstream.first).subject == "first"


def test_a_rebuild_that_is_given_up_leaves_the_old_mirror(
    upstream: Upstream, mirror_of: MakeMirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a rebuild does for each failure, it must not do for an end: a pin would be left behind."""
    first = mirror_of(upstream.path)
    first.fetch()
    first.pin("valid", upstream.first)
    real = shutil.which("git")
    (tmp_path / "bin").mkdir()
    slow = f'#!/bin/sh\ncase "$*" in *"--quiet {upstream.first}") sleep 60;; esac\nexec {real} "$@"\n'
    (tmp_path / "bin" / "git").write_text(slow)
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    began = time.monotonic()
    mirror = mirror_of(upstream.path, asked_to_stop=lambda: time.monotonic() - began > 1.5)
    with pytest.raises(Stopped):
        mirror._rebuild(upstream.first)
    assert mirror.pinned("valid") == upstream.first
    assert mirror_of(upstream.path).fetch() == upstream.first
