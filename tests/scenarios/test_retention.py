"""Old versions: the newest stay, what anybody needs stays, and a pass that is killed leaves nothing half."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.install.sif import write_sif
from tests.scenarios.site import Site, service
from tests.scenarios.test_venv import write_wheel

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.slow]

_STUB = "#!/bin/sh\nexec sleep 1000\n"


def _begin(site: Site, component: dict[str, Any], *commands: str, **keys: Any) -> None:
    site.layer["versions"] = {"hello": "1.0"}
    site.layer["components"] = {"hello": component}
    site.layer["files"], site.layer["vars"] = {}, {}
    site.layer["services"] = {f"s{n}": service("hello", command, **keys) for n, command in enumerate(commands)}


@pytest.fixture
def venvs(site: Site) -> Site:
    """One service of a component that is built, of whose versions two old ones stay."""
    requirement = f"--no-index --find-links {site.folder}/wheels hello=={{{{ version }}}}"
    _begin(site, {"install": "venv", "requirement": requirement, "keep": 2}, f"hello {site.folder}/answer")
    return site


@pytest.fixture
def images(site: Site) -> Site:
    """One service in an image that is copied, of whose versions no old one stays."""
    stub = site.folder / "apptainer"
    stub.write_text(_STUB)
    stub.chmod(0o755)
    component = {
        "install": "apptainer-sif",
        "image": "hello-{{ version }}.sif",
        "source": f"{site.folder}/source-{{{{ version }}}}.sif",
        "container": {"program": str(stub)},
        "keep": 0,
    }
    _begin(site, component, "sleep 1000")
    return site


def release(site: Site, version: str) -> dict[str, Any]:
    """One pass with another version; its steps."""
    if site.layer["components"]["hello"]["install"] == "venv":
        write_wheel(site.folder / "wheels", version)
    else:
        write_sif(site.folder / f"source-{version}.sif", version.encode())
    site.layer["versions"]["hello"] = version
    site.commit()
    return steps(site)


def steps(site: Site, code: int = 0) -> dict[str, Any]:
    return {step["id"]: step for step in site.once(code)["deployments"][0]["steps"]}


def standing(site: Site) -> list[str]:
    """What stands below the folder of installs, hidden files but for locks too."""
    store, images = site.root / "venvs/.store", site.root / "images"
    found = [path.name for path in (*store.glob("*"), *images.glob("*")) if not path.name.endswith(".lock")]
    return sorted(name[:-9] if (store / name).is_dir() and not name.startswith(".") else name for name in found)


def test_the_newest_stay_through_five_bumps(venvs: Site) -> None:
    release(venvs, "1.0")
    for version in ("2.0", "3.0"):
        assert not [name for name in release(venvs, version) if name.startswith("clean:")]
    write_wheel(venvs.folder / "wheels", "4.0")
    venvs.layer["versions"]["hello"] = "4.0"
    venvs.commit()
    told = venvs.run("plan").out
    assert "clean    hello 1.0, " in told
    assert "kB" in told
    done = venvs.converge().steps  # its second pass does nothing
    (gone,) = (step for name, step in done.items() if name.startswith("clean:"))
    assert (gone["status"], gone["target"].split(",")[0]) == ("done", "hello 1.0")
    assert standing(venvs) == ["hello-2.0", "hello-3.0", "hello-4.0"]
    assert sorted(os.listdir(venvs.root / "venvs")) == [".store", "hello-2.0", "hello-3.0", "hello-4.0"]
    journal = (venvs.state / "here/dev/journal.jsonl").read_text()
    assert "hello 1.0, " in journal
    # Back to an old one: it is the newest of the old ones afterwards, whenever it was built.
    release(venvs, "2.0")
    assert standing(venvs) == ["hello-2.0", "hello-3.0", "hello-4.0"]
    release(venvs, "5.0")
    venvs.settled()
    assert standing(venvs) == ["hello-2.0", "hello-4.0", "hello-5.0"]


def test_what_anybody_runs_stays(venvs: Site) -> None:
    """A process that no launcher of ours keeps, started by way of the link for people."""
    release(venvs, "1.0")
    venvs.layer["components"]["hello"]["keep"] = 0
    hand = subprocess.Popen([venvs.root / "venvs/hello-1.0/bin/python", "-c", "import time; time.sleep(1000)"])
    try:
        release(venvs, "2.0")
        for _ in range(2):
            assert steps(venvs) == {}
        assert standing(venvs) == ["hello-1.0", "hello-2.0"]
    finally:
        hand.kill()
        hand.wait()
    venvs.converge()
    assert standing(venvs) == ["hello-2.0"]


def test_an_image_that_is_open_stays_and_what_is_not_ours_too(images: Site) -> None:
    release(images, "1.0")
    held = os.open(images.root / "images/hello-1.0.sif", os.O_RDONLY)
    try:
        release(images, "2.0")
        (images.root / "images/hello-0.9.sif").write_bytes(b"somebody else's")
        release(images, "3.0")
        replaced = images.root / "images/hello-2.0.sif"
        write_sif(images.folder / "by-hand.sif", b"by hand")
        os.replace(images.folder / "by-hand.sif", replaced)
        assert steps(images) == {}
        assert (images.root / "images/hello-1.0.sif").exists()
    finally:
        os.close(held)
    images.converge()
    names = [name for name in standing(images) if not name.startswith(".")]
    assert names == ["hello-0.9.sif", "hello-2.0.sif", "hello-3.0.sif"]
    marker = images.root / "images/.hello-1.0.sif.complete"
    assert not marker.exists()
    # A pass was killed between the image and what says whose it is.
    shutil.copy(images.root / "images/.hello-3.0.sif.complete", marker)
    images.converge()
    assert not marker.exists()


def test_more_stay_while_they_fit(images: Site) -> None:
    images.layer["components"]["hello"]["keep_bytes"] = "1G"
    for version in ("1.0", "2.0", "3.0"):
        release(images, version)
    images.settled()
    images.layer["components"]["hello"]["keep_bytes"] = "1K"
    images.layer["components"]["hello"]["keep"] = 1
    images.commit()
    images.run("pause", "--for", "1h", "--reason", "looks at them")
    assert steps(images, images.run("--once").code) == {}
    images.run("resume")
    images.converge()
    assert [name for name in standing(images) if not name.startswith(".")] == ["hello-2.0.sif", "hello-3.0.sif"]


def test_what_another_environment_wants_stays(images: Site) -> None:
    """Whose `paths.images` leads into this one's."""
    release(images, "1.0")
    images.layers["environments/prod"] = {
        "versions": {"hello": "1.0"},
        "paths": {"root": str(images.folder / "root-prod"), "images": str(images.root / "images")},
    }
    images.layer["services"]["s0"]["name"] = "{{ environment }}"
    write_sif(images.folder / "source-2.0.sif", b"2.0")
    images.layers["environments/dev"] = {"versions": {"hello": "2.0"}}
    images.commit()
    for _ in range(2):
        images.run("--once")
    names = [name for name in standing(images) if name.endswith(".sif")]
    assert names == ["hello-1.0.sif", "hello-2.0.sif"]
    images.layers["environments/prod"]["versions"] = {"hello": "2.0"}
    images.commit()
    for _ in range(3):
        last = images.run("--once")
    assert (last.code, last.out) == (0, ""), last
    assert [name for name in standing(images) if name.endswith(".sif")] == ["hello-2.0.sif"]


def test_a_rollback_still_finds_its_install(venvs: Site) -> None:
    good = venvs.folder / "good"
    good.mkdir()
    (good / "1.0").touch()
    venvs.layer["components"]["hello"]["keep"] = 0
    venvs.services["s0"] |= {
        "env": {"V": "{{ version }}"},
        "health": {
            "exec": {"command": f"test -e {good}/$V"},
            "start_period": "0s",
            "settle": "0s",
            "interval": "0s",
            "retries": 1,
        },
    }
    release(venvs, "1.0")
    write_wheel(venvs.folder / "wheels", "2.0")
    venvs.layer["versions"]["hello"] = "2.0"
    venvs.commit()
    report = venvs.once(1)
    assert report["deployments"][0]["rollback"]
    assert venvs.environ("s0")["RECONCILE_VERSION"] == "1.0"
    for _ in range(2):
        assert steps(venvs, 1) == {}
    assert standing(venvs) == ["hello-1.0", "hello-2.0"]
    (good / "3.0").touch()
    release(venvs, "3.0")
    venvs.converge()
    assert standing(venvs) == ["hello-3.0"]


def test_what_may_be_gone_back_to_stays(venvs: Site) -> None:
    """The pass was killed before the new version proved healthy, and the next ones wait for that."""
    venvs.layer["components"]["hello"]["keep"] = 0
    good, command = venvs.folder / "good", f'test "$V" = 1.0 || test -e {venvs.folder}/good'
    venvs.services["s0"] |= {
        "env": {"V": "{{ version }}"},
        "health": {"exec": {"command": command}, "start_period": "600s", "settle": "0s", "interval": "0s"},
    }
    release(venvs, "1.0")
    write_wheel(venvs.folder / "wheels", "2.0")
    venvs.layer["versions"]["hello"] = "2.0"
    venvs.commit()
    venvs.run_until_ended("restart:")
    for _ in range(2):
        assert steps(venvs, 2) == {}
    assert standing(venvs) == ["hello-1.0", "hello-2.0"]
    good.touch()
    for _ in range(2):
        steps(venvs)
    assert standing(venvs) == ["hello-2.0"]
    venvs.settled()


def test_what_cannot_be_told_removes_nothing(venvs: Site) -> None:
    venvs.layer["components"]["hello"]["keep"] = 0
    release(venvs, "1.0")
    release(venvs, "2.0")
    other = venvs.state / "here/prod"
    other.mkdir()
    (other / "inventory.json").write_text("{}")
    venvs.layer["vars"]["level"] = "DEBUG"
    report = venvs.once(1)
    assert "old versions: " in json.dumps(report)
    assert standing(venvs) == ["hello-1.0", "hello-2.0"]


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


def test_killed_while_one_is_removed(venvs: Site) -> None:
    """Before the link goes, before it is put aside, and in the midst of the removal: never half of one in the place of
    a whole one."""
    venvs.layer["components"]["hello"]["keep"] = 0
    for instant in (1, 2, 3, random.randint(4, 20)):
        release(venvs, "1.0")
        release(venvs, "2.0")
        options = ["--repo", str(venvs.repo), "--site", "here", "--state-dir", str(venvs.state), "--once"]
        env = {"PATH": os.environ["PATH"], "HOME": str(venvs.folder)}
        argv = [sys.executable, "-c", _KILLED, str(instant), *options]
        done = subprocess.run(argv, env=env, cwd=venvs.folder, capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, (instant, done)
        for folder in (venvs.root / "venvs/.store").glob("hello-1.0-*"):
            assert (folder / ".complete").exists(), instant
            assert (folder / "bin/hello").exists(), instant
        venvs.converge()
        assert standing(venvs) == ["hello-2.0"], instant


def test_unfinished_builds_go(venvs: Site) -> None:
    """What a killed pass left of a version that git does not want any more, but for what somebody is building."""
    release(venvs, "1.0")
    store: Path = venvs.root / "venvs/.store"
    for name in ("hello-1.5-12345678", "hello-1.6-12345678", "notes-12345678"):
        (store / name).mkdir()
    (store / "hello-1.5-12345678/.building").mkdir()
    (store / "notes-12345678/mine").touch()
    from reconciler.host.lock import Lock

    lock = Lock(str(store / ".hello-1.6.lock"))
    assert lock.acquire() is None
    try:
        assert {name.partition("hello-")[2]: one["status"] for name, one in steps(venvs).items()} == {
            "1.5-12345678": "done",
            "1.6-12345678": "skipped",
        }
    finally:
        lock.release()
    venvs.converge()
    assert standing(venvs) == ["hello-1.0", "notes"]
    assert (store / "notes-12345678/mine").exists()
