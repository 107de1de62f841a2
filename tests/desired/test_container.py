"""Services inside of an image: what a container is made of, what it is called, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.core.desired import Compiled, Role
from reconciler.core.problem import Problem
from reconciler.desired import Facts, compile_site

Compile = Callable[..., Compiled]
Told = Callable[..., list[Problem]]

IMAGE = 'components: {app: {install: apptainer-sif, image: "app-{{ version }}.sif", source: /img/app.sif%s}}\n'


def image(*, container: str = "", services: str = "", rest: str = "") -> str:
    """A last layer in which the component is an image."""
    own = f", container: {{{container}}}" if container else ""
    return IMAGE % own + (f"services: {{{services}}}\n" if services else "") + rest


def shim(made: Compiled, service: str = "web") -> str:
    (path,) = [file.path for file in made.deployment.files if file.role is Role.SHIM and file.services == (service,)]
    return made.contents[path].decode()


def value(made: Compiled, key: str, service: str = "web") -> object:
    return made.fields[service][key].value


def test_a_command_is_what_the_image_is_given(compiled: Compile) -> None:
    made = compiled(image(container='mounts: {conf: "src=/a b,dst=/c,ro", logs: "src=/l,dst=/m"}, options: [--nv]'))
    last = shim(made).splitlines()[-1]
    assert last == (
        "exec apptainer run --cleanenv --no-home --env-file /srv/x-dev/config/env/web.env "
        "--mount 'src=/a b,dst=/c,ro' --mount src=/l,dst=/m --nv "
        "/srv/x-dev/images/app-1.0.sif serve /srv/x-dev/config/app.conf"
    )


def test_its_variables_stay_outside_of_the_shell(compiled: Compile) -> None:
    made = compiled(image(services="web: {env: {LD_PRELOAD: /inside.so}}"))
    assert "\n. /" not in shim(made)
    assert 'APPTAINERENV_RECONCILE_SERVICE="$RECONCILE_SERVICE"' in shim(made)


def test_apptainer_is_what_a_preflight_looks_for(compiled: Compile) -> None:
    made = compiled(image(container="program: /opt/apptainer", services="web: {env: {PATH: /inside}}"))
    assert {service.program for service in made.deployment.services} == {"/opt/apptainer"}
    assert [install.tool for install in made.deployment.installs] == ["/opt/apptainer"]


def test_a_service_wins_over_its_component_key_by_key(compiled: Compile) -> None:
    own = 'web: {container: {home: true, mounts: {b: "src=/b,dst=/b"}}}'
    made = compiled(image(container='cleanenv: false, mounts: {a: "src=/{{ service }},dst=/a"}', services=own))
    assert "run --env-file" in shim(made)
    assert "--mount src=/web,dst=/a --mount src=/b,dst=/b" in shim(made)
    assert "run --no-home --env-file" in shim(made, "job")
    assert value(made, "container.home") is True
    assert value(made, "container.mounts.a", "job") == "src=/job,dst=/a"


def test_another_container_is_another_specification(compiled: Compile) -> None:
    def spec(text: str) -> str:
        (web,) = [service for service in compiled(text).deployment.services if service.name == "web"]
        return web.spec

    plain = spec(image())
    assert spec(image(services="web: {container: {home: true}}")) != plain
    assert spec(image(services="job: {container: {home: true}}")) == plain


def test_names_on_the_host(compiled: Compile) -> None:
    made = compiled(image(services="web: {launcher: systemd}, job: {launcher: systemd, name: worker}"))
    assert [service.unit for service in made.deployment.services] == ["worker.service", "web-dev.service"]
    assert value(made, "name") == "web-dev.service"


def test_an_instance_is_called_like_its_unit_unless_it_is_said(compiled: Compile) -> None:
    services = "web: {launcher: systemd, container: {mode: instance}}, job: {launcher: systemd, %s}"
    made = compiled(image(services=services % 'container: {mode: instance, instance: "jaws-{{ service }}"}'))
    assert shim(made).splitlines()[-1].endswith("/app-1.0.sif web-dev serve /srv/x-dev/config/app.conf")
    assert shim(made, "job").splitlines()[-1].endswith("/app-1.0.sif jaws-job work")
    assert "--pid-file /srv/x-dev/run/web-dev.pid" in shim(made)
    assert "RECONCILE_PID=$$" not in shim(made)


def test_the_launcher_apptainer_has_instances_only(compiled: Compile, told: Told) -> None:
    made = compiled(image(services="web: {launcher: apptainer}, job: {launcher: apptainer}"))
    assert value(made, "container.mode") == "instance"
    assert {service.unit for service in made.deployment.services} == {"web-dev", "job-dev"}
    problems = told(image(services="web: {launcher: apptainer, container: {mode: run}}"))
    assert ["in mode instance only" in problem.message for problem in problems] == [True]


def test_supervisor_cannot_keep_an_instance(told: Told) -> None:
    (problem,) = told(image(services="web: {container: {mode: instance}}"))
    assert "cannot keep an Apptainer instance" in problem.message
    assert "mode: run" in problem.message


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ("mode: exec", "unknown mode `exec`"),
        ("mood: run", "unknown key `mood`"),
        ('instance: "a b"', "no usable name"),
        ("mounts: [a]", "must be a mapping"),
        ('program: "{{ nothing }}"', "nothing"),
        ("home: maybe", "true or false"),
        ("mounts: {a: /b}", "`mounts.a` of service web.container names no source"),
    ],
)
def test_what_is_wrong_is_told_once(told: Told, container: str, message: str) -> None:
    problems = told(image(services=f"web: {{launcher: systemd, container: {{{container}}}}}"))
    assert len(problems) == 1, [str(problem) for problem in problems]
    assert message in problems[0].message


def test_two_environments_cannot_share_a_name(tree: Callable[..., dict[str, bytes]], facts: Facts) -> None:
    files = tree(
        {
            "desired/environments/prod.yaml": "services: {web: {ports: [9090]}}\n",
            "desired/sites/x.yaml": "environments: [dev, prod]\nservices: {web: {launcher: systemd, name: web}}\n",
        }
    )
    result = compile_site(files, "x", None, facts)
    assert [problem.message for problem in result.problems] == [
        "the name systemd web.service is used twice: by `web` in dev and by `web` in prod"
    ]


def test_two_environments_cannot_share_an_instance(tree: Callable[..., dict[str, bytes]], facts: Facts) -> None:
    files = tree(
        {
            "desired/environments/prod.yaml": "services: {web: {ports: [9090]}}\n",
            "desired/sites/x.yaml": "environments: [dev, prod]\n"
            + image(services="web: {launcher: systemd, container: {mode: instance, instance: web}}"),
        }
    )
    (problem,) = compile_site(files, "x", None, facts).problems
    assert problem.message.startswith("the name instance web is used twice")


def test_a_component_without_an_image_has_no_container(compiled: Compile) -> None:
    """A layer for all sites may say how it would be."""
    app = "components: {app: {container: {mounts: {a: nonsense}}}}\n"
    made = compiled(f"{app}services: {{web: {{container: {{home: true}}}}}}")
    assert shim(made).endswith("exec serve /srv/x-dev/config/app.conf\n")
    assert not [key for key in made.fields["web"] if key.startswith("container.")]


def test_a_source_with_a_comma_is_quoted(compiled: Compile) -> None:
    made = compiled(image(container="mounts: {a: '\"src=/a,b\",dst=/c'}"))
    assert {service.mounted for service in made.deployment.services} == {("/a,b",)}
