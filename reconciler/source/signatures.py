"""Signatures of commits and tags, by git's own verification and with the agent's keys alone.

Nothing of the account's configuration and nothing of the repository's counts: the keys, the programs and the
level of trust are given with each call, and GnuPG gets a home that is made of the given keys each time. What
decides is git's exit status: a signature of somebody unknown shows the same letter as a good one.
"""

from __future__ import annotations

import os
import os.path
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic
from typing import NamedTuple, Self

from reconciler.host import files
from reconciler.source.address import check_branch
from reconciler.source.command import Remote, describe, environment, start
from reconciler.source.errors import BadKeys, SourceError, Untrusted
from reconciler.source.objects import CommitInfo
from reconciler.source.trust import Require, Trust

_NOBODY = "/dev/null"  # an allowed signers file that knows nobody
_AT_A_TIME = 100  # commits in one call of git
_TAGS = 20  # that name one commit are looked at
_GPG_CONF = "no-autostart\nno-auto-key-retrieve\n"
_SAID = (
    ("No principal matched", "it is signed with a key that is not known here"),
    ("No public key", "it is signed with a key that is not known here"),
    ("This key has expired", "the key that it is signed with has expired"),
    ("key has been revoked", "the key that it is signed with was revoked"),
    ("BAD signature", "its signature is not of this content"),
    ("incorrect signature", "its signature is not of this content"),
    ("cannot verify a non-tag object", "the tag is not signed"),
    ("no signature found", "the tag is not signed"),
)


def check_keys(trust: Trust) -> None:
    """See that the files of keys can be read and hold something. Raises `BadKeys`."""
    for path in _key_files(trust.gpg) if trust.gpg else []:
        if not _content(path).strip():
            raise BadKeys(path, "holds no key", "gpg --export --armor KEY > FILE")
    if trust.ssh:
        lines = (line.strip() for line in _content(trust.ssh).splitlines())
        if not any(line and not line.startswith(b"#") for line in lines):
            raise BadKeys(trust.ssh, "names no signer", "lines of `MAIL KEYTYPE KEY`, see ssh-keygen(1)")


def _key_files(place: str) -> list[str]:
    """The file itself, or what a folder holds but for hidden names. Raises `BadKeys` where there is none."""
    if not os.path.isdir(place):
        return [place]
    try:
        names = sorted(name for name in os.listdir(place) if not name.startswith("."))
    except OSError as error:
        raise BadKeys(place, f"cannot be read: {error.strerror or error}") from error
    if not names:
        raise BadKeys(place, "holds no file of keys", "gpg --export --armor KEY > FILE")
    return [os.path.join(place, name) for name in names]


def _content(path: str) -> bytes:
    try:
        return files.read(path)
    except OSError as error:
        raise BadKeys(path, f"cannot be read: {error.strerror or error}") from error


class Verifier:
    """Looks at signatures in one repository. `home` is a folder that it makes anew and takes away again."""

    def __init__(self, trust: Trust, git: list[str], source: Remote, home: str, seconds: float) -> None:
        self._trust, self._source, self._seconds = trust, source, seconds
        self._home = home
        self._git = [*git, *_settings(trust)]
        self._env = {name: value for name, value in environment().items() if not name.startswith("GIT_CONFIG")}
        self._env |= {"GIT_CONFIG_GLOBAL": _NOBODY, "GIT_CONFIG_NOSYSTEM": "1", "GNUPGHOME": home, "HOME": home}

    def __enter__(self) -> Self:
        self._forget()
        files.make_folder(self._home, 0o700)
        try:
            self._import()
        except BaseException:
            self._forget()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()

    def _forget(self) -> None:
        from shutil import rmtree  # takes as long to load as all else that an idle pass looks at keys with

        with suppress(FileNotFoundError):
            rmtree(self._home)

    def _import(self) -> None:
        """Give GnuPG the keys. Raises `BadKeys` for a file that it can make nothing of."""
        files.write(os.path.join(self._home, "gpg.conf"), _GPG_CONF.encode(), 0o600, sync=False)
        for path in _key_files(self._trust.gpg) if self._trust.gpg else []:
            done = self._call(["gpg", "--batch", "--no-tty", "--import", "--", path])
            if done.code:
                raise BadKeys(path, f"gives no keys: {done.said}", "gpg --export --armor KEY > FILE")

    # ------------------------------------------------------------ what is looked at

    def commits(self, names: list[str]) -> Wrong | None:
        """The first of these commits that carries no good signature."""
        for first in range(0, len(names), _AT_A_TIME):
            some = names[first : first + _AT_A_TIME]
            if self._good("verify-commit", *some):
                continue
            for name in some:
                done = self._call([*self._git, "verify-commit", name])
                if done.code:
                    return Wrong(name, _why(done.said))
        return None

    def since(self, old: str, new: str) -> list[str]:
        """What leads from one commit to another, oldest first, merges and both of their sides included."""
        out = self._source.run([*self._git, "rev-list", "--reverse", new, f"^{old}"], self._seconds)
        return out.decode("ascii").split()

    def tag(self, commit: str, options: tuple[str, ...]) -> Wrong | None:
        """Whether one of the remote's tags names this very commit and is well signed."""
        why = "no tag names it"
        for number, name in enumerate(self._tags(commit, options)):
            ref = f"refs/reconcile-tags/{number}"
            fetch = ["fetch", "--quiet", "--no-tags", *options, "--", self._source.address.url, f"+{name}:{ref}"]
            quiet = ["-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "fetch.fsckObjects=true"]
            self._source.run([*self._git, *quiet, *fetch], self._seconds)
            named = self._source.run([*self._git, "rev-parse", f"{ref}^{{commit}}"], self._seconds)
            done = self._call([*self._git, "verify-tag", ref])
            if done.code == 0 and named.decode("ascii").strip() == commit:
                return None
            why = f"tag {name.removeprefix('refs/tags/')} names it, and {_why(done.said, 'the tag is not signed')}"
        return Wrong(commit, why)

    def named(self, name: str, options: tuple[str, ...]) -> Wrong | None:
        """The commit that the remote's tag of this name names, and what is wrong with the tag; None without one.

        The name is signed with all the rest: another tag that somebody known has signed does not count under it.
        """
        address, ref = self._source.address.url, f"refs/tags/{name}"
        asked = self._source.run(["git", "-C", "/", "ls-remote", "--tags", *options, "--", address, ref], self._seconds)
        if not asked.strip():
            return None
        own = "refs/reconcile-tags/named"
        quiet = ["-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "fetch.fsckObjects=true"]
        fetch = ["fetch", "--quiet", "--no-tags", *options, "--", address, f"+{ref}:{own}"]
        self._source.run([*self._git, *quiet, *fetch], self._seconds)
        commit = self._source.run([*self._git, "rev-parse", f"{own}^{{commit}}"], self._seconds).decode("ascii").strip()
        done = self._call([*self._git, "verify-tag", own])
        if done.code:
            return Wrong(commit, _why(done.said, "the tag is not signed"))
        head = self._source.run([*self._git, "cat-file", "tag", own], self._seconds).partition(b"\n\n")[0]
        same = f"tag {name}".encode() in head.splitlines()
        return Wrong(commit, "" if same else "it was signed under another name")

    def _tags(self, commit: str, options: tuple[str, ...]) -> list[str]:
        argv = ["git", "-C", "/", "ls-remote", "--tags", *options, "--", self._source.address.url]
        lines = self._source.run(argv, self._seconds).decode(errors="replace").splitlines()
        pairs = (line.partition("\t")[::2] for line in lines)
        names = (name.removesuffix("^{}") for named, name in pairs if named == commit)
        sound = (name for name in names if name.startswith("refs/tags/") and not check_branch(name))
        return list(dict.fromkeys(sound))[:_TAGS]

    # ------------------------------------------------------------ calling

    def _good(self, *words: str) -> bool:
        return self._call([*self._git, *words]).code == 0

    def _call(self, argv: list[str]) -> _Done:
        """Raises `SourceError` where it took too long or could not be run."""
        child = start(argv, self._env, asked_to_stop=self._source.asked_to_stop)
        ended = child.finish(monotonic() + self._seconds)
        if ended.late:
            raise SourceError(describe(argv, ended, self._seconds))
        return _Done(ended.code, ended.err.decode(errors="replace").strip())


class Wrong(NamedTuple):
    """A commit that is not to be trusted, and why."""

    commit: str
    why: str


class _Done(NamedTuple):
    code: int
    said: str


def _settings(trust: Trust) -> Iterator[str]:
    """All that git's verification reads of its configuration; later words win over any file's."""
    given = {
        "gpg.program": "gpg",
        "gpg.openpgp.program": "gpg",
        "gpg.x509.program": "false",
        "gpg.ssh.program": "ssh-keygen",
        "gpg.ssh.allowedSignersFile": trust.ssh or _NOBODY,
        "gpg.ssh.revocationFile": _NOBODY,
        "gpg.minTrustLevel": "undefined",
    }
    for key, value in given.items():
        yield from ("-c", f"{key}={value}")


def _why(said: str, silent: str = "it is not signed") -> str:
    """What git and its helpers complain of, in a sentence; they say nothing of what has no signature at all."""
    if not said:
        return silent
    found = next((sentence for sign, sentence in _SAID if sign in said), "its signature cannot be verified")
    lines = [line.strip() for line in said.splitlines()]
    key = next((line.rpartition("key ")[2] for line in lines if "using " in line or " with " in line), "")
    return f"{found} ({key})" if key and "not signed" not in found else found


def untrusted(wrong: Wrong, info: CommitInfo, trust: Trust) -> Untrusted:
    """Who says to have made it is told, though nobody vouches for that."""
    keys = " and ".join(path for path in (trust.ssh, trust.gpg) if path)
    who = _shown(info.author) or "nobody"
    message = f"commit {info.sha[:12]} of {who} ({_shown(info.subject)}) is not trusted: {wrong.why}"
    mend = "have somebody known sign " + ("a tag of it" if trust.require is Require.TAG else "it (git commit -S)")
    return Untrusted(f"{message}\n    {mend}; who is known stands in {keys}")


def _shown(text: str) -> str:
    """What a stranger wrote, without what a terminal would obey, and not too long."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:100])
