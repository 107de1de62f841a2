"""Which secrets a site's deployments need here, whether they are still the same, and deployments with them in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import time
from typing import TYPE_CHECKING

from reconciler.agent.secrets.private import Unresolved
from reconciler.agent.secrets.sources import fetch
from reconciler.core.desired import Compiled, Deployment
from reconciler.core.digest import digest_of, keyed
from reconciler.core.problem import Gap, Problem
from reconciler.core.secret import Reference, Revealed, Source, Use
from reconciler.desired import compile_site

if TYPE_CHECKING:
    from reconciler.agent.config import Agent
    from reconciler.agent.memory.store import Store
    from reconciler.desired import Facts, Result

COMMANDS_EVERY = 900.0  # seconds between two times that a command is asked for a secret that nothing is rendered with

_Compile = Callable[[Iterable[Reference]], "Result"]


class Vault:
    """The secrets of one pass, each got once. It shows none of them."""

    def __init__(self, agent: Agent, store: Store, facts: Facts) -> None:
        self._agent = agent
        self._store = store
        self._facts = facts
        self._values: dict[Reference, str] = {}
        self._missing: dict[Reference, Unresolved] = {}

    def __repr__(self) -> str:
        return "<vault>"

    # ------------------------------------------------------------ whether they have changed

    def is_current(self, deployment: Deployment) -> bool:
        """Whether a compiled form that was kept still has the secrets in it that there are.

        Files and variables are read anew in each pass, commands are asked now and then; what the repo holds does not
        change without a commit, so it need not be decrypted.
        """
        stamps, asked = self._store.stamps(deployment.environment)
        due = not 0 <= time() - asked < COMMANDS_EVERY
        key, commands = self._key(deployment), False
        for use in deployment.secrets:
            reference = use.secret.reference
            is_command = reference.source is Source.COMMAND
            if reference.source.in_repo or (is_command and not due):
                continue
            commands |= is_command
            if stamps.get(_name(reference)) != self._stamp(key, reference):
                return False
        if commands:
            self._store.touch_stamps(deployment.environment, time())
        return True

    def _stamp(self, key: str, reference: Reference) -> str:
        """A digest of what it is now; empty where it cannot be had."""
        try:
            return keyed(key, self._get(reference, {}).encode("utf-8", "surrogatepass"))
        except Unresolved:
            return ""

    def keep(self, deployment: Deployment) -> None:
        """Note what they were, beside a compiled form with them in. Raises `OSError`."""
        key = self._key(deployment)
        kept = (use.secret.reference for use in deployment.secrets if not use.secret.reference.source.in_repo)
        self._store.save_stamps(deployment.environment, {_name(one): self._stamp(key, one) for one in kept})

    # ------------------------------------------------------------ what digests are keyed with

    def _key(self, deployment: Deployment) -> str:
        """The one that is noted beside what runs: state directories come and go, and agents may have one each."""
        return self._store.secret_key(deployment.root) or self._facts.salt

    def vouch(self, deployment: Deployment) -> None:
        """Note it there, once something runs."""
        self._store.save_secret_key(deployment.root, self._key(deployment))

    # ------------------------------------------------------------ deployments with them in

    def fill(self, result: Result, tree: Mapping[str, bytes], commit: str) -> Result:
        """The same deployments, compiled with their secrets. What cannot be had is a gap in those that need it."""
        self._forget_files_of_the_repo()
        needed = {use.secret.reference for one in result.compiled.values() for use in one.deployment.secrets}
        missing = {}
        for reference in sorted(needed, key=digest_of):
            try:
                self._get(reference, tree)
            except Unresolved as unresolved:
                missing[reference] = unresolved
        keys = {name: self._key(one.deployment) for name, one in result.compiled.items()}

        def made(references: Iterable[Reference]) -> Result:
            revealed = Revealed({reference: self._values[reference] for reference in references}, keys)
            facts = self._facts._replace(secrets=revealed)
            return compile_site(tree, self._agent.site, self._agent.environments or None, facts, commit)

        filled, unfit = _fitting(made, [reference for reference in needed if reference not in missing])
        self._forget_commands(filled)
        return filled._replace(
            compiled={name: self._told(one, missing | unfit) for name, one in filled.compiled.items()}
        )

    def _told(self, compiled: Compiled, missing: Mapping[Reference, Unresolved]) -> Compiled:
        """With a gap for each file that cannot be made, and without what stands in its place."""
        deployment = compiled.deployment
        gaps = [
            gap
            for use in deployment.secrets
            if (why := missing.get(use.secret.reference)) is not None
            for gap in _gaps(use, why)
        ]
        closed = {gap.subject for gap in gaps}
        values = {self._values[ref] for ref in self._values}
        return Compiled(
            deployment._replace(gaps=tuple(gaps)),
            {path: content for path, content in compiled.contents.items() if path not in closed},
            compiled.fields,
            tuple(sorted({*compiled.hidden, *values})),
            compiled.shown,
        )

    def _forget_commands(self, filled: Result) -> None:
        """One that now says something else than what was noted is asked again by the next pass, which notes that."""
        for name, one in filled.compiled.items():
            stamps, asked = self._store.stamps(name)
            key = self._key(one.deployment)
            commands = (use.secret.reference for use in one.deployment.secrets)
            for reference in commands if asked else ():
                known = stamps.get(_name(reference))
                if reference.source is Source.COMMAND and known and known != self._stamp(key, reference):
                    self._store.touch_stamps(name, 0.0)

    def _forget_files_of_the_repo(self) -> None:
        """At another commit the same name may be another file."""
        self._values = {one: value for one, value in self._values.items() if not one.source.in_repo}
        self._missing = {one: why for one, why in self._missing.items() if not one.source.in_repo}

    def _get(self, reference: Reference, tree: Mapping[str, bytes]) -> str:
        """Raises `Unresolved`."""
        if reference in self._missing:
            raise self._missing[reference]
        if reference not in self._values:
            try:
                self._values[reference] = fetch(reference, tree, self._agent.age_identity)
            except Unresolved as unresolved:
                self._missing[reference] = self._placed(unresolved)
                raise self._missing[reference] from None
        return self._values[reference]

    def _placed(self, why: Unresolved) -> Unresolved:
        """With the line of the agent's file that names the private key, where that is what cannot be used."""
        identity = self._agent.age_identity
        named = self._agent.naming(identity) if identity and identity in why.why else ""
        return Unresolved(why.why, "; ".join(filter(None, (why.mend, named)))) if named else why


def _name(reference: Reference) -> str:
    return digest_of([reference.source.value, reference.target, reference.key])


def _fitting(made: _Compile, references: list[Reference]) -> tuple[Result, dict[Reference, Unresolved]]:
    """Compiled with all that fit. One that makes the commit invalid, such as a template that wants another form of it,
    is left out; where no single one is to blame, all are."""
    whole = made(references)
    if not whole.problems:
        return whole, {}
    why = _unfit(whole.problems)
    for reference in references:
        others = made([one for one in references if one != reference])
        if not others.problems:
            return others, {reference: why}
    return made([]), dict.fromkeys(references, why)


def _unfit(problems: tuple[Problem, ...]) -> Unresolved:
    first = problems[0]
    return Unresolved(f"what it holds does not fit there: {first.origin}: {first.message}", first.hint)


def _gaps(use: Use, why: Unresolved) -> list[Gap]:
    mend = f" ({why.mend})" if why.mend else ""
    message = f"{use.secret.place}: the secret of {use.secret.reference} cannot be had: {why.why}{mend}"
    files = [Gap("file", path, message) for path in use.paths]
    return [*files, *(Gap("launcher", name, message) for name in use.launchers)]
