"""People with real keys: they sign commits and tags with ssh-keygen and GnuPG."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

import pytest


class Signer(NamedTuple):
    """`options` go before git's own word; with `env` added to its environment, `-S` and `tag -s` sign."""

    options: tuple[str, ...]
    env: dict[str, str]
    public: str  # a line of an allowed signers file, or an armored key


def ssh_signer(folder: Path, name: str, *, limits: str = "") -> Signer:
    """With `limits` as an allowed signers file knows them, such as `valid-before="20200101"`."""
    key = folder / f"{name}.key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key], check=True)
    options = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}.pub")
    line = " ".join(filter(None, (f"{name}@example.org", limits, Path(f"{key}.pub").read_text().strip())))
    return Signer(options, {}, line + "\n")


class Ring:
    """A GnuPG home of its own, in a short folder: its agent listens on a socket there."""

    def __init__(self) -> None:
        self.home = Path(mkdtemp(prefix="ring"))
        self.env = {"GNUPGHOME": str(self.home)}

    def gpg(self, *words: str, given: str = "", code: int = 0) -> str:
        argv = ["gpg", "--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", *words]
        done = subprocess.run(argv, env=os.environ | self.env, input=given, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout

    def signer(self, name: str, *, expires: str = "never") -> Signer:
        self.gpg("--quick-gen-key", f"{name} <{name}@example.org>", "ed25519", "sign", expires)
        options = ("-c", "gpg.format=openpgp", "-c", f"user.signingkey={name}@example.org")
        return Signer(options, self.env, self.key(name))

    def key(self, name: str) -> str:
        return self.gpg("--armor", "--export", f"{name}@example.org")

    def revoke(self, name: str) -> str:
        """The public key with its revocation, by the certificate that GnuPG keeps for that."""
        listed = self.gpg("--with-colons", "--list-keys", f"{name}@example.org")
        print_ = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
        certificate = (self.home / "openpgp-revocs.d" / f"{print_}.rev").read_text()
        self.gpg("--import", given=certificate.replace(":-----BEGIN", "-----BEGIN"))
        return self.key(name)

    def end(self) -> None:
        subprocess.run(["gpgconf", "--kill", "all"], env=os.environ | self.env, check=False, capture_output=True)
        shutil.rmtree(self.home, ignore_errors=True)


@contextmanager
def gnupg() -> Iterator[Ring]:
    if not shutil.which("gpg"):
        pytest.skip("no gpg on this machine (Debian: apt-get install gnupg)")
    ring = Ring()
    try:
        yield ring
    finally:
        ring.end()
