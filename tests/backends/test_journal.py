"""The journal of the tests: what it leaves, and what of the machine's own it must leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends import beds


def test_journals_of_the_machines_own_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In folders of this test's, with nothing that runs."""
    run, logs = tmp_path / "run", tmp_path / "logs"
    logs.mkdir()
    (logs / "system.journal").write_text("keep me")
    for name, value in (("_JOURNAL", run), ("_BEFORE", run / "before"), ("_logs", lambda: logs)):
        monkeypatch.setattr(beds, name, value)
    beds.note_before()
    (run / "stdout").write_text("made")
    (logs / "user-1000.journal").write_text("made")
    beds.remove_made()
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]
    assert [path.name for path in logs.iterdir()] == ["system.journal"]
