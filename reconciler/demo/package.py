"""The component of the demo: a small package in two versions, from the package index or, without one, made here."""

from __future__ import annotations

import os
import sys
from base64 import urlsafe_b64encode
from hashlib import sha256
from subprocess import DEVNULL, PIPE, TimeoutExpired, run
from typing import NamedTuple
from zipfile import ZipFile

_PATIENCE = 30.0  # seconds for the index to answer


class Package(NamedTuple):
    """What the component `web` installs. Its services answer over HTTP with the version that they run."""

    name: str
    module: str
    before: str
    after: str
    requirement: str  # with {{ version }}
    app: str  # the template of the program that the services run


_BOTTLE_APP = '''\
"""Answers over HTTP with the version of bottle that this very process runs."""
import sys

import bottle

bottle.route("/", callback=lambda: f"bottle {bottle.__version__}\\n")
bottle.run(host="127.0.0.1", port=int(sys.argv[1]), quiet=True)
'''

FROM_INDEX = Package("bottle", "bottle", "0.13.3", "0.13.4", "bottle=={{ version }}", _BOTTLE_APP)

_LOCAL_APP = '''\
"""Answers over HTTP with the version of demo_web that this very process runs."""
import sys
from wsgiref.simple_server import make_server

import demo_web


def answer(_request, start):
    start("200 OK", [("Content-Type", "text/plain")])
    return [f"demo-web {demo_web.__version__}\\n".encode()]


make_server("127.0.0.1", int(sys.argv[1]), answer).serve_forever()
'''


def why_no_index() -> str:
    """Why pip gets nothing from the package index that is set up here; empty where it does."""
    wanted = f"{FROM_INDEX.name}=={FROM_INDEX.after}"
    argv = [sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--no-deps", "--ignore-installed"]
    argv += ["--disable-pip-version-check", "--no-input", "--timeout", "5", "--retries", "0", wanted]
    try:
        done = run(argv, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, text=True, timeout=_PATIENCE, check=False)
    except TimeoutExpired:
        return f"no answer within {_PATIENCE:.0f} s"
    if done.returncode == 0 or "No module named pip" in done.stderr:  # without a pip here, the build will tell
        return ""
    return (done.stderr.strip().splitlines() or ["pip failed and said nothing"])[-1]


def made_here(folder: str) -> Package:
    """Two versions of a package of one line, as wheels in this folder."""
    os.makedirs(folder)
    versions = ("1.0.0", "1.1.0")
    for version in versions:
        _wheel(folder, version)
    requirement = f"--no-index --find-links {folder} demo-web=={{{{ version }}}}"
    return Package("demo-web", "demo_web", *versions, requirement, _LOCAL_APP)


def _wheel(folder: str, version: str) -> None:
    info = f"demo_web-{version}.dist-info"
    files = {
        "demo_web.py": f'__version__ = "{version}"\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: demo-web\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: reconcile\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},{_hash(text)},{len(text)}\n" for name, text in files.items())
    with ZipFile(os.path.join(folder, f"demo_web-{version}-py3-none-any.whl"), "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")


def _hash(text: str) -> str:
    return "sha256=" + urlsafe_b64encode(sha256(text.encode()).digest()).rstrip(b"=").decode()
