"""Which entries of a scratch folder go, and when a rule is due. Pure: entries and `now` in, a verdict out.

The meaning of `find ROOT -mindepth M -mtime +N`, to the second: what fraction of a day an age has is left out, so +14
is at least 15 full days. findutils reckons it as older than the start of `find` less N + 1 times 86400 seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from reconciler.core import globs
from reconciler.core.calendar import DAY, Offset
from reconciler.core.cron import next_after, parse
from reconciler.core.desired import Cleanup, Sort
from reconciler.core.digest import digest

_NANO = 1_000_000_000
_NIGHT = (60, 300)  # minutes of the day between which a rule without a schedule comes: 1:00 to 5:00
_NOISE = 10**6  # bytes
_PAUSE = 3600  # seconds after an early start that did not free enough
_LOOKED_AT = DAY  # seconds that a new rule may be looked at before it starts early
_MISSED = 7 * DAY  # seconds after which a time that nobody came for is over
_BACK = 3600  # seconds that a clock may be set back by

# Below a file system's root they hold what everybody needs; what lies in most of them may be a scratch folder.
_SYSTEM = frozenset(
    {"/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/media", "/mnt", "/opt", "/proc"}
    | {"/root", "/run", "/sbin", "/srv", "/sys", "/usr", "/var", "/usr/local", "/global", "/lustre"}
    | {f"/var/{name}" for name in ("backups", "cache", "lib", "lock", "log", "mail", "opt", "run", "spool")}
)
_STATES = "/var/lib"  # what lies in it is a service's own: its databases, and all that it knows
_NEVER = ("/proc/", "/sys/", "/boot/", "/etc/", "/bin/", "/lib/", "/sbin/", "/usr/")


def of_the_system(path: str) -> bool:
    """Whether a folder is everybody's, so that nothing may be cleaned up in it."""
    return path in _SYSTEM or path.startswith(_NEVER) or path.rpartition("/")[0] == _STATES


def holds(outer: str, inner: str) -> bool:
    """Whether a path is, or lies below, another one; both absolute and without `..`."""
    return inner == outer or inner.startswith(f"{outer.rstrip('/')}/")


def limit_of(rule: Cleanup, now: float) -> int:
    """The instant before which an entry is old, in nanoseconds since the epoch."""
    return int(now * _NANO) - (rule.days + 1) * DAY * _NANO


class Reach(NamedTuple):
    """What a rule says of an entry at some depth, before its age is asked."""

    may_go: bool
    may_hold: bool  # what lies in it may go by itself


def reach(rule: Cleanup, depth: int, *, is_folder: bool, is_file: bool) -> Reach:
    """`depth` counts from the root: 1 is what lies in it. A link, a socket or a pipe is neither folder nor file."""
    below = not rule.max_depth or depth < rule.max_depth
    in_range = depth >= rule.min_depth and (not rule.max_depth or depth <= rule.max_depth)
    right = rule.sort is Sort.ANY or (is_folder if rule.sort is Sort.FOLDER else is_file)
    return Reach(in_range and right, is_folder and below)


# ---------------------------------------------------------------- what must stay


class Stay(Enum):
    """Whether an entry must stay because it is excluded or in use."""

    NO = "no"
    ABOVE = "above"  # something below it must: it stays, what else is in it may go
    ALL = "all"  # it stays, with all that is in it


class Kept:
    """What must stay: by the patterns of `exclude`, and by what `in_use` lists.

    A pattern is as with `find -name`, or where it has a slash as with `-path`: a star stands for slashes too.
    A line of `in_use` is a path, in full or from the root on, or a bare name that counts wherever it stands.
    """

    def __init__(self, rule: Cleanup, in_use: Iterable[str] = ()) -> None:
        self._names = [globs.compiled(one) for one in rule.exclude if not globs.is_of_paths(one)]
        self._shapes = [globs.compiled(globs.path_of(one)) for one in rule.exclude if globs.is_of_paths(one)]
        self._used: set[str] = set()
        self._paths: set[str] = set()
        self._above: set[str] = set()
        self._all = False  # the root itself is in use, or what holds it
        for line in in_use:
            self._take_in(line, rule.root)

    def _take_in(self, line: str, root: str) -> None:
        line = line.strip("\r\n")
        if line.startswith("/") and f"{root}/".startswith(f"{line.rstrip('/')}/"):
            self._all = True
            return
        inside = line.removeprefix(f"{root.rstrip('/')}/")
        if not line.strip() or (line.startswith("/") and inside == line):
            return  # it lies elsewhere
        parts = [part for part in inside.split("/") if part not in ("", ".")]
        if len(parts) == 1 and not line.startswith("/") and "/" not in line:
            self._used.add(parts[0])
            return
        paths = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        self._above.update(paths[:-1])
        self._paths.update(paths[-1:])

    @property
    def any(self) -> bool:
        """Something must stay, so a folder is looked through before it goes as a whole."""
        return bool(self._all or self._names or self._shapes or self._used or self._paths)

    def stays(self, name: str, path: str) -> Stay:
        """`path` is from the root on."""
        if self._all or name in self._used or path in self._paths:
            return Stay.ALL
        if any(pattern.fullmatch(name) for pattern in self._names):
            return Stay.ALL
        if any(pattern.fullmatch(path) for pattern in self._shapes):
            return Stay.ALL
        return Stay.ABOVE if path in self._above else Stay.NO

    def covers(self, path: str) -> bool:
        """It must stay, or what holds it."""
        parts = path.split("/")
        return any(self.stays(name, "/".join(parts[: end + 1])) is Stay.ALL for end, name in enumerate(parts))


# ---------------------------------------------------------------- when


class Memory(NamedTuple):
    """What is remembered of one rule between passes. All times are seconds since the epoch."""

    key: str  # of what the rule means: another one begins anew
    seen: float  # when this was reckoned
    due: float  # when it comes next; 0: never
    at: str = ""  # the path below the root at which a pass has stopped for its limit
    early: float = 0.0  # when it was started early last, and could not free enough
    new: float = 0.0  # since when it is known, until its time has come once; then 0
    early_at: str = ""  # the path at which an early start has stopped for its limit


def schedule_of(rule: Cleanup, host: str) -> str:
    """Its cron expression; without one, once in a night at a minute of its own, so that not all hosts walk at once."""
    if rule.cron:
        return rule.cron
    first, last = _NIGHT
    minute = first + int(digest(f"{host} {rule.root} {rule.name}".encode("utf-8", "surrogateescape"))[:8], 16) % (
        last - first
    )
    return f"{minute % 60} {minute // 60} * * *"


def begin(rule: Cleanup, host: str, now: float, offset: Offset) -> Memory:
    """What is remembered from now on: it comes at the next time of its schedule, never at once.

    A rule that is new in git is so looked at before it removes anything, and a lost memory costs one turn at most.
    """
    cron = schedule_of(rule, host)
    return Memory(key_of(rule, host), now, float(next_after(parse(cron), now, offset) or 0), new=now)


def key_of(rule: Cleanup, host: str) -> str:
    """Of when it comes and what it removes. How much in one pass is no other meaning."""
    meaning = rule._replace(name="", cron=schedule_of(rule, host), minutes=0, entries=0)
    return digest(repr(meaning).encode())


def fitting(rule: Cleanup, memory: Memory | None, host: str, now: float) -> Memory | None:
    """What is remembered, where that still holds; None where a rule begins anew.

    A time that was missed for long is over. If nobody was there for it, nobody has looked at what would go; and if
    the clock is wrong, all is old by it. What was noted by a clock that was ahead would not come for years.
    """
    if memory is None or memory.key != key_of(rule, host) or memory.seen > now + _BACK:
        return None
    return None if memory.due and now - memory.due > _MISSED else memory


class Why(Enum):
    """Why a rule is due."""

    SCHEDULE = "schedule"
    FREE = "free_below"


def due(rule: Cleanup, memory: Memory | None, host: str, now: float, free: Free | None) -> Why | None:
    """Whether it is the time. `free`: of its file system; None where that was not asked or cannot be told."""
    memory = fitting(rule, memory, host, now)
    if memory is None:
        return None
    if memory.due and now >= memory.due:
        return Why.SCHEDULE
    waits = memory.early and 0 <= now - memory.early < _PAUSE
    waits = waits or (memory.new and now - memory.new < _LOOKED_AT)
    return Why.FREE if free is not None and not waits and free.is_short(rule) else None


class Free(NamedTuple):
    """Of a file system: what this account may still write, and how large it is."""

    available: int  # bytes
    size: int
    inodes: int = 0  # that are free
    all_inodes: int = 0  # 0: the file system does not count them, so it does not lack any

    def wanted(self, rule: Cleanup) -> int:
        return max(rule.free_bytes, self.size * rule.free_percent // 100)

    def is_short(self, rule: Cleanup) -> bool:
        """Of bytes, or of inodes: of these, the same part of all is to be free."""
        wanted = self.wanted(rule)
        return self.available < wanted or self.inodes * self.size < wanted * self.all_inodes


# ---------------------------------------------------------------- what is told


class Figures(NamedTuple):
    """What would go."""

    tops: int = 0  # entries that go by themselves
    entries: int = 0  # with all that is below them
    size: int = 0  # bytes on disk; of what has several names, its part of them
    oldest: float = 0.0  # dates of the entries that go by themselves; 0: none
    newest: float = 0.0
    largest: tuple[tuple[int, str], ...] = ()  # up to ten: bytes, path
    whole: bool = True  # False: the time was over before all was seen


class Cleaned(NamedTuple):
    """What became of one rule in one pass."""

    entries: int = 0
    size: int = 0  # bytes that the file system has more of afterwards, be it by others
    tops: tuple[str, ...] = ()  # the first of the paths that went, from the root on
    top_count: int = 0  # of them
    troubles: tuple[str, ...] = ()  # the first of what could not be removed, and why
    failed: int = 0  # how many of them
    at: str = ""  # where the next pass goes on; empty: it is through
    stopped: bool = False  # its limit was reached, or the pass was asked to stop
    short: bool = False  # it was to free space, and there is still too little


def bytes_in_words(size: int) -> str:
    """`1.5 GB`: powers of 1000, as df -H has it."""
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if value < 1000 or unit == "PB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def in_words(entries: int, size: int) -> str:
    """`1,234 entries, about 5.6 GB more are free`. Others write to the file system too: little says nothing."""
    freed = f", about {bytes_in_words(size)} more are free" if entries and size >= _NOISE else ""
    return f"{entries:,} {'entry' if entries == 1 else 'entries'}{freed}"


def after(why: Why, cleaned: Cleaned, memory: Memory, begun: Memory) -> Memory:
    """What is remembered after a pass. What has stopped for its limit stays due, and goes on where it was.

    `begun`: what a rule is begun with now.
    """
    if why is Why.FREE:
        early = begun.seen if cleaned.short and not cleaned.stopped else 0.0
        return memory._replace(early=early, early_at=cleaned.at)
    begun = begun._replace(new=0.0)
    return begun._replace(due=begun.seen, at=cleaned.at) if cleaned.stopped else begun


def came(memory: Memory | None) -> float:
    """When a rule has come last by its schedule; 0: it has not yet, or nobody knows."""
    return memory.seen if memory is not None and not memory.new else 0.0


def known(memories: Mapping[str, Memory], rules: Iterable[Cleanup]) -> dict[str, Memory]:
    """Without those of rules that git no longer has."""
    names = {rule.name for rule in rules}
    return {name: memory for name, memory in memories.items() if name in names}
