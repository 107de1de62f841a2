"""One file in `cases/` is one case: what scontrol printed, the job, and what is to be decided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.core.reservations import decide, touching
from reconciler.launchers.slurm.hostlist import expand
from reconciler.launchers.slurm.reservations import parse

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))


def load(path: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML

    loaded: dict[str, Any] = YAML(typ="safe").load(path.read_text())
    return loaded


def test_there_are_cases() -> None:
    assert len(CASES) >= 10


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = load(path)
    nodes = frozenset(expand(case["nodes"])) if "nodes" in case else None
    listed = parse(case["printed"])
    assert sorted(one.name for one in listed) == sorted(case["names"])
    slot = decide(
        touching(listed, nodes, case.get("partition", "")), case["now"], case.get("wanted"), case.get("buffer", 7200)
    )
    expected = {"time": case.get("wanted"), "least": None, "held_until": 0.0, "because": ""} | case["decides"]
    assert slot._asdict() == expected
