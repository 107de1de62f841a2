"""The launcher against a real supervisord."""

from __future__ import annotations

import os
import signal
import socket
import threading
from base64 import b64encode
from http.client import HTTPConnection
from pathlib import Path

import pytest

from reconciler.core.observed import DaemonState, Mark, State
from reconciler.host import proc
from reconciler.launchers.base import BackendError
from reconciler.launchers.supervisor import LAUNCHER
from reconciler.launchers.supervisor.backend import SupervisorBackend
from tests.supervisor.deployment import Make, Site, place, service, until

pytestmark = pytest.mark.supervisor

KEY = "supervisor"


# ---------------------------------------------------------------- running


def test_nothing_there_is_no_daemon(site: Site) -> None:
    site.render(service("rpc"))
    look = site.look()
    assert (look.units, look.gaps, look.daemon) == ({}, (), DaemonState(running=False))
    assert list(look.claimed) == [(KEY, "rpc")]


def test_a_service_runs_and_carries_its_marks(site: Site) -> None:
    site.up(service("rpc", "sleep 1000", env=(("SECRET", "it's"),)))
    unit = site.await_state("rpc", State.RUNNING)
    look, daemon, process = site.look(), site.daemon(), until(lambda: site.process("rpc"))
    wanted = site.rendering.manager
    assert wanted
    assert look.gaps == ()
    assert look.units == {(KEY, "rpc"): unit}
    assert look.daemon == DaemonState(running=True, pid=daemon.pid, started=daemon.started, spec=wanted.spec)
    assert process
    assert (process.pid, process.parent, process.mark) == (
        unit.pid,
        daemon.pid,
        Mark(
            "dori/dev",
            str(site.root),
            "rpc",
            "spec-1",
            site.rendering.launch["rpc"],
            "2.8.1",
            "site",
            unit.pid,
        ),
    )
    assert abs(process.started - unit.since) < 5
    environ = Path(f"/proc/{unit.pid}/environ").read_bytes().split(b"\0")
    assert b"SECRET=it's" in environ
    assert b"RECONCILE_DAEMON=" in environ
    assert b"SECRET" not in b"".join(path.read_bytes() for path in site.root.glob("config/supervisor/*"))


def test_the_daemon_is_detached_and_clean(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD_OF_THE_CALLER", "x")
    held = os.open(site.root / "lock", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(held, True)
    try:
        site.up()
    finally:
        os.close(held)
    daemon = site.daemon()
    environ = Path(f"/proc/{daemon.pid}/environ").read_bytes()
    links = [os.readlink(path) for path in Path(f"/proc/{daemon.pid}/fd").iterdir()]
    assert daemon.parent == 1 or daemon.parent != os.getpid()
    assert os.getsid(daemon.pid) != os.getsid(0)
    assert b"PASSWORD_OF_THE_CALLER" not in environ
    assert b"PATH=/usr/local/bin:/usr/bin:/bin\0" in environ
    assert str(site.root / "lock") not in links
    assert os.readlink(f"/proc/{daemon.pid}/cwd") == str(site.root)


def test_children_are_not_main(site: Site) -> None:
    site.up(service("rpc", "sh -c 'sleep 1000 & sleep 1001 & wait'"))
    pid = site.await_state("rpc", State.RUNNING).pid
    children = until(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    child = proc.look(int(children[0]))
    assert child is not None
    assert child.mark is not None
    assert child.mark.pid == pid
    assert set(site.processes()) == {pid, site.daemon().pid}


def test_the_marks_are_there_while_the_prologue_works(site: Site) -> None:
    site.up(service("rpc", prologue=f"while [ ! -e {site.root}/go ]; do sleep 0.05; done"))
    process = until(lambda: site.process("rpc"))
    assert process.mark
    assert (process.mark.spec, process.mark.version) == ("spec-1", "2.8.1")
    assert b"bash" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    (site.root / "go").touch()
    until(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes() == b"sleep\x001000\x00")
    again = site.process("rpc")
    assert again
    assert (again.pid, again.mark) == (process.pid, process.mark)


def test_a_shim_replaced_in_its_prologue_runs_as_what_it_was(site: Site) -> None:
    slow = service("rpc", prologue=f"touch {site.root}/here; while [ ! -e {site.root}/go ]; do sleep 0.05; done")
    site.up(slow)
    first = until(lambda: site.process("rpc"))
    until((site.root / "here").exists)  # by now its shell reads the first shim, and no other
    site.render(slow._replace(version="2.9.0", spec="spec-2"))
    (site.root / "go").touch()
    until(lambda: Path(f"/proc/{first.pid}/cmdline").read_bytes() == b"sleep\x001000\x00")
    process = site.process("rpc")
    assert process
    assert process.mark
    assert (process.mark.spec, process.mark.version) == ("spec-1", "2.8.1")


def test_a_restart_by_name_takes_the_new_shim(site: Site) -> None:
    """No section changes with a version, so nothing is reloaded, and the neighbour keeps its pid."""
    site.up(service("rpc"), service("log"))
    neighbour = site.unit("log").pid
    site.render(service("rpc", version="2.9.0", spec="spec-2"))
    site.backend.stop(["rpc"])
    site.await_state("rpc", State.STOPPED)
    assert [outcome.error for outcome in site.backend.start(["rpc"])] == [""]
    process = until(lambda: site.process("rpc"))
    assert process.mark
    assert (process.mark.version, site.unit("log").pid) == ("2.9.0", neighbour)
    assert site.backend.reload() == frozenset()


def test_a_changed_section_is_loaded_for_one_program_alone(site: Site) -> None:
    site.up(service("rpc"), service("log"))
    neighbour = site.unit("log").pid
    before = site.rendering.launch["rpc"]
    site.render(service("rpc", options={"startsecs": 0, "startretries": 7}))
    assert site.rendering.launch["rpc"] != before
    assert site.backend.reload() == frozenset({"rpc"})
    site.backend.stop(["rpc"])
    site.await_state("rpc", State.STOPPED)
    assert [outcome.error for outcome in site.backend.remove(["rpc"])] == [""]
    assert site.unit("rpc").state is State.ABSENT
    for verb in (site.backend.add, site.backend.start):
        assert [outcome.error for outcome in verb(["rpc"])] == [""]
    process = until(lambda: site.process("rpc"))
    assert process.mark
    assert process.mark.launch == site.rendering.launch["rpc"]
    assert site.unit("log").pid == neighbour
    assert site.backend.reload() == frozenset()


def test_stopping_ends_the_children_too(site: Site) -> None:
    site.up(service("rpc", "sh -c 'sleep 1000 & wait'"))
    pid = site.await_state("rpc", State.RUNNING).pid
    child = int(until(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text().split())[0])
    site.backend.stop(["rpc"])
    site.await_state("rpc", State.STOPPED)
    until(lambda: proc.look(child) is None)


def test_many_are_asked_in_parts(site: Site) -> None:
    many = [service(f"s{number}") for number in range(104)]
    site.up(*many)
    units = site.backend.units([one.unit for one in many])
    assert {unit.state for unit in units.values()} == {State.RUNNING}
    assert [outcome.error for outcome in site.backend.stop([one.unit for one in many]) if outcome.error] == []


# ---------------------------------------------------------------- states


def test_states_are_told_apart(site: Site) -> None:
    site.up(
        service("runs"),
        service("starts", options={"startsecs": 1000}),
        service("leaves", "sh -c 'sleep 0.1; exit 3'", options={"startsecs": 0, "autorestart": "false"}),
        service("fails", "sh -c 'exit 1'", options={"startsecs": 1, "startretries": 0}),
        service("retries", "sh -c 'exit 1'", options={"startsecs": 1, "startretries": 1000}),
        service("deaf", "sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.1; done'", stop_seconds=1000.0),
        service("rests"),
    )
    until(lambda: Path(site.backend.log("deaf").files[0]).read_text() == "ready\n")
    site.backend.stop(["rests", "deaf"])
    assert site.await_state("leaves", State.EXITED).detail == "exit status 3"
    assert site.await_state("fails", State.FATAL).detail == "Exited too quickly (process log may have details)"
    assert site.await_state("retries", State.BACKOFF).detail.startswith("Exited too quickly")
    assert site.await_state("rests", State.STOPPED).detail == ""
    assert site.await_state("deaf", State.STOPPING).pid
    assert site.await_state("starts", State.STARTING).pid
    assert site.await_state("runs", State.RUNNING).since > 0
    assert site.unit("nobody").state is State.ABSENT
    assert [outcome.error for outcome in site.backend.start(["deaf"])] == ["it is still stopping"]


def test_an_added_unit_is_not_started(site: Site) -> None:
    site.up()
    site.render(service("rpc"))
    site.backend.reload()
    site.backend.add(["rpc"])
    assert site.unit("rpc")[2:6] == (State.STOPPED, 0, 0.0, "not started yet")


def test_what_is_so_already_is_no_error(site: Site) -> None:
    site.up(service("rpc"))
    backend = site.backend
    assert [outcome.error for outcome in [*backend.add(["rpc"]), *backend.start(["rpc"])]] == ["", ""]
    backend.stop(["rpc"])
    site.await_state("rpc", State.STOPPED)
    assert [outcome.error for outcome in [*backend.stop(["rpc"]), *backend.remove(["nobody"])]] == ["", ""]


def test_refusals_are_told_for_each(site: Site) -> None:
    site.up(service("rpc"), service("log"))
    until(lambda: site.process("log"))  # supervisord calls it running before it has begun
    os.unlink(site.root / "bin/log")
    site.backend.stop(["log"])
    site.await_state("log", State.STOPPED)
    outcomes = [*site.backend.start(["nobody", "log"]), *site.backend.remove(["rpc"])]
    assert [(outcome.unit, outcome.error) for outcome in outcomes] == [
        ("nobody", "BAD_NAME: nobody"),
        ("log", f"NO_FILE: can't find command '{site.root}/bin/log'"),
        ("rpc", "STILL_RUNNING: rpc"),
    ]


def test_a_failing_prologue_says_so(site: Site) -> None:
    site.up(service("rpc", prologue="true\nfalse", options={"startsecs": 1, "startretries": 0}))
    site.await_state("rpc", State.FATAL)
    said = Path(site.backend.log("rpc").files[0]).read_text()
    assert said == "reconcile: rpc: its prologue failed with exit status 1\n"


# ---------------------------------------------------------------- others' things


def test_foreign_programs_are_seen_and_not_claimed(site: Site) -> None:
    site.up(service("rpc"))
    text = "[program:theirs]\ncommand=sleep 1000\n[program:a]\ncommand=sleep 1000\n[group:g]\nprograms=a\n"
    (site.root / "config/supervisor/theirs.conf").write_text(text)
    (site.root / "config/supervisor/.rpc.conf.new").write_text("half-writ")
    assert site.backend.reload() == frozenset()
    site.backend.add(["theirs", "g"])
    site.await_state("theirs", State.RUNNING)
    look = site.look()
    assert sorted(name for _, name in look.units) == ["g:a", "rpc", "theirs"]
    assert list(look.claimed) == [(KEY, "rpc")]
    pid = look.units[KEY, "theirs"].pid
    assert pid not in site.processes()
    there = proc.look(pid)
    assert there is not None
    assert there.mark is not None
    assert there.mark.service == ""
    assert there.mark.pid not in (0, pid)
    site.backend.stop(["theirs", "g:*"])
    site.await_state("theirs", State.STOPPED)


def test_a_bad_file_is_named_and_changes_nothing(site: Site) -> None:
    site.up(service("rpc"))
    pid = site.unit("rpc").pid
    (site.root / "config/supervisor/bad.conf").write_text("[program:bad]\nnothing\n")
    with pytest.raises(BackendError, match=r"cannot read its configuration.*bad\.conf"):
        site.backend.reload()
    assert site.unit("rpc").pid == pid


# ---------------------------------------------------------------- the daemon comes and goes


def test_a_killed_daemon_is_gone_and_its_children_are_found(site: Site) -> None:
    site.up(service("rpc"))
    pid = until(lambda: site.process("rpc")).pid
    site.kill_daemon()
    assert (site.root / "run/supervisor.sock").exists()
    assert (site.root / "run/supervisord.pid").exists()
    look = site.look()
    assert (look.daemon.running, look.units, look.gaps) == (False, {}, ())
    assert list(site.processes()) == [pid]
    with pytest.raises(BackendError, match=r"cannot be asked supervisor\.getProcessInfo"):
        site.unit("rpc")


def test_it_starts_after_a_reboot(site: Site) -> None:
    """A stale socket, and a pid file that names a process which has nothing to do with it."""
    site.up(service("rpc"))
    process = until(lambda: site.process("rpc"))
    site.kill_daemon()
    assert proc.kill_group(process.pid, process.started, 5)
    (site.root / "run/supervisord.pid").write_text(f"{os.getpid()}\n")
    site.backend.start_daemon(lambda _: None)
    assert (site.root / "run/supervisord.pid").read_text() == f"{site.daemon().pid}\n"
    assert site.unit("rpc").detail == "not started yet"


def test_what_is_no_socket_is_not_taken_for_a_stale_one(make_site: Make, short_folder: Path) -> None:
    """Git may have named a file of somebody else's by mistake."""
    theirs = short_folder / "theirs"
    theirs.write_text("keep me")
    site = make_site(settings={"socket": str(theirs)})
    with pytest.raises(BackendError, match=f"{theirs} is no socket"):
        site.backend.start_daemon(lambda _: None)
    assert theirs.read_text() == "keep me"


def test_a_link_where_its_errors_go_is_not_written_through(site: Site) -> None:
    """Whoever may write into the folder of logs can lay one there."""
    theirs = site.root / "theirs"
    theirs.write_text("keep me")
    (site.root / "logs/supervisord.err").symlink_to(theirs)
    site.up()
    assert theirs.read_text() == "keep me"


def test_starting_twice_leaves_the_first(site: Site) -> None:
    site.up()
    daemon = site.daemon()
    site.backend.start_daemon(lambda _: None)
    assert site.daemon() == daemon


def test_a_daemon_whose_socket_is_gone_is_a_gap(site: Site) -> None:
    site.up(service("rpc"))
    daemon = site.daemon()
    (site.root / "run/supervisor.sock").unlink()
    look = site.look()
    assert (look.daemon.pid, look.units) == (daemon.pid, {})
    assert [gap.message.split(" at ")[0] for gap in look.gaps] == [
        f"supervisord runs (pid {daemon.pid}) but does not answer"
    ]
    with pytest.raises(BackendError, match=rf"runs already \(pid {daemon.pid}\)"):
        site.backend.start_daemon(lambda _: None)


def test_a_frozen_daemon_is_a_gap(make_site: Make) -> None:
    site = make_site(seconds=0.3)
    site.up(service("rpc"))
    daemon = site.daemon()
    assert proc.signal_process(daemon.pid, daemon.started, signal.SIGSTOP)
    look = site.look()
    assert look.daemon.pid == daemon.pid
    assert [gap.message.split(": ")[-1] for gap in look.gaps] == ["no answer within 0.3 s"]
    with pytest.raises(BackendError, match="no answer within"):
        site.backend.start(["rpc"])


def test_stopping_it_stops_all(site: Site) -> None:
    site.up(service("rpc"), service("deaf", "sh -c 'trap \"\" TERM; while :; do sleep 0.1; done'", stop_seconds=1.0))
    site.await_state("rpc", State.RUNNING)
    site.backend.stop_daemon(site.daemon().pid, 20)
    assert site.processes() == {}
    assert not (site.root / "run/supervisor.sock").exists()


def test_stopping_one_that_hangs_kills_it_and_its_services(make_site: Make) -> None:
    site = make_site(seconds=0.3)
    site.up(service("rpc"))
    site.await_state("rpc", State.RUNNING)
    daemon = site.daemon()
    assert proc.signal_process(daemon.pid, daemon.started, signal.SIGSTOP)
    site.backend.stop_daemon(daemon.pid, 0.1)
    assert site.processes() == {}


def test_a_stranger_is_not_stopped_as_the_daemon(site: Site) -> None:
    site.up(service("rpc"))
    with pytest.raises(BackendError, match="was left alone"):
        site.backend.stop_daemon(site.unit("rpc").pid, 1)


def test_shutting_down_is_a_gap(site: Site) -> None:
    site.up(service("deaf", "sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.1; done'", stop_seconds=1000.0))
    until(lambda: Path(site.backend.log("deaf").files[0]).read_text() == "ready\n")
    daemon, process = site.daemon(), site.process("deaf")
    assert process
    proc.signal_process(daemon.pid, daemon.started, signal.SIGTERM)
    look = until(lambda: look if (look := site.look()).gaps else None)
    assert look.gaps[0].message.endswith("it is shutting down")
    proc.signal_process(process.pid, process.started, signal.SIGKILL)


def test_a_configuration_that_it_refuses_is_told(site: Site) -> None:
    (site.root / "config/supervisor/bad.conf").write_text("[program:bad]\ncommand=x\nstartsecs=soon\n")
    with pytest.raises(BackendError, match=r"ended while it started:\n.*soon"):
        site.backend.start_daemon(lambda _: None)
    assert site.processes() == {}


def test_something_else_at_the_socket_is_a_gap(site: Site) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(site.root / "run/supervisor.sock"))
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        look = site.look()
        thread.join()
    assert look.units == {}
    assert [gap.message.split(": ")[-1] for gap in look.gaps] == ["what answers there does not speak HTTP"]


# ---------------------------------------------------------------- paths and ports


@pytest.mark.parametrize("folder", ["a b, %(here)s ;c #d 'e", 'p%d %% "q" ;, #', "ünï"])
def test_odd_paths_are_quoted(make_site: Make, folder: str) -> None:
    site = make_site(folder + "x")
    site.up(service("rpc", "echo hello", options={"autorestart": "false"}))
    until(lambda: Path(site.backend.log("rpc").files[0]).read_text() == "hello\n")
    site.up(service("log"))
    process = until(lambda: site.process("log"))
    assert process.mark
    assert process.mark.root == str(site.root)
    assert site.backend.reload() == frozenset()


def test_a_path_too_long_for_a_socket(make_site: Make) -> None:
    site = make_site("long/" * 20)
    socket_path = dict(site.backend._address)["socket"]
    site.up(service("rpc"))
    assert socket_path.startswith(f"/tmp/reconcile-{os.getuid()}/")
    assert os.stat(os.path.dirname(socket_path)).st_mode & 0o777 == 0o700
    assert site.await_state("rpc", State.RUNNING).pid
    site.backend.stop_daemon(site.daemon().pid, 20)
    assert not os.path.exists(socket_path)


def test_a_socket_folder_that_others_can_write_to_is_refused(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    daemon = LAUNCHER.render(place(site.root, {"socket": str(folder / "s")}), []).manager
    assert daemon
    with pytest.raises(BackendError, match="only this account may write to"):
        SupervisorBackend(daemon).start_daemon(lambda _: None)


def test_the_inet_port_wants_its_password(make_site: Make) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    password = "a%b;c d'\""
    site = make_site(settings={"port": port, "username": "jaws", "password": password})
    site.up(service("rpc"))
    assert site.rendering.ports == (port,)
    assert password not in (site.root / "config/supervisord.conf").read_text()
    assert [_status(port, word) for word in (password, "wrong", None)] == [200, 401, 401]
    assert site.look().gaps == ()


def _status(port: int, password: str | None) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Authorization": "Basic " + b64encode(f"jaws:{password}".encode()).decode()} if password else {}
    body = "<?xml version='1.0'?><methodCall><methodName>supervisor.getPID</methodName><params/></methodCall>"
    try:
        connection.request("POST", "/RPC2", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()
