"""The commands for those who write desired state: validate, schema, diff. None of them looks at a host."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import TYPE_CHECKING

from reconciler.agent.config import Agent, InvalidInput
from reconciler.agent.here import this_host
from reconciler.cli.forms import form_of, is_file, show
from reconciler.cli.options import agent_of, given
from reconciler.cli.terminal import print_json, style
from reconciler.core.problem import Origin, Problem
from reconciler.desired import Facts, Tree, UnreadableFolder, environments, examine, read_folder, sites
from reconciler.report.text.remarks import problem_lines
from reconciler.source import Mirror, is_local, tree_at

if TYPE_CHECKING:
    from reconciler.source.blame import Blame


def check(options: Namespace) -> int:
    """`validate`: every problem of every site and environment at once, and what is no problem but worth a word."""
    tree = _folder(options.path)
    problems, warnings = examine(tree, facts())
    names = sites(tree)
    if not problems and not names:
        hint = "`reconcile help keys` says what stands there"
        problems = (Problem(Origin(options.path, 0, 0), "has no desired/sites/*.yaml", hint),)
    if hasattr(options, "json"):
        print_json({"valid": not problems, "problems": _problems(problems), "warnings": _problems(warnings)})
        return 3 if problems else 0
    for one in problem_lines((*problems, *(w._replace(message=f"warning: {w.message}") for w in warnings)), style()):
        print(one)
    if problems:
        print(_counted(len(problems), "problem"))
        return 3
    count = sum(len(environments(tree, site)) for site in names)
    told = f"valid: {_counted(len(names), 'site')}, {_counted(count, 'deployment')}"
    print(told + (f"; {_counted(len(warnings), 'warning')}" if warnings else ""))
    return 0


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")


def _problems(problems: tuple[Problem, ...]) -> list[dict[str, object]]:
    from reconciler.report.data import problems_data

    return problems_data(problems)


def schema(_options: Namespace) -> int:
    from reconciler.desired import json_schema

    print_json(json_schema())
    return 0


# ---------------------------------------------------------------- diff of two commits


def diff(options: Namespace) -> int:
    """What changes between two commits, or a commit and the work tree, for every deployment, from the repo alone."""
    from reconciler.agent.compare import compare
    from reconciler.report.compare import compare_data, compare_text

    first, dots, second = options.range.partition("..")
    agent = agent_of(options, needs=("repo",))
    before = _tree_of(agent, first or "HEAD")
    after = _tree_of(agent, second or "HEAD") if dots else ("", _work_tree(agent))
    asked = given(options)  # the agent's file says which site this is, not which ones the change may touch
    who = blame(agent, after[0])
    comparison = compare(before, after, facts(), site=asked.site, environments=asked.environments, blame=who)
    form = form_of(options)
    if form == "json":
        print_json(compare_data(comparison))
    elif is_file(form):
        from reconciler.report.review import of_comparison

        show(of_comparison(comparison), form)
    else:
        print(compare_text(comparison, style(), whole=options.patch), end="")
    return comparison.exit_code


def _work_tree(agent: Agent) -> Tree:
    """What is not committed yet. Only a repo on this host has it."""
    path = is_local(agent.repo)
    if path and os.path.isdir(os.path.join(path, "desired")):
        return _folder(path)
    hint = "name a checkout with --repo PATH, or write A..B, such as main..my-branch"
    raise InvalidInput([Problem(Origin("A..B", 0, 0), "the repo has no work tree", hint)])


def blame(agent: Agent, commit: str) -> Blame:
    """Who wrote the lines of a commit; of none, of the work tree."""
    from reconciler.source.blame import Blame
    from reconciler.source.command import environment

    path = is_local(agent.repo) if agent.repo else "."
    git = ["git", "-C", os.path.abspath(path), "-c", "safe.directory=*"] if path else _mirror_git(agent)
    return Blame(git, environment(), commit, agent.timeout)


def _mirror_git(agent: Agent) -> list[str]:
    return ["git", f"--git-dir={_mirror(agent).folder}"]


# ---------------------------------------------------------------- where desired state is read from


def facts() -> Facts:
    """With a salt for one answer only: the same digest every time could be guessed at home."""
    host = this_host()
    return Facts(host=host.name, account=host.account, salt=os.urandom(16).hex())


def _folder(path: str) -> Tree:
    try:
        return read_folder(path)
    except UnreadableFolder as error:
        raise InvalidInput(error.problems) from error


def tree(agent: Agent, options: Namespace) -> tuple[Tree, str]:
    """Desired state for a command that works offline.

    With a repo: its branch, of a remote one as it was last fetched. Without: the folder that one stands in.
    """
    if agent.repo:
        path = is_local(agent.repo)
        if path and not _is_git(path):
            return _folder(path), ""
        commit, tree = _tree_of(agent, f"refs/heads/{agent.branch}" if given(options).branch else "")
        return tree, commit
    return _folder("."), ""


def _is_git(path: str) -> bool:
    return os.path.exists(os.path.join(path, ".git")) or os.path.exists(os.path.join(path, "objects"))


def _tree_of(agent: Agent, revision: str) -> tuple[str, Tree]:
    """The commit of a revision and what it holds; an empty revision is the branch."""
    path = is_local(agent.repo)
    if path and not os.path.isdir(path):
        hint = "name the repo with --repo, or in the agent's file"
        raise InvalidInput([Problem(Origin(agent.repo, 0, 0), "there is no such folder", hint)])
    if path:
        return tree_at(path, revision or _default_revision(path, agent.branch))
    mirror = _mirror(agent)
    commit = mirror.resolve(revision or "refs/reconcile/head") if os.path.isdir(mirror.folder) else mirror.fetch()
    return commit, mirror.tree(commit)


def _mirror(agent: Agent) -> Mirror:
    from reconciler.agent.memory.store import Store

    folder = Store(agent.state_dir, agent.site or "any").mirror_folder(agent.repo)
    return Mirror(agent.repo, agent.branch, folder, agent.timeout)


def _default_revision(path: str, branch: str) -> str:
    from reconciler.source.refs import branch_head

    return f"refs/heads/{branch}" if branch_head(path, branch) else "HEAD"
