"""What is noted of an installed schedule, in `schedule.json` of the agent: without it no pass looks for one.

It holds the very texts that were written. A later version of reconcile may write others, and what stands must not look
changed for that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reconciler.host import files
from reconciler.schedule.base import Entry, Job, ScheduleError

_FORMAT = 1


class Record(NamedTuple):
    kind: str
    host: str  # where it was installed; Slurm's are not bound to one
    program: str  # of the table: what a pass finds on its own PATH may be another; empty for systemd
    seed: int  # what the offset is taken from
    config: str  # the agent's file, with its whole path; empty where options stand for it
    job: Job
    texts: Mapping[str, str]  # by table or path

    @property
    def entry(self) -> Entry:
        return Entry(self.job, self.texts)

    @property
    def command(self) -> str:
        """What installs it again as it was."""
        return command(self.job.argv, "schedule", "install")


def command(argv: Sequence[str], *words: str) -> str:
    """The same program with other words in the place of `--once`, to be typed."""
    import shlex

    given = list(argv)
    at = given.index("--once")
    return shlex.join([*given[:at], *words, *given[at + 1 :]])


def load(path: str) -> Record | None:
    """None where nothing is noted. Raises `ScheduleError` where it cannot be told what was."""
    try:
        data = json.loads(files.read(path))
        if data["format"] != _FORMAT:
            raise ScheduleError(f"{path} was written by another version of reconcile")
        job = Job(**{**data["job"], "argv": tuple(data["job"]["argv"]), "options": tuple(data["job"]["options"])})
        return Record(job=job, **{key: data[key] for key in Record._fields if key != "job"})
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ScheduleError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ScheduleError(f"{path} is damaged") from error


def save(path: str, record: Record) -> None:
    """Raises `OSError`."""
    data = {"format": _FORMAT, **record._asdict(), "job": record.job._asdict(), "texts": dict(record.texts)}
    files.make_folder(os.path.dirname(path), 0o700)
    files.write(path, json.dumps(data, indent=1).encode() + b"\n", 0o600)
