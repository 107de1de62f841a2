"""`reconcile schedule`: has `reconcile --once` run every few minutes, tells whether that still stands, ends it."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Any

from reconciler.agent.config import Agent, InvalidInput, Options, find_config, flag, load_agent, seconds
from reconciler.agent.here import this_host
from reconciler.agent.memory.store import Store
from reconciler.cli.options import agent_of, given
from reconciler.cli.terminal import print_json, style
from reconciler.core.problem import Origin, Problem
from reconciler.host.run import CommandFailed, run
from reconciler.schedule import times
from reconciler.schedule.base import ScheduleError, UnfitError
from reconciler.schedule.installation import Installed, Request, Standing, install, remove, status
from reconciler.schedule.record import Record, command
from reconciler.source.address import take_apart

_NEVER, _FALLEN = 2, 1
_BARE = {"PATH": "/usr/bin:/bin"}  # what a job of Slurm begins with is not even that


def schedule(options: Namespace) -> int:
    """Exit status of `status`: 0 where it stands, 1 where it does not, 2 where none was ever installed."""
    agent = agent_of(options)
    request, path = _request(agent, options), Store(agent.state_dir, agent.site).schedule_path()
    try:
        if options.action == "install":
            _try_out(request.argv)
            return _tell_installed(install(path, request), options)
        if options.action == "remove":
            return _tell_removed(remove(path, request), options)
        return _tell_standing(status(path, request), request, options)
    except UnfitError as error:
        raise InvalidInput([Problem(Origin("schedule", 0, 0), str(error))]) from error
    except ScheduleError as error:
        _say(str(error))
        return _FALLEN


# ---------------------------------------------------------------- what is wanted


def _request(agent: Agent, options: Namespace) -> Request:
    host, account = this_host(), this_host().account
    config = find_config(given(options), os.environ)
    return Request(
        site=agent.site,
        state_dir=agent.state_dir,
        argv=(*_program(), "--once", *_options(agent, given(options), config)),
        config=os.path.abspath(config) if config else "",
        units=os.path.join(host.home, ".config/systemd/user"),
        host=host.name,
        account=account,
        log=os.path.join(agent.state_dir, agent.site, "schedule.log"),
        usual_minutes=_usual_minutes(agent),
        kind=options.kind,
        minutes=_minutes(options.every) if options.every else None,
        options=tuple(filter(None, options.scron)) if options.scron is not None else None,
    )


def _usual_minutes(agent: Agent) -> int:
    """The agent's interval, or the next longer one that can be scheduled."""
    return next((each for each in times.INTERVALS if each * 60 >= agent.interval), times.INTERVALS[-1])


def _minutes(text: str) -> int:
    """Raises `InvalidInput`."""
    found = seconds(text)
    if found is not None and found / 60 in times.INTERVALS:
        return int(found / 60)
    hint = "one of " + ", ".join(map(times.spelled, times.INTERVALS))
    problem = f"`{text}` does not divide an hour or a day into whole minutes"
    raise InvalidInput([Problem(Origin("--every", 0, 0), problem, hint)])


def _program() -> tuple[str, ...]:
    """This very program, by a path that holds from any folder."""
    called = sys.argv[0]
    path = os.path.abspath(called) if os.sep in called else _found(called)
    if os.path.basename(path) == "__main__.py" or not os.access(path, os.X_OK):
        return sys.executable, "-m", "reconciler"
    return (path,)


def _found(name: str) -> str:
    from shutil import which

    return os.path.abspath(which(name) or name)


def _options(agent: Agent, said: Options, config: str) -> Iterator[str]:
    """The same agent, from wherever and with whatever environment it is called. Raises `InvalidInput`."""
    if config:
        yield from ("--config", os.path.abspath(config))
    if take_apart(said.repo).secrets:
        hint = "write `repo` into the agent's file"
        raise InvalidInput([Problem(Origin("--repo", 0, 0), "a login would stand in the process list", hint)])
    for key in ("repo", "branch", "site", "timeout", "max_staleness"):
        if getattr(said, key):
            yield from (flag(key), agent.repo if key == "repo" else getattr(said, key))
    for environment in said.environments:
        yield from (flag("environments"), environment)
    if said.state_dir or agent.state_dir != _bare_state_dir(said, config):
        yield from (flag("state_dir"), agent.state_dir)


def _bare_state_dir(said: Options, config: str) -> str:
    """Where it would remember with nothing in its environment, as cron and Slurm start it."""
    import pwd

    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""
    return load_agent(said._replace(config=config), {"HOME": home}).state_dir


def _try_out(argv: Sequence[str]) -> None:
    """What runs in a terminal need not run from cron, such as a Python out of a module. Raises `ScheduleError`."""
    try:
        run([*argv[: argv.index("--once")], "--version"], timeout=60.0, env=_BARE, cwd="/")
    except CommandFailed as error:
        raise ScheduleError(f"it would not run without this terminal's environment:\n{error}") from error


# ---------------------------------------------------------------- answers


def _tell_installed(done: Installed, options: Namespace) -> int:
    record = done.record
    if hasattr(options, "json"):
        print_json({**_data(record), "changed": done.changed, "chosen": done.chosen, "warnings": list(done.remarks)})
        return 0
    word = "installed" if done.changed else "nothing to change"
    print(f"{style().paint(word, 'bold')}: {_what(record)}")
    if done.chosen:
        print("\n".join(style().fold(f"chosen: {done.chosen}", indent="    ")))
    _print_texts(record)
    for remark in done.remarks:
        print(f"{style().paint('warning', 'yellow')}: {remark}")
    return 0


def _tell_removed(found: Sequence[str], options: Namespace) -> int:
    if hasattr(options, "json"):
        print_json({"removed": list(found)})
    else:
        print(f"removed: {', '.join(found)}" if found else "nothing to remove")
    return 0


def _tell_standing(standing: Standing, request: Request, options: Namespace) -> int:
    record = standing.record
    findings = (*standing.findings, *standing.asked.findings)
    code = _FALLEN if findings or standing.left else 0 if record else _NEVER
    if hasattr(options, "json"):
        print_json(
            {
                **(_data(record) if record else {"kind": None}),
                "stands": code == 0,
                "findings": [{"trouble": f.trouble.value, "message": f.message} for f in findings],
                "next_run": standing.asked.next_run or None,
                "remarks": list(standing.asked.remarks),
                "unnoted": list(standing.left),
            }
        )
        return code
    mends = record.command if record else command(request.argv, "schedule", "install")
    print(_verdict(standing, code))
    if record:
        _print_texts(record)
    for finding in findings:
        print(f"  {style().paint(finding.trouble.value, 'red')}: {finding.message}")
    if any(f.trouble.can_be_mended for f in findings) or code == _NEVER or standing.left:
        print(f"  `{mends}` {'mends' if findings or standing.left else 'installs'} it")
    for remark in standing.asked.remarks:
        print(f"  {remark}")
    if standing.asked.next_run:
        print(f"  next run: {standing.asked.next_run}")
    return code


def _verdict(standing: Standing, code: int) -> str:
    if standing.left:
        return f"nothing is noted of it, but {', '.join(standing.left)} has lines or units of it"
    if standing.record is None:
        return "no schedule was installed" if code == _NEVER else "what was installed cannot be told"
    return f"{_what(standing.record)}: {'stands' if code == 0 else 'does not stand'}"


def _what(record: Record) -> str:
    return f"{record.kind}, every {times.spelled(record.job.minutes)}"


def _data(record: Record) -> dict[str, Any]:
    return {
        "kind": record.kind,
        "host": record.host,
        "every": times.spelled(record.job.minutes),
        "offset": record.job.offset,
        "command": list(record.job.argv),
        "texts": dict(record.texts),
        "installs": record.command,
    }


def _print_texts(record: Record) -> None:
    """Where it stands, and what runs; a path for each unit."""
    for place, text in record.texts.items():
        if os.path.isabs(place):
            print(f"    {place}")
        else:
            for line in text.splitlines():
                print(f"    {line}")


def _say(message: str) -> None:
    print(f"reconcile: {message}", file=sys.stderr)
