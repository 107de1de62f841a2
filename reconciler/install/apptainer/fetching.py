"""Gets an image from its source into a folder aside: copied, pulled or converted, by Apptainer but for the first.

Apptainer unpacks, and keeps what it downloads, in that folder too: /tmp of a login node and a home are small.
A prologue that sets APPTAINER_TMPDIR or APPTAINER_CACHEDIR has the last word. User and password of a source are
handed over in the environment, which other accounts cannot read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple

from reconciler.core.desired import Install
from reconciler.core.prologue import prologue_script
from reconciler.host import files
from reconciler.host.run import CommandFailed, tail
from reconciler.install.apptainer.content import copy, problem
from reconciler.install.apptainer.hints import hint
from reconciler.install.apptainer.meter import MEGABYTE, Meter
from reconciler.install.apptainer.place import stat_of
from reconciler.install.apptainer.source import Kind, Source, SourceError, parse, shown
from reconciler.install.base import InstallError
from reconciler.install.building import run_watched
from reconciler.install.requirement import redact

_LOG_END = 1 << 14  # bytes of what Apptainer printed that an error is made from
_MANY = 500  # files; a folder with more is an unpacked image, and is not measured time and again

_PROLOGUE_FAILED = """\
reconcile_status=$?
if [ "$reconcile_status" -ne 0 ]; then
    echo "the prologue failed with exit status $reconcile_status" >&2
    exit 78
fi
"""
_BECOME = """\
[ -z "${APPTAINER_CACHEDIR-}" ] || unset APPTAINER_DISABLE_CACHE
exec "$@" >"$RECONCILE_OUTPUT" 2>&1
"""

_NOTEWORTHY = re.compile(r"^INFO:\s+((?:Downloading|Fetching|Extracting|Converting|Creating|Copying).*)$", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Fetching(NamedTuple):
    """One image, on its way into a private folder."""

    install: Install
    folder: str
    progress: Callable[[str], None]
    meter: Meter

    def fetch(self) -> str:
        """The path of the new file, not yet proven. Raises `InstallError`, `OSError`."""
        source, target = self._parsed(), os.path.join(self.folder, "image.sif")
        self.progress(f"{self.install.id}: {source.kind.value} {source.shown}")
        if source.kind is Kind.COPY and not self._is_folder(source.path):
            self._copy(source, target)
        else:
            verb = "pull" if source.kind is Kind.PULL else "build"
            self._run(source, (self.install.tool, verb, target, source.address))
        if not os.path.exists(target):
            raise InstallError(f"{self.install.id} could not be built: Apptainer made nothing from {source.shown}")
        return target

    def _parsed(self) -> Source:
        try:
            return parse(self.install.source)
        except SourceError as error:
            raise InstallError(
                f"{self.install.id} could not be built: its source is {shown(self.install.source)!r}, but {error}"
            ) from error

    def _is_folder(self, path: str) -> bool:
        info = stat_of(path)
        if info is None or not (S_ISDIR(info.st_mode) or S_ISREG(info.st_mode)):
            what = "does not exist" if info is None else "is neither a file nor a folder"
            advice = "Put it there, or correct `source:`; the next pass tries again."
            raise InstallError(f"{self.install.id} could not be built: its source {path} {what}\n{advice}")
        return S_ISDIR(info.st_mode)

    def _copy(self, source: Source, target: str) -> None:
        before = os.stat(source.path)
        wrong = problem(source.path)
        if wrong:
            raise InstallError(f"{self.install.id} could not be built: its source {source.path} {wrong}")
        copy(source.path, target, lambda count: self.meter.tell("copied", count, before.st_size))
        after = os.stat(source.path)
        if (before.st_size, before.st_mtime_ns, before.st_ino) != (after.st_size, after.st_mtime_ns, after.st_ino):
            raise InstallError(
                f"{self.install.id} could not be built: its source {source.path} changed while it was copied\n"
                "Wait until it is whole; the next pass tries again."
            )

    # ------------------------------------------------------------ by Apptainer

    def _run(self, source: Source, argv: Sequence[str]) -> None:
        work = os.path.join(self.folder, "tmp")
        os.mkdir(work, 0o700)
        log = os.path.join(self.folder, "output")
        reader = _Reader(log, lambda line: self.progress(f"{self.install.id}: {redact(line)[:160]}"))

        def meanwhile() -> None:
            self.meter.heed()
            reader.tell()
            if self.meter.is_due:
                self._tell_size()

        try:
            run_watched(self._wrapped(argv), self._environment(source, work, log), self.folder, work, meanwhile)
        except CommandFailed as error:
            raise InstallError(self._explain(source, argv, error, _end_of(log))) from error

    def _wrapped(self, argv: Sequence[str]) -> Sequence[str]:
        """The command after the prologue. That stands in a private file: it may hold a secret; arguments are public."""
        script, shell = _BECOME, "/bin/sh"
        if self.install.prologue.strip():
            script, shell = prologue_script(self.install.prologue) + _PROLOGUE_FAILED + _BECOME, "bash"
        path = os.path.join(self.folder, "script")
        files.write(path, script.encode("utf-8", "surrogateescape"), 0o600, sync=False)
        return shell, path, *argv

    def _environment(self, source: Source, work: str, log: str) -> Mapping[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("RECONCILE_")}
        env |= {"APPTAINER_TMPDIR": work, "RECONCILE_OUTPUT": log}
        if "APPTAINER_CACHEDIR" not in env:
            env["APPTAINER_DISABLE_CACHE"] = "1"
        if source.user:
            env |= {"APPTAINER_DOCKER_USERNAME": source.user, "APPTAINER_DOCKER_PASSWORD": source.password}
        return env

    def _tell_size(self) -> None:
        size = _size(self.folder)
        if size >= MEGABYTE:
            self.meter.tell("written so far", size)

    def _explain(self, source: Source, argv: Sequence[str], error: CommandFailed, printed: bytes) -> str:
        said = tail(_COLOUR.sub("", (error.out + error.err + printed).decode(errors="replace")).encode())
        for secret in (source.password, source.user):
            said = said.replace(secret, "****") if len(secret) > 3 else said
        lines = "".join(f"\n    {line}" for line in said.splitlines())
        after = " (after the prologue)" if self.install.prologue.strip() else ""
        command = " ".join((*argv[:-1], source.shown))
        advice = hint(f"{error.why}\n{said}")
        text = f"{self.install.id} could not be built: {command}{after}: {error.why}{lines}"
        return redact(text) + (f"\n{advice}" if advice else "")


class _Reader:
    """Follows what Apptainer prints, and passes on the lines that a waiting person wants to see."""

    def __init__(self, path: str, tell: Callable[[str], None]) -> None:
        self._path, self._tell, self._read = path, tell, 0
        self._told: set[str] = set()

    def tell(self) -> None:
        try:
            with open(self._path, "rb") as log:
                log.seek(self._read)
                whole, newline, _ = log.read().rpartition(b"\n")
        except FileNotFoundError:
            return  # the prologue still runs
        self._read += len(whole + newline)
        for line in _NOTEWORTHY.findall(_COLOUR.sub("", whole.decode(errors="replace"))):
            if line not in self._told and len(self._told) < 20:
                self._told.add(line)
                self._tell(line)


def _end_of(log: str) -> bytes:
    try:
        return files.tail(log, _LOG_END)
    except FileNotFoundError:
        return b""


def _size(folder: str) -> int:
    """Bytes below a folder; 0 where there are too many files to count."""
    size = count = 0
    for path, _, names in os.walk(folder):
        count += len(names)
        if count > _MANY:
            return 0
        for name in names:
            info = stat_of(os.path.join(path, name))
            size += info.st_size if info else 0
    return size
