"""A virtual environment per component and version.

A virtual environment cannot be moved: the first line of its scripts, `pyvenv.cfg` and compiled paths
name the folder that it was made in. So it is made where it stays, in a folder named after all that
went into it, and what is put into place when everything is complete is not the folder but two names:

    {venvs}/.store/site-2.8.1-1a2b3c4d/             made here; counts only once `.complete` stands in it
    {venvs}/site-2.8.1 -> .store/site-2.8.1-1a2b3c4d    replaced by one rename

Shims name the folder, not the link. Another build of the same version (its requirement, Python or
prologue changed) is another folder, so that a process started from the first one never finds other
code below itself before it is restarted; and what is checked before a start is what then runs. The
link is for people and for files that say `{{ paths.venvs }}/site-2.8.1`. Two deployments that share
`paths.venvs` share equal builds too. Do not let them want different builds of one version there:
each runs its own, but they would take the link from one another on every pass.

An unfinished folder is what a killed pass left. It is never used, and the next build of that
component and version removes it, under a lock that a dead builder does not keep. A finished one is
left alone, with one exception: where the Python below it is gone, it is put aside while it is made
anew, and comes back if that fails.

What is in a folder is not looked at again: a local folder as the requirement is installed once per
version, and a change in it needs a new version.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from errno import EINVAL

from reconciler.core.desired import Install
from reconciler.core.digest import digest
from reconciler.install.base import ComponentSpec, InstallError, never
from reconciler.install.building import alone, end_processes, first_line

_STORE = ".store"
_COMPLETE = ".complete"  # written last: the digest, the id, the component and how many bytes it has
_SCRATCH = ".building"
_DIGITS = 8  # of the digest, in a folder's name


class _Venv:
    name: str = "venv"
    keys: tuple[str, ...] = ("requirement", "python")
    required: tuple[str, ...] = ("requirement",)
    is_image: bool = False

    def check(self, spec: ComponentSpec) -> str:
        from reconciler.install.requirement import problem, redact

        wrong = problem(spec.requirement)
        return f"its requirement is {redact(spec.requirement)!r}, but {wrong}" if wrong else ""

    def describe(self, spec: ComponentSpec, paths: Mapping[str, str]) -> Install | None:
        name = f"{spec.component}-{spec.version}"
        python = spec.python or "python3"
        parts = (self.name, spec.requirement, python, spec.prologue)
        identity = digest("\0".join(parts).encode("utf-8", "surrogatepass"))
        path = os.path.join(paths["venvs"], _STORE, f"{_as_file_name(name)}-{identity[:_DIGITS]}")
        return Install(
            name, spec.component, spec.version, self.name, identity, path, spec.requirement, python, spec.prologue
        )

    def exports(self, install: Install) -> tuple[str, ...]:
        from shlex import quote

        bin_ = quote(os.path.join(install.path, "bin"))
        return (
            "unset PYTHONHOME",
            f"export VIRTUAL_ENV={quote(install.path)}",
            f'export PATH={bin_}"${{PATH:+:$PATH}}"',
        )

    def complete(self, install: Install) -> bool:
        return _is_finished(install.path, install.digest) and _link_target(_link(install)) == _relative(install)

    def build(
        self, install: Install, progress: Callable[[str], None], asked_to_stop: Callable[[], bool] = never
    ) -> None:
        from reconciler.install.workbench import hint

        try:
            os.makedirs(os.path.dirname(install.path), exist_ok=True)
            with alone(_beside(install, "lock"), install.id, progress, asked_to_stop):
                _remove_unfinished(install)
                if not _is_finished(install.path, install.digest):
                    _make(install, progress, asked_to_stop)
                _put_into_place(install)
        except OSError as error:
            advice = hint(error.strerror or "")
            what = f"{error.filename or install.path}: {error.strerror or error}"
            raise InstallError(
                f"{install.id} could not be built: {what}" + (f"\n{advice}" if advice else "")
            ) from error

    def outdated(self, install: Install, pid: int, parent: int) -> str:  # noqa: ARG002
        return ""  # a venv is never changed in its place: another build is another folder

    def find_program(self, install: Install, program: str) -> str:
        path = os.path.join(install.path, "bin", program)
        bare = program and "/" not in program
        return path if bare and os.path.isfile(path) and os.access(path, os.X_OK) else ""

    def programs(self, install: Install, component: str, version: str) -> str:
        """By the link: which build of that version it was, nothing tells."""
        venvs = os.path.dirname(os.path.dirname(install.path))
        path = os.path.realpath(os.path.join(venvs, _as_file_name(f"{component}-{version}")))
        return os.path.join(path, "bin") if os.path.isfile(os.path.join(path, _COMPLETE)) else ""


METHOD = _Venv()


# ---------------------------------------------------------------- names


def _as_file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._+!-" else "_" for letter in text)


def _link(install: Install) -> str:
    store, folder = os.path.split(install.path)
    return os.path.join(os.path.dirname(store), folder[: -_DIGITS - 1])


def _relative(install: Install) -> str:
    """What the link says: the folder as seen from it, so that it does not depend on how `paths.venvs` is spelt."""
    return os.path.join(_STORE, os.path.basename(install.path))


def _beside(install: Install, ending: str) -> str:
    """A name in the store for the use of this component and version's builders."""
    return os.path.join(os.path.dirname(install.path), f".{os.path.basename(_link(install))}.{ending}")


# ---------------------------------------------------------------- what is there


def _link_target(path: str) -> str:
    """Where a link points; empty where there is none. Raises `OSError` where that cannot be told."""
    try:
        return os.readlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        if error.errno == EINVAL:  # something else than a link
            return ""
        raise


def _is_finished(folder: str, identity: str) -> bool:
    """The build is complete, and its Python is still there: an upgrade of the system may have taken it away."""
    if _marker(folder) != identity:
        return False
    try:
        os.stat(os.path.join(folder, "bin", "python"))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _marker(folder: str) -> str:
    return first_line(os.path.join(folder, _COMPLETE))


def _folders(install: Install) -> Iterator[str]:
    """The folders in the store of this component and version, of any digest."""
    store, name = os.path.split(install.path)
    stem = name[:-_DIGITS]
    for entry in sorted(os.listdir(store)):
        ending = entry.removeprefix(stem)
        if ending != entry and len(ending) == _DIGITS and not set(ending) - set("0123456789abcdef"):
            yield os.path.join(store, entry)


# ---------------------------------------------------------------- building


def _remove_unfinished(install: Install) -> None:
    from reconciler.host import trees

    for folder in _folders(install):
        if not _marker(folder).startswith(folder[-_DIGITS:]):
            end_processes(folder)
            trees.remove(folder)


def _make(install: Install, progress: Callable[[str], None], asked_to_stop: Callable[[], bool]) -> None:
    """Make the folder, or leave things as they were."""
    from reconciler.host import files, trees

    former = _beside(install, f"{install.digest[:_DIGITS]}.was")
    if os.path.exists(install.path):  # finished, but its Python is gone
        trees.remove(former)
        files.rename(install.path, os.path.basename(former))
    try:
        os.mkdir(install.path)
        _fill(install, progress, asked_to_stop)
    except BaseException:
        with suppress(OSError):  # the next build begins with it
            trees.remove(install.path)
        if os.path.exists(former) and not os.path.exists(install.path):
            files.rename(former, os.path.basename(install.path))
        raise
    with suppress(OSError):
        trees.remove(former)


def _fill(install: Install, progress: Callable[[str], None], asked_to_stop: Callable[[], bool]) -> None:
    from reconciler.host import files, trees
    from reconciler.install.requirement import RequirementError, parse, redact
    from reconciler.install.workbench import Workbench

    try:
        parsed = parse(install.source)
    except RequirementError as error:
        shown = redact(install.source)
        raise InstallError(f"{install.id} could not be built: its requirement is {shown!r}, but {error}") from error
    scratch = os.path.join(install.path, _SCRATCH)
    os.mkdir(scratch, 0o700)
    bench = Workbench(
        install.id, install.path, scratch, install.tool, install.prologue, parsed, progress, asked_to_stop
    )
    bench.make_environment()
    # No `pip check` afterwards: the resolver has refused conflicts, and who says --no-deps wants them.
    bench.install(install.source)
    trees.remove(scratch)
    _flush(install.path)
    marker = f"{install.digest}\n{install.id}\n{install.component} {_size(install.path)}\n"
    files.write(os.path.join(install.path, _COMPLETE), marker.encode(), 0o644)


def _size(folder: str) -> int:
    """Bytes on disk, noted once: nothing in it changes afterwards."""
    return sum(
        os.lstat(os.path.join(path, name)).st_blocks * 512 for path, _, names in os.walk(folder) for name in names
    )


def _put_into_place(install: Install) -> None:
    from reconciler.host import files

    link = _link(install)
    if _link_target(link) == _relative(install):
        return
    if os.path.lexists(link) and not os.path.islink(link):
        raise InstallError(
            f"{link}: something that is not ours stands where the link to {install.path} belongs; move it away"
        )
    aside = files.temporary_name(link)
    files.remove(aside)
    os.symlink(_relative(install), aside)
    os.replace(aside, link)
    files.sync_folders((link, install.path, os.path.join(install.path, _COMPLETE)))


def _flush(folder: str) -> None:
    """Bring all that was written to the disk, before the marker says so: a power cut must not leave a complete
    environment of empty files. One call for the file system instead of one for each of thousands of files.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        from ctypes import CDLL, get_errno

        if CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            raise OSError(get_errno(), os.strerror(get_errno()), folder)
    except (ImportError, AttributeError):  # a libc without it
        os.sync()
    finally:
        os.close(descriptor)
