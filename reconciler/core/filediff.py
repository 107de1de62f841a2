"""Files: which do not stand as git wants them, and which are ours and no longer wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.core.change import Change, FileChange, Hold, Kind
from reconciler.core.desired import File, Manager, Role
from reconciler.core.observed import FileState
from reconciler.core.view import View


def diff_files(view: View) -> tuple[FileChange, ...]:
    """Every file whose content or mode is not the wanted one. One that cannot be read is a gap, and left."""
    found = (
        _diff_file(file, view.observed.files[file.path], view.inventory.files.get(file.path, ""))
        for file in sorted(view.desired.files, key=_path)
        if file.path in view.observed.files
    )
    return tuple(change for change in found if change is not None)


def _path(file: File) -> str:
    return file.path


def _diff_file(file: File, before: FileState, written: str) -> FileChange | None:
    """`written` is the digest of what an earlier pass wrote there, empty if none did."""
    name = file.name or file.path.rpartition("/")[2]
    if before.digest == file.digest:
        if before.mode == file.mode:
            return None
        return FileChange(file, before, f"{name} has mode {before.mode:04o}, not {file.mode:04o}", by_hand=True)
    if not before.digest:
        return FileChange(file, before, f"{name} was deleted" if written else f"{name} is new", by_hand=bool(written))
    if written == file.digest or (written and written != before.digest):
        return FileChange(file, before, f"{name} was edited by hand", by_hand=True)
    if not written and file.role is not Role.CONFIG:  # a generated file says itself whose it is
        return FileChange(file, before, f"{name} changes", by_hand=False, foreign=True)
    if not written:
        why = f"{name} takes the place of a file that is not ours, which is kept as {name}.orig"
        return FileChange(file, before, why, by_hand=False, foreign=True)
    return FileChange(file, before, f"{name} changes", by_hand=False)


def files_by_service(files: Sequence[FileChange]) -> Mapping[str, tuple[FileChange, ...]]:
    found: dict[str, list[FileChange]] = {}
    for change in files:
        for service in change.file.services:
            found.setdefault(service, []).append(change)
    return {service: tuple(changes) for service, changes in found.items()}


def writable(files: Sequence[FileChange], changes: Sequence[Change]) -> tuple[FileChange, ...]:
    """All but those of blocked services alone: such a service must come back as it was if it dies meanwhile."""
    blocked = {change.service for change in changes if change.is_put_off}
    return tuple(
        change
        for change in files
        if not change.file.services or any(name not in blocked for name in change.file.services)
    )


def stale_files(view: View, changes: Sequence[Change], kept_daemons: Sequence[Manager]) -> tuple[str, ...]:
    """Files of ours that git no longer wants, as they were written, while nothing that is blocked may need them.

    One that somebody has edited since is his by now: it is left, and forgotten. `kept_daemons` go on without
    being wanted, because somebody else's programs are in them.
    """
    wanted = {file.path for file in view.desired.files}
    claimed = {path: unit for unit, path in view.observed.claimed.items()}
    blocked = any(
        change.kind is Kind.BLOCKED and (change.held or change.service in view.inventory.services) for change in changes
    )
    if blocked or view.blind or view.forgetful:
        # Which of them the blocked services still read is not known, but for the descriptions of units that go.
        # Those would be taken for units of ours again in every pass.
        going = {old.unit for change in changes if change.kind is not Kind.BLOCKED for old in change.gone}
        going |= {change.unit for change in changes if _would_start(view, change)}
        return tuple(sorted(path for path in claimed.keys() - wanted if claimed[path] in going and stands(view, path)))
    kept = {path for daemon in kept_daemons for path in dict(daemon.address).values()}
    ours = {path for path, written in view.inventory.files.items() if written and stands(view, path) == written}
    ours |= {path for path in (*claimed, *view.observed.remains) if stands(view, path)}
    return tuple(sorted(ours - wanted - kept - view.others_files() - view.observed.copies.keys()))


def _would_start(view: View, change: Change) -> bool:
    """Its removal waits for its launcher, which would start it first by the description that is there."""
    return change.held is Hold.QUEUE and change.service not in view.services


def stands(view: View, path: str) -> str:
    """The digest of what is there now; empty for nothing, or what cannot be read."""
    state = view.observed.files.get(path)
    return state.digest if state is not None else ""
