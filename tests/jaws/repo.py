"""A desired-state repo in a folder, and what it amounts to."""

from __future__ import annotations

from pathlib import Path

from reconciler.core.model import Compiled
from reconciler.desired import Facts, compile_site, read_folder, validate

FACTS = Facts(host="jaws.example.org", account="ec2-user")


class Repo:
    """A folder with desired/ and templates/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def problems(self) -> list[str]:
        return [str(problem) for problem in validate(read_folder(str(self.folder)), FACTS)]

    def compile(self, site: str, environment: str) -> Compiled:
        result = compile_site(read_folder(str(self.folder)), site, [environment], FACTS)
        assert result.problems == ()
        return result.compiled[environment]
