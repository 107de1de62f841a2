"""Who and where this pass is."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple


class Host(NamedTuple):
    """The host by its short name, the account, and that one's home folder."""

    name: str
    account: str
    home: str


def this_host() -> Host:
    import pwd

    try:
        entry = pwd.getpwuid(os.geteuid())
        account, usual = entry.pw_name, entry.pw_dir
    except KeyError:
        account, usual = str(os.geteuid()), os.path.expanduser("~")
    return Host(os.uname().nodename.partition(".")[0], account, home(os.environ.get("HOME", ""), usual))


def home(given: str, usual: str) -> str:
    """HOME as it is given, but spelled as the list of accounts spells it where both are one folder.

    A login may spell it otherwise than cron does, and the paths in it would differ from pass to pass.
    """
    with suppress(OSError):
        if not given or os.path.samefile(given, usual):
            return os.path.normpath(usual)
    return os.path.normpath(given or usual)
