"""Services of a job that submit jobs of their own: those are theirs, and not shaped by the job that they come from."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backends.cluster import HOST, place
from tests.scenarios.world import until
from tests.slurm.deck import Deck

Decks = Callable[..., Deck]
pytestmark = [pytest.mark.slurm, pytest.mark.scenario]
both = pytest.mark.parametrize("version", [22, 24])


def carried(decks: Decks, version: int, script: str) -> Deck:
    """One service, of these lines of shell."""
    deck = decks(version, settings={"SelectTypeParameters": "CR_Core_Memory"})
    deck.settings["options"] = f"--mem=200 --cpus-per-task=1 --nodelist={HOST}"
    program = deck.world.folder / "program"
    begins = f"#!/bin/sh\nPATH={place(version)}/bin:$PATH\ncd {deck.world.folder}\n"
    program.write_text(f"{begins}{script}exec sleep 86399\n")
    program.chmod(0o755)
    deck.services = {"one": f"command: {shlex.quote(str(program))}"}
    return deck


def text(path: Path) -> str:
    until(lambda: path.exists() and path.read_text().endswith("\n"), seconds=60)
    return path.read_text().strip()


def ended(path: Path) -> str:
    """What a command has printed, with its exit status in the last line."""
    until(lambda: path.exists() and re.search(r"^\d+\n$", path.read_text(), re.MULTILINE), seconds=60)
    return path.read_text().strip()


@both
def test_a_job_of_a_service_has_resources_of_its_own(version: int, decks: Decks) -> None:
    """`--mem` of the job that carries it would stand beside its `--mem-per-cpu`, and no step of it would begin."""
    inner = "#!/bin/sh\\nsrun -n1 hostname >said 2>&1; echo $? >>said\\n"
    script = f"printf '{inner}' | sbatch -o /dev/null --mem-per-cpu=50 >submitted 2>&1\n"
    deck = carried(decks, version, script)
    deck.commit()
    deck.converge()
    assert text(deck.world.folder / "submitted").startswith("Submitted batch job ")
    assert ended(deck.world.folder / "said") == f"{HOST}\n0"


@both
def test_a_service_knows_its_job_by_one_variable(version: int, decks: Decks) -> None:
    """Steps within that job are begun by its number, where somebody wants them."""
    script = "env >seen; srun --jobid=$RECONCILE_JOB_ID -n1 --mem=10 hostname >step 2>&1; echo $? >>step\n"
    deck = carried(decks, version, script)
    deck.settings["prologue"] = "export SBATCH_ACCOUNT=ours"
    deck.commit()
    deck.converge()
    assert ended(deck.world.folder / "step") == f"{HOST}\n0"
    seen = dict(line.partition("=")[::2] for line in (deck.world.folder / "seen").read_text().splitlines())
    assert {name for name in seen if name.startswith("SLURM")} == {"SLURM_CONF"}
    assert (seen["RECONCILE_JOB_ID"], seen["SBATCH_ACCOUNT"]) == (deck.job().id, "ours")
    deck.settings["loglevel"] = "debug"  # supervisord begins anew within the job
    deck.commit()
    deck.converge()
    assert deck.world.run("status").code == 0
    seen = dict(line.partition("=")[::2] for line in (deck.world.folder / "seen").read_text().splitlines())
    assert seen["RECONCILE_JOB_ID"] == deck.job().id
    assert "SLURM_JOB_ID" not in seen


def test_a_job_of_a_service_goes_on_when_the_service_is_restarted(decks: Decks) -> None:
    """It has inherited the marks, and runs on the same node: no left-over child for that. A step of the job is one."""
    inner = "#!/bin/sh\\nexec sleep 86397\\n"
    script = f"printf '{inner}' | sbatch --parsable -o /dev/null --mem=50 --nodelist={HOST} >submitted\n"
    script += "setsid srun --jobid=$RECONCILE_JOB_ID -n1 --mem=10 sleep 86396 &\n"
    deck = carried(decks, 24, script)
    deck.commit()
    deck.converge()
    number = text(deck.world.folder / "submitted")
    until(lambda: deck.cluster.job(number).state == "RUNNING")
    until(lambda: len(deck.cluster.run("squeue", "--noheader", "--steps", f"--user={deck.cluster.account.name}")) > 0)
    pid = deck.running()["one"]
    steps = children(deck, "sleep\x0086396\x00")
    deck.commit(app="2.0")
    deck.converge()
    assert deck.running()["one"] != pid
    assert deck.cluster.job(number).state == "RUNNING"
    assert not steps & children(deck, "sleep\x0086396\x00")
    del deck.services["one"]
    deck.services["two"] = "component: tool"
    deck.commit(app="2.0")
    deck.converge()
    assert deck.cluster.job(number).state == "RUNNING"
    until(lambda: len(children(deck, "sleep\x0086397\x00")) == 2)  # of both starts
    assert children(deck, "sleep\x0086396\x00") == set()


def children(deck: Deck, command: str) -> set[str]:
    """Processes of this command line that come from the deployment."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_text() == command and str(deck.world.root) in (folder / "environ").read_text():
                found.add(folder.name)
        except OSError:
            continue
    return found
