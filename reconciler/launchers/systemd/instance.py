"""How systemd keeps an Apptainer instance: the one shell line that is the main process of such a unit. Pure.

An instance goes to the background, and `Type=forking` with its pid file does not do for it (apptainer 1.4,
systemd 252):

- Its first process, `appinit`, stays when the service inside has ended, so nobody would start that again.
- `appinit` is no child of systemd, only of Apptainer's own process. systemd does not wait for the end of such
  a main process, and kills it right after the signal.
- A signal to `appinit` is forwarded to the service. `apptainer instance stop` does no more than that, and then
  kills `appinit` when it has no children any more; but it needs the record of the instance for it.
- Killed with everything around it, as by a power cut, an instance leaves a record behind. Where the pid in it
  belongs to another process by then, as after a boot, a start says that the instance exists already.

So a shell stays in the foreground. It takes away a record that is not of a living instance of that name, starts
the instance by the shim, waits for the end of what runs inside (`tail` of coreutils can, without a process for
each look), and then ends the instance.
"""

from __future__ import annotations

from reconciler.launchers.base import Container
from reconciler.launchers.systemd import unit_file

# $1: the shim, $2: the pid file that it lets Apptainer write, $3: the stop signal, $4: Apptainer's configuration
# folder, $5: the instance
_KEEP = (
    """parent() { sed -n 's/^PPid:[^0-9]*//p' "/proc/$1/status" 2>/dev/null; }""",
    "record=$4/instances/app/$(uname -n)/$(id -un)/$5/$5.json",
    """old=$(sed -n 's/.*"pid":\\([0-9]*\\).*/\\1/p' "$record" 2>/dev/null)""",
    'grep -qsF "[$5]" "/proc/$(parent "${old:-0}")/cmdline" || rm -f "$record"',
    'rm -f "$2"',
    "status=1 pid= tries=0",  # how the service inside has ended cannot be known
    # Being asked to stop while Apptainer starts it is heard when that is done.
    """trap 'status=0; [ -z "$pid" ] || kill -s "$3" "$pid"' TERM""",
    # Apptainer may fail after it has started it: when it cannot read its own record, say.
    '"$1" || { code=$?; [ -s "$2" ] || exit "$code"; }',
    'read -r pid <"$2"',
    'outer=$(parent "$pid")',
    '[ "$status" = 1 ] || kill -s "$3" "$pid"',
    # Apptainer says that it has started before the first child is there.
    'until pgrep -P "$pid" >/dev/null || [ "$((tries += 1))" -gt 20 ]; do sleep 0.1; done',
    # The oldest child: a start script that goes to the background leaves others.
    'while child=$(pgrep -oP "$pid"); do tail -s 0.2 -f --pid="$child" /dev/null & wait; done',
    'kill -KILL "$pid" 2>/dev/null',
    'tail -s 0.1 -f --pid="${outer:-$pid}" /dev/null',  # it takes the record away
    'exit "$status"',
)


def arguments(shim: str, pid_file: str, signal: str, box: Container) -> tuple[str, ...]:
    """What the shell line is given: all that tells one instance's from another's."""
    return (shim, pid_file, signal.removeprefix("SIG"), box.configdir, box.instance)


def command(words: tuple[str, ...]) -> str:
    """The value of `ExecStart=` with these arguments."""
    return " ".join(("/bin/sh", *map(unit_file.argument, ("-c", "; ".join(_KEEP), "sh", *words))))
