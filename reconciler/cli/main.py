"""`reconcile`: reads the command line, runs one command, prints its answer, exits."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from reconciler.cli.plain import once

if TYPE_CHECKING:
    from argparse import Namespace

OK, FAILED, DIFFERS, INVALID, BUSY = 0, 1, 2, 3, 75

# Each command lives in the module named here and is imported when it is asked for.
_COMMANDS = {
    "once": ("passes", "once"),
    "loop": ("passes", "loop"),
    "plan": ("passes", "plan"),
    "apply": ("passes", "apply"),
    "status": ("passes", "status"),
    "logs": ("logs", "logs"),
    "diff": ("authoring", "diff"),
    "validate": ("authoring", "check"),
    "explain": ("values", "explain"),
    "blame": ("values", "blame"),
    "schema": ("authoring", "schema"),
    "cleanup": ("cleanup", "cleanup"),
    "bump": ("propose", "bump"),
    "promote": ("propose", "promote"),
    "rollback": ("propose", "rollback"),
    "history": ("history", "history"),
    "show": ("history", "show"),
    "schedule": ("schedule", "schedule"),
    "pause": ("pauses", "pause"),
    "resume": ("pauses", "resume"),
    "approve": ("approve", "approve"),
    "notify": ("notify", "notify"),
    "doctor": ("doctor", "doctor"),
    "adopt": ("adopt", "adopt"),
    "help": ("manual", "manual"),
    "demo": ("demo", "demo"),
}


def run() -> None:
    """The entry point. Does not return."""
    _bear_any_output()
    code = _printed(main(sys.argv[1:]))
    # What is left to tear down is memory; the kernel does that faster.
    with suppress(OSError):  # nobody is left to be told
        sys.stderr.flush()
    os._exit(code)


def _printed(code: int) -> int:
    """Have all of the answer printed; the exit status, which tells where that failed: a log on a full disk."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe has seen enough
        pass
    except OSError as error:
        return _fail(code or FAILED, f"standard output: {error.strerror or error}")
    return code


def _bear_any_output() -> None:
    """What a terminal's encoding cannot show is written as an escape, and nobody may be listening at all."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the end
        else:
            stream.reconfigure(errors="backslashreplace")


def main(argv: Sequence[str]) -> int:
    """One command; its exit status."""
    import gc

    options = once(argv) or _parsed(argv)
    if isinstance(options, int):
        return options
    if options.command or options.once:
        gc.disable()  # it is over before collecting would pay
    return _guarded(options)


def _parsed(argv: Sequence[str]) -> Namespace | int:
    """The options; or the exit status, where all has been said."""
    from reconciler.cli.parser import UsageError, parse

    try:
        return parse(argv)
    except UsageError as error:
        return _fail(INVALID, str(error))
    except SystemExit as exit_:  # --help and --version have answered
        return exit_.code if isinstance(exit_.code, int) else OK


def _command(options: Namespace) -> Callable[[Namespace], int]:
    module, function = _COMMANDS[options.command or ("once" if options.once else "loop")]
    found: Callable[[Namespace], int] = getattr(import_module(f"reconciler.cli.{module}"), function)
    return found


def _guarded(options: Namespace) -> int:
    try:
        return _command(options)(options)
    except BrokenPipeError:
        return OK
    except KeyboardInterrupt:
        return _fail(130, "interrupted")
    except Exception as error:  # noqa: BLE001 - the outermost place: a person must never see a traceback
        return _explained(error)


def _explained(error: Exception) -> int:
    from reconciler.agent.config import InvalidInput
    from reconciler.agent.run import Busy
    from reconciler.source import SourceError, UnknownCommit

    if isinstance(error, UnknownCommit):
        return _fail(INVALID, str(error))
    if isinstance(error, InvalidInput):
        return _fail(INVALID, "\n".join(map(str, error.problems)))
    if isinstance(error, Busy):
        return _fail(BUSY, f"another pass is at work: {error.holder} ({error.path})")
    if isinstance(error, SourceError):
        return _fail(FAILED, str(error))
    if isinstance(error, OSError):
        return _fail(FAILED, f"{error.filename or 'the system'}: {error.strerror or error}")
    return _internal(error)


def _internal(error: Exception) -> int:
    if os.environ.get("RECONCILE_DEBUG"):
        raise error
    name = type(error).__name__
    return _fail(FAILED, f"a defect in reconcile itself ({name}). RECONCILE_DEBUG=1 shows where; please report it")


def _fail(code: int, message: str) -> int:
    with suppress(OSError):  # the exit status tells it as well
        for line in f"reconcile: {message}".split("\n"):
            print("\n".join(_fitted(line)), file=sys.stderr)
    return code


def _fitted(line: str) -> list[str]:
    """In the width of a terminal, where one is."""
    if not sys.stderr.isatty():
        return [line]
    from reconciler.report.style import Style

    width = max(os.get_terminal_size(2).columns, 40)
    return list(Style(colour=False, width=width).fold(line, indent="        " if line[:1] == " " else "    "))
