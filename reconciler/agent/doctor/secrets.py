"""Secrets that stand elsewhere: whether they can be had, and none of them in what the doctor says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from reconciler.core.checked import Checked, error, ok
from reconciler.core.desired import Compiled

if TYPE_CHECKING:
    from reconciler.agent.config import Agent
    from reconciler.desired import Facts, Result


def filled(result: Result, agent: Agent, facts: Facts, tree: Mapping[str, bytes], commit: str) -> Result:
    """With the secrets that this host needs, got as a pass gets them."""
    if not any(one.deployment.secrets for one in result.compiled.values()):
        return result
    from reconciler.agent.memory.store import Store
    from reconciler.agent.secrets import Vault

    return Vault(agent, Store(agent.state_dir, agent.site), facts).fill(result, tree, commit)


def told(compiled: Compiled) -> Iterator[Checked]:
    """A line for each that cannot be had."""
    where, secrets = compiled.deployment.environment, compiled.deployment.secrets
    missing = dict.fromkeys(gap.message for gap in compiled.deployment.gaps)
    for message in missing:
        yield error(where, "secrets", message, "until then those that need it are left as they are")
    if secrets and not missing:
        yield ok(where, "secrets", f"{len(secrets)} from outside of git can be had")


def kept_from_git(agent: Agent, deployments: Sequence[Compiled]) -> Iterator[Checked]:
    """Whether a pass still reaches the remote without the variables that git names as secrets: a credential helper may
    read one of them, and only asking tells."""
    from reconciler.agent.run import variables_of
    from reconciler.host.withheld import give_back, variable, withheld, withhold
    from reconciler.source import Mirror, SourceError, is_local

    every = withheld(variables_of(one.deployment for one in deployments))
    names = [name for name in every if variable(name) is not None]
    if not names or is_local(agent.repo) is not None:
        return
    told = ", ".join(names)
    withhold(names)
    try:
        Mirror(agent.repo, agent.branch, os.path.join(agent.state_dir, "mirrors"), agent.timeout).poll().head()
    except SourceError as failed:
        mend = "give git's credential helper a variable that no `!secret {env: ...}` names, or one with GIT_ before"
        yield error("", "remote", f"passes keep {told} from git, as a secret is in it, and get: {failed}", mend)
    else:
        yield ok("", "remote", f"is reached without {told} too, which passes keep from git as secrets")
    finally:
        give_back(names)


def masked(checks: Iterable[Checked], compiled: Compiled) -> Iterator[Checked]:
    """What prologues have printed, among it, without a secret."""
    if not compiled.hidden:
        yield from checks
        return
    from reconciler.agent.secrets.mask import Mask

    mask = Mask(compiled.hidden)
    for check in checks:
        yield check._replace(message=mask(check.message), mend=mask(check.mend))
