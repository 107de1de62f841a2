"""Makes a virtual environment: after the prologue, in a clean environment, with progress, and with errors that help."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from reconciler.core.prologue import prologue_script
from reconciler.host import files
from reconciler.host.run import CommandFailed
from reconciler.install.base import BuildStopped, InstallError
from reconciler.install.building import run_watched
from reconciler.install.requirement import Parsed, redact

_TAIL = 15  # lines of output that an error shows

# What would send pip elsewhere, or would show the new interpreter somebody else's packages.
_UNWANTED = frozenset(
    {"VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_REQUIREMENT"}
)

# A prologue that fails here would fail before the service too. A module of a Python may set variables
# for itself that would be wrong inside the new environment.
_AFTER = """\
reconcile_status=$?
if [ "$reconcile_status" -ne 0 ]; then
    echo "the prologue failed with exit status $reconcile_status" >&2
    exit 78
fi
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV __PYVENV_LAUNCHER__
exec "$@"
"""

_NOTEWORTHY = re.compile(
    r"^\S+\s+((?:Collecting|Downloading|Processing|Building wheel|Installing collected).*?)(?: \(from .*)?$",
    re.MULTILINE,
)

# The first that fits what was printed: an unreachable index also says "No matching distribution" in the end.
_HINTS = (
    (
        r"No space left on device|Disk quota exceeded",
        "The file system is full: make room below paths.venvs or in TMPDIR; the next pass tries again.",
    ),
    (
        r"NewConnectionError|ConnectTimeout|ProxyError|[Rr]efused|Name or service not known|unreachable|timed out",
        "The package index cannot be reached: set https_proxy, or name another with --index-url or in pip's own file.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "The index's certificate is not trusted here: name its authority with `cert` in pip's configuration.",
    ),
    (
        r"\b401\b|\b403\b|User for .*:",
        "The index wants another user and password: give them in ~/.netrc, readable by this account alone.",
    ),
    (
        r"requires a different Python|requires Python|not a supported wheel on this platform",
        "It is not made for this Python: choose another with `python:`, after a `prologue:` that loads it.",
    ),
    (
        r"No matching distribution|Could not find a version",
        "There is no such version, or none for this Python: see `pip index versions NAME` and the `requirement:`.",
    ),
    (
        r"ResolutionImpossible|conflicting dependencies",
        "The requirements contradict one another: loosen one of them, or give a constraints file with -c.",
    ),
    (
        r"No module named '?(?:venv|ensurepip)|ensurepip is not available",
        "This Python has no venv or ensurepip: install its python3-venv package, or pip beside reconcile.",
    ),
    (
        r"the prologue failed|module: command not found",
        "The component's `prologue:` does not work here: try its lines in a fresh shell of this account on this host.",
    ),
    (
        r"could not be started|exec: .*not found|command not found|No such file or directory: 'python",
        "The interpreter was not found: name it with `python:`, or load it in the component's `prologue:`.",
    ),
    (r"Permission denied|Read-only file system", "The account may not write there: see paths.venvs and who owns it."),
)


class Workbench(NamedTuple):
    """One build. The scratch folder is below `folder`, is private, and goes when the build is over."""

    id: str
    folder: str
    scratch: str
    python: str
    prologue: str
    parsed: Parsed
    progress: Callable[[str], None]
    asked_to_stop: Callable[[], bool]

    def make_environment(self) -> None:
        self.progress(f"{self.id}: makes an environment with {self.python}")
        # Without pip: unpacking and compiling it takes seconds and 10 MB in each, and no service needs it.
        self._do((self.python, "-m", "venv", "--without-pip", self.folder), "")

    def install(self, requirement: str) -> None:
        self.progress(f"{self.id}: installs {redact(requirement, self.parsed.secrets)}")
        listed = self._private("requirements.txt", "\n".join((*self.parsed.lines, "")))
        argv = (*self._pip(), "install", *self.parsed.arguments, "-r", listed)
        self._do(argv, f"pip install {requirement}")

    def _pip(self) -> tuple[str, ...]:
        """How to call pip: the one beside reconcile, run by the new interpreter.

        So there is one known pip, whatever the module of the day brings along, and none needs to be
        unpacked; and it works where Debian's python3-venv is missing. Where there is none, or it does
        not support that Python, the interpreter's own is put into the environment.
        """
        python = os.path.join(self.folder, "bin", "python")
        runner = _runner()
        if runner:
            with suppress(InstallError):
                self._do((python, runner, "--version"), "")
                return python, runner
        self._do((python, "-m", "ensurepip", "--default-pip"), "")
        return python, "-m", "pip"

    def _do(self, argv: Sequence[str], shown: str) -> None:
        """Run one command to its end. Raises `InstallError`, in which `shown` stands for the command."""
        log = os.path.join(self.scratch, "pip.log")
        reader = _Reader(log, self._tell)

        def meanwhile() -> None:
            if self.asked_to_stop():
                raise BuildStopped(self.id)
            reader.tell()

        try:
            # The working folder is the scratch folder, for `python -m` looks for modules in it.
            run_watched(self._wrapped(argv), self._environment(log), self.folder, self.scratch, meanwhile)
        except CommandFailed as error:
            raise InstallError(self._explain(shown or " ".join(argv), error)) from error

    def _wrapped(self, argv: Sequence[str]) -> Sequence[str]:
        """The command after the prologue. That stands in a private file: it may hold a secret; arguments are public."""
        if not self.prologue.strip():
            return argv
        script = prologue_script(self.prologue) + _AFTER
        return "bash", self._private("prologue.sh", script), *argv

    def _environment(self, log: str) -> Mapping[str, str]:
        env = {name: value for name, value in os.environ.items() if not _is_unwanted(name)}
        env |= {
            "PIP_NO_INPUT": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
            "PIP_PROGRESS_BAR": "off",
            "PIP_USER": "0",
            "PIP_LOG": log,
        }
        if self.parsed.logins:
            env["NETRC"] = self._private("netrc", _netrc(self.parsed, env))
        return env

    def _private(self, name: str, text: str) -> str:
        path = os.path.join(self.scratch, name)
        files.write(path, text.encode("utf-8", "surrogateescape"), 0o600, sync=False)
        return path

    def _tell(self, line: str) -> None:
        self.progress(f"{self.id}: {redact(line, self.parsed.secrets)[:160]}")

    def _explain(self, shown: str, error: CommandFailed) -> str:
        printed = (error.out.rstrip() + b"\n" + error.err.rstrip()).decode(errors="replace").strip()
        tail = "".join(f"\n    {line}" for line in printed.splitlines()[-_TAIL:])
        advice = hint(error.why + "\n" + printed)
        after = " (after the prologue)" if self.prologue.strip() else ""
        text = f"{self.id} could not be built: {shown}{after}: {error.why}{tail}"
        return redact(text + (f"\n{advice}" if advice else ""), self.parsed.secrets)


def hint(printed: str) -> str:
    """What to do about an error that is known, or nothing."""
    return next((advice for pattern, advice in _HINTS if re.search(pattern, printed)), "")


class _Reader:
    """Follows pip's log and passes on the lines that a waiting person wants to see."""

    def __init__(self, path: str, tell: Callable[[str], None]) -> None:
        self.path = path
        self._tell = tell
        self._read = 0
        with suppress(OSError):
            self._read = os.stat(path).st_size

    def tell(self) -> None:
        try:
            with open(self.path, "rb") as log:
                log.seek(self._read)
                whole, newline, _ = log.read().rpartition(b"\n")
        except OSError:
            return
        self._read += len(whole + newline)
        for line in _NOTEWORTHY.findall(whole.decode(errors="replace")):
            self._tell(line)


def _is_unwanted(name: str) -> bool:
    return name in _UNWANTED or name.startswith(("PYTHON", "RECONCILE_"))


def _runner() -> str:
    """The file by which another interpreter runs the pip beside reconcile (pip 22.3 and later); empty without one."""
    from importlib.util import find_spec

    spec = find_spec("pip")
    path = os.path.join(os.path.dirname(spec.origin), "__pip-runner__.py") if spec and spec.origin else ""
    return path if path and os.path.isfile(path) else ""


def _netrc(parsed: Parsed, env: Mapping[str, str]) -> str:
    """The account's own netrc file and after it, so that it wins, what the requirement's URLs carried."""
    own = env.get("NETRC") or os.path.join(env.get("HOME", "/nonexistent"), ".netrc")
    text = ""
    with suppress(OSError):
        text = files.read(own).decode("utf-8", "surrogateescape") + "\n"
    return text + "".join(
        f"machine {host}\nlogin {user}\npassword {password}\n" for host, user, password in parsed.logins
    )
