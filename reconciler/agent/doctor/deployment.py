"""What one deployment needs of this host."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from reconciler.agent.observe import Observation
from reconciler.apply import places, ports
from reconciler.apply.needs import TOOLS, missing_tools, open_folders
from reconciler.apply.preflight import Asked, find_program
from reconciler.core.checked import Checked, error, ok, warning
from reconciler.core.desired import Compiled, Deployment, Field, Install
from reconciler.core.inventory import Inventory
from reconciler.core.observed import Observed
from reconciler.host import proc
from reconciler.install import method

_OTHERS = 0o007


def examine(compiled: Compiled, inventory: Inventory, damage: str, home: str) -> Iterator[Checked]:
    """Nothing is changed. The launchers are asked as a pass asks them."""
    desired = compiled.deployment
    where = desired.environment
    yield from places.writable(where, [desired.root, *(folder for folder, _ in desired.folders)])
    yield from places.room(where, desired.root)
    yield from _tools(desired)
    observation = Observation(desired, inventory, damage)
    try:
        observed = observation.finish()
    finally:
        observation.close()
    yield from _seen(desired, observed)
    yield from _programs(desired, observed)
    yield from ports.check(where, desired.id, ports.wanted(compiled.fields, desired.services), set(observed.processes))
    yield from _secrets(desired)
    yield from _twice(desired)
    yield from _stale_instances(where, compiled.fields, home)


def _tools(desired: Deployment) -> Iterator[Checked]:
    used = sorted({service.launcher for service in desired.services})
    missing = [(one, tool) for one in used for tool in missing_tools(one)]
    for launcher, tool in missing:
        mend = f"have it on the PATH of the pass ({os.environ.get('PATH', '')}), also from cron"
        yield error(desired.environment, "tools", f"launcher {launcher} needs {tool}, which is not found", mend)
    if used and not missing:
        needed = [tool for one in used for tool in TOOLS.get(one, ())]
        yield ok(desired.environment, "tools", f"{', '.join(used)}: {', '.join(needed) or 'none needed'}")


def _seen(desired: Deployment, observed: Observed) -> Iterator[Checked]:
    """What keeps a pass from seeing, what is wrong already, and what will go wrong one day, such as lingering."""
    where = desired.environment
    for gap in (gap for gap in observed.gaps if gap not in desired.gaps):  # those have been told
        yield error(where, gap.scope, gap.message, "until it can be seen, nothing that depends on it is touched")
    for finding in observed.findings:
        yield error(where, "finding", f"{finding.name}: {finding.message}")
    for told in observed.warnings:
        yield warning(where, "launcher", told)
    if not (observed.gaps or observed.warnings):
        names = ", ".join(manager.launcher for manager in desired.managers)
        yield ok(where, "launcher", f"{names or 'none'}: can be asked")


def _programs(desired: Deployment, observed: Observed) -> Iterator[Checked]:
    """Each prologue goes well, and each command is found. What is not installed yet has none to be found."""
    where, asked = desired.environment, Asked()
    installs = {install.id: install for install in desired.installs}
    due = {name for name, one in installs.items() if observed.installs.get(name) is False}
    building = {name: _builder(desired, installs[name], asked) for name in sorted(due)}
    bad = [(f"to build {name}", missing) for name, missing in building.items() if missing]
    for service in desired.services:
        install = installs.get(service.install)
        built = install is None or install.id not in due or method(install.method).is_image
        missing = find_program(service if built else service._replace(program=""), install, desired.root, asked)
        bad += [(service.name, missing)] if missing else []
    for message, mend in dict.fromkeys(missing for _, missing in bad):
        names = ", ".join(name for name, missing in bad if missing == (message, mend))
        yield error(where, "command", f"{names}: {message}", mend)
    if desired.services and not bad:
        still = f"; still to be installed: {', '.join(sorted(due))}" if due else ""
        yield ok(where, "command", f"{_services(len(desired.services))}: prologue and command{still}")


def _services(count: int) -> str:
    return f"{count} service{'s' * (count != 1)}"


def _builder(desired: Deployment, install: Install, asked: Asked) -> tuple[str, str] | None:
    """What is missing for a build. A shell is asked as for a service with the same prologue."""
    service = next(one for one in desired.services if one.install == install.id)
    builds = service._replace(program=install.tool, prologue=install.prologue)
    return find_program(builds, None, desired.root, asked)


def _secrets(desired: Deployment) -> Iterator[Checked]:
    """Files with a secret in them, as they stand: a password that others could read was perhaps read."""
    where, seen, bad = desired.environment, 0, False
    for message, mend in open_folders(desired.files):
        bad = True
        yield error(where, "secrets", message, mend)
    for file in desired.files:
        try:
            mode = os.stat(file.path).st_mode & 0o7777 if file.secret else None
        except OSError:
            continue  # not there yet, or told of as a gap
        if mode is None:
            continue
        seen += 1
        if mode & _OTHERS:
            bad = True
            message = f"{file.path} has mode {mode:04o}, and holds a secret"
            yield error(where, "secrets", message, f"chmod {file.mode:o} {file.path}; then have the secret changed")
    if seen and not bad:
        yield ok(where, "secrets", f"{seen} files with a secret, none that others can read")


def _twice(desired: Deployment) -> Iterator[Checked]:
    """Main processes of one service that run side by side: left over, or started twice."""
    found: dict[str, list[int]] = {}
    for pid, process in sorted(proc.scan(desired.id)[0].items()):
        if process.mark is not None and process.mark.service and process.mark.root == desired.root:
            found.setdefault(process.mark.service, []).append(pid)
    several = {name: pids for name, pids in found.items() if len(pids) > 1}
    for name, pids in sorted(several.items()):
        message = f"{name} runs {len(pids)} times: pids {', '.join(map(str, pids))}"
        yield error(desired.environment, "twice", message, "a pass ends those that no launcher keeps: `reconcile plan`")
    if found and not several:
        told = "1 service runs, once" if len(found) == 1 else f"{len(found)} services run, each of them once"
        yield ok(desired.environment, "twice", told)


def _stale_instances(where: str, fields: Mapping[str, Mapping[str, Field]], home: str) -> Iterator[Checked]:
    """Records of Apptainer's behind which nothing stands any more."""
    from reconciler.launchers.apptainer.records import Stand, read

    stale, seen = [], 0
    for own in fields.values():
        mode, name = own.get("container.mode"), own.get("container.instance")
        if mode is None or name is None or mode.value != "instance":
            continue
        folder = own["container.configdir"].value if "container.configdir" in own else f"{home}/.apptainer"
        seen += 1
        try:
            record = read(str(folder), str(name.value))
        except OSError as failed:
            yield error(where, "instances", f"{failed.filename or folder}: {failed.strerror or failed}")
            continue
        stale += [str(name.value)] if record.stand in (Stand.STALE, Stand.BROKEN) else []
    for one in stale:
        yield warning(where, "instances", f"the record of instance {one} is stale", "the next start takes it away")
    if seen and not stale:
        yield ok(where, "instances", f"{seen} wanted, no stale record")
