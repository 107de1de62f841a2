"""What systemd goes by where that is not what the unit file on disk says: hand changes around a unit. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from reconciler.core.observed import Drift
from reconciler.launchers.systemd import unit_file
from reconciler.launchers.systemd.folder import OwnFile
from reconciler.launchers.systemd.show import Block

# Options of `[Service]`, and what a process is not started by.
_STARTED_BY = ("ExecStart", "ExecStartPre", "ExecStartPost", "Environment", "EnvironmentFiles")
_KEPT_BY = ("Type", "Restart", "KillMode", "KillSignal", "TimeoutStopUSec")

_PLAIN = str.maketrans("", "", "\"'\\")


class Around(NamedTuple):
    """What stands around a unit on disk."""

    file: OwnFile | None
    laid: Sequence[str]  # drop-ins and masks
    folders: Sequence[str]  # that people write to
    is_enabled: bool


def drift(block: Block, around: Around) -> Iterator[Drift]:
    """Everything that was changed by hand about a unit of ours."""
    file, fragment = around.file, block.get("FragmentPath", "")
    if block.get("LoadState") == "masked":
        yield Drift("is masked")
    elif file is not None and fragment not in ("", file.path):
        yield Drift(f"is not started by its unit file but by {fragment}", restarts=True)
    known = list(drop_ins(block, around.folders))
    for path in known:
        yield Drift(f"has the drop-in {path}", restarts=True)
    unread = [path for path in around.laid if path not in known and path != fragment]
    for path in unread:
        yield Drift(f"has {path} beside it, which systemd would read next")
    if not unread:
        yield from _other_content(block, file)
    if file is not None and not around.is_enabled:
        yield Drift("is not enabled: it would not start at boot")


def _other_content(block: Block, file: OwnFile | None) -> Iterator[Drift]:
    changed = block.get("NeedDaemonReload") == "yes"
    if file is not None and block.get("FragmentPath") == file.path and (changed or file.was_put_back):
        others = differences(block, file.text)
        if others:
            message = f"is known to systemd with another {others[0]} than its unit file has"
            yield Drift(message, restarts=any(key in _STARTED_BY for key in others))
            return
    if changed:
        yield Drift("has files that systemd has not read since they were changed")


def drop_ins(block: Block, folders: Sequence[str]) -> Iterator[str]:
    """The drop-ins of this very unit that systemd has read, of those in these folders."""
    listed = block.get("DropInPaths", "")
    for folder in folders:
        beginning = f"{folder}/{block['Id']}.d/"
        for rest in listed.split(beginning)[1:]:
            yield beginning + rest[: rest.find(".conf")] + ".conf"


def differences(block: Block, text: str) -> list[str]:
    """The options of `[Service]` that systemd goes by otherwise than the file says, those that start it first.

    Of what hand changes are made to; systemd does not tell all options as they are written. Where a drop-in stands
    beside it, such as a distribution's for all services, only what no such one changes can be compared.
    """
    service = unit_file.read(text).get("Service", {})
    wanted = {key: service.get(key, "") for key in (*_STARTED_BY, *_KEPT_BY)}
    wanted["KillSignal"] = _signal(service.get("KillSignal", ""))
    wanted["TimeoutStopUSec"] = _span(service.get("TimeoutStopSec", ""))
    for key in ("ExecStart", "Environment"):
        wanted[key] = unit_file.unescape(wanted[key])
    found = {key: block.get(key, "") for key in wanted}
    found["ExecStart"] = _arguments(found["ExecStart"])
    if block.get("DropInPaths"):
        wanted = {key: wanted[key] for key in ("ExecStart", "Environment")}
    return [key for key in wanted if not _is_as_wanted(key, _plain(found[key]), _plain(wanted[key]), block)]


def _is_as_wanted(key: str, found: str, wanted: str, block: Block) -> bool:
    """What a drop-in adds to the environment stands behind."""
    return found == wanted or (key == "Environment" and bool(block.get("DropInPaths")) and found.startswith(wanted))


def _plain(text: str) -> str:
    """Without quoting, which differs between versions of systemctl."""
    return text.translate(_PLAIN)


def _arguments(printed: str) -> str:
    """The command of `{ path=/a ; argv[]=/a b ; ignore_errors=no ; ...}`; all of it where there are several."""
    begin, end = printed.find("argv[]="), printed.rfind(" ; ignore_errors=no ; ")
    several = printed.count("argv[]=") > 1
    return printed if several or begin < 0 or end < 0 else printed[begin + len("argv[]=") : end]


def _signal(name: str) -> str:
    import signal

    return str(int(getattr(signal, name, 0)))


def _span(seconds: str) -> str:
    """Seconds as systemctl prints a span of time."""
    if not seconds.isdecimal():
        return seconds
    left, words = int(seconds), []
    for unit, size in (("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        words += [f"{count}{unit}"] if count else []
    return " ".join(words) or "0"
