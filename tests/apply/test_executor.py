"""Files, written and cleaned in a real folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.apply.executor import Executor
from reconciler.core.desired import Compiled, Role
from reconciler.core.diff import diff
from reconciler.core.digest import digest
from reconciler.core.inventory import Inventory
from reconciler.core.observed import Observed
from reconciler.core.outcome import Status, StepResult
from reconciler.core.plan import Action, Plan, Step
from reconciler.core.planner import make_plan
from reconciler.host import files
from tests.core.world import Svc, build, world


class Watch:
    def __init__(self) -> None:
        self.told: list[str] = []

    def begins(self, step: Step) -> None:
        self.told.append(f"begins {step.id}")

    def progress(self, step: Step, line: str) -> None:
        raise AssertionError(line)

    def ended(self, step: Step, result: StepResult) -> None:
        self.told.append(f"{result.status.value} {step.id}")

    def waits(self) -> None:
        raise AssertionError


def deployment(root: Path) -> Compiled:
    return build(world(Svc("a", component="plain", files=("site.conf",)), files={"site.conf": "x"}, root=str(root)))


def plan_of(compiled: Compiled, inventory: Inventory | None = None) -> Plan:
    """The steps that concern files alone, made from what stands on disk."""
    inventory = inventory or Inventory()
    desired = compiled.deployment
    paths = {*(file.path for file in desired.files), *inventory.files}
    observed = Observed(1.0, {}, {}, {path: files.state(path) for path in paths}, {}, {}, {})
    plan = make_plan(desired, diff(desired, observed, inventory, compiled.fields))
    kept = [step._replace(needs=()) for step in plan.steps if step.action in (Action.RENDER, Action.CLEAN)]
    return plan._replace(steps=tuple(kept))


def carry_out(plan: Plan, compiled: Compiled, *, stop: bool = False) -> tuple[dict[str, StepResult], Watch]:
    watch = Watch()
    results = Executor(plan, compiled, {}, watch, lambda: stop).run()
    assert [result.id for result in results] == [step.id for step in plan.steps]
    return {result.id: result for result in results}, watch


@contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """An account that the modes of files hold for, root or not."""
    if os.geteuid() != 0:
        yield
        return
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_files_are_written_with_their_modes(tmp_path: Path) -> None:
    compiled = deployment(tmp_path)
    previous = os.umask(0o077)
    try:
        results, watch = carry_out(plan_of(compiled), compiled)
    finally:
        os.umask(previous)
    assert {result.status for result in results.values()} == {Status.DONE}
    for file in compiled.deployment.files:
        assert Path(file.path).read_bytes() == compiled.contents[file.path]
        assert os.stat(file.path).st_mode & 0o7777 == file.mode
    assert list(tmp_path.rglob(".*")) == []  # no temporary file stays
    assert watch.told[:2] == [f"begins {next(iter(results))}", f"done {next(iter(results))}"]
    assert plan_of(compiled).steps == ()


def test_only_the_mode_is_mended_where_only_it_differs(tmp_path: Path) -> None:
    compiled = deployment(tmp_path)
    carry_out(plan_of(compiled), compiled)
    shim = tmp_path / "bin" / "a"
    inode = shim.stat().st_ino
    shim.chmod(0o666)
    results, _ = carry_out(plan_of(compiled), compiled)
    assert list(results) == [f"render:{shim}"]
    assert (shim.stat().st_ino, shim.stat().st_mode & 0o7777) == (inode, 0o700)


def test_a_file_changed_since_the_plan_is_left_as_it_is(tmp_path: Path) -> None:
    compiled = deployment(tmp_path)
    plan = plan_of(compiled)
    conf = tmp_path / "config" / "site.conf"
    conf.parent.mkdir()
    conf.write_text("somebody was faster")
    results, _ = carry_out(plan, compiled)
    failed = results.pop(f"render:{conf}")
    assert (failed.status, failed.message) == (Status.FAILED, "was changed since the plan was made")
    assert conf.read_text() == "somebody was faster"
    assert {result.status for result in results.values()} == {Status.DONE}


def test_a_file_that_has_become_as_wanted_is_skipped(tmp_path: Path) -> None:
    compiled = deployment(tmp_path)
    plan = plan_of(compiled)
    carry_out(plan, compiled)
    results, _ = carry_out(plan, compiled)
    assert {result.status for result in results.values()} == {Status.SKIPPED}


def test_a_folder_that_cannot_be_written_fails_its_files_alone(short_folder: Path) -> None:
    compiled = deployment(short_folder)
    plan = plan_of(compiled)
    (short_folder / "bin").mkdir()
    (short_folder / "bin").chmod(0o555)
    with unprivileged(short_folder):
        results, _ = carry_out(plan, compiled)
    failed = results.pop(f"render:{short_folder}/bin/a")
    assert failed.status is Status.FAILED
    assert failed.message.startswith(f"{short_folder}/bin/a: Permission denied")
    assert failed.hint == "the account may not write there; see `ls -ld` of the folder"
    assert {result.status for result in results.values()} == {Status.DONE}


@pytest.mark.parametrize("name", ["bin", "env"])
def test_a_file_where_a_folder_should_be_fails_what_is_below(tmp_path: Path, name: str) -> None:
    compiled = deployment(tmp_path)
    plan = plan_of(compiled)
    (tmp_path / name).write_text("")
    results, _ = carry_out(plan, compiled)
    assert results.pop(f"render:{tmp_path}/{name}/a").status is Status.FAILED
    assert {result.status for result in results.values()} == {Status.DONE}


def test_what_is_no_longer_wanted_is_cleaned_and_nothing_else(tmp_path: Path) -> None:
    compiled = deployment(tmp_path)
    carry_out(plan_of(compiled), compiled)
    old, theirs = tmp_path / "bin" / "old", tmp_path / "bin" / "theirs"
    old.write_text("ours")
    theirs.write_text("theirs")
    results, _ = carry_out(plan_of(compiled, Inventory(files={str(old): digest(b"ours")})), compiled)
    assert {step: result.status for step, result in results.items()} == {f"clean:{old}": Status.DONE}
    assert (old.exists(), theirs.exists()) == (False, True)


@pytest.mark.parametrize("linked", [False, True])
def test_a_file_that_others_made_theirs_since_the_plan_is_not_cleaned(tmp_path: Path, linked: bool) -> None:
    """Minutes may lie between: images are built, and services stop."""
    compiled = deployment(tmp_path)
    carry_out(plan_of(compiled), compiled)
    old = tmp_path / "bin" / "old"
    old.write_text("ours")
    plan = plan_of(compiled, Inventory(files={str(old): digest(b"ours")}))
    if linked:
        old.rename(tmp_path / "moved")
        old.symlink_to(tmp_path / "moved")
    else:
        old.write_text("edited")
    (result,) = carry_out(plan, compiled)[0].values()
    assert (result.status, result.message) == (Status.FAILED, "was changed since the plan was made")
    assert old.is_symlink() is linked
    assert old.read_text() == ("ours" if linked else "edited")


def test_what_cannot_be_cleaned_is_told(tmp_path: Path) -> None:
    compiled = deployment(tmp_path)
    carry_out(plan_of(compiled), compiled)
    old = tmp_path / "bin" / "old"
    old.write_text("ours")
    plan = plan_of(compiled, Inventory(files={str(old): digest(b"ours")}))
    old.unlink()
    old.mkdir()
    (result,) = carry_out(plan, compiled)[0].values()
    assert result.status is Status.FAILED
    assert result.message.startswith(f"{old}: ")


def test_asked_to_stop_nothing_more_is_written(tmp_path: Path) -> None:
    compiled = deployment(tmp_path)
    results, watch = carry_out(plan_of(compiled), compiled, stop=True)
    assert {result.status for result in results.values()} == {Status.SKIPPED}
    assert not [line for line in watch.told if line.startswith("begins")]
    assert list(tmp_path.rglob("*")) == []


def test_somebody_elses_file_is_kept_beside_its_place(tmp_path: Path) -> None:
    """What no pass has written, and does not say that it is ours, is replaced and not lost."""
    compiled = deployment(tmp_path)
    path = Path(next(file.path for file in compiled.deployment.files if file.role is Role.CONFIG))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("keep me")
    carry_out(plan_of(compiled), compiled)
    assert path.read_bytes() == compiled.contents[str(path)]
    assert path.with_name(path.name + ".orig").read_text() == "keep me"


def test_a_file_edited_since_it_was_written_is_left_when_git_drops_it(tmp_path: Path) -> None:
    compiled = deployment(tmp_path)
    carry_out(plan_of(compiled), compiled)
    old = tmp_path / "bin" / "old"
    old.write_text("edited")
    results, _ = carry_out(plan_of(compiled, Inventory(files={str(old): digest(b"ours")})), compiled)
    assert results == {}
    assert old.read_text() == "edited"
