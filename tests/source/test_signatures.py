"""Signatures on real commits and tags, by real ssh-keygen and gpg: whose is taken, and that nothing talks git round."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.source import BadKeys, Mirror, Require, SourceError, Trust, Untrusted
from tests.backends.signers import Ring, Signer, gnupg, ssh_signer
from tests.source.conftest import IDENTITY, Ssh, Upstream

pytestmark = pytest.mark.git

Make = Callable[..., Mirror]


class Bench:
    """A repository in which known and unknown people commit, and the file of those that are known."""

    def __init__(self, folder: Path, upstream: Upstream, make: Make) -> None:
        self.folder, self.upstream = folder, upstream
        self.mirror = make(upstream.path)
        self.ann, self.eve = ssh_signer(folder, "ann"), ssh_signer(folder, "eve")
        self.signers = folder / "signers"
        self.signers.write_text("# who may release\n" + self.ann.public)
        self.trust = Trust(ssh=str(self.signers))

    def git(self, signer: Signer | None, *words: str) -> str:
        options, env = (signer.options, signer.env) if signer else ((), {})
        done = subprocess.run(
            ["git", *options, *words],
            cwd=self.upstream.path,
            env=os.environ | IDENTITY | env,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def commit(self, signer: Signer | None, subject: str = "change") -> str:
        self.git(signer, "commit", "--quiet", "--allow-empty", "-m", subject, *(["-S"] if signer else []))
        return self.git(None, "rev-parse", "HEAD")

    def check(self, trust: Trust | None = None, since: str = "") -> str:
        """Fetch and look; what is wrong, or nothing."""
        head = self.mirror.fetch()
        home = self.folder / "state" / "keys"
        try:
            self.mirror.verify(trust or self.trust, str(home), head, since)
        except Untrusted as error:
            return str(error)
        finally:
            assert not home.exists()
        return ""


@pytest.fixture
def bench(tmp_path: Path, upstream: Upstream, mirror_of: Make) -> Bench:
    return Bench(tmp_path, upstream, mirror_of)


@pytest.fixture
def ring() -> Iterator[Ring]:
    with gnupg() as made:
        yield made


# ---------------------------------------------------------------- ssh


def test_a_known_key(bench: Bench) -> None:
    bench.commit(bench.ann)
    assert bench.check() == ""


def test_no_signature(bench: Bench) -> None:
    bench.commit(bench.ann)
    made = bench.commit(None, "a\x1b[2Jb")
    said = bench.check()
    assert f"commit {made[:12]} of Ann <ann@example.org> (a?[2Jb) is not trusted: it is not signed" in said
    assert f"who is known stands in {bench.signers}" in said


def test_an_unknown_key(bench: Bench) -> None:
    bench.commit(bench.eve)
    said = bench.check()
    assert "signed with a key that is not known here (SHA256:" in said


def test_a_key_of_somebody_else_is_known_after_all(bench: Bench) -> None:
    bench.commit(bench.eve)
    bench.signers.write_text(bench.signers.read_text() + bench.eve.public)
    assert bench.check() == ""


def test_a_key_past_its_time(bench: Bench) -> None:
    old = ssh_signer(bench.folder, "old", limits='valid-before="20200101"')
    bench.signers.write_text(old.public)
    bench.commit(old)
    assert "is not known here" in bench.check()


def test_a_key_for_another_purpose(bench: Bench) -> None:
    """One that may sign files but no commits."""
    other = ssh_signer(bench.folder, "other", limits='namespaces="file"')
    bench.signers.write_text(other.public)
    bench.commit(other)
    assert "is not trusted" in bench.check()


def test_what_was_signed_is_not_what_is_there(bench: Bench) -> None:
    """A signature that was cut out of one commit and put into another."""
    good = bench.commit(bench.ann, "good")
    text = bench.git(None, "cat-file", "commit", good)
    forged = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin"],
        cwd=bench.upstream.path,
        input=text.replace("\n\ngood", "\n\nevil") + "\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    bench.git(None, "reset", "--hard", forged)
    assert "is not trusted" in bench.check()


def test_configuration_that_says_otherwise_does_not_count(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the account, of the mirror, of the environment: signers, programs that always agree, levels of trust."""
    bench.commit(bench.eve)
    assert "not known here" in bench.check()
    everybody = bench.folder / "everybody"
    everybody.write_text(bench.eve.public)
    yes = bench.folder / "yes"
    yes.write_text("#!/bin/sh\necho '[GNUPG:] GOODSIG 0 x'\nexit 0\n")
    yes.chmod(0o755)
    said = {
        "gpg.ssh.allowedSignersFile": str(everybody),
        "gpg.ssh.program": str(yes),
        "gpg.program": str(yes),
        "gpg.openpgp.program": str(yes),
        "gpg.x509.program": str(yes),
        "gpg.minTrustLevel": "never",
        "alias.verify-commit": "version",
    }
    home = Path(os.environ["HOME"]) / ".gitconfig"
    for place in (home, Path(bench.mirror.folder) / "config"):
        for key, value in said.items():
            subprocess.run(["git", "config", "--file", place, key, value], check=True)
    monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(said)))
    for number, (key, value) in enumerate(said.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    assert "not known here" in bench.check()


# ---------------------------------------------------------------- GnuPG


def test_gnupg(bench: Bench, ring: Ring) -> None:
    """From a file and from a folder; the other kind of signature is nobody's here."""
    bob, mallory = ring.signer("bob"), ring.signer("mallory")
    (bench.folder / "keys").mkdir()
    file = bench.folder / "keys" / "bob.asc"
    file.write_text(bob.public)
    bench.commit(bob)
    for place in (file, file.parent):
        assert bench.check(Trust(gpg=str(place))) == ""
        assert bench.check(Trust(gpg=str(place), ssh=str(bench.signers))) == ""
    assert "is not trusted" in bench.check()
    bench.commit(bench.ann)
    assert "is not trusted" in bench.check(Trust(gpg=str(file)))
    assert bench.check(Trust(gpg=str(file), ssh=str(bench.signers))) == ""
    bench.commit(mallory)
    assert "signed with a key that is not known here" in bench.check(Trust(gpg=str(file)))
    (file.parent / "mallory.asc").write_text(mallory.public)
    assert bench.check(Trust(gpg=str(file.parent))) == ""


def test_a_revoked_key(bench: Bench, ring: Ring) -> None:
    file = bench.folder / "keys.asc"
    bob = ring.signer("bob")
    bench.commit(bob)
    file.write_text(bob.public)
    assert bench.check(Trust(gpg=str(file))) == ""
    file.write_text(ring.revoke("bob"))
    assert "was revoked" in bench.check(Trust(gpg=str(file)))


def test_an_expired_key(bench: Bench, ring: Ring) -> None:
    file = bench.folder / "keys.asc"
    at = "20200101T000000!"
    (ring.home / "gpg.conf").write_text(f"faked-system-time {at}\n")
    bob = ring.signer("bob", expires="seconds=86400")
    bench.commit(bob)
    file.write_text(bob.public)
    assert "has expired" in bench.check(Trust(gpg=str(file)))


# ---------------------------------------------------------------- which commits


def test_all_of_them(bench: Bench) -> None:
    """The head is signed, one below it is not: that is a matter of what is required."""
    first = bench.commit(bench.ann)
    assert bench.check(bench.trust._replace(require=Require.ALL), first) == ""
    hidden = bench.commit(None, "hidden")
    bench.commit(bench.ann)
    assert bench.check(since=first) == ""
    said = bench.check(bench.trust._replace(require=Require.ALL), first)
    assert f"commit {hidden[:12]}" in said
    assert bench.check(bench.trust._replace(require=Require.ALL), hidden) == ""


def test_the_other_side_of_a_merge(bench: Bench) -> None:
    first = bench.commit(bench.ann)
    bench.git(None, "checkout", "--quiet", "-b", "side")
    aside = bench.commit(bench.eve, "aside")
    bench.git(None, "checkout", "--quiet", "main")
    bench.commit(bench.ann)
    bench.git(bench.ann, "merge", "--quiet", "-S", "--no-ff", "-m", "merge", "side")
    assert bench.check(since=first) == ""
    assert f"commit {aside[:12]}" in bench.check(bench.trust._replace(require=Require.ALL), first)


def test_an_unsigned_merge(bench: Bench) -> None:
    first = bench.commit(bench.ann)
    bench.git(None, "checkout", "--quiet", "-b", "side")
    bench.commit(bench.ann)
    bench.git(None, "checkout", "--quiet", "main")
    bench.git(None, "merge", "--quiet", "--no-ff", "-m", "by the forge", "side")
    for require in (Require.HEAD, Require.ALL):
        assert "(by the forge) is not trusted" in bench.check(bench.trust._replace(require=require), first)


def test_more_than_one_call_of_git_takes(bench: Bench) -> None:
    first = bench.commit(bench.ann)
    for number in range(130):
        bench.commit(bench.ann, f"{number}")
    everything = bench.trust._replace(require=Require.ALL)
    assert bench.check(everything, first) == ""
    wrong = bench.commit(bench.eve)
    bench.commit(bench.ann)
    assert f"commit {wrong[:12]}" in bench.check(everything, first)


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["ann", "eve", ""]), min_size=1, max_size=5))
def test_any_history(bench: Bench, people: list[str]) -> None:
    """`all` holds exactly where everybody is known, `head` where the last one is."""
    base = bench.commit(bench.ann)
    by_name = {"ann": bench.ann, "eve": bench.eve, "": None}
    for name in people:
        bench.commit(by_name[name])
    assert (bench.check(bench.trust._replace(require=Require.ALL), base) == "") == (set(people) == {"ann"})
    assert (bench.check(since=base) == "") == (people[-1] == "ann")


# ---------------------------------------------------------------- tags


def test_a_signed_tag(bench: Bench) -> None:
    """On this very commit; not on one before, not without a signature, not by somebody else."""
    tagged = bench.trust._replace(require=Require.TAG)
    bench.commit(None)
    assert "no tag names it" in bench.check(tagged)
    bench.git(None, "tag", "light")
    assert "tag light names it, and the tag is not signed" in bench.check(tagged)
    bench.git(None, "tag", "-a", "-m", "x", "plain")
    assert "is not signed" in bench.check(tagged)
    bench.git(bench.eve, "tag", "-s", "-m", "x", "evil")
    assert "is not trusted" in bench.check(tagged)
    bench.git(bench.ann, "tag", "-s", "-m", "x", "v1")
    assert bench.check(tagged) == ""
    bench.commit(bench.ann)
    assert "no tag names it" in bench.check(tagged)


def test_a_tag_of_a_tag(bench: Bench) -> None:
    """Known people sign what they say, and that is the commit at the end of it; a stranger in between is no matter."""
    bench.commit(None)
    bench.git(bench.eve, "tag", "-s", "-m", "x", "inner")
    bench.git(bench.ann, "tag", "-s", "-m", "x", "outer", "inner")
    assert bench.check(bench.trust._replace(require=Require.TAG)) == ""


def test_tags_that_are_replaced(bench: Bench) -> None:
    """A good tag of an old commit, pushed again under another name and as a replacement: it names the old one."""
    bench.commit(None)
    bench.git(bench.ann, "tag", "-s", "-m", "x", "v1")
    bench.commit(None)
    bench.git(None, "update-ref", "refs/tags/v2", "refs/tags/v1")
    bench.git(None, "replace", "v1^{commit}", "HEAD")
    assert "no tag names it" in bench.check(bench.trust._replace(require=Require.TAG))


# ---------------------------------------------------------------- over a wire; keys that are none


def test_over_ssh(bench: Bench, sshd: Ssh, mirror_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", sshd.command)
    bench.mirror = mirror_of(sshd.url)
    bench.commit(bench.ann)
    bench.git(bench.ann, "tag", "-s", "-m", "x", "v1")
    for require in Require:
        assert bench.check(bench.trust._replace(require=require)) == ""
    bench.commit(bench.eve)
    for require in Require:
        assert "is not trusted" in bench.check(bench.trust._replace(require=require))


def test_keys_that_are_none(bench: Bench) -> None:
    from reconciler.source.signatures import check_keys

    (bench.folder / "empty").write_text("\n# nobody\n\n")
    (bench.folder / "nothing").mkdir()
    (bench.folder / "noise").write_bytes(os.urandom(200))
    for path in ("empty", "nowhere", "nothing"):
        with pytest.raises(BadKeys, match=path):
            check_keys(Trust(ssh=str(bench.folder / path)))
    for path in ("nowhere", "nothing"):
        with pytest.raises(BadKeys, match=path):
            check_keys(Trust(gpg=str(bench.folder / path)))
    bench.commit(bench.ann)
    with pytest.raises(BadKeys, match="noise: gives no keys"):
        bench.check(Trust(gpg=str(bench.folder / "noise")))


def test_without_the_program(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What verifies is not installed: that is no good signature."""
    bench.commit(bench.ann)
    bench.mirror.fetch()
    programs = bench.folder / "bin"
    programs.mkdir()
    git = subprocess.run(["which", "git"], check=True, capture_output=True, text=True).stdout.strip()
    (programs / "git").symlink_to(git)
    monkeypatch.setenv("PATH", str(programs))
    assert "cannot be verified" in bench.check()
    with pytest.raises(SourceError, match="gpg could not be started"):
        bench.check(Trust(gpg=str(bench.signers)))
