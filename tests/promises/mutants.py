"""scripts/mutants: each promise of the design's section 4 has a test that fails when the code guarding it is taken out.

    scripts/mutants [NUMBER...]   of the promises (default: all); 0: the clean-up of scratch folders
      --jobs N      copies side by side (default 1)

For each guard the checkout is copied, the guard taken out of the copy, and the promise's test run there, which has to
fail; before, it has to pass there untouched. All of it runs in a sandbox (tests/backends/sandbox.py): what lost its
guard removes what it should not, and root may remove anything. Where there is no sandbox nothing is run.

Exits with 1 where a test went well without a guard, or where the code that a guard stands in is no longer found: then
this list wants mending. Exits with 3 where there is no sandbox.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.backends.sandbox import CHECKOUT, why_not, within
from tests.promises.scratch import GUARDS

_COPIED = ("reconciler", "tests", "pyproject.toml")
_SECONDS = 600
SCRATCH = 0  # no promise of the design


class Mutant(NamedTuple):
    """A guard taken out."""

    promise: int
    what: str  # is guarded against
    file: str  # below `reconciler/`
    code: str  # the guard, as it stands there once
    instead: str
    test: str = ""  # a file; empty: those of the promise
    named: str = ""  # the tests in it, as for `pytest -k`

    def __str__(self) -> str:
        return f"{self.what} ({self.file})"


MUTANTS = (
    Mutant(
        1,
        "a restart without another specification",
        "core/diff.py",
        "    if case.mark is None or case.mark.spec == case.service.spec:\n        return None\n    act = ",
        "    if case.mark is None:\n        return None\n    act = ",
    ),
    Mutant(
        1,
        "a bump of one component that reaches another's services",
        "desired/deployment.py",
        "            own = [files[got.text] for got in draft.files]\n",
        "            own = list(files.values())\n",
    ),
    Mutant(
        2,
        "an inventory that is written though it says the same",
        "agent/enforce.py",
        "        if current and not found.forgotten:\n",
        "        if False:\n",
    ),
    Mutant(
        2,
        "a program that is asked where the ref can be read",
        "source/mirror.py",
        'known = refs.branch_head(self._path, self.branch) if self._path else ""',
        'known = ""',
    ),
    Mutant(
        3,
        "trust in what was rendered, where the process says otherwise",
        "core/diff.py",
        "    if case.mark is None or case.mark.spec == case.service.spec:\n        return None\n    act = ",
        "    if case.mark is None or not case.drift:\n        return None\n    act = ",
    ),
    Mutant(
        4,
        "a removal by a pass that has forgotten what is ours",
        "core/orphans.py",
        "    if removals and view.forgetful:\n",
        "    if False:\n",
    ),
    Mutant(
        4,
        "an act on a launcher that does not answer",
        "core/view.py",
        'self.blind = {gap.subject: gap.message for gap in observed.gaps if gap.scope == "launcher"}',
        "self.blind: dict[str, str] = {}",
    ),
    Mutant(
        5,
        "the removal of what others run",
        "core/orphans.py",
        " and not view.is_foreign(view.unit(name))",
        "",
    ),
    Mutant(
        5,
        "a file of others' that is written over",
        "apply/executor.py",
        "            _keep_aside(step.path)\n",
        "            pass\n",
    ),
    Mutant(
        6,
        "half a file",
        "host/files.py",
        "            _put(folder, temporary, content, mode, sync=sync)\n"
        "            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)\n",
        "            _put(folder, name, content, mode, sync=sync)\n",
    ),
    Mutant(
        7,
        "an invalid commit in the place of the valid one",
        "agent/follow.py",
        "    if result.problems:\n",
        "    if False:\n",
    ),
    Mutant(
        8,
        "a file that was changed since the plan",
        "apply/executor.py",
        "        if now.digest != step.before:\n",
        "        if False:\n",
    ),
    Mutant(
        8,
        "a process that was started since the plan",
        "apply/executor.py",
        "                if finding.ground is not Ground.FIRM:\n",
        "                if False:\n",
    ),
    Mutant(
        8,
        "a saved plan of another state",
        "agent/run.py",
        "                if not saved.matches(chosen.commit, self._with_scratch(planned.values())):\n",
        "                if False:\n",
    ),
    Mutant(
        9,
        "a failed step that the exit status does not tell",
        "core/report.py",
        "    return bool(report.failed or ill",
        "    return bool(ill",
    ),
    Mutant(
        9,
        "what a program printed that is not told",
        "apply/preflight.py",
        '        message += f"\\n{printed}" if printed else ""\n',
        "",
    ),
    Mutant(
        10,
        "a secret that others can read",
        "launchers/scripts.py",
        "return RenderedFile(path, 0o600, content, Role.ENV, service.name, secret=True, shown=shown)",
        "return RenderedFile(path, 0o644, content, Role.ENV, service.name, secret=True, shown=shown)",
    ),
    Mutant(
        10,
        "a secret in the reasons",
        "desired/service.py",
        "    if got.secret:\n        where = ",
        "    if False:\n        where = ",
    ),
    Mutant(
        11,
        "a stop though what comes after it is not ready",
        "core/planner.py",
        "            *self._ready(change.service),\n            *self._daemon_needs(service.launcher),\n",
        "            *self._daemon_needs(service.launcher),\n",
    ),
    *(Mutant(SCRATCH, *guard) for guard in GUARDS),
)


@contextmanager
def copy() -> Iterator[Path]:
    """Of the checkout, as folder `copy` of what is to be the /tmp of a sandbox."""
    folder = Path(tempfile.mkdtemp(prefix="rc-", dir="/tmp"))
    try:
        for name in _COPIED:
            source, target = CHECKOUT / name, folder / "copy" / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(folder: Path, promise: int, test: str = "", named: str = "") -> tuple[int, str]:
    """pytest's exit status in a sandbox, and what it printed."""
    found = (folder / "copy/tests/promises").glob(f"test_{promise:02}_*.py")
    tests = [f"tests/promises/{path.name}" for path in sorted(found)]
    if promise == SCRATCH:
        tests = [test] if test else sorted({guard.test for guard in GUARDS})
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=line", "-p", "no:cacheprovider", "-k", named, *tests]
    argv = within(folder, argv, at="/tmp/copy")
    env = os.environ | {"PYTHONPATH": "/tmp/copy", "RECONCILE_TEST_INDEX": "not asked"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=_SECONDS, check=False)
    return done.returncode, done.stdout + done.stderr


def _untouched(promise: int) -> str:
    """Why the test of a promise does not pass as things are; empty where it does."""
    with copy() as folder:
        code, said = run(folder, promise)
    return f"fails as things are\n{said[-2000:]}" if code else ""


def _judged(mutant: Mutant) -> str:
    """Why a guard is not proven; empty where the promise's test fails without it."""
    with copy() as folder:
        path = folder / "copy/reconciler" / mutant.file
        text = path.read_text(encoding="utf-8")
        if text.count(mutant.code) != 1:
            return f"stands {text.count(mutant.code)} times in {mutant.file}: mend tests/promises/mutants.py"
        path.write_text(text.replace(mutant.code, mutant.instead), encoding="utf-8")
        code, said = run(folder, mutant.promise, mutant.test, mutant.named)
    if code == 1:
        return ""
    return "went well without it" if code == 0 else f"pytest ended with {code}\n{said[-2000:]}"


def main(argv: Sequence[str]) -> int:
    assert __doc__
    parser = argparse.ArgumentParser("scripts/mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("promises", nargs="*", type=int, metavar="NUMBER", help="of the promises (default: all)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="copies side by side")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp") as folder:
        if why := why_not(Path(folder)):
            print(f"scripts/mutants: nothing is run, as it could remove what it should not: {why}", file=sys.stderr)
            return 3
    promises = options.promises or sorted({mutant.promise for mutant in MUTANTS})
    chosen = [mutant for mutant in MUTANTS if mutant.promise in promises]
    tasks = [(f"{number:2}  as things are", partial(_untouched, number)) for number in promises]
    tasks += [(f"{one.promise:2}  without what guards against {one}", partial(_judged, one)) for one in chosen]
    wrong = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for (what, _), why in zip(tasks, pool.map(lambda task: task[1](), tasks), strict=True):
            wrong += bool(why)
            good = "passes" if what.endswith("as things are") else "fails, as it has to"
            print(f"{what}: {why or good}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
