"""The commands that tell where values come from: explain and blame. Neither of them looks at a host."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import NamedTuple

from reconciler.agent.config import Agent, InvalidInput
from reconciler.cli.authoring import blame as blame_of
from reconciler.cli.authoring import facts, tree
from reconciler.cli.options import agent_of
from reconciler.cli.terminal import print_json, style
from reconciler.core.desired import Compiled, Field
from reconciler.core.problem import Origin, Problem
from reconciler.desired import Tree, compile_site, environments
from reconciler.desired.cleanup import fields_of
from reconciler.desired.layers import Layers
from reconciler.desired.nodes import Entries
from reconciler.desired.problems import Problems, suggest
from reconciler.desired.written import Said, component_of, said


class _Asked(NamedTuple):
    """The service that is asked about."""

    agent: Agent
    tree: Tree
    commit: str  # empty: of a folder
    environment: str
    fields: Mapping[str, Field]

    def heading(self, service: str) -> str:
        return f"{service} on {self.agent.site} {self.environment}"


def explain(options: Namespace) -> int:
    """Every effective value of one service in one deployment, and what each layer says on it."""
    from reconciler.report.text.explain import explain_text

    asked = _asked(options)
    layers = _layers(asked, options.service)
    if hasattr(options, "json"):
        from reconciler.report.data import explain_data

        print_json(explain_data(asked.fields, layers))
    else:
        whole = options.key is not None
        print(explain_text(asked.heading(options.service), asked.fields, layers, style(), whole=whole), end="")
    return 0


def blame(options: Namespace) -> int:
    """The commit that each effective value of one service comes from."""
    from reconciler.report.text.explain import blame_data, blame_text

    asked = _asked(options)
    git = blame_of(asked.agent, asked.commit)
    whose = {key: git.line(field.origin.file, field.origin.line) for key, field in asked.fields.items()}
    if hasattr(options, "json"):
        print_json(blame_data(asked.fields, whose))
    else:
        print(blame_text(asked.heading(options.service), asked.fields, whose, style()), end="")
    return 0


def _asked(options: Namespace) -> _Asked:
    agent = agent_of(options, needs=("site",))
    found, commit = tree(agent, options)
    environment = _one_environment(agent, found)
    result = compile_site(found, agent.site, [environment], facts(), commit)
    if environment not in result.compiled:
        raise InvalidInput(result.problems)
    compiled = result.compiled[environment]
    known = {**_rules(compiled, Layers(found, Problems()).merged(agent.site, environment)), **compiled.fields}
    fields = _chosen(known, options.service, options.key)
    return _Asked(agent, found, commit, environment, fields)


def _rules(compiled: Compiled, merged: Entries) -> dict[str, Mapping[str, Field]]:
    """The rules of `cleanup`, as `cleanup.NAME`."""
    return {f"cleanup.{rule.name}": fields_of(rule, merged) for rule in compiled.deployment.cleanups}


def _layers(asked: _Asked, service: str) -> dict[str, list[Said]]:
    layers = Layers(asked.tree, Problems())
    component = component_of(layers.merged(asked.agent.site, asked.environment), service)
    every = layers.of(asked.agent.site, asked.environment)
    found = {key: said(every, service, component, key) for key in asked.fields}
    if service.startswith("cleanup."):
        return {key: told or said(every, "", "", f"{service}.{key}") for key, told in found.items()}
    return found


def _one_environment(agent: Agent, found: Tree) -> str:
    names = list(agent.environments) or environments(found, agent.site)
    if len(names) == 1:
        return names[0]
    known = ", ".join(names) or "none"
    raise InvalidInput(
        [Problem(Origin("--environment", 0, 0), f"which environment of {agent.site}?", f"known: {known}")]
    )


def _chosen(services: Mapping[str, Mapping[str, Field]], service: str, key: str | None) -> Mapping[str, Field]:
    if service not in services:
        what = f"no {'rule' if service.startswith('cleanup.') else 'service'} {service} here"
        raise InvalidInput([Problem(Origin("SERVICE", 0, 0), what, suggest(service, services))])
    fields = services[service]
    if key is None:
        return fields
    if key not in fields:
        raise InvalidInput([Problem(Origin("KEY", 0, 0), f"{service} has no value {key}", suggest(key, fields))])
    return {key: fields[key]}
