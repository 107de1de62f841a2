"""Commands of a service find the programs of the version that they are about, as the service itself does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.install.packages import write_wheel
from tests.scenarios.test_rollback import deployment, layer, told
from tests.scenarios.world import SLEEP, World, a_world, until  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.supervisor, pytest.mark.slow]


def hello(world: World, version: str, **services: str) -> None:
    """A commit with this version of a package whose one program, `hello`, prints it."""
    wheels = world.folder / "wheels"
    wheels.mkdir(exist_ok=True)
    write_wheel(wheels, "hello", version)
    requirement = f"--no-index --find-links {wheels} hello=={{{{ version }}}}"
    site = (
        f'environments: [dev]\npaths: {{root: "{world.root}"}}\nversions: {{hello: "{version}"}}\n'
        f'components: {{hello: {{install: venv, requirement: "{requirement}"}}}}\n'
    )
    world.commit({f"desired/sites/{world.site}.yaml": site, **layer(**services)})


def service(word: Path) -> str:
    """Each command says what `hello` is to it."""
    keys = (
        f"guard: {{g: {{command: 'echo guard $(hello) >> {word}'}}}}",
        f"drain: {{command: 'echo drain $(hello) $VIRTUAL_ENV >> {word}'}}",
        f"health: {{exec: {{command: 'echo health $(hello) >> {word}; hello | grep -qx \"$V\"'}}, settle: 0s}}",
        f"verify: {{v: {{command: 'echo verify $(hello) >> {word}', matches: '', interval: 0s}}}}",
    )
    return f"component: hello, command: {SLEEP}, env: {{V: '{{{{ version }}}}'}}, {', '.join(keys)}"


def test_the_version_that_runs_is_drained_and_the_one_that_was_started_is_asked(world: World) -> None:
    word = world.folder / "word"
    hello(world, "1.0", web=service(word))
    world.once()
    assert set(word.read_text().splitlines()) == {"health 1.0"}
    word.unlink()
    world.once()
    assert word.read_text().splitlines()[0] == "verify 1.0"
    word.unlink()
    hello(world, "2.0", web=service(word))
    done = world.once("--json")
    assert deployment(done)["findings"] == []
    verify, guard, drain, *health = word.read_text().splitlines()
    assert (verify, guard) == ("verify 1.0", "guard 1.0")
    assert drain.split()[:2] == ["drain", "1.0"]
    assert Path(drain.split()[2]).name.startswith("hello-1.0-")
    assert set(health) == {"health 2.0"}
    word.unlink()
    world.once()
    assert word.read_text().splitlines()[0] == "verify 2.0"


def test_what_git_no_longer_has_is_drained_by_its_own_programs(world: World) -> None:
    word = world.folder / "word"
    keep = f"component: hello, command: {SLEEP}"
    hello(world, "1.0", web=service(word), keep=keep)
    world.once()
    word.unlink()
    hello(world, "2.0", keep=keep)
    world.once()
    found = [line.split()[:2] for line in word.read_text().splitlines()]
    assert found == [["guard", "1.0"], ["drain", "1.0"]]
    world.idle()


def test_a_setting_is_looked_up_once_the_program_for_it_is_there(world: World) -> None:
    """The first pass installs it: until then nothing is known, which is no finding."""
    hello(world, "1.0", web=f"component: hello, command: {SLEEP}, verify: {{v: {{command: hello, equals: 1.1}}}}")
    assert deployment(world.once("--json"))["findings"] == []
    assert "finding: web: v: is not `1.1`: 1.0" in told(world.once(code=1))
