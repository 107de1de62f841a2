"""What deployments share: one host, one state directory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.core.problem import Origin, Problem
from reconciler.desired import Facts, compile_site, validate

Told = Callable[..., list[Problem]]
TWO = {
    "desired/sites/x.yaml": "environments: [dev, prod]",
    "desired/environments/prod.yaml": "vars: {ports: {web: 8081}}",
}
SHARED = {
    "run folder": ('paths: {run: "/srv/run"}', "/srv/run/supervisor.sock", 14),
    "socket": ("supervisor: {socket: /run/x.sock}", "/run/x.sock", 22),
}


@pytest.mark.parametrize("name", SHARED)
def test_environments_with_one_daemon(name: str, told: Told) -> None:
    """Two supervisords at one socket would end each other in turns."""
    text, path, column = SHARED[name]
    problems = told("", {**TWO, "desired/sites/x.yaml": f"environments: [dev, prod]\n{text}"})
    message = f"two files have one path, {path}: by socket of supervisor in dev and by socket of supervisor in prod"
    assert [(p.origin, p.message) for p in problems if path in p.message] == [
        (Origin("desired/sites/x.yaml", 2, column), message)
    ]
    assert len(problems) <= 2


def test_a_long_run_folder_that_is_shared(told: Told) -> None:
    """Its socket moves below /tmp, and is one and the same there."""
    site = f"environments: [dev, prod]\npaths: {{run: /srv/{'long/' * 20}run}}"
    assert any("socket of supervisor in prod" in p.message for p in told("", {**TWO, "desired/sites/x.yaml": site}))


def test_a_file_in_the_place_of_the_pid_file(told: Told) -> None:
    (problem,) = told('files: {a: {template: app.conf.j2, path: "{{ paths.run }}/supervisord.pid"}}')
    assert "by file `a` in dev and by pidfile of supervisor in dev" in problem.message


TREES = {
    "site salt": ("desired/sites/salt.yaml", "salt"),
    "site mirrors": ("desired/sites/mirrors.yaml", "mirrors"),
    "environment lock": ("desired/environments/lock.yaml", "lock"),
    "environment printed": ("desired/environments/printed.yaml", "printed"),
}


@pytest.mark.parametrize("name", TREES)
def test_names_that_the_state_directory_has_already(
    name: str, tree: Callable[..., dict[str, bytes]], facts: Facts
) -> None:
    path, word = TREES[name]
    files = tree({path: 'paths: {root: "/srv/{{ site }}/{{ environment }}"}'})
    files["desired/sites/x.yaml"] = b'paths: {root: "/srv/{{ site }}/{{ environment }}"}\nvars: {ports: {web: 1}}'
    problems = [p for p in validate(files, facts) if p.origin.file == path and "itself" in p.message]
    assert [(p.origin, p.message) for p in problems] == [
        (Origin(path, 0, 0), f"`{word}` is a name that reconcile uses itself")
    ]
    site = word if name.startswith("site") else "x"
    assert problems[0] in compile_site(files, site, None, facts).problems


@pytest.mark.parametrize("name", ["source.json", ".hidden"])
def test_environments_with_dots_are_none(name: str, tree: Callable[..., dict[str, bytes]], facts: Facts) -> None:
    path = f"desired/environments/{name}.yaml"
    assert [p.origin.file for p in validate(tree({path: ""}), facts)] == [path]
