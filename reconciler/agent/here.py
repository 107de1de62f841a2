"""Who and where this pass is."""

from __future__ import annotations

import os
from typing import NamedTuple


class Host(NamedTuple):
    """The host by its short name, the account, and that one's home folder."""

    name: str
    account: str
    home: str


def this_host() -> Host:
    import pwd

    try:
        account = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        account = str(os.geteuid())
    home = os.environ.get("HOME") or os.path.expanduser("~")
    return Host(os.uname().nodename.partition(".")[0], account, home)
