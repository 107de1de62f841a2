"""Guards: commands that must succeed before their service is stopped or removed, such as a look for a fresh backup."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.core.desired import Guard
from reconciler.host import prepared
from reconciler.host.detached import environment
from reconciler.host.run import CommandFailed, run, tail

# it may print for as long as it runs
_LAST_WORDS = 'set -o pipefail; /bin/bash -c "$1" 2>&1 | tail -c 16384'


def refusal(guards: Iterable[Guard], programs: str = "") -> tuple[str, str] | None:
    """None when all of them succeed, one after the other, else what the first that does not has said, and a hint.

    They get the service's variables and the search path of services, with its `programs`; not its prologue.
    """
    for guard in guards:
        said = _ask(guard, programs)
        if said is not None:
            hint = "until it succeeds, the service is neither stopped nor removed; the next pass asks again"
            return f"guard {guard.name}: {said}", hint
    return None


def _ask(guard: Guard, programs: str) -> str | None:
    argv = ["/bin/bash", "-c", _LAST_WORDS, "bash", prepared.LINES + guard.command]
    env = {**environment(), **prepared.variables(guard.env_file, programs)}
    try:
        run(argv, timeout=guard.seconds, env=env, cwd="/")
    except CommandFailed as error:
        printed = "" if guard.private else tail(error.err) or tail(error.out)
        return error.why + (f"\n{printed}" if printed else "")
    return None
