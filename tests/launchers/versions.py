"""How a version gets to where the install method takes it from, and which version a running program says that it is.

Each program reads its own version from what was installed and begins once more with it in its
environment: so what runs tells it, and nothing that reconcile has set.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.backends.images import image
from tests.scenarios.world import World

_SAYS = "SERVES="
_SCRIPT = "#!/bin/sh\nexec env SERVES={} sleep 86399\n"
_INSIDE = '#!/bin/sh\nexec env SERVES="$(cat /version)" sleep 86399\n'
_MODULE = """\
import os, sys
VERSION = {!r}
def main():
    program = [sys.executable, "-c", "import time; time.sleep(86399)"]
    os.execve(sys.executable, program, dict(os.environ, SERVES=VERSION))
"""


def component(world: World, install: str, mode: str, name: str) -> dict[str, Any]:
    """Its keys in the desired state."""
    folder = world.folder / "versions"
    if install == "venv":
        requirement = f"--no-index --find-links {folder} {name}=={{{{ version }}}}"
        return {"install": install, "requirement": requirement, "python": world.python}
    if install == "none":
        return {"install": install}
    container = {"mode": mode, "configdir": str(world.folder / "a")}
    source = f"{folder}/{name}-{{{{ version }}}}.sif"
    return {"install": install, "image": f"{name}-{{{{ version }}}}.sif", "source": source, "container": container}


def command(world: World, install: str, name: str) -> str:
    """What runs it."""
    if install == "none":
        return f"{world.folder}/versions/{name}-{{{{ version }}}}"
    return name if install == "venv" else "/bin/serve"


def make(world: World, install: str, name: str, version: str, says: str = "") -> Path:
    """Put a version there. `says`: what it takes itself for, where that differs."""
    folder = world.account.folder(world.folder / "versions")
    if install == "venv":
        path = _wheel(folder, name, version, says or version)
    elif install == "none":
        path = folder / f"{name}-{version}"
        path.write_text(_SCRIPT.format(says or version))
        path.chmod(0o755)
    else:
        path = image(folder, says or version, name, {"bin/serve": _INSIDE})
        path = path.rename(folder / f"{name}-{version}.sif")
    world.account.own(path)
    return path


def _wheel(folder: Path, name: str, version: str, says: str) -> Path:
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", _MODULE.format(says))
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def served(pid: int) -> str:
    """The version that a service says that it is: the main process, or what it keeps inside. Empty: not yet."""
    said = {word for each in _tree(pid) for word in _environ(each) if word.startswith(_SAYS)}
    assert len(said) <= 1, f"pid {pid} and what it keeps say {said}"
    return said.pop().removeprefix(_SAYS) if said else ""


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = [
            word for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()
        ]
    except OSError:  # it has ended
        return
    for child in children:
        yield from _tree(int(child))


def _environ(pid: int) -> list[str]:
    try:
        return [os.fsdecode(entry) for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")]
    except OSError:
        return []
