"""Words that somebody typed wrong at three in the morning: what is told, and that the next word is a better one."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli.main import main


@pytest.mark.parametrize(
    ("words", "told", "hint"),
    [
        (["plna"], "there is no command `plna`", "did you mean `plan`?"),
        (["zzzz"], "there is no command `zzzz`", "`reconcile --help` lists them"),
        (["--onec"], "there is no option `--onec`", "did you mean `--once`?"),
        (["plan", "--ouput", "json"], "there is no option `--ouput`", "did you mean `--output`?"),
        (["plan", "web"], "`web` is one word too many", "reconcile plan --help"),
        (["plan", "-o", "htm"], "--output cannot be `htm`", "did you mean `html`?"),
        (["schedule", "instal"], "schedule: there is no `instal`", "did you mean `install`?"),
        (["plan", "--site"], "--site has no value", "reconcile plan --help"),
        (["bump", "web"], "VERSION is missing", "reconcile bump --help"),
        (["pause", "web"], "--for, --reason are missing", "reconcile pause --help"),
        (["--once", "--config", "gone.yaml"], "gone.yaml: cannot be read", "`reconcile help agent`"),
        (["apply", "gone.plan", "--repo", "/r", "--site", "x"], "cannot be read", "`reconcile plan --out FILE`"),
        (["validate", "gone"], "gone: there is no such folder", "top folder of the repo"),
        (["diff", "main", "--repo", "gone"], "gone: there is no such folder", "--repo"),
    ],
)
def test_what_was_meant_is_told(  # noqa: PLR0917 - a row of the table, and fixtures
    words: list[str],
    told: str,
    hint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(words) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert told in said
    assert hint in said
