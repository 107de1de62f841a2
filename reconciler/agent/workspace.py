"""From a commit to deployments: the compiled form where it is kept, else compiled from the mirror."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from reconciler.agent.config import Agent
from reconciler.agent.here import Host
from reconciler.agent.memory.store import Store, tool_identity
from reconciler.core.desired import Compiled, Deployment
from reconciler.host import files

if TYPE_CHECKING:
    from reconciler.agent.secrets import Vault
    from reconciler.desired import Facts, Result
    from reconciler.source import Mirror


class Formers(NamedTuple):
    """What earlier commits wanted of one environment."""

    kept: Mapping[str, Deployment]  # by key of the compiled form
    asked: dict[str, Deployment | None]  # by commit, in this pass


class Workspace:
    """One site's desired state on this host. Nothing is parsed before it is needed, and each commit once."""

    def __init__(self, agent: Agent, store: Store, mirror: Mirror, host: Host) -> None:
        self.agent = agent
        self.store = store
        self.mirror = mirror
        self.host = host
        self._results: dict[str, Result] = {}
        self._revealed: dict[str, Result] = {}
        self._opened: Vault | None = None
        self._formers: dict[str, Formers] = {}  # by environment

    def kept(self, commit: str, environments: tuple[str, ...]) -> dict[str, Deployment]:
        """The compiled forms of a commit that are kept; empty unless all of them are."""
        if not commit or not environments:
            return {}
        read = {name: self.store.compiled(name, self._key(commit, name)) for name in environments}
        found = {name: deployment for name, deployment in read.items() if deployment is not None}
        if len(found) < len(read):
            return {}
        if any(one.secrets for one in found.values()) and not all(map(self._vault().is_current, found.values())):
            return {}  # a secret has changed, or cannot be had any more
        return found

    def compile(self, commit: str) -> Result:
        """Everything of this site at a commit, with contents and reasons. Raises `SourceError`."""
        if commit not in self._results:
            from reconciler.desired import compile_site

            tree = self.mirror.tree(commit)
            self._results[commit] = compile_site(
                tree, self.agent.site, self.agent.environments or None, self._facts(), commit
            )
        return self._results[commit]

    def reveal(self, commit: str) -> Result:
        """The same with the secrets in it that stand elsewhere, where this host needs them; those that cannot be had
        are gaps. For a commit that has been accepted only: it may say what is to be run. Raises `SourceError`."""
        if commit not in self._revealed:
            result = self.compile(commit)
            if any(one.deployment.secrets for one in result.compiled.values()):
                result = self._vault().fill(result, self.mirror.tree(commit), commit)
            self._revealed[commit] = result
        return self._revealed[commit]

    def former(self, commit: str, environment: str) -> Deployment | None:
        """What an earlier commit wanted, with its secrets; None where it had no such environment.
        Raises `SourceError`."""
        formers = self._kept_formers(environment)
        if commit not in formers.asked:
            kept = formers.kept.get(self._key(commit, environment))
            compiled = None if kept is not None else self.reveal(commit).compiled.get(environment)
            formers.asked[commit] = compiled.deployment if compiled is not None else kept
        return formers.asked[commit]

    def keep_formers(self, environment: str) -> None:
        """Save what earlier commits wanted, as far as this pass had to know, for those to come. With a secret it is
        made anew each time: whether that is another one by now is not seen otherwise. Raises `OSError`."""
        formers = self._kept_formers(environment)
        found = {
            self._key(commit, environment): one
            for commit, one in formers.asked.items()
            if one is not None and not one.secrets and not one.gaps
        }
        if not formers.kept.keys() >= found.keys():
            self.store.save_formers(environment, found)
            self._formers[environment] = formers._replace(kept=found)

    def _kept_formers(self, environment: str) -> Formers:
        if environment not in self._formers:
            self._formers[environment] = Formers(self.store.formers(environment), {})
        return self._formers[environment]

    def _vault(self) -> Vault:
        """Only where git refers to secrets: else nothing of it is loaded."""
        if self._opened is None:
            from reconciler.agent.secrets import Vault

            self._opened = Vault(self.agent, self.store, self._facts())
        return self._opened

    def vouch(self, deployment: Deployment) -> None:
        """Note beside what runs what digests of its secrets are keyed with."""
        if deployment.secrets:
            self._vault().vouch(deployment)

    def accepted(self, commit: str) -> set[str]:
        """What was accepted last in the deployments of a commit, as their roots tell. Raises `SourceError`."""
        compiled = self.compile(commit).compiled.values() if commit else ()
        found = {self.store.accepted(each.deployment.root) for each in compiled}
        return found - {""}

    def warm_up(self) -> None:
        """Load what a pass with news will need, while it waits for git and for its services."""
        from threading import Thread

        with suppress(RuntimeError):  # the account may run no more threads: then it is loaded when it is needed
            Thread(target=_load, daemon=True).start()

    def keep(self, compiled: Compiled) -> None:
        """Save a compiled form for the passes to come; not where a secret is missing in it. Raises `OSError`."""
        deployment = compiled.deployment
        if deployment.gaps:
            return
        if deployment.secrets:
            self._vault().keep(deployment)
        key = self._key(deployment.commit, deployment.environment)
        self.store.save_compiled(deployment.environment, key, deployment)

    def _key(self, commit: str, environment: str) -> str:
        allowed = (*self.agent.sources, "", *self.agent.roots)
        return "|".join((tool_identity(), commit, self.agent.site, environment, *self.host, *allowed))

    def _facts(self) -> Facts:
        from reconciler.desired import Facts

        host = self.host
        agent = self.agent
        return Facts(host.name, host.account, self._salt(), host.home, agent.sources, here=True, roots=agent.roots)

    def _salt(self) -> str:
        """Makes the digests of secrets that people see useless for guessing them. Kept, so that changes show."""
        path = os.path.join(self.store.state_dir, "salt")
        try:
            return files.read(path).decode("ascii")
        except (OSError, UnicodeDecodeError):
            salt = os.urandom(16).hex()
        try:
            files.make_folder(self.store.state_dir, 0o700)
            files.write(path, salt.encode(), 0o600)
        except OSError:
            return salt  # nothing can be kept here; then digests differ from pass to pass
        return salt


def _load() -> None:
    """In the order in which it is needed. What cannot be loaded says so when it is. Jinja2 only some states need."""
    from importlib import import_module

    with suppress(ImportError):
        for name in ("reconciler.desired.compiler", "ruamel.yaml", "reconciler.apply.executor", "structlog"):
            import_module(name)
