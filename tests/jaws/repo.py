"""A desired-state repo in a folder, and what it amounts to."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import NamedTuple

from reconciler.core.desired import Compiled, Role
from reconciler.desired import Facts, Tree, compile_site, read_folder, validate

FACTS = Facts(host="jaws.example.org", account="ec2-user")
ENVIRONMENTS = ("dev", "staging", "prod")


class Way(NamedTuple):
    """How a site runs JAWS Site, and where."""

    launcher: str
    method: str
    mode: str  # of its containers; empty without any
    base: str


_IMAGE = ("apptainer-sif", "run")
SITES = {
    "assembly": Way("supervisor", "venv", "", "/home/ec2-user/jaws-install"),
    "aws": Way("supervisor", "venv", "", "/home/ec2-user/jaws-install"),
    "defiant": Way("supervisor", *_IMAGE, "/ccsopen/home/bif150_auser/jaws-install"),
    "dori": Way("systemd", "apptainer-sif", "instance", "/clusterfs/jgi/groups/dsi/homes/svc-jaws/jaws-install"),
    "kbase": Way("slurm", "venv", "", "/global/cfs/cdirs/kbase/jaws"),
    "nmdc": Way("slurm", "venv", "", "/global/cfs/cdirs/m3408/jaws-install"),
    "perlmutter": Way("slurm", "venv", "", "/global/cfs/cdirs/jaws/jaws-install"),
    "jgi": Way("supervisor", *_IMAGE, "/global/home/groups-sw/lr_jgicloud/jaws-install"),
    "nmdc_tahoma": Way("supervisor", *_IMAGE, "/tahoma/mscnmdc/jaws-install"),
    "tahoma": Way("supervisor", *_IMAGE, "/tahoma/mscjgi/jaws-install"),
}
DEPLOYMENTS = [(site, environment) for site in SITES for environment in ENVIRONMENTS]
IN_VENVS = [pair for pair in DEPLOYMENTS if SITES[pair[0]].method == "venv"]
IN_IMAGES = [pair for pair in DEPLOYMENTS if SITES[pair[0]].mode]

# By service: its name under supervisor.
JAWS_SITE = {
    "rpc-server": "rpc-server",
    "run-daemon": "runs",
    "transfer-daemon": "transfers",
    "perf-metrics-daemon": "perf-metrics",
    "task-log": "task-log",
}
CROMWELL = {"cromwell": "cromwell"}
RUNNER = {"runner": "runner"}
IN_JOBS = [pair for pair in DEPLOYMENTS if SITES[pair[0]].launcher == "slurm"]


def has_runner(site: str, environment: str) -> bool:
    """A site's GitLab runner is there once."""
    return (site, environment) in IN_JOBS and environment == "prod"


def services_of(site: str, environment: str) -> dict[str, str]:
    """What is managed, with the names under supervisor."""
    return JAWS_SITE | CROMWELL | (RUNNER if has_runner(site, environment) else {})


Deployments = dict[tuple[str, str], Compiled]


class Repo:
    """A folder with desired/ and templates/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def tree(self) -> Tree:
        return read_folder(str(self.folder))

    def problems(self) -> list[str]:
        return [str(problem) for problem in validate(self.tree(), FACTS)]

    def compile(self, site: str, environment: str) -> Compiled:
        result = compile_site(self.tree(), site, [environment], FACTS)
        assert result.problems == ()
        return result.compiled[environment]


def field(compiled: Compiled, service: str, key: str) -> str:
    return str(compiled.fields[service][key].value)


def rendered(compiled: Compiled, name: str) -> str:
    """A declared file, by its name under `files`."""
    declared = {file.name: file.path for file in compiled.deployment.files if file.role is Role.CONFIG}
    return compiled.contents[declared[name]].decode()


def shim(compiled: Compiled, service: str) -> str:
    """What starts a service."""
    (path,) = {file.path for file in compiled.deployment.files if (file.role, *file.services) == (Role.SHIM, service)}
    return compiled.contents[path].decode()


def site_conf(compiled: Compiled) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True)
    parser.read_string(rendered(compiled, "jaws-site.conf"))
    return parser


def cromwell_port(compiled: Compiled) -> str:
    """The one that Cromwell is told to listen on."""
    found = re.search(r"^webservice \{\s+port = (\d+)", rendered(compiled, "cromwell.conf"), re.MULTILINE)
    assert found
    return found[1]
