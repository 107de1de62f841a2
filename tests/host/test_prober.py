"""The program that asks: what answers, what does not, and what would like to hold a pass for ever."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any

import pytest

from reconciler.agent.rollout.health import ask
from reconciler.core.desired import Ask, Probe
from reconciler.host.prober import shortened
from tests.scenarios.world import until


def question(name: str, probe: Probe, **more: Any) -> dict[str, Any]:
    given = {
        "env_file": "",
        "version": "1.0",
        "files": [],
        "command": [],
        "mark": "reconcile: x starts, pid ",
        "seen": [],
    }
    return {**probe._asdict(), "ask": probe.ask.value, "id": name, **given, **more}


def answer(probe: Probe, **more: Any) -> tuple[bool, str]:
    """Whether it was good, and all that is told of it."""
    found = ask([question("one", probe, **more)])["one"]
    return found["good"], ": ".join(filter(None, (found["message"], found.get("printed", ""))))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield server


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def serve(server: socket.socket, response: bytes) -> None:
    """Answers each connection with the same words, until the socket is closed."""

    def go() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with closing(connection):
                connection.recv(4096)
                connection.sendall(response)

    Thread(target=go, daemon=True).start()


def response(body: str, status: str = "200 OK", header: str = "X-Version: 1.0") -> bytes:
    return f"HTTP/1.1 {status}\r\n{header}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


HTTP = Probe(Ask.HTTP, 3.0)


@pytest.mark.parametrize(
    ("probe", "words", "told"),
    [
        (HTTP, response("fine"), ""),
        (HTTP._replace(status=204), response("fine"), "http: status 200, not 204: fine"),
        (HTTP, response("down", "503 Busy"), "http: status 503: down"),
        (HTTP._replace(holds="^f.ne$"), response("fine"), ""),
        (HTTP._replace(holds="good"), response("fine"), "http: does not say `good`: fine"),
        (HTTP._replace(header="X-Version"), response("fine"), ""),
        (
            HTTP._replace(header="X-Version"),
            response("", header="X-Version: 9"),
            "http: header X-Version is not version 1.0: 9",
        ),
        (HTTP._replace(header="X-Other"), response(""), "http: has no header X-Other"),
        (HTTP._replace(json="app.version"), response('{"app": {"version": "1.0"}}'), ""),
        (HTTP._replace(json="app.0"), response('{"app": ["0.9"]}'), "http: field app.0 is not version 1.0: 0.9"),
        (HTTP._replace(json="app.version"), response('{"app": 3}'), "http: has no field app.version"),
        (HTTP._replace(json="app"), response("no"), "http: its answer is no JSON: no"),
        (HTTP, b"SSH-2.0-OpenSSH\r\n", "http: no answer in HTTP: BadStatusLine SSH-2.0-OpenSSH"),
    ],
)
def test_http(listener: socket.socket, probe: Probe, words: bytes, told: str) -> None:
    serve(listener, words)
    assert answer(probe._replace(target=f"http://localhost:{port_of(listener)}/")) == (not told, told)


def test_nobody_listens(listener: socket.socket) -> None:
    port = port_of(listener)
    listener.close()
    assert answer(HTTP._replace(target=f"http://127.0.0.1:{port}/")) == (False, "http: Connection refused")
    assert answer(Probe(Ask.TCP, 3.0, f"127.0.0.1:{port}")) == (False, "tcp: Connection refused")


def test_a_port_that_takes_connections(listener: socket.socket) -> None:
    assert answer(Probe(Ask.TCP, 3.0, f"localhost:{port_of(listener)}")) == (True, "")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("true", ""),
        ("echo it is broken; exit 3", "exec: exit status 3: it is broken"),
        ("echo to the other >&2; kill -9 $$", "exec: ended by signal 9: to the other"),
        ("no-such-program", "exec: exit status 127: /bin/bash: line 3: no-such-program: command not found"),
    ],
)
def test_a_command(command: str, told: str) -> None:
    assert answer(Probe(Ask.EXEC, 5.0, command)) == (not told, told)


def test_a_command_gets_the_variables_of_the_service(tmp_path: Path) -> None:
    variables = tmp_path / "env"
    variables.write_text("export WORD='two words'\n")
    probe = Probe(Ask.EXEC, 5.0, 'echo "$WORD"', equals="two words")
    assert answer(probe, env_file=str(variables)) == (True, "")
    assert answer(probe) == (False, "exec: is not `two words`: (nothing)")
    assert answer(probe._replace(equals=None, holds="^two"), env_file=str(variables)) == (True, "")


def test_a_heartbeat(tmp_path: Path) -> None:
    beat = tmp_path / "alive"
    probe = Probe(Ask.HEARTBEAT, 3.0, str(beat), within=60.0)
    assert answer(probe) == (False, f"heartbeat: {beat} is not there")
    beat.touch()
    assert answer(probe) == (True, "")
    os.utime(beat, (0, beat.stat().st_mtime - 600))
    good, told = answer(probe)
    assert not good
    assert "s old, and may be 60 s" in told


def log(tmp_path: Path, *, holds: str = "", lacks: str = "", **more: Any) -> tuple[bool, str]:
    return answer(Probe(Ask.LOG, 3.0, holds=holds, lacks=lacks), files=[str(tmp_path / "x.log")], **more)


MARK = "reconcile: x starts, pid 12\n"


def test_a_log_counts_from_the_last_start(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    assert log(tmp_path, holds="ready") == (False, "log: does not say `ready`")
    path.write_text(f"FATAL once\nready\n{MARK}begins\n")
    assert log(tmp_path, lacks="^FATAL") == (True, "")
    assert log(tmp_path, holds="ready") == (False, "log: does not say `ready`")
    assert log(tmp_path, holds="ready", seen=["ready"]) == (True, "")
    with path.open("a") as more:
        more.write("ready\nFATAL: no space\n")
    assert log(tmp_path, holds="^ready$") == (True, "")
    assert log(tmp_path, lacks="^FATAL") == (False, "log: says `^FATAL`: FATAL: no space")


def test_a_log_counts_through_rotation(tmp_path: Path) -> None:
    (tmp_path / "x.log.2").write_text("FATAL before\nready\n")
    (tmp_path / "x.log.1").write_text(f"FATAL before\n{MARK}ready\n")
    (tmp_path / "x.log").write_text("goes on\n")
    assert log(tmp_path, holds="ready", lacks="FATAL") == (True, "")
    assert log(tmp_path, lacks="goes on") == (False, "log: says `goes on`: goes on")


def test_nothing_holds_it(tmp_path: Path, listener: socket.socket) -> None:
    """A server that never answers, one that drips, a command that does not end, pipes, a pattern that takes hours."""
    pipe, deaf, evil = tmp_path / "pipe", tmp_path / "deaf", tmp_path / "evil.log"
    os.mkfifo(pipe)
    evil.write_text("a" * 5000 + "!\n")
    stubborn = f"trap '' TERM; echo $$ >{deaf}; while :; do sleep 0.1; done"
    address = f"http://127.0.0.1:{port_of(listener)}/"
    began = monotonic()
    found = ask(
        [
            *(question(f"http {n}", HTTP._replace(seconds=1.0, target=address)) for n in range(40)),
            question("exec", Probe(Ask.EXEC, 1.0, stubborn)),
            question("flood", Probe(Ask.EXEC, 1.0, "yes")),
            question("log", Probe(Ask.LOG, 1.0, holds="x"), files=[str(pipe)]),
            question("beat", Probe(Ask.HEARTBEAT, 1.0, str(pipe), within=60.0)),
            question("evil", Probe(Ask.LOG, 1.0, holds="^(a+)+$"), files=[str(evil)]),
            question("fine", Probe(Ask.EXEC, 1.0, "true")),
        ]
    )  # fmt: skip
    assert monotonic() - began < 14
    assert {found[f"http {n}"]["message"] for n in range(40)} == {"http: no answer in 1 s"}
    assert found["exec"]["message"] == "exec: took longer than 1 s and was ended"
    assert found["flood"]["message"] == "exec: took longer than 1 s and was ended"
    assert found["log"]["message"] == f"log: {pipe} is no regular file"
    assert found["evil"]["message"] == "log: its pattern takes too long to match"
    assert found["fine"]["good"]
    assert len(found) == 46
    until(lambda: not Path(f"/proc/{deaf.read_text().strip()}").exists() or None, 10)


def test_what_fails_in_a_way_that_nobody_thought_of_is_unknown() -> None:
    found = ask([question("one", Probe(Ask.EXEC, 1.0, "true"), env_file=7)])["one"]
    assert found["good"] is None
    assert found["message"].startswith("exec: could not be asked: TypeError")


def test_nothing_is_left_open() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    ask([question("one", Probe(Ask.EXEC, 1.0, "true"))])
    before = descriptors()
    for _ in range(5):
        assert ask([question("one", Probe(Ask.EXEC, 0.3, "sleep 86397"))])["one"]["good"] is False
    assert descriptors() == before


def test_many_questions_are_asked_side_by_side() -> None:
    many = [question(str(number), Probe(Ask.EXEC, 20.0, "sleep 0.5 # " + "x" * 2000)) for number in range(60)]
    began = monotonic()
    assert all(found["good"] for found in ask(many).values())
    assert monotonic() - began < 15


def test_what_is_told_is_short_and_plain() -> None:
    assert shortened("a\x1b[31m\n b\r\n") == "a [31m b"
    assert len(shortened("word " * 100)) == 80


def test_of_a_long_journal_the_end_counts(tmp_path: Path) -> None:
    """And each of several files from the start that is noted in it."""
    program = tmp_path / "journalctl"
    script = f"#!/bin/sh\necho '{MARK.strip()}'\nyes '{'x' * 99}' | head -n 20000\necho 'FATAL: no space'\n"
    program.write_text(script)
    program.chmod(0o755)
    probe = Probe(Ask.LOG, 20.0, lacks="^FATAL")
    assert answer(probe, command=[str(program)]) == (False, "log: says `^FATAL`: FATAL: no space")


def test_each_file_of_a_log_counts_from_its_own_start(tmp_path: Path) -> None:
    out, err = tmp_path / "x.out", tmp_path / "x.err"
    out.write_text(f"FATAL before\n{MARK}ready\n")
    err.write_text(f"FATAL before\n{MARK}warming up\n")
    files = {"files": [str(out), str(err)]}
    assert answer(Probe(Ask.LOG, 3.0, holds="^ready$", lacks="FATAL"), **files) == (True, "")
    out.write_text(f"{MARK}FATAL: no space\n")
    assert answer(Probe(Ask.LOG, 3.0, lacks="^FATAL"), **files) == (False, "log: says `^FATAL`: FATAL: no space")
