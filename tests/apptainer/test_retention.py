"""Old images with a real Apptainer: what runs, by whomever, and what is gone back to stays; the others go."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.apptainer.site import Site
from tests.backends.images import image

pytestmark = [pytest.mark.scenario, pytest.mark.apptainer, pytest.mark.slow]

_COMPONENT = """\
components:
  app:
    install: apptainer-sif
    image: "app-{{{{ version }}}}.sif"
    source: "{folder}/app-{{{{ version }}}}.sif"
    container: {{configdir: "{configdir}"}}
    keep: {keep}
"""
_HEALTH = "{{exec: {{command: 'test -e {good}/$V'}}, start_period: 0s, settle: 0s, interval: 0s, retries: 1}}"

_KILLED = """
import os, sys
from reconciler.agent.cleanup import versions
from reconciler.cli.main import main

left, began, take = int(sys.argv.pop(1)), False, versions._take

def watch(event, _arguments):
    global left
    if began and event in ("os.rename", "os.remove", "os.rmdir"):
        left -= 1
        if not left:
            os.kill(os.getpid(), 9)

def begin(*arguments, **keys):
    global began
    began = True
    return take(*arguments, **keys)

versions._take = begin
sys.addaudithook(watch)
sys.exit(main(sys.argv[1:]))
"""


class Releases:
    """One service in an image; its versions are healthy where that is said."""

    def __init__(self, site: Site, keep: int) -> None:
        self.site, self.world = site, site.world
        self.good = site.world.folder / "good"
        self.world.account.folder(self.good)
        self.keep(keep)

    def keep(self, count: int) -> None:
        text = _COMPONENT.format(folder=self.world.folder, configdir=self.site.configdir, keep=count)
        self.world.write({"desired/defaults.yaml": text})

    def release(self, version: str, *, good: bool = True) -> dict[str, str]:
        """One pass with it; the steps that clean up, with what became of each."""
        image(self.world.folder, version)
        if good:
            (self.good / version).touch()
        keys = f'command: "sleep 86399", env: {{V: "{{{{ version }}}}"}}, health: {_HEALTH.format(good=self.good)}'
        self.site.commit(version, one=keys)
        return self.cleaned(0 if good else 1)

    def cleaned(self, code: int = 0) -> dict[str, str]:
        done = self.world.run("--once", "--json")
        assert done.code == code, done.said
        steps = done.json()["deployments"][0]["steps"]
        found = {step["target"]: step["status"] for step in steps if step["id"].startswith("clean:version:")}
        return {target.partition(",")[0]: status for target, status in found.items()}

    def standing(self) -> list[str]:
        """Versions of the images that stand; hidden files but for locks and markers are told by their names."""
        folder = self.world.root / "images"
        names = {path.name for path in folder.iterdir() if not path.name.endswith((".lock", ".complete"))}
        assert all((folder / f".{name}.complete").exists() for name in names if not name.startswith("."))
        return sorted(name.removeprefix("app-").removesuffix(".sif") for name in names)

    def runs(self) -> str:
        return self.site.instance("one-dev").image.rpartition("-")[2].removesuffix(".sif")

    def kill_at(self, instant: int) -> None:
        """A pass that ends at the n-th change of a folder while it removes old versions."""
        argv = [self.world.python, "-c", _KILLED, str(instant), *self.world.argv("--once")[3:]]
        done = subprocess.run(
            argv, cwd=self.world.folder, env=self.world.env, capture_output=True, check=False,
            **self.world.account.become,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, (instant, done)


def test_the_last_used_stay_and_the_others_go(site: Site) -> None:
    made = Releases(site, keep=1)
    assert [made.release(version) for version in ("1.0", "1.1")] == [{}, {}]
    assert made.release("1.2") == {"app 1.0": "done"}
    assert made.standing() == ["1.1", "1.2"]
    assert made.runs() == "1.2"
    site.world.idle()


def test_what_runs_and_what_is_gone_back_to_stays(site: Site) -> None:
    made = Releases(site, keep=0)
    made.release("1.0")
    old = str(site.world.root / "images/app-1.0.sif")
    site.apptainer("instance", "start", old, "by-hand", "sleep", "86399")
    assert [made.release(version) for version in ("1.1", "1.2")] == [{}, {}]
    assert made.standing() == ["1.0", "1.1", "1.2"]  # until 1.2 had proved healthy, 1.1 was needed
    assert made.cleaned() == {"app 1.1": "done"}
    assert made.standing() == ["1.0", "1.2"]
    site.world.idle()
    assert made.release("1.3", good=False) == {}
    assert made.runs() == "1.2"  # it went back
    for _ in range(2):
        assert made.cleaned(1) == {}
    assert made.standing() == ["1.0", "1.2", "1.3"]
    made.release("1.4")
    made.cleaned()
    assert made.standing() == ["1.0", "1.4"]
    assert site.instance("by-hand").image == old
    assert site.apptainer("exec", "instance://by-hand", "cat", "/version").split() == ["1.0"]
    site.apptainer("instance", "stop", "by-hand")
    assert made.cleaned() == {"app 1.0": "done"}
    assert made.standing() == ["1.4"]
    site.world.idle()


def test_killed_while_images_are_removed(site: Site) -> None:
    made = Releases(site, keep=9)
    for version in ("1.0", "1.1", "1.2", "1.3"):
        made.release(version)
    made.keep(0)
    site.commit()
    for instant in (1, 2, random.randint(2, 3)):
        made.kill_at(instant)
        whole = [name for name in made.standing() if not name.startswith(".")]
        for version in whole:
            size = (site.world.folder / f"app-{version}.sif").stat().st_size
            assert (site.world.root / f"images/app-{version}.sif").stat().st_size == size
        assert made.runs() == "1.3"
    site.world.once()
    assert made.standing() == ["1.3"]
    assert sorted(os.listdir(site.world.root / "images")) == [*hidden(site.world.root / "images"), "app-1.3.sif"]
    site.world.idle()


def hidden(folder: Path) -> list[str]:
    """What may stand there besides: locks, and the marker of what is there."""
    names = sorted(name for name in os.listdir(folder) if name.startswith("."))
    assert [name for name in names if not name.endswith(".lock")] == [".app-1.3.sif.complete"]
    return names
