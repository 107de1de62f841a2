"""The commands for those who write desired state: validate, explain, schema, diff. None of them looks at a host."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping

from reconciler.agent.config import Agent, InvalidInput
from reconciler.agent.here import this_host
from reconciler.cli.options import agent_of, given
from reconciler.cli.terminal import print_json, style
from reconciler.core.model import Field, Origin, Problem
from reconciler.desired import Facts, Tree, UnreadableFolder, compile_site, environments, read_folder, sites, validate
from reconciler.report.text.explain import explain_text
from reconciler.report.text.remarks import problem_lines
from reconciler.source import Mirror, is_local, tree_at


def check(options: Namespace) -> int:
    """`validate`: every problem of every site and environment at once."""
    tree = _folder(options.path)
    problems = validate(tree, _facts())
    names = sites(tree)
    if not problems and not names:
        problems = (
            Problem(Origin(options.path, 0, 0), "has no desired/sites/*.yaml", "see the README, desired state"),
        )
    if hasattr(options, "json"):
        print_json({"valid": not problems, "problems": _problems(problems)})
    elif problems:
        print("\n".join(problem_lines(problems, style())))
        print(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}")
    else:
        count = sum(len(environments(tree, site)) for site in names)
        print(f"valid: {_counted(len(names), 'site')}, {_counted(count, 'deployment')}")
    return 3 if problems else 0


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")


def _problems(problems: tuple[Problem, ...]) -> list[dict[str, object]]:
    from reconciler.report.data import problems_data

    return problems_data(problems)


def schema(_options: Namespace) -> int:
    from reconciler.desired import json_schema

    print_json(json_schema())
    return 0


def explain(options: Namespace) -> int:
    """Every effective value of one service in one deployment."""
    agent = agent_of(options, needs=("site",))
    tree, commit = _tree(agent, options)
    environment = _one_environment(agent, tree)
    result = compile_site(tree, agent.site, [environment], _facts(), commit)
    if environment not in result.compiled:
        raise InvalidInput(result.problems)
    fields = _chosen(result.compiled[environment].fields, options.service, options.key)
    if hasattr(options, "json"):
        from reconciler.report.data import explain_data

        print_json(explain_data(fields))
    else:
        print(explain_text(f"{options.service} on {agent.site} {environment}", fields, style()), end="")
    return 0


def _one_environment(agent: Agent, tree: Tree) -> str:
    names = list(agent.environments) or environments(tree, agent.site)
    if len(names) == 1:
        return names[0]
    known = ", ".join(names) or "none"
    raise InvalidInput(
        [Problem(Origin("--environment", 0, 0), f"which environment of {agent.site}?", f"known: {known}")]
    )


def _chosen(services: Mapping[str, Mapping[str, Field]], service: str, key: str | None) -> Mapping[str, Field]:
    from reconciler.desired.problems import suggest

    if service not in services:
        raise InvalidInput([Problem(Origin("SERVICE", 0, 0), f"no service {service} here", suggest(service, services))])
    fields = services[service]
    if key is None:
        return fields
    if key not in fields:
        raise InvalidInput([Problem(Origin("KEY", 0, 0), f"{service} has no value {key}", suggest(key, fields))])
    return {key: fields[key]}


# ---------------------------------------------------------------- diff of two commits


def diff(options: Namespace) -> int:
    """What changes between two commits, for every deployment, from the repo alone."""
    from reconciler.agent.compare import compare
    from reconciler.report.compare import compare_data, compare_text

    first, dots, second = options.range.partition("..")
    if not dots:
        hint = "write it as A..B, for example origin/main..my-branch"
        raise InvalidInput([Problem(Origin("A..B", 0, 0), f"`{options.range}` is not a range", hint)])
    agent = agent_of(options, needs=("repo",))
    before, after = _tree_of(agent, first or "HEAD"), _tree_of(agent, second or "HEAD")
    asked = given(options)  # the agent's file says which site this is, not which ones the change may touch
    comparison = compare(before, after, _facts(), site=asked.site, environments=asked.environments)
    if hasattr(options, "json"):
        print_json(compare_data(comparison))
    else:
        print(compare_text(comparison, style()), end="")
    return comparison.exit_code


# ---------------------------------------------------------------- where desired state is read from


def _facts() -> Facts:
    """With a salt for one answer only: the same digest every time could be guessed at home."""
    host = this_host()
    return Facts(host=host.name, account=host.account, salt=os.urandom(16).hex())


def _folder(path: str) -> Tree:
    try:
        return read_folder(path)
    except UnreadableFolder as error:
        raise InvalidInput(error.problems) from error


def _tree(agent: Agent, options: Namespace) -> tuple[Tree, str]:
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
    if path:
        return tree_at(path, revision or _default_revision(path, agent.branch))
    from reconciler.agent.store import Store

    folder = Store(agent.state_dir, agent.site or "any").mirror_folder(agent.repo)
    mirror = Mirror(agent.repo, agent.branch, folder, agent.timeout)
    commit = mirror.resolve(revision or "refs/reconcile/head") if os.path.isdir(folder) else mirror.fetch()
    return commit, mirror.tree(commit)


def _default_revision(path: str, branch: str) -> str:
    from reconciler.source.refs import branch_head

    return f"refs/heads/{branch}" if branch_head(path, branch) else "HEAD"
