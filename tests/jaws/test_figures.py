"""The values of desired/ are those with which JAWS runs today, site by site and environment by environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.jaws.repo import DEPLOYMENTS, Repo

FIGURES = Path(__file__).with_name("figures.yaml")

# By JAWS' own name: where desired/ has that value, as a Jinja2 expression.
PLACES = {
    "JAWS_ACCESS_GROUP": "access_group",
    "JAWS_APPTAINER_PATH": "apptainer",
    "JAWS_AUTH_PORT": "ports.auth",
    "JAWS_BIG_SCRATCH_DIR": "big_scratch",
    "JAWS_CENTRAL_HOST": "central_host",
    "JAWS_CONTAINER_TYPE": "container_type",
    "JAWS_CROMWELL_PORT": "ports.cromwell",
    "JAWS_DB_HOST": "db_host",
    "JAWS_DB_PORT": "db_port",
    "JAWS_DEFAULT_CONTAINER": "default_container",
    "JAWS_DOCS_URL": "docs_url",
    "JAWS_FAST_SCRATCH_DIR": "fast_scratch",
    "JAWS_FILE_SYNC_DELAY_SEC": "file_sync_delay",
    "JAWS_GET_METADATA_MAX_RETRIALS": "metadata_retries",
    "JAWS_GET_METADATA_WAIT_SEC": "metadata_wait",
    "JAWS_GITLAB_RUNNER": "gitlab_runner",
    "JAWS_GITLAB_RUNNER_CONFIG": "gitlab_runner_config",
    "JAWS_GLOBUS_EP": "globus_endpoint",
    "JAWS_GLOBUS_HOST_PATH": "globus_host_path",
    "JAWS_GROUP": "unix_group",
    "JAWS_INSTALL_BASEDIR": "install_base",
    "JAWS_LOAD_PYTHON": "load_python",
    "JAWS_LOG_LEVEL": "log_level",
    "JAWS_MAX_CPU": "max_cpu",
    "JAWS_MAX_RAM_GB": "max_ram_gb",
    "JAWS_MAX_TIME": "max_minutes",
    "JAWS_MAX_USER_ACTIVE_RUNS": "max_user_active_runs",
    "JAWS_OUTPUT_FILE_PERMS": "output_file_mode",
    "JAWS_OUTPUT_FOLDER_PERMS": "output_folder_mode",
    "JAWS_PERLMUTTER": "(launcher == 'slurm') | int or ''",
    "JAWS_PYTHON": "python",
    "JAWS_REF_DATA_DIR": "ref_data",
    "JAWS_REST_PORT": "ports.rest",
    "JAWS_RMQ_HOST": "rmq_host",
    "JAWS_RMQ_PORT": "rmq_port",
    "JAWS_RMQ_TTL": "rmq_ttl",
    "JAWS_RPC_SERVER_NUM_THREADS": "rpc_threads",
    "JAWS_SCRATCH_BASEDIR": "scratch_base",
    "JAWS_SETFACL": "use_acl | int",
    "JAWS_SITE_DNS_NAME": "dns_name",
    "JAWS_SITE_INPUT_FOLDER_PERMS": "input_folder_mode",
    "JAWS_SUPERVISOR_NODAEMON": "supervisor_foreground | lower",
    "JAWS_SUPERVISOR_PORT": "ports.supervisor",
    "JAWS_USERS_GROUP": "users_group",
    "OCI_RUNTIME": "oci_runtime",
    "TSIGPATH": "tsig_path",
}

# What a login shell makes of these. Nobody logs in before a service, and its program is looked for before it starts.
SHELL = {"$CFS/": "/global/cfs/cdirs/", "$HOME/": "/global/homes/j/jaws/"}


def effective(site: str, environment: str) -> dict[str, str]:
    """JAWS' own layers, laid over one another in its own order."""
    layers = YAML(typ="safe").load(FIGURES.read_text())
    merged: dict[str, str] = {
        **layers["defaults"],
        **layers["environments"][environment],
        **layers["sites"][site],
        **layers["site_environments"][site][environment],
    }
    return {name: _spelled_out(value, environment) for name, value in merged.items()}


def _spelled_out(value: str, environment: str) -> str:
    start = next((start for start in SHELL if value.startswith(start)), "")
    return (SHELL.get(start, "") + value.removeprefix(start)).replace("${JAWS_DEPLOYMENT_NAME}", environment)


def test_every_figure_has_a_place() -> None:
    named = {name for site, environment in DEPLOYMENTS for name in effective(site, environment)}

    assert named == set(PLACES)


@pytest.mark.parametrize(("site", "environment"), DEPLOYMENTS)
def test_every_figure_is_the_same(site: str, environment: str, jaws_copy: Repo) -> None:
    """A further file, declared in a copy of the repo, writes down what each place amounts to there."""
    lines = ",\n".join(f"{json.dumps(name)}: {{{{ ({place}) | string | tojson }}}}" for name, place in PLACES.items())
    (jaws_copy.folder / "templates" / "figures.json.j2").write_text("{" + lines + "}\n")
    defaults = jaws_copy.folder / "desired" / "defaults.yaml"
    declared = '  figures.json: {template: figures.json.j2, path: "{{ paths.config }}/figures.json"}\n'
    defaults.write_text(defaults.read_text().replace("\nfiles:\n", f"\nfiles:\n{declared}"))

    contents = jaws_copy.compile(site, environment).contents
    found = json.loads(next(text for path, text in contents.items() if path.endswith("/figures.json")))

    expected = dict.fromkeys(PLACES, "") | effective(site, environment)
    assert {name: value for name, value in found.items() if value != expected[name]} == {}
