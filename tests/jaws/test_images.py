"""Sites that have JAWS Site as an Apptainer image: how its services are started, as a shell reads it."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise

import pytest

from tests.jaws.repo import (
    CROMWELL,
    ENVIRONMENTS,
    IN_IMAGES,
    JAWS_SITE,
    SITES,
    Deployments,
    Repo,
    field,
    rendered,
    shim,
    site_conf,
)

INSIDE = "/etc/config/site/jaws-site.conf"


def call(text: str) -> list[str]:
    """The words of what a shim becomes."""
    (line,) = re.findall(r"^exec (/.*)$", text, re.MULTILINE)
    return shlex.split(line)


def after(words: list[str], option: str) -> list[str]:
    return [value for word, value in pairwise(words) if word == option]


@pytest.mark.parametrize(("site", "environment"), IN_IMAGES)
def test_apptainer_is_called_as_jaws_does(site: str, environment: str, deployments: Deployments) -> None:
    compiled = deployments[site, environment]
    root = compiled.deployment.root
    units = {service.name: service.unit.removesuffix(".service") for service in compiled.deployment.services}

    for service in JAWS_SITE:
        words = call(shim(compiled, service))
        verb = ["instance", "start"] if SITES[site].mode == "instance" else ["run"]
        assert words[: 1 + len(verb)] == ["/usr/bin/apptainer", *verb]
        assert {"--cleanenv", "--no-home"} <= set(words)
        assert "APPTAINER_NO_EVAL=1" in shim(compiled, service)
        assert after(words, "--env-file") == [f"{root}/config/env/{units[service]}.env"]
        assert after(words, "--mount") == [
            f"src={root}/config/jaws-site.conf,dst={INSIDE},ro",
            f"src={root}/logs,dst=/var/log/site",
        ]


@pytest.mark.parametrize(("site", "environment"), IN_IMAGES)
def test_what_the_image_is_given(site: str, environment: str, deployments: Deployments) -> None:
    """Its start script knows the configuration; all other options come from here, with paths as they are inside."""
    compiled = deployments[site, environment]
    (install,) = (install for install in compiled.deployment.installs if install.component == "site")
    level = "INFO" if environment == "prod" else "DEBUG"

    assert install.path == f"{compiled.deployment.root}/images/site-{install.version}.sif"
    assert install.source.endswith(f"/advanced-analysis/jaws-site:{install.version}")
    for service in JAWS_SITE:
        words = call(shim(compiled, service))
        name = [f"jaws-{service}-{environment}"] if SITES[site].mode == "instance" else []
        given = [*name, "--log", f"/var/log/site/jaws-{service}.log", "--log-level", level, service]
        assert words[words.index(install.path) + 1 :] == given


@pytest.mark.parametrize(("site", "environment"), IN_IMAGES)
def test_an_image_gets_every_password(site: str, environment: str, deployments: Deployments) -> None:
    compiled = deployments[site, environment]
    wanted = set(re.findall(r"\$\{(JAWS_[A-Z_]+)\}", rendered(compiled, "jaws-site.conf")))
    assert {"JAWS_DB_PASSWORD", "JAWS_RMQ_PASSWORD"} < wanted

    for service in JAWS_SITE:
        handed_on = dict(
            re.findall(r'^export APPTAINERENV_(\w+)="\$(\w+)"$', field(compiled, service, "prologue"), re.MULTILINE)
        )
        assert handed_on == {name: name for name in wanted}


@pytest.mark.parametrize(("site", "environment"), IN_IMAGES)
def test_an_image_needs_no_module(site: str, environment: str, deployments: Deployments) -> None:
    """It has its own Python. What runs on the host itself has the site's."""
    compiled = deployments[site, environment]
    loads = field(compiled, "cromwell", "prologue").startswith("module load ")

    assert loads is (site != "dori")
    assert not any("module load" in shim(compiled, service) for service in JAWS_SITE)
    assert not any("module load" in install.prologue for install in compiled.deployment.installs)
    assert all("container.mode" not in compiled.fields[service] for service in CROMWELL)


@pytest.mark.parametrize("site", sorted({site for site, _ in IN_IMAGES}))
def test_names_of_an_account_are_used_once(site: str, deployments: Deployments) -> None:
    """Units of systemd and instances of Apptainer have one name space for all environments."""
    own = [deployments[site, environment] for environment in ENVIRONMENTS]
    units = [service.unit for compiled in own for service in compiled.deployment.services]
    instances = [field(compiled, name, "container.instance") for compiled in own for name in JAWS_SITE]

    if SITES[site].launcher == "systemd":
        assert len(set(units)) == len(units) == len(ENVIRONMENTS) * len(JAWS_SITE | CROMWELL)
    if SITES[site].mode == "instance":
        assert len(set(instances)) == len(instances) == len(ENVIRONMENTS) * len(JAWS_SITE)


@pytest.mark.parametrize(
    ("line", "changed", "taken"),
    [
        ("  run-daemon: {name: null}\n", "", "runs.service"),
        ("jaws-{{ service }}-{{ environment }}", "jaws-{{ service }}", "instance jaws-rpc-server"),
    ],
)
def test_a_name_for_all_environments_is_refused(line: str, changed: str, taken: str, jaws_copy: Repo) -> None:
    layer = jaws_copy.folder / "desired" / "sites" / "dori.yaml"
    assert layer.read_text().count(line) == 1
    layer.write_text(layer.read_text().replace(line, changed))

    assert any(taken in problem and "used twice" in problem for problem in jaws_copy.problems())


def test_scratch_has_a_folder_for_each_environment(deployments: Deployments) -> None:
    for site, environment in IN_IMAGES:
        conf = site_conf(deployments[site, environment])
        assert f"/jaws-{environment}/" in conf["SITE"]["inputs_dir"]
        assert f"/jaws-{environment}/" in conf["CROMWELL"]["executions_dir"]
        assert int(conf["SITE"]["max_time_min"]) > 0
