"""Drains and left-over children beside supervisord: what comes before a stop and what is left after it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.meets.bed import Bed, Slurm, on
from tests.scenarios.world import until

pytestmark = [pytest.mark.scenario]


@on("systemd", "apptainer", "slurm")
def test_a_service_is_drained_and_leaves_no_child_behind(bed: Bed) -> None:
    """With its variables and its pid, while it runs; also where git no longer has it, and where its drain fails."""
    log = bed.world.folder / "drained"
    drain = f'kill -0 $MAINPID && echo "$WORD $MAINPID" >> {log}'
    keys = {"env": "{WORD: two words}", "stop": "{grace: 1}", "drain": f"{{command: {json.dumps(drain)}}}"}
    web = bed.keys(command=bed.family(), **keys)
    slow = bed.keys("tool", drain="{command: sleep 86398, timeout: 1s}")
    bed.commit({"web": web, "slow": slow})
    bed.once()
    until(lambda: len(bed.members("web")) == bed.family_size)
    first, members = bed.pid("web"), set(bed.members("web"))
    assert not log.exists()
    bed.commit(app="2.0", tool="2.0")
    said = bed.once()
    assert "restart done: its drain took longer than 1 s and was ended" in said
    assert log.read_text() == f"two words {first}\n"
    assert not members & set(bed.members("web"))
    assert bed.running() == {"web": "2.0", "slow": "2.0"}
    until(lambda: len(bed.members("web")) == bed.family_size)
    second = bed.pid("web")
    bed.commit({"slow": bed.keys("tool", drain="{command: exit 4}")})
    bed.once()
    assert log.read_text().splitlines()[1:] == [f"two words {second}"]
    assert bed.members("web") == {}
    bed.commit(tool="3.0")
    assert "restart done: its drain failed: exit status 4" in bed.once()
    bed.world.idle()


@on("slurm")
def test_services_are_drained_before_their_job_ends(bed: Slurm) -> None:
    """It has to give way to another one, or its supervisord begins anew, or nothing of it is wanted any more."""
    log = bed.world.folder / "drained"
    web = bed.keys(command=bed.family(), drain=f"{{command: 'echo $MAINPID >> {log}'}}")
    bed.commit({"web": web})
    bed.once()
    drained = []
    for settings in ('time: "2-00:00:00"', 'time: "2-00:00:00", loglevel: debug'):
        until(lambda: len(bed.members("web")) == bed.family_size)
        members = set(bed.members("web"))
        drained.append(str(bed.pid("web")))
        bed.settings = settings
        bed.commit()
        bed.once()
        assert log.read_text().split() == drained
        assert not members & set(bed.members("web"))
    drained.append(str(bed.pid("web")))
    bed.commit({})
    bed.once()
    assert log.read_text().split() == drained
    assert bed.members("web") == {}
    assert bed.deck.jobs() == []
    bed.once()  # the notes on jobs go when they are over
    bed.world.idle()


@pytest.mark.slurm
def test_no_child_is_left_behind_on_another_node(make_bed: Callable[..., Bed]) -> None:
    away = make_bed("slurm", nodes=["n2"])
    away.settings = "options: --nodelist=n2"
    away.commit({"web": away.keys(command=away.family()), "other": away.keys("tool")})
    away.once()
    until(lambda: len(away.members("web")) == away.family_size)
    members = set(away.members("web"))
    away.commit(app="2.0")
    away.once()
    assert not members & set(away.members("web"))
    until(lambda: len(away.members("web")) == away.family_size)
    for settings in (", loglevel: debug", ', loglevel: debug, time: "2-00:00:00"'):  # within the job, and another job
        members = set(away.members("web"))
        away.settings = f"options: --nodelist=n2{settings}"
        away.commit()
        away.once()
        until(lambda: len(away.members("web")) == away.family_size)
        assert not members & set(away.members("web"))
