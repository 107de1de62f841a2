"""What people do by hand to services of ours, by launcher and install method, and what must come of it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.backends.instances import children
from tests.backends.manager import runs
from tests.launchers import versions
from tests.launchers.bench import Bench
from tests.launchers.matrix import APP, Combination
from tests.scenarios.world import until

ONE = "app-b"  # what hands are laid on


class Drift(NamedTuple):
    """One thing that a person does."""

    name: str
    do: Callable[[Bench], None]
    says: str = ""  # in the reasons of the change, with {unit} and {script}. Empty: there is nothing to mend
    restarts: frozenset[str] = frozenset()  # services that get another process in the pass
    affects: frozenset[str] = frozenset({ONE})  # services that the plan names
    everywhere: bool = False  # with any install method, not only with the one that is the quickest

    def __str__(self) -> str:
        return self.name.replace(" ", "_")


def drifts_of(how: Combination) -> tuple[Drift, ...]:
    """All of a launcher's own where nothing is installed; elsewhere what may depend on how its processes look."""
    found = _COMMON + _BY_LAUNCHER[how.launcher]
    if how.install != "none" and how.launcher != "apptainer":
        found = tuple(drift for drift in found if drift.everywhere)
    if how.is_image:
        found += _IMAGE
    if how.is_instance:
        found += _INSTANCE
    return found + (_VENV if how.install == "venv" else ())


# ---------------------------------------------------------------- files of ours


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def grow_old(bench: Bench) -> None:
    """Until what is done to files from now on is clearly later than the start of all that runs."""
    bench.age()
    _later(bench)


def _edit_shim(bench: Bench) -> None:
    grow_old(bench)
    edit(bench.shim(ONE), "\ncd ", "\numask 077; cd ")


def _edit_shim_and_restart(bench: Bench) -> None:
    """What runs then says of itself that it is what git wants: only the time of the edit tells."""
    edit(bench.shim(ONE), "\ncd ", "\numask 077; cd ")
    _later(bench)
    restart(bench)


def _edit_config(bench: Bench) -> None:
    grow_old(bench)
    edit(bench.world.root / "config/app.conf", "version = ", "version = 0")


def _delete_environment(bench: Bench) -> None:
    grow_old(bench)
    (bench.world.root / f"config/env/{bench.combination.script(ONE)}.env").unlink()


def _later(bench: Bench) -> None:
    """A start that is clearly later than what was done to files before."""
    changed = max(path.stat().st_ctime for path in (bench.shim(ONE), bench.description(ONE)))
    until(lambda: _now(bench) - changed > 1.1)


def _now(bench: Bench) -> float:
    """The file system's clock."""
    probe = bench.world.folder / "now"
    probe.write_text("")
    return probe.stat().st_ctime


_COMMON = (
    Drift("start script edited", _edit_shim, "{script} was edited by hand"),
    Drift(
        "start script edited and run",
        _edit_shim_and_restart,
        "{script} was edited by hand",
        frozenset({ONE}),
        everywhere=True,
    ),
    Drift("config edited", _edit_config, "app.conf was edited by hand", affects=frozenset(APP)),
    Drift("variables deleted", _delete_environment, "was deleted"),
)


# ---------------------------------------------------------------- processes


def stop(bench: Bench) -> None:
    """With the backend's own tool."""
    if bench.combination.launcher == "supervisor":
        bench.world.supervisorctl("stop", ONE)
    elif bench.combination.launcher == "systemd":
        _systemctl(bench, "stop", bench.unit(ONE))
    else:
        bench.as_user("apptainer", "instance", "stop", bench.unit(ONE))
    until(lambda: ONE not in bench.pids())


def restart(bench: Bench) -> None:
    """With the backend's own tool; of an instance, the start script is run by hand."""
    before = bench.pid(ONE)
    if bench.combination.launcher == "supervisor":
        bench.world.supervisorctl("restart", ONE)
    elif bench.combination.launcher == "systemd":
        _systemctl(bench, "restart", bench.unit(ONE))
    else:
        stop(bench)
        bench.as_user(str(bench.shim(ONE)))
    _await_another(bench, before)


def _await_another(bench: Bench, before: int) -> None:
    until(lambda: bench.pids().get(ONE, before) != before and bench.is_up(ONE))


def _kill(bench: Bench) -> None:
    """Whoever keeps it starts it again."""
    before = bench.pid(ONE)
    os.kill(before, signal.SIGKILL)
    _await_another(bench, before)


def _kill_for_good(bench: Bench) -> None:
    """Nobody keeps it but the loop."""
    pid = bench.pid(ONE)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not runs(pid) and not bench.record(bench.combination.script(ONE)).exists())


# ---------------------------------------------------------------- supervisor


def _edit_stanza(bench: Bench) -> None:
    grow_old(bench)
    edit(bench.description(ONE), "stopwaitsecs=10", "stopwaitsecs=44")


def _edit_stanza_and_reread(bench: Bench) -> None:
    """It then reports the file's options for the old process."""
    _edit_stanza(bench)
    bench.world.supervisorctl("reread")


def _edit_stanza_and_update(bench: Bench) -> None:
    """It does not start by itself; somebody does that too."""
    _edit_stanza(bench)
    _later(bench)
    before = bench.pid(ONE)
    bench.world.supervisorctl("update", ONE)
    bench.world.supervisorctl("start", ONE)
    _await_another(bench, before)


def _take_away(bench: Bench) -> None:
    bench.world.supervisorctl("stop", ONE)
    bench.world.supervisorctl("remove", ONE)


def _delete_description(bench: Bench) -> None:
    grow_old(bench)
    bench.description(ONE).unlink()


_SUPERVISOR = (
    Drift("stopped", stop, "was stopped by hand", everywhere=True),
    Drift("killed", _kill, everywhere=True),
    Drift("stanza edited", _edit_stanza, "{unit}.conf was edited by hand"),
    Drift("stanza edited and read", _edit_stanza_and_reread, "{unit}.conf was edited by hand"),
    Drift(
        "stanza edited and used",
        _edit_stanza_and_update,
        "{unit}.conf was edited by hand",
        frozenset({ONE}),
        everywhere=True,
    ),
    Drift("stanza deleted", _delete_description, "was deleted"),
    Drift("taken away", _take_away, "is gone from supervisor"),
)


# ---------------------------------------------------------------- systemd


def _systemctl(bench: Bench, *words: str) -> str:
    assert bench.world.manager
    return bench.world.manager.systemctl(*words)


def _edit_unit(bench: Bench) -> None:
    grow_old(bench)
    edit(bench.description(ONE), "Restart=always", "Restart=no")


def _edit_unit_and_reload(bench: Bench) -> None:
    _edit_unit(bench)
    _systemctl(bench, "daemon-reload")


def _edit_unit_and_restart(bench: Bench) -> None:
    edit(bench.description(ONE), "[Service]", "[Service]\nEnvironment=LATE=1")
    _later(bench)
    _systemctl(bench, "daemon-reload")
    restart(bench)


def _put_older_back(bench: Bench) -> None:
    """systemd goes by the edited file, and says that there is nothing to read."""
    grow_old(bench)
    path = bench.description(ONE)
    right, times = path.read_text(), path.stat()
    _edit_unit_and_reload(bench)
    path.write_text(right)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert _show(bench, "Restart", "NeedDaemonReload") == {"Restart": "no", "NeedDaemonReload": "no"}


def _drop_in(bench: Bench) -> None:
    """As `systemctl --user edit` writes it, before it has systemd read it."""
    folder = bench.world.account.folder(bench.units / f"{bench.unit(ONE)}.d")
    (folder / "override.conf").write_text("[Service]\nEnvironment=LATE=1\n")
    bench.world.account.own(folder / "override.conf")


def _drop_in_and_reload(bench: Bench) -> None:
    _drop_in(bench)
    _systemctl(bench, "daemon-reload")


def _disable(bench: Bench) -> None:
    _systemctl(bench, "disable", bench.unit(ONE))


def _mask(bench: Bench) -> None:
    """In the runtime folder: where the unit's own file is, `mask` refuses."""
    _systemctl(bench, "mask", "--runtime", bench.unit(ONE))


def _mask_in_its_place(bench: Bench) -> None:
    """What `mask` would do if the unit's file were not in its way."""
    _delete_description(bench)
    _systemctl(bench, "mask", bench.unit(ONE))
    assert bench.description(ONE).is_symlink()


def _stop_and_mask(bench: Bench) -> None:
    stop(bench)
    _mask(bench)


def _show(bench: Bench, *properties: str) -> dict[str, str]:
    assert bench.world.manager
    return bench.world.manager.show(bench.unit(ONE), *properties)


_ONE = frozenset({ONE})
_SYSTEMD = (
    Drift("stopped", stop, "was stopped by hand", everywhere=True),
    Drift("killed", _kill, everywhere=True),
    Drift("unit edited", _edit_unit, "{unit} was edited by hand"),
    Drift("unit edited and read", _edit_unit_and_reload, "{unit} was edited by hand"),
    Drift("unit edited and used", _edit_unit_and_restart, "{unit} was edited by hand", _ONE, everywhere=True),
    Drift("unit deleted", _delete_description, "was deleted"),
    Drift("older unit put back", _put_older_back, "is known to systemd with another Restart than its unit file has"),
    Drift("drop-in", _drop_in, "beside it, which systemd would read next"),
    Drift("drop-in read", _drop_in_and_reload, "has the drop-in", _ONE, everywhere=True),
    Drift("disabled", _disable, "is not enabled: it would not start at boot", everywhere=True),
    Drift("masked", _mask, "beside it", everywhere=True),
    Drift("stopped and masked", _stop_and_mask, "was stopped by hand", everywhere=True),
    Drift("mask in its place", _mask_in_its_place, "{unit}"),
)


# ---------------------------------------------------------------- instances


def _empty(bench: Bench) -> None:
    """The service inside ends, and its instance stays."""
    (inside,) = children(bench.pid(ONE))
    os.kill(inside, signal.SIGKILL)


def _empty_for_good(bench: Bench) -> None:
    pid = bench.pid(ONE)
    _empty(bench)
    until(lambda: not children(pid))


def _delete_record(bench: Bench) -> None:
    """Apptainer itself knows the instance no more; it runs on."""
    shutil.rmtree(bench.record(bench.combination.script(ONE)).parent)


def _truncate_record(bench: Bench) -> None:
    path = bench.record(bench.combination.script(ONE))
    bench.world.account.folder(path.parent, 0o700)
    path.write_text("")
    bench.world.account.own(path)


_APPTAINER = (
    Drift("stopped", stop, "is gone from apptainer", everywhere=True),
    Drift("killed", _kill_for_good, "is gone from apptainer", everywhere=True),
    Drift("emptied", _empty_for_good, "has ended"),
)
_INSTANCE = (
    Drift("record deleted", _delete_record),
    Drift("record truncated", _truncate_record),
)


# ---------------------------------------------------------------- what was installed


def _image(bench: Bench, component: str = "app") -> Path:
    return bench.world.root / f"images/{component}-{bench.version(component)}.sif"


def _replace_image(bench: Bench) -> None:
    """Another one under the same name; what runs goes on from the old file. Git says what the image must be."""
    other = versions.make(bench.world, bench.combination.install, "app", "other", says="6.6.6")
    other.rename(_image(bench))


def _replace_image_and_restart(bench: Bench) -> None:
    _replace_image(bench)
    restart(bench)
    assert versions.served(bench.pid(ONE)) == "6.6.6"


def _replace_image_that_git_does_not_know(bench: Bench) -> None:
    """Git does not say what it must be: then whoever puts it there does."""
    other = versions.make(bench.world, bench.combination.install, "tool", "other", says="1.0")
    other.rename(_image(bench, "tool"))


def _delete_image(bench: Bench) -> None:
    _image(bench).unlink()


def _delete_venv(bench: Bench) -> None:
    (folder,) = (bench.world.root / "venvs/.store").glob(f"app-{bench.app}-*")
    shutil.rmtree(folder)


_APP, _TOOL = frozenset(APP), frozenset({"tool-a", "tool-b"})
_IMAGE = (
    Drift("image replaced", _replace_image, "app-", _APP, _APP),
    Drift("image replaced and used", _replace_image_and_restart, "app-", _APP, _APP),
    Drift("image of no known content replaced", _replace_image_that_git_does_not_know, "tool-", _TOOL, _TOOL),
    Drift("image deleted", _delete_image, "is gone", _APP, _APP),
)
_VENV = (Drift("venv deleted", _delete_venv, "is gone: it is built again", affects=_APP),)
_BY_LAUNCHER = {"supervisor": _SUPERVISOR, "systemd": _SYSTEMD, "apptainer": _APPTAINER}
