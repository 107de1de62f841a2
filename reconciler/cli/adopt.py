"""`reconcile adopt`: desired state for what runs by hand, so that a site comes in without a restart."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Iterator, Sequence

from reconciler.adopt.describe import VERSION, Described
from reconciler.adopt.found import Source, UnreadableSource
from reconciler.adopt.matching import Differing, Fate, Matched, Wishes
from reconciler.agent.adopting import Adoption, Target, prepare, write
from reconciler.agent.config import Agent, InvalidInput
from reconciler.agent.here import this_host
from reconciler.cli.options import agent_of
from reconciler.cli.terminal import print_json, style
from reconciler.core.problem import Origin, Problem
from reconciler.desired import UnreadableFolder
from reconciler.source import is_local


def adopt(options: Namespace) -> int:
    """Exit status 0: it is written, or with --dry-run could be."""
    agent = agent_of(options, needs=("site",))
    environment = _environment(agent)
    folder = _folder(agent, options.out)
    try:
        source = _source(options)
        wishes = Wishes(_names(options.names or ()), Differing(options.differing))
        adoption = prepare(agent, this_host(), Target(environment, folder, options.root or ""), source, wishes)
    except UnreadableSource as error:
        raise InvalidInput([Problem(Origin(error.place, 0, 0), error.message, error.hint)]) from error
    except UnreadableFolder as error:
        raise InvalidInput(error.problems) from error
    if not options.dry_run:
        write(agent, adoption, folder)
    if hasattr(options, "json"):
        print_json(_data(adoption, dry=options.dry_run))
    else:
        print("\n".join(_text(agent, adoption, folder, dry=options.dry_run)))
    return 0


def _source(options: Namespace) -> Source:
    """Raises `UnreadableSource`, `InvalidInput`."""
    if options.kind == "supervisor":
        from reconciler.adopt.supervisord import read, select

        if not options.what:
            hint = "`reconcile adopt supervisor /etc/supervisord.conf`; names of programs after it choose among them"
            raise InvalidInput([Problem(Origin("CONF", 0, 0), "which supervisord?", hint)])
        return select(read(options.what[0]), options.what[1:])
    from reconciler.adopt.units import read as read_units

    if not options.what:
        hint = "`systemctl --user list-units --type=service` names them"
        raise InvalidInput([Problem(Origin("UNIT", 0, 0), "which units of `systemctl --user`?", hint)])
    return read_units(options.what)


def _names(given: Sequence[str]) -> dict[str, str]:
    """By program, the service. Raises `InvalidInput`."""
    found: dict[str, str] = {}
    for pair in given:
        program, _, service = pair.rpartition("=")
        against = "" if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", service) and program else "is no PROGRAM=SERVICE"
        against = against or ("names that program once more" if found.get(program, service) != service else "")
        if against:
            hint = "such as `--as jaws-site-rpc=rpc-server`"
            raise InvalidInput([Problem(Origin(f"--as {pair}", 0, 0), against, hint)])
        found[program] = service
    return found


def _environment(agent: Agent) -> str:
    if len(agent.environments) == 1:
        return agent.environments[0]
    hint = "say it with --environment"
    raise InvalidInput([Problem(Origin("--environment", 0, 0), f"which environment of {agent.site} is it?", hint)])


def _folder(agent: Agent, out: str | None) -> str:
    """The work tree that it is written to. Nothing is written to a bare repo, nor to one elsewhere."""
    place = out or is_local(agent.repo)
    if place and (os.path.isdir(place) if out else os.path.exists(os.path.join(place, ".git"))):
        return place
    hint = "say with --out FOLDER where a work tree of it is, such as a clone"
    raise InvalidInput([Problem(Origin("--out", 0, 0), "into which work tree of the desired-state repo?", hint)])


# ---------------------------------------------------------------- what is told


def _text(agent: Agent, adoption: Adoption, folder: str, *, dry: bool) -> Iterator[str]:
    paint = style().paint
    if dry:
        for path, text in adoption.layers.items():
            yield paint(f"--- {path}", "bold")
            yield text
    yield f"{agent.site} {adoption.environment}: {adoption.source.place}"
    names = [*(one.name for one in adoption.described), *(one.service for one in adoption.matched)]
    width = max(map(len, names), default=0)
    for match in adoption.matched:
        sign = paint("=", "green") if match.fate in (Fate.SAME, Fate.ADOPTED) else paint("!", "yellow")
        yield f"  {sign} {match.service:<{width}}  {_told(match)}"
        yield from (line for why in match.differs for line in style().fold(f"      {why}", indent="        "))
    for component, version in adoption.versions.items():
        yield f"  {paint('!', 'yellow')} {component}: git is made to want {version}, which runs"
    for one in adoption.described:
        sign = paint("+", "green") if one.runs else paint(".", "yellow")
        yield f"  {sign} {one.name:<{width}}  {_fate(one)}"
    yield from _counts(adoption)
    warning = paint("warning", "yellow")
    for note in adoption.source.notes:
        yield f"{warning}: {note}"
    yield from _others(adoption, warning)
    if f"desired/sites/{agent.site}.yaml" in adoption.layers:
        yield f"{warning}: git has had no site {agent.site}: it is a new one"
    yield from _next(adoption, folder, dry=dry)


_SAID = {
    Fate.SAME: "runs as git says",
    Fate.ADOPTED: "was adopted before",
    Fate.WAITS: "waits: goes on as it runs, and restarts as git says only once that is approved",
    Fate.KEPT: "kept: goes on as it runs, until git says something new of it; then it is as git says in all",
    Fate.WRITTEN: "written: git says what runs, and a bump of the component it was of does not move it",
}


def _told(match: Matched) -> str:
    if match.fate is Fate.DOWN:
        return f"{match.found.unit}, {match.why}: a pass starts the one of git"
    if match.fate is Fate.ALONE:
        return f"{match.found.unit}, left alone: {match.why}"
    why = f" ({match.why})" if match.why else ""
    return f"{match.found.unit}, pid {match.found.pid}, {_SAID[match.fate]}{why}" if match.found.pid else match.why


def _counts(adoption: Adoption) -> Iterator[str]:
    taken = sum(one.taken for one in adoption.described)
    ours = [one for one in adoption.matched if one.fate not in (Fate.ALONE, Fate.DOWN)]
    left = len(adoption.described) - taken
    told = [f"{taken + len(ours)} adopted"]
    told += [f"{left} left as `managed: false`"] if left else []
    for fate, text in ((Fate.WAITS, "to be decided on"), (Fate.DOWN, "down"), (Fate.ALONE, "left alone")):
        count = sum(one.fate is fate for one in adoption.matched)
        told += [f"{count} {text}"] if count else []
    yield ", ".join(told) + "."


def _others(adoption: Adoption, warning: str) -> Iterator[str]:
    """Services of git that nothing here was said of."""
    for name, pid in adoption.others.items():
        if pid:
            more = f"{name} of git seems to run by hand as pid {pid}: adopt that too; no pass starts a second one"
            yield from style().fold(f"{warning}: {more}", indent="    ")
    missing = [name for name, pid in adoption.others.items() if not pid]
    if missing:
        more = f"{warning}: git has more services here, which a pass starts: {', '.join(missing)}"
        yield from style().fold(more, indent="    ")


def _fate(one: Described) -> str:
    if not one.taken:
        return f"not managed: {one.why}"
    secrets = f"; kept out of git: {', '.join(one.secrets)}" if one.secrets else ""
    if one.why:
        return f"enabled: false, {one.why}{secrets}"
    return f"{one.found.unit}, pid {one.found.pid}{secrets}"


def _next(adoption: Adoption, folder: str, *, dry: bool) -> Iterator[str]:
    written = ", ".join(adoption.layers)
    if dry:
        yield f"nothing was written; without --dry-run it would be {written or 'a note on this host'}"
        return
    if written:
        yield f"written in {folder}: {written}"
    for path in adoption.secrets:
        yield f"written for this account alone: {path}"
    first = "read and commit that; then `reconcile plan`" if written else "`reconcile plan`"
    waits = any(one.fate is Fate.WAITS for one in adoption.matched)
    starts = bool(adoption.others) or any(one.fate is Fate.DOWN for one in adoption.matched)
    tells = "tells what is to restart, and `reconcile approve` has it done" if waits else "is to find nothing to do"
    yield f"next: {first} {'tells what is to start' if starts and not waits else tells}"
    if waits:
        yield f"or: {ways_on(adoption.matched)}"


def ways_on(matched: Sequence[Matched]) -> str:
    """How what waits goes on without a restart. What was to be written and waits cannot be."""
    keep = "adopt again with `--differing keep`, and they go on as they run"
    written = any(one.fate is Fate.WAITS and one.why for one in matched)
    return keep if written else f"{keep}; with `--differing write`, git is made to say what runs"


def _data(adoption: Adoption, *, dry: bool) -> dict[str, object]:
    return {
        "environment": adoption.environment,
        "root": adoption.root,
        "written": not dry,
        "files": list(adoption.layers),
        "versions": dict(adoption.versions),
        "private_files": list(adoption.secrets),
        "others": list(adoption.others),
        "second_ones": {name: pid for name, pid in adoption.others.items() if pid},
        "notes": list(adoption.source.notes),
        "services": [
            *map(_match_data, adoption.matched),
            *map(_described_data, adoption.described),
        ],
    }


def _match_data(one: Matched) -> dict[str, object]:
    return {
        "service": one.service,
        "unit": one.found.unit,
        "pid": one.found.pid or None,
        "state": one.found.state,
        "managed": one.fate is not Fate.ALONE,
        "enabled": one.fate is not Fate.ALONE,
        "why": one.why,
        "fate": one.fate.value,
        "differs": list(one.differs),
        "version": one.version,
        "notes": list(one.found.notes),
        "kept_out_of_git": [],
    }


def _described_data(one: Described) -> dict[str, object]:
    return {

        "service": one.name,
        "unit": one.found.unit,
        "pid": one.found.pid or None,
        "state": one.found.state,
        "managed": one.taken,
        "enabled": one.taken and not one.found.off,
        "why": one.why,
        "fate": "new",
        "differs": [],
        "version": VERSION,
        "notes": list(one.found.notes),
        "kept_out_of_git": list(one.secrets),
    }
