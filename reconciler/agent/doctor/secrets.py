"""Secrets that stand elsewhere: whether they can be had, and none of them in what the doctor says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    from reconciler.agent.secrets import Vault
    from reconciler.agent.store import Store

    return Vault(agent, Store(agent.state_dir, agent.site), facts).fill(result, tree, commit)


def told(compiled: Compiled) -> Iterator[Checked]:
    """A line for each that cannot be had."""
    where, secrets = compiled.deployment.environment, compiled.deployment.secrets
    missing = dict.fromkeys(gap.message for gap in compiled.deployment.gaps)
    for message in missing:
        yield error(where, "secrets", message, "until then those that need it are left as they are")
    if secrets and not missing:
        yield ok(where, "secrets", f"{len(secrets)} from outside of git can be had")


def masked(checks: Iterable[Checked], compiled: Compiled) -> Iterator[Checked]:
    """What prologues have printed, among it, without a secret."""
    if not compiled.hidden:
        yield from checks
        return
    from reconciler.agent.mask import Mask

    mask = Mask(compiled.hidden)
    for check in checks:
        yield check._replace(message=mask(check.message), mend=mask(check.mend))
