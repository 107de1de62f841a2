"""A version that is built: beside the old one, before anything stops, and nobody's code changes below them."""

from __future__ import annotations

import os
import shutil
import signal
import zipfile
from pathlib import Path

import pytest

from tests.scenarios.site import CROMWELL_SERVICES, Site, service, until

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.slow]

_MODULE = """
import os, signal, sys

def tell(*_):
    import hello_late  # first read when it is asked: from the folder that the process was started with
    with open(sys.argv[1] + ".new", "w") as file:
        file.write(hello_late.VERSION)
    os.rename(sys.argv[1] + ".new", sys.argv[1])

def main():
    signal.signal(signal.SIGUSR1, tell)
    with open(sys.argv[1] + ".ready", "w") as file:
        file.write(str(os.getpid()))
    while True:
        signal.pause()
"""


def write_wheel(folder: Path, version: str) -> None:
    """A package whose one program tells its version when it is asked."""
    folder.mkdir(exist_ok=True)
    info = f"hello-{version}.dist-info"
    with zipfile.ZipFile(folder / f"hello-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("hello.py", _MODULE)
        wheel.writestr("hello_late.py", f"VERSION = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: hello\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\nhello = hello:main\n")
        wheel.writestr(f"{info}/RECORD", "")


def asked(site: Site, name: str) -> str:
    """The version that a running service says that it is."""
    answer, ready, pid = site.folder / f"answer-{name}", site.folder / f"answer-{name}.ready", site.pid(name)
    until(lambda: ready.exists() and ready.read_text() == str(pid))
    answer.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    until(answer.exists)
    return answer.read_text()


@pytest.fixture
def built(site: Site) -> Site:
    """Two services of a component that is built, beside three that are not."""
    write_wheel(site.folder / "wheels", "1.0")
    site.layer["versions"]["hello"] = "1.0"
    site.layer["components"]["hello"] = {
        "install": "venv",
        "requirement": f"--no-index --find-links {site.folder}/wheels hello=={{{{ version }}}}",
    }
    site.layer["services"] = {name: site.services[name] for name in CROMWELL_SERVICES} | {
        name: service("hello", f"hello {site.folder}/answer-{name}") for name in ("one", "two")
    }
    site.commit()
    site.converge()
    return site


def test_a_bump_is_built_beside_the_old(built: Site) -> None:
    assert asked(built, "one") == "1.0"
    write_wheel(built.folder / "wheels", "2.0")
    built.layer["versions"]["hello"] = "2.0"
    built.commit()
    passed = built.converge()
    assert passed.changed == {"one", "two"}
    assert passed.steps["install:hello-2.0"]["status"] == "done"
    assert [asked(built, name) for name in ("one", "two")] == ["2.0", "2.0"]
    assert sorted(path.name for path in (built.root / "venvs").glob("hello-*")) == ["hello-1.0", "hello-2.0"]
    assert built.status()["one"]["version"] == "2.0"


def test_a_build_that_fails_stops_nothing(built: Site) -> None:
    """The old processes go on with their own code; what does not need the build goes on as well."""
    before = built.pids()
    built.layer["versions"]["hello"] = "2.0"
    built.services["cromwell"]["env"] = {"A": "1"}
    built.commit()
    told = built.run("--once")
    assert told.code == 1
    assert "hello==2.0" in told.out
    assert built.run("--once").code == 1
    after = built.pids()
    assert {name for name in after if after[name] != before[name]} == {"cromwell"}
    assert after.keys() == before.keys()
    status = built.status()["one"]
    assert (status["version"], status["wanted"], status["healthy"]) == ("1.0", "2.0", True)
    built.kill("two")
    until(lambda: built.pids().get("two", before["two"]) != before["two"])
    assert [asked(built, name) for name in ("one", "two")] == ["1.0", "1.0"]
    write_wheel(built.folder / "wheels", "2.0")
    assert built.converge().changed == {"one", "two"}
    assert asked(built, "one") == "2.0"


def test_the_same_version_from_elsewhere_is_another_build(built: Site) -> None:
    """The old process never finds other code below itself."""
    elsewhere = built.folder / "elsewhere"
    (built.folder / "wheels").rename(elsewhere)
    built.layer["components"]["hello"]["requirement"] = f"--no-index --find-links {elsewhere} hello==1.0"
    built.commit()
    passed = built.converge()
    assert passed.changed == {"one", "two"}
    assert len(list((built.root / "venvs/.store").glob("hello-1.0-*"))) == 2


def test_a_venv_that_was_deleted_is_built_again(built: Site) -> None:
    shutil.rmtree(built.root / "venvs")
    passed = built.converge()
    assert passed.changed == set()
    assert passed.why("one") == "hello-1.0 is gone: it is built again"
    assert asked(built, "one") == "1.0"
