"""scripts/faults: every system call of a pass fails once, in every way that it may.

    scripts/faults [DEED...]      of bump, turnover, idle (default: all)
      --every N      every n-th fault only
      --jobs N       worlds side by side (default: one for each core)
      --list         what would be injected, without doing it

Prints what did not hold, and a table by deed and call: how many faults were injected, and how many of them were
survived, failed, or never came because the pass took another way. Exits with 1 where one failed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import NamedTuple, TypeAlias

from tests.faults.bench import Bench
from tests.faults.strace import KILL, Call, Fault

DEEDS = ("bump", "turnover", "idle")
_ON = frozenset(("ENOSPC", "EROFS", "EMFILE", "EAGAIN", "ENOMEM"))  # what seldom comes once only
SURVIVED, FAILED, MISSED = "survived", "failed", "missed"


class Judged(NamedTuple):
    """What became of one fault."""

    deed: str
    fault: Fault
    verdict: str
    why: str = ""


Told: TypeAlias = "multiprocessing.Queue[Judged | None]"


def faults_of(calls: Iterable[Call]) -> Iterator[Fault]:
    """Every call in every way, and for what lasts, also all calls from it on."""
    for call in calls:
        for error in call.errors:
            yield Fault(call, error)
            if error in _ON:
                yield Fault(call, error, on=True)


def sample(faults: Sequence[Fault], most: int, seed: int) -> list[Fault]:
    """So many of them: of each call and error one, as far as that goes, and others. The same seed picks the same."""
    mixed = list(faults)
    random.Random(seed).shuffle(mixed)
    kinds: Counter[tuple[str, str, bool]] = Counter()
    ranked = []
    for fault in mixed:
        kind = (fault.call.name, fault.error, fault.on)
        ranked.append((kinds[kind], fault))
        kinds[kind] += 1
    return [fault for _, fault in sorted(ranked, key=lambda pair: pair[0])[:most]]


def suffered(bench: Bench, deed: str, fault: Fault) -> Judged:
    try:
        hit = bench.suffer(deed, fault)
    except AssertionError as error:
        return Judged(deed, fault, FAILED, str(error))
    return Judged(deed, fault, SURVIVED if hit or fault.error == KILL else MISSED)


# ---------------------------------------------------------------- many of them, side by side


def _work(folder: Path, deeds: Sequence[str], every: int, share: tuple[int, int], told: Told) -> None:
    """A share of the faults, each deed in a world of its own; None at the end."""
    try:
        for deed in deeds:
            bench = Bench(folder / deed)
            try:
                for fault in list(faults_of(bench.record(deed)))[::every][share[0] :: share[1]]:
                    judged = suffered(bench, deed, fault)
                    told.put(judged)
                    if judged.verdict == FAILED:  # whatever is left of it, the next one begins anew
                        bench.end()
                        shutil.rmtree(folder / deed, ignore_errors=True)
                        bench = Bench(folder / deed)
            finally:
                bench.end()
    finally:
        told.put(None)


def _swept(deeds: Sequence[str], every: int, jobs: int) -> Iterator[Judged]:
    folder = tempfile.mkdtemp(prefix="rc-", dir="/tmp")
    told: Told = multiprocessing.Queue()
    workers = [
        multiprocessing.Process(target=_work, args=(Path(folder, str(n)), deeds, every, (n, jobs), told))
        for n in range(jobs)
    ]
    try:
        for worker in workers:
            worker.start()
        working = jobs
        while working:
            with suppress(Empty):
                judged = told.get(timeout=300)
                working -= judged is None
                if judged is not None:
                    yield judged
    finally:
        for worker in workers:
            worker.join(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _table(counts: Counter[tuple[str, str, str]]) -> str:
    rows = sorted({(deed, call) for deed, call, _ in counts})
    lines = [f"{'deed':10} {'call':12} {'injected':>8} {SURVIVED:>8} {FAILED:>8} {MISSED:>8}"]
    for deed, call in rows:
        found = [counts[deed, call, verdict] for verdict in (SURVIVED, FAILED, MISSED)]
        lines.append(f"{deed:10} {call:12} {sum(found):8} {found[0]:8} {found[1]:8} {found[2]:8}")
    found = [sum(n for (_, _, each), n in counts.items() if each == verdict) for verdict in (SURVIVED, FAILED, MISSED)]
    return "\n".join([*lines, f"{'all':23} {sum(found):8} {found[0]:8} {found[1]:8} {found[2]:8}"])


def _listed(deeds: Sequence[str], every: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="rc-", dir="/tmp"))
    for deed in deeds:
        bench = Bench(folder / deed)
        try:
            for fault in list(faults_of(bench.record(deed)))[::every]:
                print(deed, fault)
        finally:
            bench.end()
    shutil.rmtree(folder, ignore_errors=True)


def main(argv: Sequence[str]) -> int:
    assert __doc__
    parser = argparse.ArgumentParser("scripts/faults", description=__doc__.partition("\n")[0])
    parser.add_argument("deeds", nargs="*", metavar="DEED", help="of " + ", ".join(DEEDS))
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every n-th fault only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="worlds side by side")
    parser.add_argument("--list", action="store_true", help="what would be injected, without doing it")
    options = parser.parse_args(argv)
    deeds = options.deeds or DEEDS
    if unknown := set(deeds) - set(DEEDS):
        parser.error(f"no such deed: {', '.join(sorted(unknown))}")
    if options.list:
        _listed(deeds, options.every)
        return 0
    counts: Counter[tuple[str, str, str]] = Counter()
    for judged in _swept(deeds, options.every, options.jobs):
        counts[judged.deed, judged.fault.call.name, judged.verdict] += 1
        if judged.verdict == FAILED:
            print(f"FAILED {judged.deed}: {judged.fault}\n    " + judged.why.replace("\n", "\n    "), flush=True)
    print(_table(counts))
    return 1 if any(verdict == FAILED for _, _, verdict in counts) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
