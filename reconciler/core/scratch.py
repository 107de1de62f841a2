"""The rules of `cleanup` as git has them; `core.cleanup` says what they mean. Most deployments have none."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Age(Enum):
    """By which date an entry of a scratch folder is old."""

    SELF = "self"  # its own date of change, as `find -mtime` has it
    NEWEST = "newest"  # of a folder: that of the newest file below it


class Sort(Enum):
    """Which entries may go by themselves; the values are those of `find -type`."""

    ANY = "any"
    FOLDER = "d"
    FILE = "f"


class RootIs(Enum):
    """What a root may be that else it must not be."""

    PLAIN = ""
    MOUNT = "mount"  # a mount point
    HOME = "home"  # the account's home; a mount point as well


class Cleanup(NamedTuple):
    """One entry of `cleanup`: what of a scratch folder goes, and when."""

    name: str
    root: str  # absolute, without `..`; nothing outside of it is ever touched
    days: int  # an entry is old when it is older than so many days and one more, as with `find -mtime +N`
    min_depth: int = 1  # 1: what lies in the root itself
    max_depth: int = 0  # 0: any
    sort: Sort = Sort.ANY
    age: Age = Age.SELF
    exclude: tuple[str, ...] = ()  # patterns of names; with a slash, of paths below the root
    cron: str = ""  # empty: once in a night
    zone: str = ""  # whose clocks `cron` goes by; empty: this host's
    free_bytes: int = 0  # it starts early while its file system has less than this free
    free_percent: int = 0
    in_use_command: str = ""  # prints what must stay, one a line
    in_use_file: str = ""  # holds that
    root_is: RootIs = RootIs.PLAIN
    minutes: int = 2  # that one pass may spend on it
    entries: int = 0  # that one pass may remove; 0: any number

    @property
    def starts_early(self) -> bool:
        return bool(self.free_bytes or self.free_percent)
