"""Makes an image aside, proves it, and moves it into its place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import ENOENT
from stat import S_IMODE, S_ISREG

from reconciler.core.desired import Install
from reconciler.host import files, trees
from reconciler.install.apptainer.content import problem, sha256_of
from reconciler.install.apptainer.fetching import Fetching
from reconciler.install.apptainer.hints import hint
from reconciler.install.apptainer.meter import Meter
from reconciler.install.apptainer.place import Standing, beside, forget, record, standing, stat_of
from reconciler.install.base import InstallError
from reconciler.install.building import alone, end_processes

_ASIDE = "building-"
_OTHERS_WRITE = 0o022  # whoever may write an image says what its services run


def make(install: Install, progress: Callable[[str], None], asked_to_stop: Callable[[], bool]) -> None:
    """As `Method.build`."""
    try:
        files.make_folder(os.path.dirname(install.path), 0o755)
        with alone(beside(install, "lock"), install.id, progress, asked_to_stop):
            _remove_leftovers(install)
            if standing(install) is not Standing.RIGHT:
                _make(install, progress, Meter(install.id, progress, asked_to_stop))
    except OSError as error:
        what = f"{error.filename or install.path}: {error.strerror or error}"
        advice = hint(error.strerror or "") if error.errno != ENOENT else ""  # that hint is on sources
        raise InstallError(f"{install.id} could not be built: {what}" + (f"\n{advice}" if advice else "")) from error


def _make(install: Install, progress: Callable[[str], None], meter: Meter) -> None:
    info, maker = stat_of(install.path), ""
    there = _sha256(install.path, meter) if standing(install) is Standing.UNPROVEN else ""
    if info is None or not there or there != install.sha256:
        _check_place(install, there)
        info, maker = _replace(install, progress, meter), install.component
    record(install, info, maker)


def _replace(install: Install, progress: Callable[[str], None], meter: Meter) -> os.stat_result:
    """The state of the file that was put into place: by then somebody may have put another one there."""
    with _aside(install) as folder:
        made = Fetching(install, folder, progress, meter).fetch()
        _flush(made)
        os.chmod(made, S_IMODE(os.stat(made).st_mode) & ~_OTHERS_WRITE)
        info = os.stat(made)
        _prove(install, made, meter)
        forget(install)  # or a kill right after the rename would leave the new file with the mark of the old
        os.rename(made, install.path)
        files.sync_folders((install.path,))
    return info


def _check_place(install: Install, there: str) -> None:
    """Raises `InstallError` where no image can be put into the place."""
    info = stat_of(install.path)
    if info is not None and not S_ISREG(info.st_mode):
        raise InstallError(f"{install.path}: something that is not ours stands where the image belongs; move it away")
    if install.source:
        return
    if info is None:
        raise InstallError(
            f"{install.id}: there is no image {install.path}; put it there, or say with `source` where it comes from"
        )
    raise InstallError(
        f"{install.id}: {install.path} has another sha256 than git wants: {there}\n"
        "Put the right one there, say with `source` where it comes from, or correct `sha256`."
    )


def _prove(install: Install, made: str, meter: Meter) -> None:
    """Raises `InstallError` where it is not what git wants."""
    from reconciler.install.apptainer.source import shown

    wrong = problem(made)
    if not wrong and install.sha256:
        found = _sha256(made, meter)
        wrong = f"has another sha256 than git wants: {found}" if found != install.sha256 else ""
    if wrong:
        raise InstallError(f"{install.id} could not be built: what came from {shown(install.source)} {wrong}")


def _sha256(path: str, meter: Meter) -> str:
    size = os.stat(path).st_size
    return sha256_of(path, lambda count: meter.tell("its sha256", count, size))


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------- the folder aside


@contextmanager
def _aside(install: Install) -> Iterator[str]:
    """A private folder next to the image, under a name that no other builder has had, whatever host it was on."""
    from tempfile import mkdtemp

    folder = mkdtemp(prefix=os.path.basename(beside(install, _ASIDE)), dir=os.path.dirname(install.path))
    try:
        yield folder
    finally:
        with suppress(OSError):  # the next build tries it again
            trees.remove(folder)


def _remove_leftovers(install: Install) -> None:
    """What a killed builder left, with those of its processes that are still at work."""
    folder, stem = os.path.split(beside(install, _ASIDE))
    for name in sorted(os.listdir(folder)):
        if name.startswith(stem):
            end_processes(os.path.join(folder, name))
            with suppress(OSError):  # a name that no other builder has: it is in nobody's way
                trees.remove(os.path.join(folder, name))
