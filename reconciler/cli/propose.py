"""The commands that prepare a change of the desired-state repo: bump, promote, rollback.

Each makes a commit on a branch of its own in a person's checkout, and shows what it says and what it would do. What is
checked out there stays as it is, and nothing is pushed.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from reconciler.agent.config import InvalidInput
from reconciler.authoring.checkout import Checkout, Commit
from reconciler.authoring.proposal import Proposal, bumped, check
from reconciler.authoring.proposal import promote as promoted
from reconciler.authoring.refused import Refused
from reconciler.authoring.versions import Scope
from reconciler.cli.authoring import facts as facts_here
from reconciler.cli.options import given
from reconciler.cli.terminal import print_json, style
from reconciler.core.problem import Origin, Problem
from reconciler.core.report import Comparison
from reconciler.desired import Facts, Tree

_COLOURS = {"+": "green", "-": "red", "@": "dim"}
_UNBORN = "dry-run"  # in the place of a commit that is not made


def bump(options: Namespace) -> int:
    """A component to a version. Exit status 0, also where it has that version already."""

    def make(tree: Tree, _facts: Facts, _checkout: Checkout, _base: str) -> Proposal:
        return bumped(tree, options.component, options.version, _scopes(options))

    return _propose(options, make)


def promote(options: Namespace) -> int:
    """The versions of one environment to another. Exit status 0, also where both have them already."""
    site, wrong = given(options).site, given(options).environments
    if wrong:
        hint = "it goes --from one environment --to another"
        raise InvalidInput([Problem(Origin("--environment", 0, 0), "promote does not take it", hint)])

    def make(tree: Tree, facts: Facts, _checkout: Checkout, _base: str) -> Proposal:
        source, target = Scope(options.source, site), Scope(options.target, site)
        return promoted(tree, list(dict.fromkeys(options.components)), source, target, facts)

    return _propose(options, make)


def rollback(options: Namespace) -> int:
    """A service or an environment to what it was. Exit status 0, also where it is so already."""
    from reconciler.authoring.effect import Compiler
    from reconciler.authoring.rollback import Rollback, find_target

    def make(tree: Tree, facts: Facts, checkout: Checkout, base: str) -> Proposal:
        compiler, asked = Compiler(facts), given(options)
        target = find_target(tree, compiler.repo(tree), options.target, asked.environments, asked.site)
        with _progress() as looks_at:
            search = Rollback(checkout, compiler, base, tree, target, looks_at)
            to, steps = search.since(checkout.resolve(options.to)) if options.to else search.last_other()
            return search.proposal(to, steps)

    return _propose(options, make)


@contextmanager
def _progress() -> Iterator[Callable[[Commit], None]]:
    """Which commit is looked at, in one line of a terminal that is taken away in the end."""
    shown = sys.stderr.isatty()

    def looks_at(commit: Commit) -> None:
        if shown:
            print(f"\r\x1b[Klooking at {commit.sha[:8]} {commit.subject[:50]}", end="", file=sys.stderr, flush=True)

    try:
        yield looks_at
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _scopes(options: Namespace) -> list[Scope]:
    asked = given(options)
    return [Scope(name, asked.site) for name in dict.fromkeys(asked.environments)] or [Scope("", asked.site)]


# ---------------------------------------------------------------- what all three do


def _propose(options: Namespace, make: Callable[[Tree, Facts, Checkout, str], Proposal]) -> int:
    """Make the change of what is checked out, see that it is valid, show it, and commit it."""
    try:
        asked, facts = given(options), facts_here()
        checkout = Checkout(asked.repo or ".")
        base = checkout.resolve("HEAD")
        tree = checkout.tree(base)
        proposal = make(tree, facts, checkout, base)
        branch = asked.branch or proposal.branch
        taken = None
        if proposal.content:
            check(proposal, tree, facts)
            taken = checkout.taken(branch)
        made = ""
        if proposal.content and not options.dry_run:
            made = checkout.make(base, proposal.content, proposal.message, branch)
        told = _Told(checkout, base, tree, facts, proposal, branch, made)
        told.taken = taken
        _tell(told, options)
    except Refused as error:
        raise InvalidInput(error.problems) from error
    return 0


class _Told:
    """What was made, for the answer."""

    def __init__(  # noqa: PLR0917 - everything that the answer speaks of
        self, checkout: Checkout, base: str, tree: Tree, facts: Facts, proposal: Proposal, branch: str, made: str
    ) -> None:
        self.checkout, self.base, self.facts = checkout, base, facts
        self.proposal, self.branch, self.made = proposal, branch, made
        self.before, self.after = tree, proposal.applied(tree)
        self.taken: Problem | None = None  # why a dry run alone gets so far

    def effect(self) -> Comparison:
        from reconciler.agent.compare import compare

        return compare((self.base, self.before), (self.made or _UNBORN, self.after), self.facts)

    def diffs(self) -> Iterator[str]:
        from reconciler.authoring.shown import file_diffs

        for one in file_diffs(self.before, self.proposal.content, os.urandom(16).hex()):
            yield from one.lines

    def warnings(self) -> Iterator[str]:
        unsaved = self.checkout.unsaved(sorted(self.proposal.content))
        if unsaved:
            yield f"not committed yet, and so not part of it: {', '.join(unsaved)}"
        if self.taken:
            yield f"without --dry-run this is refused: {self.taken.message} ({self.taken.hint})"

    def next(self) -> Sequence[str]:
        """Commands that a person may run now."""
        if not self.made:
            return ()
        remote = self.checkout.remote()
        return (f"git push {remote} {self.branch}",) if remote else (f"git merge {self.branch}",)


def _tell(told: _Told, options: Namespace) -> None:
    if hasattr(options, "json"):
        print_json(_data(told))
    elif not told.proposal.content:
        for note in told.proposal.notes:
            print(note)
        print("Nothing to change, so nothing is committed.")
    else:
        print("\n".join(_lines(told)))


def _lines(told: _Told) -> Iterator[str]:
    from reconciler.report.compare import compare_text

    look = style()
    base = f"on top of {told.checkout.branch() or 'a detached HEAD'} ({told.base[:8]})"
    yield from look.fold(f"{look.paint(told.proposal.subject, 'bold')}, {base}", indent="    ")
    for line in told.proposal.lines:
        yield from look.fold(f"  {line}", indent="      ")
    for note in told.proposal.notes:
        yield from look.fold(f"  {look.paint('note', 'yellow')}: {note}", indent="      ")
    for warning in told.warnings():
        yield from look.fold(f"  {look.paint('warning', 'yellow')}: {warning}", indent="      ")
    yield ""
    for line in told.diffs():
        yield look.paint(line, _COLOURS.get(line[:1], ""))
    yield ""
    shows = f"`reconcile diff {told.base[:8]}..{told.branch} --repo . --patch` shows all of them."
    more = shows if told.made else "without --dry-run it says how to see them."
    yield compare_text(told.effect(), look, more=more)
    if not told.made:
        yield "Nothing is committed: --dry-run."
        return
    committed = f"Committed as {told.made[:8]} on the new branch {told.branch}"
    yield from look.fold(f"{committed}; what you have checked out is as it was.", indent="    ")
    yield f"Next: {' && '.join(told.next())}" + (", and open a merge request" if told.checkout.remote() else "")


def _data(told: _Told) -> dict[str, object]:
    from reconciler.report.compare import compare_data

    changed = bool(told.proposal.content)
    return {
        "changed": changed,
        "branch": told.branch if changed else None,
        "commit": told.made or None,
        "base": told.base,
        "subject": told.proposal.subject,
        "lines": list(told.proposal.lines),
        "notes": [*told.proposal.notes, *told.warnings()],
        "files": sorted(told.proposal.content),
        "diff": "\n".join(told.diffs()),
        "effect": compare_data(told.effect()) if changed else None,
        "next": list(told.next()),
    }
