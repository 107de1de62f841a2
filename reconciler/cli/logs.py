"""`reconcile logs`: what a service has written, from wherever its launcher keeps it."""

from __future__ import annotations

import os
import select
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, Protocol

from reconciler.agent.logs import Found, find_logs, tails
from reconciler.cli.options import agent_of
from reconciler.cli.terminal import style
from reconciler.host.tail import NotThereYet, Tail, TailError

_POLL = 250  # milliseconds between two looks at what is followed
_INTERRUPTED = 130


class _Source(NamedTuple):
    """One file or journal of one environment."""

    environment: str
    name: str
    tail: Tail


class _Ended(BaseException):
    """A signal asks for the end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def logs(options: Namespace) -> int:
    """Exit status 1 where something cannot be read, or is not there yet."""
    found = find_logs(agent_of(options), options.service)
    for warning in found.warnings:
        _say(warning)
    sources = list(_sources(found, options))
    if not sources:
        _say(f"the launcher of {options.service} keeps no log")
        return 1
    printer = _printer(sources, options)
    try:
        code = _follow(sources, printer) if options.follow else _show(sources, printer, remarks=options.lines != 0)
    except KeyboardInterrupt:  # the usual end of following: nothing to remark
        code = _INTERRUPTED
    except _Ended as ended:
        code = 128 + ended.number
    finally:
        for source in sources:
            source.tail.close()
    printer.finish()
    return code


def _sources(found: Found, options: Namespace) -> Iterator[_Source]:
    for one in found.logs:
        for name, tail in tails(one.log, options.lines, follow=options.follow, bare=hasattr(options, "json")):
            yield _Source(one.environment, name, tail)


def _show(sources: list[_Source], printer: _Printer, *, remarks: bool) -> int:
    """One after the other."""
    good = [_begin(source, printer) for source in sources]
    if all(good) and remarks and not printer.printed:
        _say(f"{', '.join(source.name for source in sources)}: nothing was written yet")
    return 0 if all(good) else 1


def _follow(sources: list[_Source], printer: _Printer) -> int:
    """All at once, until somebody ends it or nothing is left that could be followed."""
    import gc

    gc.enable()  # it may go on for days
    troubles: dict[_Source, str] = {}
    with _signals():
        live = [source for source in sources if _begin(source, printer, waiting=True)]
        while live:
            sys.stdout.flush()
            _pause()
            live = [source for source in live if _go_on(source, printer, troubles)]
    return 1


def _begin(source: _Source, printer: _Printer, *, waiting: bool = False) -> bool:
    """Print the last lines. Whether that went well, or may do so later."""
    try:
        for piece in source.tail.last():
            printer.write(source, piece)
    except NotThereYet as missing:
        _say(f"{missing}" + "; waiting for it" * waiting)
        return waiting
    except TailError as error:
        _say(str(error))
        return False
    finally:
        _pass_on(source.tail.notes())
    return True


def _go_on(source: _Source, printer: _Printer, troubles: dict[_Source, str]) -> bool:
    """Print what has come. Whether more may come. A trouble that stays is told once."""
    try:
        for piece in source.tail.more():
            printer.write(source, piece)
        trouble = ""
    except TailError as error:
        trouble = str(error)
        if trouble != troubles.get(source):
            _say(trouble)
    troubles[source] = trouble
    _pass_on(source.tail.notes())
    return not source.tail.over


def _pause() -> None:
    """Until the next look. A pipe whose reader has gone is noticed although there is nothing to write."""
    waiter = select.poll()
    waiter.register(sys.stdout.fileno(), 0)
    if waiter.poll(_POLL):
        raise BrokenPipeError


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind too, so that a program that prints for us ends with us."""
    import signal

    def ended(number: int, _frame: object) -> None:
        raise _Ended(number)

    heard = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, ended) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(message: str) -> None:
    sys.stdout.flush()  # in the order in which it happened
    print(f"reconcile: {message}", file=sys.stderr, flush=True)


def _pass_on(notes: bytes) -> None:
    if notes:
        sys.stdout.flush()
        print(notes.decode(errors="replace").rstrip("\n"), file=sys.stderr, flush=True)


# ---------------------------------------------------------------- forms


class _Printer(Protocol):
    printed: bool  # anything at all

    def write(self, source: _Source, piece: bytes) -> None: ...

    def finish(self) -> None:
        """Nothing follows."""


def _printer(sources: list[_Source], options: Namespace) -> _Printer:
    out = sys.stdout.buffer
    several = len({source.environment for source in sources}) > 1
    if hasattr(options, "json"):
        return _Lines(out, _json_form(options.service))
    if several and options.follow:
        return _Lines(out, _prefix_form(sources))
    return _Pieces(out, headings=len(sources) > 1, environments=several)


class _Pieces:
    """The very bytes as they come; where there are several parts with headings, as tail(1) has them."""

    def __init__(self, out: BinaryIO, *, headings: bool, environments: bool) -> None:
        self._out = out
        self._headings = headings
        self._environments = environments
        self._style = style()
        self._last: _Source | None = None
        self.printed = False
        self._ended = True  # the last line has its end

    def write(self, source: _Source, piece: bytes) -> None:
        if self._headings and source is not self._last:
            self._out.write(self._heading(source))
        self._last, self._ended, self.printed = source, piece.endswith(b"\n"), True
        self._out.write(piece)

    def _heading(self, source: _Source) -> bytes:
        name = f"{source.environment}: {source.name}" if self._environments else source.name
        gap = "" if self._last is None else "\n" if self._ended else "\n\n"
        return os.fsencode(gap + self._style.paint(f"==> {name} <==", "bold") + "\n")

    def finish(self) -> None:
        """Nothing is held back."""


class _Lines:
    """Whole lines, each in a form that says where it is from. One that is not complete is held back."""

    def __init__(self, out: BinaryIO, form: Callable[[_Source, bytes], bytes]) -> None:
        self._out = out
        self._form = form
        self.printed = False
        self._begun: dict[_Source, bytes] = {}

    def write(self, source: _Source, piece: bytes) -> None:
        self.printed = True
        *lines, rest = (self._begun.pop(source, b"") + piece).split(b"\n")
        for line in lines:
            self._out.write(self._form(source, line))
        if rest:
            self._begun[source] = rest

    def finish(self) -> None:
        for source, line in self._begun.items():
            self._out.write(self._form(source, line))
        self._begun.clear()


def _prefix_form(sources: list[_Source]) -> Callable[[_Source, bytes], bytes]:
    """The environment before each line, and the file where an environment has several."""
    environments = [source.environment for source in sources]
    labels = {
        source: source.environment
        if environments.count(source.environment) == 1
        else f"{source.environment} {os.path.basename(source.name.partition(' ')[0])}"
        for source in sources
    }
    width = max(map(len, labels.values()))
    prefixes = {source: os.fsencode(style().paint(f"{label:<{width}} |", "dim")) for source, label in labels.items()}
    return lambda source, line: prefixes[source] + b" " + line + b"\n"


def _json_form(service: str) -> Callable[[_Source, bytes], bytes]:
    """One object for each line. A byte that is no text is written as an escape."""
    from json import dumps

    ascii_only = sys.stdout.encoding.lower() != "utf-8"

    def form(source: _Source, line: bytes) -> bytes:
        text = line.decode(errors="backslashreplace")
        said = {"environment": source.environment, "service": service, "source": source.name, "line": text}
        return dumps(said, ensure_ascii=ascii_only).encode(errors="backslashreplace") + b"\n"

    return form
