"""What the end of a demo ends, and what it must not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from reconciler.demo.ending import carriers, end_all


def test_only_what_reconcile_has_started_for_the_folder_is_ended(tmp_path: Path) -> None:
    """A person looks around in it, and another demo's folder begins with the same letters."""
    folder = tmp_path / "demo"
    mine = ({"RECONCILE_ROOT": f"{folder}/site"}, {"RECONCILE_CONFIG": f"{folder}/agent.yaml"})
    theirs = ({"PWD": str(folder)}, {"PATH": f"{folder}/bin:/bin"}, {"RECONCILE_ROOT": f"{folder}-2/site"})
    started = [subprocess.Popen(["sleep", "60"], env={"PATH": os.defpath, **env}) for env in (*mine, *theirs)]
    try:
        assert set(carriers(str(folder))) == {process.pid for process in started[:2]}
        end_all(str(folder))
        assert [process.poll() for process in started] == [-15, -15, None, None, None]
    finally:
        for process in started:
            process.kill()
            process.wait()
