"""Programs that stand in for others, and meet their fate at the n-th call."""

from __future__ import annotations

from pathlib import Path

# Stands in the place of a program: the n-th call of a pass meets its fate, all others run as ever.
_STAND_IN = """\
#!/bin/bash
[ -e "{folder}/nth" ] || exec {program} "$@"
echo "$*" >>"{folder}/calls"
[ "$(wc -l <"{folder}/calls")" -eq "$(cat "{folder}/nth")" ] || exec {program} "$@"
{fate}
"""
FATES = {
    "killed at once": "kill -KILL $$",
    "killed while it answers": '{program} "$@" | head -c 30; kill -KILL $$',
    "killed when it has done all": '{program} "$@"; kill -KILL $$',
    "hung": "exec sleep 86397",
    "deaf and hung": "trap '' TERM; sleep 86397; exit",
}


class StandIn:
    """A program in the place of another one, in a folder of its own."""

    def __init__(self, folder: Path, name: str, program: str, fate: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.path = folder, folder / name
        fate = FATES[fate].format(program=program)
        self.path.write_text(_STAND_IN.format(folder=folder, program=program, fate=fate))
        self.path.chmod(0o755)

    def arm(self, nth: int) -> None:
        (self.folder / "calls").write_text("")
        (self.folder / "nth").write_text(str(nth))

    def disarm(self) -> int:
        """How often it was called."""
        (self.folder / "nth").unlink()
        return len((self.folder / "calls").read_text().splitlines())

    def program_only(self) -> None:
        """From now on nothing befalls it."""
        for name in ("nth", "calls"):
            (self.folder / name).unlink(missing_ok=True)
