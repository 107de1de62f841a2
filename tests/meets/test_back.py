"""Rollbacks beside supervisord, and where they meet what holds, adopts, drains and cleans up."""

from __future__ import annotations

import json

import pytest

from tests.meets.bed import Apptainer, Bed, on

pytestmark = [pytest.mark.scenario]


@on("apptainer", "slurm")
def test_what_fails_goes_back(bed: Bed) -> None:
    """To the image of the former version, or within the job; twice told, and nothing more done."""
    bed.good("1.0")
    bed.commit({"web": bed.watched(), "other": bed.keys("tool")})
    bed.once()
    bed.world.idle()
    before = bed.pids()
    bed.commit(app="2.0")
    said = bed.once(code=1)
    assert "rolled-back: web: 2.0" in said
    assert bed.running() == {"web": "1.0", "other": "1.0"}
    assert {name for name, pid in bed.pids().items() if before[name] != pid} == {"web"}
    if isinstance(bed, Apptainer):
        assert bed.image("web").endswith("/app-1.0.sif")
    bed.still()
    bed.good("3.0")
    bed.commit(app="3.0")
    bed.once()
    assert bed.running() == {"web": "3.0", "other": "1.0"}
    bed.world.idle()


@on("systemd", "apptainer", "slurm")
def test_what_does_not_start_goes_back(bed: Bed) -> None:
    """What did not start has nothing to drain, though Apptainer has left its empty instance behind."""
    log = bed.world.folder / "drained"
    starts = "sh -c 'test $V = 1.0 && exec sleep 86399'"
    drain = f"{{command: {json.dumps(f'echo $V >> {log}')}}}"
    web = bed.keys(command=starts, env='{V: "{{ version }}"}', strategy="{rollback: true}", drain=drain, **bed.quickly)
    bed.commit({"web": web, "other": bed.keys("tool")})
    bed.once()
    bed.commit(app="2.0")
    said = bed.once(code=1)
    assert "rolled-back: web: 2.0" in said
    assert bed.running() == {"web": "1.0", "other": "1.0"}
    assert log.read_text() == "2.0\n"  # what was rendered by then: git's word of now counts
    bed.still()
