"""`managed: false`: what is compiled of a service that others run, and what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.core.desired import Compiled, Unmanaged

Compile = Callable[..., Compiled]


def of(compiled: Compiled) -> Unmanaged:
    (one,) = compiled.deployment.unmanaged
    return one


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("process: 'serve( |$)', user: '{{ account }}'", ("process", "", "serve( |$)", "robot")),
        ("launcher: systemd", ("systemd", "web-dev.service", "", "")),
        ("launcher: systemd, name: gitlab-runner.service", ("systemd", "gitlab-runner.service", "", "")),
        ("name: theirs", ("supervisor", "theirs", "", "")),
    ],
)
def test_how_it_is_seen(text: str, seen: tuple[str, ...], compiled: Compile) -> None:
    """What the layers below say of how it is run counts for nothing, and need not be there."""
    one = of(compiled(f"services: {{web: {{managed: false, {text}}}}}"))
    assert (one.name, one.launcher, one.unit, one.process, one.user) == ("web", *seen)


def test_nothing_is_rendered_or_installed_for_it(compiled: Compile) -> None:
    layer = "services: {web: {managed: false, process: serve}, job: {component: tool}}\n"
    more = "components: {tool: {install: none}}\nversions: {tool: '1'}\n"
    whole, without = compiled("components: {tool: {install: none}}\nversions: {tool: '1'}\n"), compiled(layer + more)
    deployment = without.deployment
    assert [service.name for service in deployment.services] == ["job"]
    assert deployment.disabled == {}
    assert not [file for file in deployment.files if "web" in file.services or file.path.endswith(("/web", "web.env"))]
    assert [file for file in whole.deployment.files if "web" in file.services]
    assert deployment.services[0].after == ("web",)


def test_it_needs_neither_component_nor_version(compiled: Compile) -> None:
    one = of(compiled("services: {runner: {managed: false, process: gitlab-runner}}"))
    assert one.group == "runner"


def test_what_was_written_for_it_is_known(compiled: Compile) -> None:
    """To be left alone: whoever runs it now may start it from there."""
    whole = compiled().deployment
    one = of(compiled("services: {web: {managed: false, process: serve}}"))
    own = {file.path for file in whole.files if file.services == ("web",) and file.name != "app.conf"}
    assert own - {*one.files} == {path for path in own if path.endswith("/supervisor/web.conf")}
    assert ("supervisor", "web") in one.names
    assert ("systemd", "web-dev.service") in one.names


def test_its_values_are_explained(compiled: Compile) -> None:
    fields = compiled("services: {web: {managed: false, process: serve, user: robot}}").fields["web"]
    assert {key: field.value for key, field in fields.items()} == {
        "group": "web",
        "launcher": "process",
        "managed": False,
        "process": "serve",
        "user": "robot",
    }
    assert fields["process"].origin.line == 1


def test_a_later_layer_may_manage_it_again(compiled: Compile) -> None:
    site = "environments: [dev]\nservices: {web: {managed: false, process: serve}}\n"
    again = compiled("services: {web: {managed: true}}", {"desired/sites/x.yaml": site})
    assert again.deployment.unmanaged == ()
    assert again.deployment.services == compiled().deployment.services
