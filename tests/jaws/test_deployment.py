"""The project's own desired/ and templates/: complete, consistent, and without a secret."""

from __future__ import annotations

import re

import pytest

from reconciler.core.desired import Cleanup, Compiled, Role, Sort
from tests.jaws.repo import (
    CROMWELL,
    DEPLOYMENTS,
    ENVIRONMENTS,
    IN_JOBS,
    IN_VENVS,
    JAWS_SITE,
    RUNNER,
    SITES,
    Deployments,
    Repo,
    cromwell_port,
    field,
    has_runner,
    rendered,
    services_of,
    site_conf,
)

IN_BUCKETS = ("assembly", "aws")  # sites whose scratch is no folder


def test_validates_without_a_problem(jaws: Repo) -> None:
    assert jaws.problems() == []


def test_these_are_all_sites(jaws: Repo) -> None:
    stems = [path.stem for path in (jaws.folder / "desired" / "sites").glob("*.yaml")]
    assert sorted(stem for stem in stems if "." not in stem) == sorted(SITES)
    for path in (jaws.folder / "desired" / "sites").glob("*.*.yaml"):
        assert tuple(path.stem.split(".")) in DEPLOYMENTS


@pytest.mark.parametrize(("site", "environment"), DEPLOYMENTS)
def test_runs_these_services(site: str, environment: str, deployments: Deployments) -> None:
    deployment = deployments[site, environment].deployment
    way = SITES[site]
    names = services_of(site, environment)
    if way.launcher == "systemd":
        names = {name: f"{name}-{environment}.service" for name in names}

    assert {service.name: service.unit for service in deployment.services} == names
    assert {service.launcher for service in deployment.services} == {way.launcher}
    assert {service.name for service in deployment.services if service.group == "jaws-site"} == set(JAWS_SITE)
    assert {service.name for service in deployment.services if service.group == "jaws-cromwell"} == set(CROMWELL)
    theirs = {one.name for one in deployment.unmanaged}
    assert theirs == (set(RUNNER) if (site, environment) == ("tahoma", "prod") else set())
    assert set(deployment.disabled) == {"message-consumer", *RUNNER} - set(names) - theirs
    assert {install.method for install in deployment.installs if install.component == "site"} == {way.method}
    assert deployment.root == f"{way.base}/{site}-{environment}"


@pytest.mark.parametrize(("site", "environment"), IN_VENVS)
def test_commands_in_a_venv(site: str, environment: str, deployments: Deployments) -> None:
    compiled = deployments[site, environment]
    logs = f"{compiled.deployment.root}/logs"

    python = "python" if SITES[site].launcher == "slurm" else "python3.9"
    assert {install.tool for install in compiled.deployment.installs if install.component == "site"} == {python}
    for service in JAWS_SITE:
        words = field(compiled, service, "command").split()
        assert words[0] == "jaws-site"
        assert words[1:-1:2] == ["--log", "--config", "--log-level"]
        assert words[2] == f"{logs}/jaws-{service}.log", "supervisor writes and rotates SERVICE.log"
        assert words[4] == f"{compiled.deployment.root}/config/jaws-site.conf"
        assert words[6] == ("INFO" if environment == "prod" else "DEBUG")
        assert words[-1] == service
        assert "APPTAINER" not in field(compiled, service, "prologue")


@pytest.mark.parametrize(("site", "environment"), DEPLOYMENTS)
def test_cromwell_has_time_to_stop(site: str, environment: str, deployments: Deployments) -> None:
    services = {service.name: service for service in deployments[site, environment].deployment.services}

    assert services["cromwell"].stop_seconds >= 120
    assert services["cromwell"].ready_seconds >= 10
    assert all(services[name].ready_seconds >= 3 for name in JAWS_SITE)
    assert "cromwell" in services["run-daemon"].after
    assert all("task-log" in services[name].after for name in JAWS_SITE if name != "task-log")


@pytest.mark.parametrize(("site", "environment"), DEPLOYMENTS)
def test_scratch_is_purged_as_cron_does_today(site: str, environment: str, deployments: Deployments) -> None:
    """`find $SCRATCH/jaws-ENV/inputs -mindepth 2 -mtime +14` and what goes with it; buckets have rules of their own."""
    scratch = {rule.name: rule for rule in deployments[site, environment].deployment.cleanups}
    if site in IN_BUCKETS:
        assert scratch == {}
        return
    day = {"dev": "sun", "staging": "fri", "prod": "sat"}[environment]
    base = scratch["inputs"].root.removesuffix(f"/jaws-{environment}/inputs")
    root = f"{base}/jaws-{environment}"
    assert scratch == {
        "inputs": Cleanup("inputs", f"{root}/inputs", 14, min_depth=2, cron=f"0 2 * * {day}"),
        "executions": Cleanup(
            "executions", f"{root}/cromwell-executions", 14, min_depth=2, max_depth=2, sort=Sort.FOLDER
        )._replace(cron=f"0 5 * * {day}"),
    }


@pytest.mark.parametrize(("site", "environment"), DEPLOYMENTS)
def test_rendered_files_are_clean(site: str, environment: str, deployments: Deployments) -> None:
    compiled = deployments[site, environment]
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
    assert all(file.mode == 0o600 for file in compiled.deployment.files if file.role is Role.ENV)


@pytest.mark.parametrize(("site", "environment"), DEPLOYMENTS)
def test_names_are_in_their_case(site: str, environment: str, deployments: Deployments) -> None:
    conf = site_conf(deployments[site, environment])

    assert conf["DB"]["db"] == f"jaws_{site}_{environment}"
    assert conf["RPC_SERVER"]["queue"] == f"JAWS_{site.upper()}"
    queues = [conf[section]["queue"] for section in conf.sections() if "queue" in conf[section]]
    assert len(queues) == 4
    assert all(queue == queue.upper() for queue in queues)
    assert conf["SITE"]["id"] == site
    assert conf["SITE"]["deployment"] == environment


@pytest.mark.parametrize("site", SITES)
def test_ports_of_one_host_differ(site: str, deployments: Deployments) -> None:
    first = 50104 if site in ("nmdc", "kbase") else 50101
    own = {environment: deployments[site, environment] for environment in ENVIRONMENTS}
    ports = {environment: cromwell_port(compiled) for environment, compiled in own.items()}

    assert ports == {"dev": str(first), "staging": str(first + 1), "prod": str(first + 2)}
    for environment, compiled in own.items():
        assert site_conf(compiled)["CROMWELL"]["url"] == f"http://localhost:{ports[environment]}"
        assert compiled.fields["cromwell"]["ports"].value == {"http": int(ports[environment])}


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


@pytest.mark.parametrize("site", ["aws", "dori", "tahoma"])
def test_a_service_is_switched_on_by_one_line(site: str, jaws_copy: Repo) -> None:
    layer = jaws_copy.folder / "desired" / "environments" / "dev.yaml"
    layer.write_text(layer.read_text() + "\nservices: {message-consumer: {enabled: true}}\n")

    assert jaws_copy.problems() == []
    compiled = jaws_copy.compile(site, "dev")
    assert field(compiled, "message-consumer", "command").endswith(" --log-level DEBUG message-consumer")
    assert "message-consumer" not in {service.name for service in jaws_copy.compile(site, "prod").deployment.services}


@pytest.mark.parametrize(("site", "environment"), DEPLOYMENTS)
def test_no_secret_stands_anywhere(site: str, environment: str, jaws: Repo, deployments: Deployments) -> None:
    """Passwords are names, which the service looks up; every such name is one that the private file has to set."""
    compiled = deployments[site, environment]
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
        private = f"{SITES[site].base}/private/{site}-{environment}.env"
        assert f'. "{private}" || exit 1' in field(compiled, service, "prologue")
        assert not private.startswith(compiled.deployment.root + "/"), "it must outlive what is ours to remove"


# ---------------------------------------------------------------- in a job of Slurm's


def job_script(compiled: Compiled) -> str:
    (path,) = (path for path in compiled.contents if path.endswith("/job.sh"))
    return compiled.contents[path].decode()


@pytest.mark.parametrize(("site", "environment"), IN_JOBS)
def test_a_job_is_submitted_as_jaws_does(site: str, environment: str, deployments: Deployments) -> None:
    (manager,) = (one for one in deployments[site, environment].deployment.managers if one.launcher == "slurm")
    address = dict(manager.address)

    assert address["job"] == f"reconcile-{site}-{environment}"
    assert address["options"].split() == ["--qos=workflow", "--constraint=cron"]
    assert address["time"] == "90-00:00:00"
    assert address["buffer"] == str(120 * 60)


@pytest.mark.parametrize(("site", "environment"), IN_JOBS)
def test_a_name_is_set_where_there_is_one(site: str, environment: str, jaws_copy: Repo) -> None:
    """None is on record: then nothing runs for it, and no note of a failure is looked for."""
    before = jaws_copy.compile(site, environment)
    assert "nsupdate" not in job_script(before)
    assert before.deployment.notes == ()

    layer = jaws_copy.folder / "desired" / "sites" / f"{site}.yaml"
    layer.write_text(layer.read_text().replace("\nvars:\n", "\nvars:\n  dns_name: jaws.example.org\n"))
    compiled = jaws_copy.compile(site, environment)
    assert '"update add jaws.example.org 300 A $(hostname -i)" send |' in job_script(compiled)
    assert re.search(r'nsupdate -k "/global/u2/\w/\w+/\.ssh/jaws_TSIG_key"', job_script(compiled))
    assert [note.name for note in compiled.deployment.notes] == [f"reconcile-{site}-{environment}"]


@pytest.mark.parametrize("site", sorted({site for site, _ in IN_JOBS}))
def test_a_site_has_its_runner_once(site: str, deployments: Deployments) -> None:
    own = [environment for environment in ENVIRONMENTS if has_runner(site, environment)]
    found = {
        environment
        for environment in ENVIRONMENTS
        for service in deployments[site, environment].deployment.services
        if service.name in RUNNER
    }

    assert sorted(found) == own == ["prod"]
    command = field(deployments[site, "prod"], "runner", "command").split()
    assert command[0].endswith("/gitlab-runner")
    assert command[1:3] == ["run", "--config"]
    assert command[3].startswith("/global/homes/")
    assert "$" not in " ".join(command), "its program is looked for before it is started"


@pytest.mark.parametrize("line", ["gitlab-runner run", "/usr/bin/gitlab-runner --debug run --config /etc/x"])
def test_a_runner_of_others_is_known_by_its_command_line(line: str, deployments: Deployments) -> None:
    (one,) = deployments["tahoma", "prod"].deployment.unmanaged

    assert re.search(one.process, line)
    assert not re.search(one.process, "gitlab-runner register")
    assert not [path for path in deployments["tahoma", "prod"].contents if "runner" in path]
