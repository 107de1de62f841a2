"""What runs when something starts on another node than the last time: setting dynamic DNS, say. Pure text.

The commands of `on_start` run before the service, and their failure does not keep it from starting: it is noted
in a file, and told from there as a finding. In the folder are, of each name:

    NAME.node     the node for which they last went well, and which commands that were
    NAME.failed   node, seconds since the epoch and exit status in the first line, then the end of what they printed

Both are the account's own (0600), and are put into place whole, so that two starts at once do no harm.
"""

from __future__ import annotations

from typing import NamedTuple

from reconciler.core.desired import Note
from reconciler.core.digest import digest
from reconciler.core.observed import Finding
from reconciler.core.prologue import prologue_script
from reconciler.launchers.shim import quote

CHECK = "on_start"  # what findings of it are known by
LIMIT = 60  # seconds that the commands may take; after 5 more they are killed
KEPT = 4096  # bytes of what they printed that are kept
_TOLD = 4  # lines of them that are told
_TIMED_OUT, _KILLED = 124, 137  # exit status of `timeout` where the limit was reached, and where SIGKILL was needed

# It runs in a subshell of its own, so that no variable, trap or option of it reaches what follows. The commands
# come by a variable, which only the account can read, and not as an argument, which everybody can.
_LINES = """\
(
  set +eu
  umask 077
  node=$(uname -n) note={note}
  [ ! -e "$note.failed" ] && [ "$(cat "$note.node" 2>/dev/null)" = "$node {key}" ] && exit 0
  mkdir -p {folder}
  out=$(mktemp {folder}/.{name}.XXXXXX) || out=
  limit=$(command -v timeout) && limit="$limit -k 5 {limit}"
  on_start={commands} $limit /bin/bash -c 'lines=$on_start; unset on_start; eval "$lines"' \\
    </dev/null >"${{out:-/dev/null}}" 2>&1 &
  job=$!
  trap 'kill "$job"; rm -f ${{out:+"$out"}}; exit 143' HUP INT QUIT TERM
  wait "$job"
  status=$?
  if [ "$status" -ne 0 ]; then
    printf '%s\\n' {failed}" $status" >&2
    [ -n "$out" ] && {{ printf '%s %s %s\\n' "$node" "$(date +%s)" "$status"; tail -c {kept} "$out"; }} >"$out.end" &&
      mv -f "$out.end" "$note.failed"
    rm -f ${{out:+"$out" "$out.end"}}
  elif [ -n "$out" ]; then
    printf '%s\\n' "$node {key}" >"$out" && mv -f "$out" "$note.node" && rm -f "$note.failed"
  fi
) || :
"""


class Failure(NamedTuple):
    """What a file NAME.failed says."""

    node: str
    since: float  # seconds since the epoch
    status: int
    printed: str


def lines(name: str, commands: str, folder: str, *, seconds: int = LIMIT) -> str:
    """Shell lines that run the commands where the node, or the commands themselves, are others than at the last
    time that they went well. They never fail, and need a POSIX shell; the commands are run by bash.

    `name` is a name as services have it, `folder` an absolute path; it is made where it is missing. Where there is
    a `timeout`, the commands and what they have started are ended after so many seconds.
    """
    return _LINES.format(
        name=name,
        note=quote(f"{folder}/{name}"),
        folder=quote(folder),
        key=digest(commands.strip().encode("utf-8", "surrogateescape"))[:12],
        commands=quote(prologue_script(commands)),
        failed=quote(f"reconcile: {name}: its on_start failed with exit status"),
        limit=seconds,
        kept=KEPT,
    )


def folder(run: str) -> str:
    """Where all notes of a deployment are, by its folder `run`."""
    return f"{run}/on_start"


def note(name: str, run: str, *, private: bool) -> Note:
    """The note that a start of this name leaves where its commands fail."""
    return Note(name, f"{folder(run)}/{name}.failed", private)


def paths(failed: str) -> tuple[str, str]:
    """All files of a note, by the path of the one that says what failed."""
    return failed, f"{failed.removesuffix('.failed')}.node"


def read(text: str) -> Failure | None:
    """What a note says; None for anything but a note."""
    head, _, printed = text.partition("\n")
    words = head.split()
    if len(words) != 3 or not words[1].isdigit() or not words[2].isdigit():
        return None
    return Failure(words[0], float(words[1]), int(words[2]), printed)


def finding(of: Note, text: str) -> Finding:
    """A note as it is told: what failed and where, then the end of what was printed, unless that may hold a secret."""
    failure = read(text)
    if failure is None:
        return Finding(
            of.name, f"{of.path} is no note of a failed on_start; it goes when that has gone well", 0.0, CHECK
        )
    printed = [line.rstrip() for line in failure.printed.splitlines() if line.strip()]
    if of.private and printed:
        printed = [f"what it printed may hold a secret: see {of.path}"]
    return Finding(of.name, "\n".join((f"on_start {_how(failure)}", *printed[-_TOLD:])), failure.since, CHECK)


def _how(failure: Failure) -> str:
    if failure.status == _TIMED_OUT:
        return f"took longer than {LIMIT} s on {failure.node} and was ended"
    if failure.status == _KILLED:
        return f"was killed on {failure.node}, perhaps for taking longer than {LIMIT} s"
    return f"failed on {failure.node} with exit status {failure.status}"
