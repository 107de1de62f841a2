"""What is wrong with an input, gathered: all of it at once, and each thing once."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.core.problem import Origin, Problem

ORIGIN_DEFAULT = Origin("default", 0, 0)


class Failed(Exception):  # noqa: N818 - it says that a value cannot be had; the problem is already gathered
    """A value cannot be had, and why is already among the problems."""


class Problems:
    """Gathers problems of several deployments, telling one that shows up in many of them once.

    `where` names the deployment that is looked at; empty for what does not depend on any.
    """

    def __init__(self) -> None:
        self.where = ""
        self._found: dict[tuple[Origin, str], tuple[Problem, set[str]]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, origin: Origin, message: str, hint: str = "", *, rule: str = "", asked: bool = False) -> None:
        """`rule` stands for the message where its words depend on the deployment."""
        known = self._found.setdefault((origin, rule or message), (Problem(origin, message, hint, asked), set()))
        known[1].add(self.where)

    def take(self, others: Problems) -> None:
        """What was found elsewhere, which is true wherever it was found."""
        for key, (problem, where) in others._found.items():
            self._found.setdefault(key, (problem, set()))[1].update(where)

    def told(self, deployments: int) -> tuple[Problem, ...]:
        """All problems by file and line; one that only some of the deployments have says which."""
        told = (_placed(problem, where, deployments) for problem, where in self._found.values())
        return tuple(sorted(told))


def _placed(problem: Problem, where: set[str], deployments: int) -> Problem:
    if "" in where or len(where) >= deployments:
        return problem
    first, *others = sorted(where)
    rest = f" and {len(others)} more" if others else ""
    return problem._replace(message=f"{problem.message} (in {first}{rest})")


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or nothing."""
    from difflib import get_close_matches

    found = get_close_matches(word, [name for name in known if name], n=1)
    return found[0] if found else ""


def suggest(word: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """A hint: the word that was probably meant, or else which there are."""
    names = sorted(known)
    if found := nearest(word, names):
        return f"did you mean `{found}`?"
    if otherwise or not names:
        return otherwise
    return "known: " + ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
