"""The notify file: who is told of what passes did, and where the state of a commit is shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from reconciler.core.problem import Origin, Problem
from reconciler.core.telling import Happening
from reconciler.desired.nodes import Entries, Items, Node, Scalar
from reconciler.desired.problems import Problems, suggest
from reconciler.desired.text import parse
from reconciler.host import files
from reconciler.notify import KINDS
from reconciler.notify.base import Forge, Receiver, Told

_SENDMAIL = "/usr/sbin/sendmail"
_GITHUB = "https://api.github.com"

# What each kind of receiver is told. Of the first pair one must be given; the second are the rest of what must.
_CHAT = ("url", "url_file")
_KEYS: Mapping[str, tuple[str, ...]] = {
    "slack": _CHAT,
    "mattermost": _CHAT,
    "webhook": (*_CHAT, "token_file"),
    "mail": ("to", "from", "sendmail"),
    "command": (),
}
_FORGES: Mapping[str, tuple[str, ...]] = {
    "gitlab": ("url", "project", "token_file", "context"),
    "github": ("url", "repository", "token_file", "context"),
}
_FILES = ("url_file", "token_file", "sendmail")
_ADDRESS = re.compile(r"[^\s,<>@]+@[^\s,<>@]+")


def load(path: str, site: str) -> tuple[Told, tuple[Problem, ...]]:
    """What the file says, or all that is wrong with it."""
    try:
        content = files.read(path)
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}"
        return Told(()), (Problem(Origin(path, 0, 0), why),)
    problems = Problems()
    whole = parse(content, path, problems)
    told = _Reader(path, site, problems).told(whole) if whole else Told(())
    return told, problems.told(1)


class _Reader:
    """Reads nodes into settings. What is wrong is gathered, and nothing is guessed."""

    def __init__(self, path: str, site: str, problems: Problems) -> None:
        self.folder = os.path.dirname(os.path.abspath(path))
        self.site = site
        self.problems = problems

    def told(self, whole: Entries) -> Told:
        found = self._known(whole, ("receivers", "commit_status"))
        receivers = self._mapping(found.get("receivers"), "a mapping of names to receivers")
        made = [self._receiver(name, node) for name, node in receivers.items()]
        forge = self._forge(found["commit_status"]) if "commit_status" in found else None
        return Told(tuple(receiver for receiver in made if receiver is not None), forge)

    # ------------------------------------------------------------ receivers

    def _receiver(self, name: str, node: Node) -> Receiver | None:
        entries = self._mapping(node, "a mapping")
        if not isinstance(node, Entries):
            return None
        self._known(node, ("on", "environments", *KINDS))
        kinds = [kind for kind in KINDS if kind in entries]
        if len(kinds) != 1:
            self.problems.add(node.origin, f"`{name}` must have one way to be told", "one of: " + ", ".join(KINDS))
            return None
        kind = kinds[0]
        found = {"command": entries[kind]} if kind == "command" else self._settings(entries[kind], _KEYS[kind])
        words = self._words(found)
        self._needed(kind, words, entries[kind])
        return Receiver(
            name, kind, self._happenings(entries.get("on")), self._names(entries.get("environments")), **words
        )

    def _needed(self, kind: str, words: Mapping[str, Any], node: Node) -> None:
        if kind == "mail" and not words["to"]:
            self.problems.add(node.origin, "mail needs `to`", "to: [ops@example.org]")
        if kind == "command" and not words["command"]:
            self.problems.add(node.origin, "`command` is empty", "it gets the message as JSON on standard input")
        if _KEYS[kind][:2] == _CHAT and bool(words["url"]) == bool(words["url_file"]):
            hint = "url_file: a file of this account alone that holds the address"
            self.problems.add(node.origin, f"{kind} needs either `url` or `url_file`", hint)

    def _words(self, found: Mapping[str, Node]) -> dict[str, Any]:
        words = {key: self._word(found.get(key)) for key in ("url", *_FILES, "command")}
        self._check_url(words["url"], found.get("url"))
        words |= {key: self._path(words[key]) for key in _FILES if words[key]}
        to, sender = self._names(found.get("to")), self._word(found.get("from"))
        for address in (*to, *filter(None, (sender,))):
            if not _ADDRESS.fullmatch(address):
                node = found["to"] if address in to else found["from"]
                self.problems.add(node.origin, f"`{address}` is no address", "name@host")
        return {**words, "to": to, "sender": sender, "sendmail": words["sendmail"] or _SENDMAIL}

    def _check_url(self, url: str, node: Node | None) -> None:
        if node is not None and not (urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc):
            self.problems.add(node.origin, "`url` is no address of HTTP", "https://…")  # not told: it may be a password

    def _happenings(self, node: Node | None) -> tuple[Happening, ...]:
        known = {happening.value: happening for happening in Happening if happening.is_of_passes}
        if node is None:
            return tuple(known.values())
        words = self._names(node)
        for word in words:
            if word not in known:
                self.problems.add(node.origin, f"`{word}` never happens", suggest(word, known))
        if not words:
            self.problems.add(node.origin, "`on` is empty: this receiver would never be told", "take it away for all")
        return tuple(known[word] for word in words if word in known)

    # ------------------------------------------------------------ commit status

    def _forge(self, node: Node) -> Forge | None:
        entries = self._mapping(node, "a mapping")
        if not isinstance(node, Entries):
            return None
        kinds = [kind for kind in self._known(node, tuple(_FORGES)) if kind in _FORGES]
        if len(kinds) != 1:
            self.problems.add(node.origin, "`commit_status` names one place", "one of: " + ", ".join(_FORGES))
            return None
        found = self._settings(entries[kinds[0]], _FORGES[kinds[0]])
        words = {key: self._word(found.get(key)) for key in _FORGES[kinds[0]]}
        self._check_url(words["url"], found.get("url"))
        project = words.get("project") or words.get("repository") or ""
        url = words["url"].rstrip("/") or (_GITHUB if kinds[0] == "github" else "")
        named = {"url": url, _FORGES[kinds[0]][1]: project, "token_file": words["token_file"]}
        for key, word in named.items():
            if not word:
                self.problems.add(entries[kinds[0]].origin, f"{kinds[0]} needs `{key}`")
        context = words["context"] or f"reconcile/{self.site}"
        return Forge(kinds[0], url, project, self._path(words["token_file"]), context)

    # ------------------------------------------------------------ nodes

    def _mapping(self, node: Node | None, wanted: str) -> dict[str, Node]:
        if node is not None and not isinstance(node, Entries):
            self.problems.add(node.origin, f"{node.kind} stands where {wanted} is wanted")
        return node.entries if isinstance(node, Entries) else {}

    def _known(self, entries: Entries, known: tuple[str, ...]) -> dict[str, Node]:
        for key in entries.entries:
            if key not in known:
                self.problems.add(entries.places[key], f"unknown key `{key}`", suggest(key, known))
        return entries.entries

    def _settings(self, node: Node, known: tuple[str, ...]) -> dict[str, Node]:
        self._mapping(node, "a mapping")
        return self._known(node, known) if isinstance(node, Entries) else {}

    def _word(self, node: Node | None) -> str:
        if node is None:
            return ""
        if not isinstance(node, Scalar) or node.value is None:
            self.problems.add(node.origin, f"{node.kind} stands where a text is wanted")
            return ""
        return node.text

    def _names(self, node: Node | None) -> tuple[str, ...]:
        if node is None:
            return ()
        if isinstance(node, Items):
            return tuple(filter(None, map(self._word, node.items)))
        return tuple(filter(None, (self._word(node),)))

    def _path(self, path: str) -> str:
        return os.path.normpath(os.path.join(self.folder, os.path.expanduser(path))) if path else ""
