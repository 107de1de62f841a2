"""Somebody took the repo over: what a host does about commits by strangers, and what it remembers of the good ones."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.backends.signers import Signer, ssh_signer
from tests.scenarios.world import SLEEP, Done, World, a_world  # noqa: F401
from tests.source.conftest import Ssh, sshd, upstream  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.git]

OTHER = {"two": f"component: tool, command: {SLEEP}"}


class Guarded:
    """A host whose agent's file says whose commits it follows."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ann, self.eve = ssh_signer(world.folder, "ann"), ssh_signer(world.folder, "eve")
        self.signers = world.folder / "signers"
        self.signers.write_text(self.ann.public)
        self.config = world.folder / "agent.yaml"
        self.require("head")
        world.write(world.services("one", "two", **OTHER))
        self.first = self.commit(self.ann)
        self.once()

    def require(self, what: str, more: str = "") -> None:
        world = self.world
        self.config.write_text(
            f"repo: {world.url}\nsite: {world.site}\nstate_dir: {world.state}\n"
            f"verify:\n  ssh: {self.signers}\n  require: {what}\n{more}"
        )

    def commit(self, signer: Signer | None, files: dict[str, str] | None = None, subject: str = "change") -> str:
        self.world.write(files or {})
        self.world.git("add", "--all")
        options = signer.options if signer else ()
        self.world.git(*options, "commit", "-q", "--allow-empty", "-m", subject, *(["-S"] if signer else []))
        return self.world.git("rev-parse", "HEAD")

    def once(self, *words: str, code: int = 0) -> Done:
        done = self.world.run("--once", "--config", str(self.config), *words, where=False)
        assert done.code == code, done.said
        return done

    @property
    def app(self) -> str:
        return (self.world.root / "config/app.conf").read_text()


@pytest.fixture
def guarded(world: World) -> Guarded:
    return Guarded(world)


def test_a_stranger_changes_nothing(guarded: Guarded) -> None:
    """Named with what is wrong; the site stays, drift is mended, and somebody known goes on from there."""
    world = guarded.world
    pids, files = world.pids(), world.files()
    for signer, why in ((None, "it is not signed"), (guarded.eve, "a key that is not known here")):
        made = guarded.commit(signer, world.versions("6.6.6"), "evil")
        done = guarded.once(code=1)
        flat = " ".join(done.out.split())
        assert f"commit {made[:12]} of ann <ann> (evil) is not trusted: it is" in flat, done.said
        assert why in flat
        assert f"Nothing of it is applied; holding to {guarded.first[:8]}" in flat
        assert (world.pids(), world.files()) == (pids, files)
    (world.root / "config/app.conf").write_text("edited\n")
    guarded.once(code=1)
    assert world.files() == files
    guarded.commit(guarded.ann, world.versions("1.1"))
    guarded.once()
    assert "app = 1.1" in guarded.app
    assert guarded.once() == Done(0, "", "")


def test_nothing_of_it_is_parsed(guarded: Guarded) -> None:
    """A stranger's commit that is no YAML at all: what is told is the stranger."""
    guarded.commit(None, {"desired/defaults.yaml": "}{"})
    done = guarded.once(code=1)
    assert "is not signed" in done.out
    assert "YAML" not in done.out


def test_a_cold_start_on_a_strangers_commit(world: World) -> None:
    guarded = Guarded(world)
    world.end()
    shutil.rmtree(world.root)
    shutil.rmtree(world.state)
    guarded.commit(None)
    done = guarded.once(code=1)
    assert "Nothing is applied" in done.out
    assert not world.root.exists()


def test_plan_and_json(guarded: Guarded) -> None:
    guarded.commit(None, guarded.world.versions("6.6.6"))
    done = guarded.world.run("plan", "--json", "--config", str(guarded.config), where=False)
    assert done.code == 1
    assert "is not signed" in done.json()["notices"][0]
    assert [step for one in done.json()["deployments"] for step in one["steps"]] == []


def test_all_that_came_since(guarded: Guarded) -> None:
    guarded.require("all")
    guarded.commit(None, guarded.world.versions("6.6.6"), "hidden")
    guarded.commit(guarded.ann, {"README": "x"})
    assert "(hidden) is not trusted" in " ".join(guarded.once(code=1).out.split())
    assert "app = 1.0" in guarded.app
    guarded.require("head")
    guarded.once()
    assert "app = 6.6.6" in guarded.app


def test_strangers_are_taken_out_of_the_history_again(guarded: Guarded) -> None:
    """What was never accepted may be rewritten: that is no rewind."""
    guarded.commit(None)
    guarded.once(code=1)
    guarded.world.git("reset", "--quiet", "--hard", guarded.first)
    assert guarded.once() == Done(0, "", "")


def test_a_signed_tag_releases(guarded: Guarded) -> None:
    guarded.require("tag")
    guarded.commit(None, guarded.world.versions("1.1"))
    assert "no tag names it" in guarded.once(code=1).out
    guarded.world.git(*guarded.ann.options, "tag", "-s", "-m", "x", "v1.1")
    guarded.once()
    assert "app = 1.1" in guarded.app


def test_keys_are_rotated(guarded: Guarded) -> None:
    """Both are known for a while, then only the new one; what was accepted from the old one stays."""
    new = ssh_signer(guarded.world.folder, "new")
    guarded.signers.write_text(guarded.ann.public + new.public)
    guarded.commit(guarded.ann, guarded.world.versions("1.1"))
    guarded.once()
    guarded.signers.write_text(new.public)
    assert guarded.once() == Done(0, "", "")
    guarded.commit(new, guarded.world.versions("1.2"))
    guarded.once()
    assert "app = 1.2" in guarded.app
    guarded.commit(guarded.ann, guarded.world.versions("1.3"))
    guarded.once(code=1)
    assert "app = 1.2" in guarded.app


@pytest.mark.parametrize("what", ["empty", "comments", "gone", "a folder"])
def test_no_signers(guarded: Guarded, what: str) -> None:
    """Nothing follows, mending neither; and when they are back, all goes on."""
    text = guarded.signers.read_text()
    guarded.signers.unlink()
    if what == "a folder":
        guarded.signers.mkdir()
    elif what != "gone":
        guarded.signers.write_text({"empty": "", "comments": "# ann\n"}[what])
    guarded.commit(guarded.ann, guarded.world.versions("1.1"))
    (guarded.world.root / "config/app.conf").write_text("edited\n")
    done = guarded.once(code=3)
    assert f"{guarded.signers}: " in done.err
    assert guarded.app == "edited\n"
    shutil.rmtree(guarded.signers, ignore_errors=True)
    guarded.signers.unlink(missing_ok=True)
    guarded.signers.write_text(text)
    guarded.once()
    assert "app = 1.1" in guarded.app


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("verify: yes\n", "`verify` is "),
        ("verify:\n", "names no keys"),
        ("verify: {}\n", "names no keys"),
        ("verify: {require: all}\n", "names no keys"),
        ("verify: {ssh: x, require: some}\n", "`require` is `some`"),
        ("verify: {ssh: x, requires: all}\n", "unknown key `requires`"),
        ("verify: {ssh: [x]}\n", "`ssh` is a list"),
        ("verify: {ssh: ''}\n", "names no keys"),
        ("verify:\n  ssh: x\nverify:\n  ssh: y\n", "is written twice"),
        ("sources: x\n", "a list of patterns"),
        ("sources: []\n", "a list of patterns"),
        ("sources: ['']\n", "a list of patterns"),
    ],
)
def test_what_it_says_must_be_clear(world: World, text: str, told: str) -> None:
    """A word that is misread would leave the door open."""
    world.commit(world.services("one"))
    config = world.folder / "agent.yaml"
    config.write_text(f"repo: {world.repo}\nsite: {world.site}\nstate_dir: {world.state}\n{text}")
    done = world.run("--once", "--config", str(config), where=False)
    assert done.code == 3, done.said
    assert told in done.err
    assert not world.root.exists()


def test_over_ssh(guarded: Guarded, sshd: Ssh, upstream: object) -> None:  # noqa: F811
    world = guarded.world
    world.env["GIT_SSH_COMMAND"] = sshd.command
    world.url = sshd.url[: sshd.url.index("/", len("ssh://"))] + str(world.repo)
    guarded.require("all")
    guarded.once()
    guarded.commit(guarded.eve, world.versions("6.6.6"))
    guarded.once(code=1)
    assert "app = 1.0" in guarded.app


# ---------------------------------------------------------------- what is remembered


@pytest.mark.parametrize("signed", [True, False])
def test_a_rewind_is_refused_without_the_state_directory(guarded: Guarded, *, signed: bool) -> None:
    """An old release with its old holes was signed once too."""
    world = guarded.world
    guarded.commit(guarded.ann, world.versions("2.0"))
    guarded.once()
    if not signed:
        guarded.config.write_text(guarded.config.read_text().partition("verify:")[0])
    pids, files = world.pids(), world.files()
    shutil.rmtree(world.state)
    guarded.once()
    assert (world.pids(), world.files()) == (pids, files)
    shutil.rmtree(world.state)
    world.git("reset", "--quiet", "--hard", guarded.first)
    for _ in range(2):
        done = guarded.once(code=1)
        assert "rewound or force-pushed" in done.out
        assert (world.pids(), world.files()) == (pids, files)
    guarded.once("--accept-rewind")
    assert "app = 1.0" in guarded.app
    assert guarded.once() == Done(0, "", "")


def test_an_invalid_commit_between_does_not_launder_a_rewind(guarded: Guarded) -> None:
    world = guarded.world
    guarded.commit(guarded.ann, world.versions("2.0"))
    guarded.once()
    shutil.rmtree(world.state)
    world.git("reset", "--quiet", "--hard", guarded.first)
    guarded.commit(guarded.ann, {"desired/environments/dev.yaml": "}{"})
    guarded.once(code=3)
    guarded.commit(guarded.ann, world.services("one", "two", **OTHER))
    assert "rewound or force-pushed" in guarded.once(code=1).out
    assert "app = 2.0" in guarded.app


def test_the_copy_is_made_again(guarded: Guarded) -> None:
    copy = guarded.world.root / ".reconcile/accepted.json"
    text = copy.read_bytes()
    before = os.stat(copy).st_mtime_ns
    guarded.once()
    assert os.stat(copy).st_mtime_ns == before
    for spoilt in (None, b"", b"{}\n{}\n", os.urandom(99)):
        copy.unlink()
        if spoilt is not None:
            copy.write_bytes(spoilt)
        assert guarded.once() == Done(0, "", "")
        assert copy.read_bytes() == text


# ---------------------------------------------------------------- what it may do to a host


@pytest.mark.skipif(os.getuid() != 0, reason="a second account is needed, and only root is two")
def test_a_link_that_another_account_put_in_the_way(world: World) -> None:
    """It would have us write into a folder of ours that is none of the deployment's."""
    victim = world.folder / "victim"
    victim.mkdir()
    world.commit(world.services("one"))
    world.once()
    config = world.root / "config"
    config.rename(world.folder / "aside")
    config.symlink_to(victim)
    os.chown(config, 65534, -1, follow_symlinks=False)
    done = world.once(code=1)
    flat = " ".join(done.out.split())
    assert f"on the way is a link of another account's (uid 65534), to {victim}" in flat, done.said
    assert "take the link away, or name the place that it leads to" in flat
    assert os.listdir(victim) == []
    config.unlink()
    (world.folder / "aside").rename(config)
    world.once()
    world.idle()


def test_sources_of_the_agent(guarded: Guarded) -> None:
    """Whatever the repo's own policy says by now."""
    guarded.require("head", 'sources: ["our-*==*"]\n')
    evil = "components: {tool: {install: venv, requirement: 'evil==1.0'}}\npolicy: {sources: ['**']}\n"
    path = f"desired/sites/{guarded.world.site}.dev.yaml"
    guarded.commit(guarded.ann, {path: evil})
    done = guarded.once(code=3)
    told = f"{path}:1:49: component `tool`: its requirement `evil==1.0` matches no pattern of `sources` of this host"
    assert told in " ".join(done.out.split()), done.said
    guarded.commit(guarded.ann, {path: ""})
    guarded.once()
