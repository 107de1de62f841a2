"""The project's own desired/ and templates/: complete, consistent, and without a secret."""

from __future__ import annotations

import configparser
import re

import pytest

from reconciler.core.model import Compiled, Role
from tests.jaws.repo import Repo

SITES = ("aws", "assembly")
ENVIRONMENTS = ("dev", "staging", "prod")
DEPLOYMENTS = [(site, environment) for site in SITES for environment in ENVIRONMENTS]

# By service: its name under supervisor.
JAWS_SITE = {
    "rpc-server": "rpc-server",
    "run-daemon": "runs",
    "transfer-daemon": "transfers",
    "perf-metrics-daemon": "perf-metrics",
    "task-log": "task-log",
}
CROMWELL = {"cromwell": "cromwell"}


def field(compiled: Compiled, service: str, key: str) -> str:
    return str(compiled.fields[service][key].value)


def rendered(compiled: Compiled, name: str) -> str:
    path = next(file.path for file in compiled.deployment.files if file.name == name)
    return compiled.contents[path].decode()


def site_conf(compiled: Compiled) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True)
    parser.read_string(rendered(compiled, "jaws-site.conf"))
    return parser


def test_validates_without_a_problem(jaws: Repo) -> None:
    assert jaws.problems() == []


@pytest.mark.parametrize(("site", "environment"), DEPLOYMENTS)
def test_runs_these_services(site: str, environment: str, jaws: Repo) -> None:
    deployment = jaws.compile(site, environment).deployment

    assert {service.name: service.unit for service in deployment.services} == JAWS_SITE | CROMWELL
    assert {service.launcher for service in deployment.services} == {"supervisor"}
    assert {service.name for service in deployment.services if service.group == "jaws-site"} == set(JAWS_SITE)
    assert {service.name for service in deployment.services if service.group == "jaws-cromwell"} == set(CROMWELL)
    assert set(deployment.disabled) == {"message-consumer"}
    assert {install.method for install in deployment.installs if install.component == "site"} == {"venv"}
    assert {install.tool for install in deployment.installs if install.component == "site"} == {"python3.9"}
    assert deployment.root == f"/home/ec2-user/jaws-install/{site}-{environment}"


@pytest.mark.parametrize(("site", "environment"), DEPLOYMENTS)
def test_commands_name_known_services(site: str, environment: str, jaws: Repo) -> None:
    compiled = jaws.compile(site, environment)
    logs = f"{compiled.deployment.root}/logs"

    for service in JAWS_SITE:
        words = field(compiled, service, "command").split()
        assert words[0] == "jaws-site"
        assert words[1:-1:2] == ["--log", "--config", "--log-level"]
        assert words[2] == f"{logs}/jaws-{service}.log", "supervisor writes and rotates SERVICE.log"
        assert words[4] == f"{compiled.deployment.root}/config/jaws-site.conf"
        assert words[6] == ("INFO" if environment == "prod" else "DEBUG")
        assert words[-1] == service


@pytest.mark.parametrize(("site", "environment"), DEPLOYMENTS)
def test_cromwell_has_time_to_stop(site: str, environment: str, jaws: Repo) -> None:
    services = {service.name: service for service in jaws.compile(site, environment).deployment.services}

    assert services["cromwell"].stop_seconds >= 120
    assert services["cromwell"].ready_seconds >= 10
    assert "cromwell" in services["run-daemon"].after
    assert all("task-log" in services[name].after for name in JAWS_SITE if name != "task-log")


@pytest.mark.parametrize(("site", "environment"), DEPLOYMENTS)
def test_rendered_files_are_clean(site: str, environment: str, jaws: Repo) -> None:
    compiled = jaws.compile(site, environment)
    declared = [file for file in compiled.deployment.files if file.role is Role.CONFIG]
    assert {file.name for file in declared} == {"jaws-site.conf", "cromwell.conf"}

    for file in declared:
        text = compiled.contents[file.path].decode()
        assert file.mode & 0o027 == 0, f"{file.name} can be written by the group or read by others"
        assert not re.search(r"\{\{|\}\}|\{%|\bNone\b|Undefined", text), file.name
        assert not re.search(r"(?<!:)//", text), f"{file.name} has a doubled slash"
        assert not re.search(r"[ \t]+$", text, re.MULTILINE), f"{file.name} has blanks at the end of a line"
        assert "\n\n\n" not in text
        assert text.endswith("\n")
        assert not text.endswith("\n\n")
    hocon = rendered(compiled, "cromwell.conf")
    assert hocon.count("{") == hocon.count("}")


@pytest.mark.parametrize(("site", "environment"), DEPLOYMENTS)
def test_names_are_in_their_case(site: str, environment: str, jaws: Repo) -> None:
    conf = site_conf(jaws.compile(site, environment))

    assert conf["DB"]["db"] == f"jaws_{site}_{environment}"
    assert conf["RPC_SERVER"]["queue"] == f"JAWS_{site.upper()}"
    queues = [conf[section]["queue"] for section in conf.sections() if "queue" in conf[section]]
    assert len(queues) == 4
    assert all(queue == queue.upper() for queue in queues)
    assert conf["SITE"]["id"] == site
    assert conf["SITE"]["deployment"] == environment


@pytest.mark.parametrize("site", SITES)
def test_ports_of_one_host_differ(site: str, jaws: Repo) -> None:
    ports = {}
    for environment in ENVIRONMENTS:
        compiled = jaws.compile(site, environment)
        conf = site_conf(compiled)
        found = re.search(r"^webservice \{\s+port = (\d+)", rendered(compiled, "cromwell.conf"), re.MULTILINE)
        assert found
        ports[environment] = found[1]
        assert conf["CROMWELL"]["url"] == f"http://localhost:{found[1]}"

    assert ports == {"dev": "50101", "staging": "50102", "prod": "50103"}


def test_ports_that_clash_are_refused(jaws_copy: Repo) -> None:
    layer = jaws_copy.folder / "desired" / "environments" / "prod.yaml"
    layer.write_text(layer.read_text().replace("50103", "50102"))

    assert any("50102" in problem for problem in jaws_copy.problems())


def test_a_further_site_is_one_file(jaws_copy: Repo) -> None:
    """What defaults.yaml says a site has to define is all that it needs; scratch is a folder of its own then."""
    values = [
        "install_base",
        "scratch_base",
        "ref_data",
        "unix_group",
        "users_group",
        "globus_endpoint",
        "globus_host_path",
    ]
    lines = [f"  {name}: /mnt/{name}\n" for name in values]
    text = f"vars:\n{''.join(lines)}  max_cpu: 8\n  max_ram_gb: 16\ncomponents: {{site: {{install: venv}}}}\n"
    (jaws_copy.folder / "desired" / "sites" / "further.yaml").write_text(text)

    assert jaws_copy.problems() == []
    conf = site_conf(jaws_copy.compile("further", "dev"))
    assert conf["CROMWELL"]["executions_dir"] == "/mnt/scratch_base/jaws-dev/cromwell-executions"
    assert "AWSBatch" not in rendered(jaws_copy.compile("further", "dev"), "cromwell.conf")


def test_a_service_is_switched_on_by_one_line(jaws_copy: Repo) -> None:
    layer = jaws_copy.folder / "desired" / "environments" / "dev.yaml"
    layer.write_text(layer.read_text() + "\nservices: {message-consumer: {enabled: true}}\n")

    assert jaws_copy.problems() == []
    compiled = jaws_copy.compile("aws", "dev")
    assert field(compiled, "message-consumer", "command").endswith("/jaws-site.conf --log-level DEBUG message-consumer")
    assert "message-consumer" not in {service.name for service in jaws_copy.compile("aws", "prod").deployment.services}


@pytest.mark.parametrize(("site", "environment"), DEPLOYMENTS)
def test_no_secret_stands_anywhere(site: str, environment: str, jaws: Repo) -> None:
    """Passwords are names, which the service looks up; every such name is one that the private file has to set."""
    compiled = jaws.compile(site, environment)
    conf = site_conf(compiled)
    explained = (jaws.folder / "desired" / "defaults.yaml").read_text()

    for section in conf.sections():
        for key, value in conf[section].items():
            if re.search(r"password|secret|token|key$", key):
                assert re.fullmatch(r"\$\{JAWS_[A-Z_]+\}", value), f"{section}.{key}"
    for name in ("jaws-site.conf", "cromwell.conf"):
        for reference in re.findall(r"\$\{(JAWS_[A-Z_]+)\}", rendered(compiled, name)):
            assert reference in re.sub(r"\$\{\w+\}", "", explained), f"{reference} is not explained"
    for service in JAWS_SITE | CROMWELL:
        assert "$" not in field(compiled, service, "command")
        private = f"/home/ec2-user/jaws-install/private/{site}-{environment}.env"
        assert f'. "{private}" || exit 1' in field(compiled, service, "prologue")
        assert not private.startswith(compiled.deployment.root + "/"), "it must outlive what is ours to remove"


@pytest.mark.parametrize(("component", "affected"), [("site", set(JAWS_SITE)), ("cromwell", set(CROMWELL))])
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_bump_is_one_line_and_reaches_one_component(
    component: str, affected: set[str], environment: str, jaws_copy: Repo
) -> None:
    before = {pair: jaws_copy.compile(*pair) for pair in DEPLOYMENTS}
    layer = jaws_copy.folder / "desired" / "environments" / f"{environment}.yaml"
    text, count = re.subn(rf'^  {component}: "[^"]+"$', f'  {component}: "99.1"', layer.read_text(), flags=re.MULTILINE)
    assert count == 1
    layer.write_text(text)

    for (site, there), old in before.items():
        new = jaws_copy.compile(site, there)
        specs = {service.name: service.spec for service in old.deployment.services}
        changed = {service.name for service in new.deployment.services if service.spec != specs[service.name]}
        assert changed == (affected if there == environment else set()), f"{site}/{there}"
        launches = {service.name: service.launch for service in old.deployment.services}
        assert {service.name: service.launch for service in new.deployment.services} == launches
        versions = {service.version for service in new.deployment.services if service.name in affected}
        assert (versions == {"99.1"}) is (there == environment)
