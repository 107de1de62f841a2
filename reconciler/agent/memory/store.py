"""What an agent remembers between passes, below its state directory.

    SITE/source.json             commits seen and accepted; its time of change is the last contact
    SITE/ENV/compiled.json       the compiled form of the last valid commit
    SITE/ENV/former.json         of earlier ones, while a service is held back to what it was then
    SITE/ENV/inventory.json      what is ours; a copy lies below the deployment's root
    SITE/ENV/journal.jsonl       passes that did something
    SITE/ENV/rollouts.json       which specifications were healthy, and which failed; a copy lies below the root
    SITE/ENV/secrets.json        digests of the secrets of other places than git, with a key; its time of change is
                                 when commands were asked for theirs
    SITE/ENV/health/, verify/    what services and verifications last said, see `agent.rollout.health`
    SITE/ENV/plans/ID.json       plans that wait, or have waited, for approval, see `agent.holding.plans`
    SITE/ENV/cleanup.json        when the rules of `cleanup` come next
    SITE/ENV/removed.log         what clean-ups have removed, by name, see `host.scratch.names`
    SITE/cleanup.key             what marks the folders that a clean-up is removing
    SITE/schedule.json           what `reconcile schedule install` has installed
    SITE/pauses.json             what `reconcile pause` has paused
    SITE/told.json               what receivers of `notify` were told, and what waits for them
    SITE/printed                 what a pass that changed nothing has printed last, see `agent.memory.printed`
    mirrors/…                    bare clones

Everything but the inventory and the commit that was accepted last can be made again, and these two have
copies below the root of each deployment: losing the state directory costs time, pauses, and approvals.

Each file is sealed: a line with its format and a digest, then a line of JSON. One that was damaged, or
written by another version, is told from one that is not there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import reconciler
from reconciler import __version__
from reconciler.agent.memory import clock
from reconciler.agent.memory.codec import decode_deployment, decode_inventory, encode_deployment, encode_inventory
from reconciler.core.desired import Deployment
from reconciler.core.digest import digest
from reconciler.core.inventory import Inventory
from reconciler.core.observed import Pause
from reconciler.host import files

if TYPE_CHECKING:
    from reconciler.core.cleanup import Memory

_FORMAT = 3
_PAUSES = 1  # the format of pauses: they outlast another version of reconcile
_ROLLOUTS = 1  # the format of rollouts, which do so too
_PLANS = 1  # likewise that of plans


class DamagedError(Exception):
    """A file of the state directory is there and cannot be used; the text says which and why."""


class Recalled(NamedTuple):
    """An inventory as far as it could be had."""

    inventory: Inventory
    damage: str = ""  # why it is empty, where it may not have been


class SourceState(NamedTuple):
    """What is known of the branch."""

    head: str = ""  # the last commit that was seen and whose place in history was accepted
    valid: str = ""  # the last of them that validates: what the site is held to
    environments: tuple[str, ...] = ()  # of this site at `valid`
    contact: float = 0.0  # seconds since the epoch: when the remote last answered; 0 if never
    variables: tuple[str, ...] = ()  # of reconcile's own environment, that `valid` names as secrets


def tool_identity() -> str:
    """Names this build of the tool: another one may compile differently."""
    package = os.path.dirname(os.path.abspath(reconciler.__file__))
    return f"{__version__}/{_FORMAT}/{os.stat(package).st_mtime_ns}"


class Store:
    """The state of one site's agent."""

    def __init__(self, state_dir: str, site: str) -> None:
        self.state_dir = state_dir
        self.site = site
        self.folder = os.path.join(state_dir, site)
        self._source = os.path.join(self.folder, "source.json")
        self._scratch_key = ""  # that could not be written yet

    def prepare(self) -> None:
        """Make the folders, private to the account. Raises `OSError`."""
        files.make_folder(self.state_dir, 0o700)
        files.make_folder(self.folder, 0o700)
        if not os.path.lexists(self.cleanup_lock_path()):  # when it is needed the last inode may be gone
            with suppress(OSError):
                files.append_line(self.cleanup_lock_path(), b"", 0o600)  # never another one in its place

    def lock_path(self) -> str:
        return os.path.join(self.folder, "lock")

    def schedule_path(self) -> str:
        return os.path.join(self.folder, "schedule.json")

    def mirror_folder(self, repo: str) -> str:
        return os.path.join(self.state_dir, "mirrors", digest(repo.encode("utf-8", "surrogateescape"))[:16] + ".git")

    # ------------------------------------------------------------ the source

    def source(self) -> SourceState:
        """What is known of the branch; nothing where that was never noted. Raises `DamagedError`."""
        data = _unseal(self._source)
        if data is None:
            return SourceState()
        contact = os.stat(self._source).st_mtime
        variables = tuple(data.get("variables", ()))
        return SourceState(data["head"], data["valid"], tuple(data["environments"]), contact, variables)

    def save_source(self, state: SourceState) -> None:
        data = {"head": state.head, "valid": state.valid, "environments": state.environments}
        data |= {"variables": state.variables} if state.variables else {}
        self._write(self._source, data)
        os.utime(self._source, (state.contact, state.contact))

    def touch_contact(self, when: float) -> None:
        """Note that the remote answered. No file is written: only a time changes."""
        with suppress(OSError):
            os.utime(self._source, (when, when))

    def keys_folder(self) -> str:
        """Where signatures are looked at, for as long as that takes."""
        return os.path.join(self.state_dir, "mirrors", f"{self.site}.keys")

    def accepted(self, root: str) -> str:
        """The commit that was accepted last, by the copy below a deployment's root; empty where there is none."""
        try:
            data = _unseal(_accepted_path(root)) or {}
        except DamagedError:
            return ""
        return str(data["head"]) if data.get("site") == self.site else ""

    def save_accepted(self, root: str, head: str) -> None:
        """Remember it where losing the state directory does not forget it, once the root has been made."""
        path = _accepted_path(root)
        if head and self.accepted(root) != head and os.path.isdir(os.path.dirname(path)):
            with suppress(OSError):  # the next pass tries again
                files.write(path, _seal({"site": self.site, "head": head}), 0o600)

    # ------------------------------------------------------------ pauses

    def pauses_path(self) -> str:
        return os.path.join(self.folder, "pauses.json")

    def pauses(self) -> tuple[Pause, ...]:
        """All that were opened and not taken off since, over or not. Raises `DamagedError`."""
        data = _unseal(self.pauses_path(), _PAUSES)
        try:
            return tuple(Pause(**entry) for entry in data["pauses"]) if data is not None else ()
        except (KeyError, TypeError) as error:
            raise DamagedError(f"{self.pauses_path()} is damaged") from error

    def save_pauses(self, pauses: Iterable[Pause]) -> None:
        """Raises `OSError`; then all is as it was."""
        entries = [pause._asdict() for pause in pauses]
        if entries:
            self._put(self.pauses_path(), _seal({"pauses": entries}, _PAUSES))
        else:
            files.remove(self.pauses_path())

    # ------------------------------------------------------------ plans that wait for approval

    def plans_folder(self, environment: str) -> str:
        return self._path(environment, "plans")

    def plan(self, environment: str, name: str) -> dict[str, Any] | None:
        """One by its id. Raises `DamagedError`."""
        return _unseal(os.path.join(self.plans_folder(environment), f"{name}.json"), _PLANS)

    def save_plan(self, environment: str, name: str, data: Mapping[str, Any]) -> None:
        """Raises `OSError`; then all is as it was."""
        self._put(os.path.join(self.plans_folder(environment), f"{name}.json"), _seal(data, _PLANS))

    # ------------------------------------------------------------ clean-up

    def scratch(self, environment: str) -> dict[str, Memory]:
        """What is remembered of the rules of `cleanup`, by name. Raises `DamagedError`."""
        path = self._path(environment, "cleanup.json")
        data = _unseal(path)
        if data is None:
            return {}
        from reconciler.core.cleanup import Memory

        try:
            return {name: Memory(*row) for name, row in data["rules"].items()}
        except (KeyError, TypeError) as error:
            raise DamagedError(f"{path} is damaged") from error

    def save_scratch(self, environment: str, memories: Mapping[str, Memory]) -> None:
        """Raises `OSError`; then all is as it was.

        What the first clean-up needs is made with it: by then there may be no room.
        """
        self._write(self._path(environment, "cleanup.json"), {"rules": memories})
        self.scratch_key(make=True)

    def cleanup_lock_path(self) -> str:
        """Of its own: who cleans up by hand, for hours maybe, keeps no pass from deploying."""
        return os.path.join(self.folder, "cleanup.lock")

    def scratch_mark(self, environment: str, rule: str) -> str:
        """The file that says which process waits for a file system that does not answer."""
        return self._path(environment, f"cleanup.{rule}.silent")

    def names_path(self, environment: str) -> str:
        """The log of what clean-ups have removed, by name."""
        return self._path(environment, "removed.log")

    def scratch_key(self, *, make: bool = False) -> str:
        """What marks the folders that a clean-up is removing; empty where there is none yet.

        `make`: then one is made. One that cannot be written is kept in memory until it can be: to be called once more
        when something was removed. With a new one, what a killed pass has left goes when it is old by its own date.
        """
        path = os.path.join(self.folder, "cleanup.key")
        with suppress(OSError):
            if key := files.read(path).decode("ascii", "replace").strip():
                return key
        if make:
            self._scratch_key = self._scratch_key or os.urandom(24).hex()
            with suppress(OSError):
                files.write(path, self._scratch_key.encode(), 0o600)
        return self._scratch_key

    # ------------------------------------------------------------ what was told

    def told(self) -> dict[str, Any] | None:
        """None where nobody was told anything yet. Raises `DamagedError`."""
        return _unseal(os.path.join(self.folder, "told.json"))

    def save_told(self, data: Mapping[str, Any]) -> None:
        """Raises `OSError`."""
        self._write(os.path.join(self.folder, "told.json"), data)

    # ------------------------------------------------------------ deployments

    def _path(self, environment: str, name: str) -> str:
        return os.path.join(self.folder, environment, name)

    def environment_path(self, environment: str) -> str:
        return os.path.join(self.folder, environment)

    def journal_path(self, environment: str) -> str:
        return self._path(environment, "journal.jsonl")

    def compiled(self, environment: str, key: str) -> Deployment | None:
        """The compiled form that was saved under this very key, if it is there and whole."""
        try:
            data = _unseal(self._path(environment, "compiled.json"))
        except DamagedError:
            return None  # it is made again
        return decode_deployment(data["deployment"]) if data is not None and data["key"] == key else None

    def save_compiled(self, environment: str, key: str, deployment: Deployment) -> None:
        data = {"key": key, "deployment": encode_deployment(deployment)}
        self._write(self._path(environment, "compiled.json"), data)

    def formers(self, environment: str) -> dict[str, Deployment]:
        """The compiled forms of earlier commits that this very release has saved, by key."""
        try:
            data = _unseal(self._path(environment, "former.json"))
        except DamagedError:
            return {}  # they are made again
        rows = data["deployments"] if data is not None else {}
        ours = f"{tool_identity()}|"  # another one's may be of another shape
        return {key: decode_deployment(row) for key, row in rows.items() if key.startswith(ours)}

    def save_formers(self, environment: str, deployments: Mapping[str, Deployment]) -> None:
        """Instead of those before. Raises `OSError`."""
        data = {key: encode_deployment(deployment) for key, deployment in deployments.items()}
        self._write(self._path(environment, "former.json"), {"deployments": data})

    def forget_formers(self, environment: str) -> None:
        """Raises `OSError`."""
        files.remove(self._path(environment, "former.json"))

    def stamps(self, environment: str) -> tuple[dict[str, str], float]:
        """What the secrets of the compiled form were, as digests, and when commands were asked last."""
        path = self._path(environment, "secrets.json")
        try:
            data = _unseal(path)
            return (dict(data["stamps"]), os.stat(path).st_mtime) if data is not None else ({}, 0.0)
        except (DamagedError, OSError, KeyError, TypeError, ValueError):
            return {}, 0.0  # they are asked again

    def save_stamps(self, environment: str, stamps: Mapping[str, str]) -> None:
        """Raises `OSError`."""
        self._write(self._path(environment, "secrets.json"), {"stamps": stamps})

    def touch_stamps(self, environment: str, when: float) -> None:
        """Note when commands were asked. No file is written: only a time changes."""
        with suppress(OSError):
            os.utime(self._path(environment, "secrets.json"), (when, when))

    def secret_key(self, root: str) -> str:
        """What digests of secrets are keyed with below a root; empty where that was not noted yet."""
        try:
            return files.read(_key_path(root)).decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def save_secret_key(self, root: str, key: str) -> None:
        """Keep it beside what runs: with another one all that has a secret would restart."""
        path = _key_path(root)
        if self.secret_key(root) != key and os.path.isdir(os.path.dirname(path)):
            with suppress(OSError):  # the next pass tries again
                files.write(path, key.encode(), 0o600)

    def inventory(self, environment: str, root: str) -> Recalled:
        """What is ours; from the copy below the root where the state directory was lost or damaged."""
        damage = ""
        for path in (self._path(environment, "inventory.json"), *([_copy_path(root)] if root else [])):
            try:
                data = _unseal(path, read=files.read_own)  # it says what may be removed
            except DamagedError as error:
                damage = damage or str(error)
                continue
            if data is not None:
                return Recalled(clock.translated(decode_inventory(data["inventory"]), data.get("clock")))
        return Recalled(Inventory(), damage)

    def sites(self) -> list[str]:
        """Those of which this state directory remembers something."""
        try:
            names = os.listdir(self.state_dir)
        except OSError:
            return []
        return sorted(name for name in names if os.path.exists(os.path.join(self.state_dir, name, "source.json")))

    def environments(self) -> list[str]:
        """Those in which something is noted as ours."""
        try:
            names = os.listdir(self.folder)
        except OSError:
            return []
        return sorted(name for name in names if os.path.exists(self._path(name, "inventory.json")))

    def forget(self, environment: str, root: str) -> None:
        """Nothing of this deployment is left; its journal stays. Raises `OSError`."""
        for path in (
            _copy_path(root),
            _accepted_path(root),
            *self.rollouts_paths(environment, root),
            _key_path(root),
            self._path(environment, "secrets.json"),
            self._path(environment, "inventory.json"),
            self._path(environment, "compiled.json"),
            self._path(environment, "former.json"),
            self._path(environment, "cleanup.json"),
        ):
            files.remove(path)
        for kind in ("health", "verify", "plans"):
            with suppress(OSError):
                for name in os.listdir(self._path(environment, kind)):
                    files.remove(os.path.join(self._path(environment, kind), name))

    def rollouts_paths(self, environment: str, root: str) -> tuple[str, str]:
        return self._path(environment, "rollouts.json"), os.path.join(root, ".reconcile", "rollouts.json")

    def rollouts(self, environment: str, root: str) -> tuple[Mapping[str, Any], str]:
        """What is remembered of rollouts by service, and why that is nothing although there may have been something."""
        damage = ""
        for path in self.rollouts_paths(environment, root):
            try:
                data = _unseal(path, _ROLLOUTS)
            except DamagedError as error:
                damage = damage or str(error)
                continue
            if data is not None:
                return data["services"], ""
        return {}, damage

    def save_rollouts(self, environment: str, root: str, services: Mapping[str, Any]) -> None:
        """Raises `OSError`: what is about to be tried must be known to the next pass."""
        first, copy = self.rollouts_paths(environment, root)
        if not services:
            files.remove(first)
            files.remove(copy)
            return
        sealed = _seal({"services": services}, _ROLLOUTS)
        self._put(first, sealed)
        if os.path.isdir(os.path.dirname(copy)):
            self._put(copy, sealed)

    def save_inventory(self, environment: str, root: str, inventory: Inventory) -> None:
        """Raises `OSError`: a pass must not act on what it could not note as its own."""
        sealed = _seal({"inventory": encode_inventory(inventory), "clock": clock.now()})
        for path in self._inventory_paths(environment, root):
            self._put(path, sealed)

    def finish_inventory(self, environment: str, root: str, inventory: Inventory) -> None:
        """Write it once more where a pass was killed while it did, which a temporary file tells. Raises `OSError`."""
        paths = self._inventory_paths(environment, root)
        if any(os.path.lexists(files.temporary_name(path)) for path in paths):
            self.save_inventory(environment, root, inventory)

    def _inventory_paths(self, environment: str, root: str) -> tuple[str, str]:
        return self._path(environment, "inventory.json"), _copy_path(root)

    def _write(self, path: str, data: Mapping[str, Any]) -> None:
        self._put(path, _seal(data))

    def _put(self, path: str, sealed: bytes) -> None:
        files.make_folder(os.path.dirname(path), 0o700)
        files.write(path, sealed, 0o600)


def _seal(data: Mapping[str, Any], form: int = _FORMAT) -> bytes:
    body = json.dumps(data, separators=(",", ":")).encode()
    return json.dumps({"reconcile": form, "digest": digest(body)}).encode() + b"\n" + body + b"\n"


def _unseal(
    path: str, form: int = _FORMAT, *, read: Callable[[str], bytes] = files.read
) -> dict[str, Any] | None:
    """None where there is no such file. Raises `DamagedError`."""
    try:
        head, _, body = read(path).partition(b"\n")
        seal = json.loads(head)
        if seal["reconcile"] != form:
            raise DamagedError(f"{path} was written by another version of reconcile")
        if seal["digest"] != digest(body.rstrip(b"\n")):
            raise DamagedError(f"{path} is damaged")
        data: dict[str, Any] = json.loads(body)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path} is damaged") from error
    return data


def root_lock_path(root: str) -> str:
    """Two agents with state directories of their own still meet here."""
    return os.path.join(root, ".reconcile", "lock")


def _copy_path(root: str) -> str:
    return os.path.join(root, ".reconcile", "inventory.json")


def _accepted_path(root: str) -> str:
    return os.path.join(root, ".reconcile", "accepted.json")


def _key_path(root: str) -> str:
    return os.path.join(root, ".reconcile", "salt")
