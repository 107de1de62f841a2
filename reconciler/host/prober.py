"""A program of its own that asks what `health` and `verify` say, side by side: `python -m reconciler.host.prober`.

It gets a list of questions as JSON on standard input and answers each with a line of JSON on standard output, in any
order. It is no part of the pass, so that nothing that it meets can hold a pass: a server that never answers, a file
system that hangs, a pattern that would match for hours. Whoever starts it ends it when its time is over; what has been
answered by then counts.

Keys of a question: `id`; `ask`, `seconds`, `target`, `status`, `holds`, `lacks`, `json`, `header`, `within`, `equals`,
`ca` as in `core.desired.Probe`; `version` that is to be told; `env_file`, `programs` as in `host.prepared`; of a log
`files`, `command`, `mark` (how the line begins that a start leaves) and `seen` (patterns that need not be looked for).
Of an answer: `id`; `good`, `message`, `printed` as in `core.health.Answer`; `seen`; `text`, which a command printed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from reconciler.host import child, prepared

if TYPE_CHECKING:
    import ssl

GRACE = 5.0  # seconds that a command may take to end when it was told to
_TEXT = 1 << 20  # bytes of an answer that are looked at
_LOG = 1 << 22  # bytes of each file of a log that are
_ROTATED = 3  # files that a log was before, that are looked at
_MATCHING = 2.0  # seconds that all patterns together may take
_SHOWN = 80  # characters that are told of what somebody else said

Question = Mapping[str, Any]
Found = dict[str, Any]


class _Bad(Exception):  # noqa: N818 - it is the answer
    """The answer is a bad one: why, and what was said."""

    def __init__(self, message: str, printed: str = "") -> None:
        self.message, self.printed = message, printed
        super().__init__(message)


def main() -> None:
    """Answer what stands on standard input."""
    questions = json.loads(sys.stdin.buffer.read())
    began = monotonic()
    running = [(each, *_begin(each)) for each in questions]
    matching = [_MATCHING]
    for question, thread, gathered in running:
        grace = GRACE if question["ask"] == "exec" else 0.2
        thread.join(max(0.0, began + question["seconds"] + grace - monotonic()))
        found = gathered[0] if gathered else _late(question)
        _say(question, _judged(question, found, matching))


def _begin(question: Question) -> tuple[Thread, list[Found]]:
    """A thread that leaves what it gathers. One that hangs is not waited for, and ends with the program."""
    gathered: list[Found] = []
    thread = Thread(target=lambda: gathered.append(_gather(question)), daemon=True)
    thread.start()
    return thread, gathered


def _gather(question: Question) -> Found:
    try:
        return _ASKS[question["ask"]](question)
    except _Bad as bad:
        return _bad(question, bad.message, bad.printed)
    except TimeoutError:
        return _late(question)
    except (OSError, ValueError) as error:
        return _bad(question, getattr(error, "strerror", None) or str(error) or type(error).__name__)
    except Exception as error:  # noqa: BLE001 - this Python has no ssl, say: nothing is known of the service then
        why = shortened(f"{type(error).__name__}: {error}")
        return {"good": None, "message": f"{question['ask']}: could not be asked: {why}"}


def _late(question: Question) -> Found:
    return _bad(question, f"no answer in {question['seconds']:g} s")


def _bad(question: Question, message: str, printed: str = "") -> Found:
    return {"good": False, "message": f"{question['ask']}: {message}", "printed": shortened(printed)}


def shortened(text: str) -> str:
    """A few words of what somebody else said, in one line without control characters."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text[: _SHOWN * 8]).split())
    return plain if len(plain) <= _SHOWN else plain[: _SHOWN - 1] + "…"


def _say(question: Question, found: Found) -> None:
    line = json.dumps({"id": question["id"], **found}).encode() + b"\n"
    while line:
        line = line[os.write(1, line) :]


# ---------------------------------------------------------------- patterns


def _judged(question: Question, found: Found, matching: list[float]) -> Found:
    """What was gathered, by the patterns of the question. All of them share their time: some never end."""
    text = found.pop("text", None)
    if text is None or not found["good"]:
        return found
    began = monotonic()
    signal.signal(signal.SIGALRM, _give_up)
    try:
        signal.setitimer(signal.ITIMER_REAL, max(0.01, matching[0]))
        return _MATCHES.get(question["ask"], _holds)(question, found, text)
    except _Bad as bad:
        return {**found, **_bad(question, bad.message, bad.printed)}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        matching[0] -= monotonic() - began


def _give_up(_number: int, _frame: object) -> None:
    raise _Bad("its pattern takes too long to match")


def _searched(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.MULTILINE) is not None


def _holds(question: Question, found: Found, text: str) -> Found:
    if question["holds"] and not _searched(question["holds"], text):
        raise _Bad(f"does not say `{question['holds']}`", text)
    return found


def _printed(question: Question, found: Found, text: str) -> Found:
    """Of a command: what it must print exactly, blanks around it aside."""
    wanted = question["equals"]
    if wanted is not None and text.strip() != wanted.strip():
        raise _Bad(f"is not `{wanted}`", text.strip() or "(nothing)")
    return _holds(question, found, text)


def _logged(question: Question, found: Found, text: str) -> Found:
    if question["lacks"] and (bad := re.search(question["lacks"], text, re.MULTILINE)):
        line = text[text.rfind("\n", 0, bad.start()) + 1 :].partition("\n")[0]
        raise _Bad(f"says `{question['lacks']}`", line)
    if not question["holds"] or question["holds"] in question["seen"]:
        return found
    if _searched(question["holds"], text):
        return {**found, "seen": question["holds"]}
    raise _Bad(f"does not say `{question['holds']}`")


def _since_start(mark: str, text: str) -> str:
    """What comes after the last start; all of it where none has left a line."""
    at = text.rfind(mark)
    return text[at + len(mark) :].partition("\n")[2] if at >= 0 else text


_MATCHES: Mapping[str, Callable[[Question, Found, str], Found]] = {"log": _logged, "exec": _printed}


# ---------------------------------------------------------------- what is asked


def _http(question: Question) -> Found:
    """One request. It follows no redirect, and knows no proxy."""
    from http import client
    from urllib.parse import urlsplit

    url = urlsplit(question["target"])
    host, seconds = url.hostname or "localhost", question["seconds"]
    connection = (
        client.HTTPSConnection(host, url.port, timeout=seconds, context=_trusting(question["ca"]))
        if url.scheme == "https"
        else client.HTTPConnection(host, url.port, timeout=seconds)
    )
    try:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.request("GET", path, headers={"User-Agent": "reconcile", "Connection": "close"})
        response = connection.getresponse()
        text = response.read(_TEXT).decode(errors="replace")
        _check_status(question["status"], response.status, text)
        _check_version(question, response.getheader(question["header"] or "-"), text)
    except client.HTTPException as error:
        raise _Bad("no answer in HTTP", f"{type(error).__name__} {error}") from error
    except OSError as error:
        if why := getattr(error, "verify_message", ""):  # of ssl's own error, which a Python may come without
            raise _Bad(f"its certificate is not good: {why}") from error
        raise
    finally:
        connection.close()
    return {"good": True, "message": "", "text": text}


def _trusting(ca: str) -> ssl.SSLContext | None:
    """Who may vouch for a server; None: whom this host trusts."""
    if not ca:
        return None
    import ssl

    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        why = error.strerror if isinstance(error, (FileNotFoundError, PermissionError)) else "it has no certificates"
        raise _Bad(f"the certificates of {ca} cannot be used: {why}") from error


def _check_status(wanted: int, status: int, text: str) -> None:
    if not (status == wanted if wanted else 200 <= status < 400):
        raise _Bad(f"status {status}" + (f", not {wanted}" if wanted else ""), text)


def _check_version(question: Question, header: str | None, text: str) -> None:
    """The version that it tells, in a header or a field of its answer, must be that which it was started in."""
    if question["header"]:
        _same_version(f"header {question['header']}", header, question["version"])
    if question["json"]:
        _same_version(f"field {question['json']}", _field(text, question["json"]), question["version"])


def _same_version(where: str, told: object, wanted: str) -> None:
    if told is None:
        raise _Bad(f"has no {where}")
    if str(told).strip() != wanted:
        raise _Bad(f"{where} is not version {wanted}", str(told))


def _field(text: str, path: str) -> object:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise _Bad("its answer is no JSON", text) from None
    for key in path.split("."):
        if isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def _tcp(question: Question) -> Found:
    import socket

    host, _, port = question["target"].rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), question["seconds"]).close()
    return {"good": True, "message": ""}


def _exec(question: Question) -> Found:
    """A command with the service's variables. It and what it started are ended when its time is over."""
    script = f"exec 2>&1\n{prepared.LINES}{question['target']}"
    env = {**os.environ, **prepared.variables(question["env_file"], question.get("programs", ""))}
    # the limit of its own ends it also where this program is ended before it
    limit = ["timeout", "-k", "2", f"{question['seconds'] + 1:g}"] if os.path.exists("/usr/bin/timeout") else []
    code, text, late = _run([*limit, "/bin/bash", "-c", script], env, question["seconds"])
    if late:
        raise _Bad(f"took longer than {question['seconds']:g} s and was ended", _last_line(text))
    if code:
        how = f"exit status {code}" if code > 0 else f"ended by signal {-code}"
        raise _Bad(how, _last_line(text))
    return {"good": True, "message": "", "text": text}


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def _run(argv: list[str], env: Mapping[str, str], seconds: float, *, of_end: int = 0) -> tuple[int, str, bool]:
    """Exit status, the first of what it printed, or so many bytes of the end, and whether it was ended because it took
    too long."""
    deadline = monotonic() + seconds
    running = child.start(argv, env)
    kept = b""
    try:
        while (piece := running.exactly(_TEXT, deadline)) is not None:
            kept = (kept + piece)[-of_end:] if of_end else kept or piece
    finally:
        ended = running.finish(deadline)
    text = (kept + ended.out)[-of_end:] if of_end else (kept or ended.out)[:_TEXT]
    return ended.code, text.decode(errors="replace"), ended.late


def _heartbeat(question: Question) -> Found:
    """A clock of a file server that is ahead makes the file no older than it is."""
    path = question["target"]
    try:
        age = time.time() - os.stat(path).st_mtime
    except (FileNotFoundError, NotADirectoryError):
        raise _Bad(f"{path} is not there") from None
    if age > question["within"]:
        raise _Bad(f"{path} is {age:.0f} s old, and may be {question['within']:g} s")
    return {"good": True, "message": ""}


def _log(question: Question) -> Found:
    """The end of a log, with files that it was before, as far as the last start."""
    if question["command"]:
        argv = [*question["command"], "--no-pager", "--quiet", "--output=cat", "--lines=20000"]
        _, text, late = _run(argv, os.environ, question["seconds"], of_end=_LOG)
        if late:
            raise TimeoutError
        return {"good": True, "message": "", "text": _since_start(question["mark"], text)}
    texts = []
    for path in question["files"]:
        text = ""
        for part in _parts(path):
            text = part + text
            if question["mark"] in text:
                break
        texts.append(_since_start(question["mark"], text))
    return {"good": True, "message": "", "text": "\n".join(texts)}


def _parts(path: str) -> Iterator[str]:
    """The file, then those that it was before it was rotated away, the latest first. A missing one says nothing."""
    for name in (path, *(f"{path}.{number}" for number in range(1, _ROTATED + 1))):
        with suppress(FileNotFoundError, NotADirectoryError):
            yield _end(name)


def _end(path: str) -> str:
    """The last bytes of a file. What is no regular file might let us wait for ever, or say anything."""
    from stat import S_ISREG

    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not S_ISREG(status.st_mode):
            raise _Bad(f"{path} is no regular file")
        return os.pread(descriptor, _LOG, max(status.st_size - _LOG, 0)).decode(errors="replace")
    finally:
        os.close(descriptor)


_ASKS: Mapping[str, Callable[[Question], Found]] = {
    "http": _http,
    "tcp": _tcp,
    "exec": _exec,
    "log": _log,
    "heartbeat": _heartbeat,
}


if __name__ == "__main__":
    main()
