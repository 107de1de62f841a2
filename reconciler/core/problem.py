"""Where a value was written, what is wrong with an input, and what could not be seen."""

# Without postponed annotations: a named tuple compiles each one that is text, here for 2 ms of every pass.

from typing import NamedTuple


class Origin(NamedTuple):
    """Where a value was written. Lines and columns count from 1; 0 means the file as a whole."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Problem(NamedTuple):
    """One thing that is wrong with an input: where, what, and how to mend it."""

    origin: Origin
    message: str
    hint: str = ""
    asked: bool = False  # nothing is wrong with git by itself: it has not what an option or the agent's file names

    def __str__(self) -> str:
        place = f"{self.origin.file}:{self.origin.line}:{self.origin.column}" if self.origin.line else self.origin.file
        return f"{place}: {self.message}" + (f"\n    {self.hint}" if self.hint else "")


class Gap(NamedTuple):
    """Something that could not be observed. Unknown is never absent."""

    scope: str  # "launcher", "process", "file", "install", "inventory"
    subject: str  # the launcher's name, a service, a path, an install id
    message: str
