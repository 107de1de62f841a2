"""What an agent remembers between passes, below its state directory.

    SITE/source.json             commits seen and accepted; its time of change is the last contact
    SITE/ENV/compiled.json       the compiled form of the last valid commit
    SITE/ENV/inventory.json      what is ours; a copy lies below the deployment's root
    SITE/ENV/journal.jsonl       passes that did something
    SITE/ENV/health/, verify/    what services and verifications last said, see `agent.health`
    SITE/schedule.json           what `reconcile schedule install` has installed
    mirrors/…                    bare clones

Everything but the inventory can be made again, and the inventory has its copy: losing the state
directory costs time, and the memory of which commit was accepted last.

Each file is sealed: a line with its format and a digest, then a line of JSON. One that was damaged, or
written by another version, is told from one that is not there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from reconciler import __version__
from reconciler.agent.codec import decode_deployment, decode_inventory, encode_deployment, encode_inventory
from reconciler.core.digest import digest
from reconciler.core.model import Deployment, Inventory
from reconciler.host import files

_FORMAT = 3


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


def tool_identity() -> str:
    """Names this build of the tool: another one may compile differently."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return f"{__version__}/{_FORMAT}/{os.stat(package).st_mtime_ns}"


class Store:
    """The state of one site's agent."""

    def __init__(self, state_dir: str, site: str) -> None:
        self.state_dir = state_dir
        self.folder = os.path.join(state_dir, site)
        self._source = os.path.join(self.folder, "source.json")

    def prepare(self) -> None:
        """Make the folders, private to the account. Raises `OSError`."""
        files.make_folder(self.state_dir, 0o700)
        files.make_folder(self.folder, 0o700)

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
        return SourceState(data["head"], data["valid"], tuple(data["environments"]), contact)

    def save_source(self, state: SourceState) -> None:
        data = {"head": state.head, "valid": state.valid, "environments": state.environments}
        self._write(self._source, data)
        os.utime(self._source, (state.contact, state.contact))

    def touch_contact(self, when: float) -> None:
        """Note that the remote answered. No file is written: only a time changes."""
        with suppress(OSError):
            os.utime(self._source, (when, when))

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

    def inventory(self, environment: str, root: str) -> Recalled:
        """What is ours; from the copy below the root where the state directory was lost or damaged."""
        damage = ""
        for path in (self._path(environment, "inventory.json"), *([_copy_path(root)] if root else [])):
            try:
                data = _unseal(path)
            except DamagedError as error:
                damage = damage or str(error)
                continue
            if data is not None:
                return Recalled(decode_inventory(data["inventory"]))
        return Recalled(Inventory(), damage)

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
            self._path(environment, "inventory.json"),
            self._path(environment, "compiled.json"),
        ):
            files.remove(path)
        for kind in ("health", "verify"):
            with suppress(OSError):
                for name in os.listdir(self._path(environment, kind)):
                    files.remove(os.path.join(self._path(environment, kind), name))

    def save_inventory(self, environment: str, root: str, inventory: Inventory) -> None:
        """Raises `OSError`: a pass must not act on what it could not note as its own."""
        sealed = _seal({"inventory": encode_inventory(inventory)})
        for path in (self._path(environment, "inventory.json"), _copy_path(root)):
            self._put(path, sealed)

    def _write(self, path: str, data: Mapping[str, Any]) -> None:
        self._put(path, _seal(data))

    def _put(self, path: str, sealed: bytes) -> None:
        files.make_folder(os.path.dirname(path), 0o700)
        files.write(path, sealed, 0o600)


def _seal(data: Mapping[str, Any]) -> bytes:
    body = json.dumps(data, separators=(",", ":")).encode()
    return json.dumps({"reconcile": _FORMAT, "digest": digest(body)}).encode() + b"\n" + body + b"\n"


def _unseal(path: str) -> dict[str, Any] | None:
    """None where there is no such file. Raises `DamagedError`."""
    try:
        head, _, body = files.read(path).partition(b"\n")
        seal = json.loads(head)
        if seal["reconcile"] != _FORMAT:
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
