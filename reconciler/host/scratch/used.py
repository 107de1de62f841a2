"""What is in use and must stay: asked for, and found below the root whatever way its lines name it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from reconciler.core.cleanup import holds
from reconciler.core.desired import Cleanup
from reconciler.host.scratch.root import RootError

_LIST_LIMIT = 64 << 20  # bytes of a list


def in_use(rule: Cleanup, env: dict[str, str], seconds: float = 60.0) -> tuple[str, ...]:
    """What must stay, as `core.cleanup.Kept` takes it: names, and paths below the rule's root, one a line of what was
    told. Raises `RootError` where that cannot be known: nothing is removed then."""
    return located(told(rule, env, seconds), rule.root)


def located(lines: Iterable[str], root: str) -> tuple[str, ...]:
    """The same, of lines that were told."""
    return tuple(one for line in lines for one in ways(line, root))


def told(rule: Cleanup, env: dict[str, str], seconds: float = 60.0) -> tuple[str, ...]:
    """The lines of `in_use` as they are. Raises `RootError`."""
    if rule.in_use_file:
        try:
            return _lines(_content(rule.in_use_file))
        except OSError as error:
            raise RootError(
                f"what is in use cannot be told: {rule.in_use_file}: {error.strerror or error}",
                "nothing is removed until it can be read",
            ) from error
    if not rule.in_use_command:
        return ()
    from reconciler.host.run import CommandFailed, run

    try:
        done = run(["/bin/bash", "-o", "pipefail", "-ec", rule.in_use_command], timeout=seconds, env=env)
    except CommandFailed as error:
        raise RootError(f"what is in use cannot be told: {error}", "nothing is removed until it succeeds") from error
    return _lines(done.out)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        content = file.read(_LIST_LIMIT + 1)
    if len(content) > _LIST_LIMIT:
        raise OSError(0, "the list is too long")
    return content


def _lines(content: bytes) -> tuple[str, ...]:
    return tuple(os.fsdecode(line) for line in content.split(b"\n") if line.strip())


def ways(line: str, root: str) -> Iterator[str]:
    """A line, and what else it may mean: programs pad their columns, end lines as other systems do, and print paths
    that lead by way of links, or where a link leads. Too much stays rather than too little."""
    yield line
    plain = line.strip()
    if plain != line:
        yield plain
    if "/" not in plain:
        return
    real, top = os.path.realpath(os.path.join(root, plain)), os.path.realpath(root)
    if holds(real, top):
        yield root  # all of it, or what holds it
    elif holds(top, real):
        yield os.path.join(root, os.path.relpath(real, top))
