"""`reconcile adopt`: desired state for what runs by hand, so that a site comes in without a restart."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator

from reconciler.adopt.describe import Described
from reconciler.adopt.found import Source, UnreadableSource
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
        adoption = prepare(agent, this_host(), Target(environment, folder, options.root or ""), source)
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
    width = max((len(one.name) for one in adoption.described), default=0)
    for one in adoption.described:
        sign = paint("=", "green") if one.runs else paint(".", "yellow")
        yield f"  {sign} {one.name:<{width}}  {_fate(one)}"
    taken = sum(one.taken for one in adoption.described)
    yield f"{taken} adopted, {len(adoption.described) - taken} left as `managed: false`."
    warning = paint("warning", "yellow")
    for note in adoption.source.notes:
        yield f"{warning}: {note}"
    if adoption.others:
        more = f"{warning}: git has more services here, which a pass starts: {', '.join(adoption.others)}"
        yield from style().fold(more, indent="    ")
    if f"desired/sites/{agent.site}.yaml" in adoption.layers:
        yield f"{warning}: git has had no site {agent.site}: it is a new one"
    yield from _next(adoption, folder, dry=dry)


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
        yield f"nothing was written; without --dry-run it would be {written}"
        return
    yield f"written in {folder}: {written}"
    for path in adoption.secrets:
        yield f"written for this account alone: {path}"
    yield "next: read and commit that; `reconcile plan` is to find nothing to do then"


def _data(adoption: Adoption, *, dry: bool) -> dict[str, object]:
    return {
        "environment": adoption.environment,
        "root": adoption.root,
        "written": not dry,
        "files": list(adoption.layers),
        "private_files": list(adoption.secrets),
        "others": list(adoption.others),
        "notes": list(adoption.source.notes),
        "services": [
            {
                "service": one.name,
                "unit": one.found.unit,
                "pid": one.found.pid or None,
                "state": one.found.state,
                "managed": one.taken,
                "enabled": one.taken and not one.found.off,
                "why": one.why,
                "notes": list(one.found.notes),
                "kept_out_of_git": list(one.secrets),
            }
            for one in adoption.described
        ],
    }
