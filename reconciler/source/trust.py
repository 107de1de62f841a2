"""Whose commits are followed. Only the words of it: how signatures are looked at is `signatures`."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Require(Enum):
    """What must carry a good signature."""

    HEAD = "head"  # the commit that the branch is at
    ALL = "all"  # each one since the last accepted, merges included
    TAG = "tag"  # a tag that names the commit


class Trust(NamedTuple):
    """The known keys, by absolute paths; at least one of them is given."""

    gpg: str = ""  # a file of public keys, or a folder of such files
    ssh: str = ""  # an allowed signers file, see ssh-keygen(1)
    require: Require = Require.HEAD
