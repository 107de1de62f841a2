"""Files are written whole, and what a killed write leaves behind goes with its file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from reconciler.host import files


def test_a_leftover_goes_with_its_file(tmp_path: Path) -> None:
    """It may hold a secret, and no later pass looks for a file that nothing wants."""
    path = tmp_path / "web.env"
    leftover = Path(files.temporary_name(str(path)))
    files.write(str(path), b"a", 0o600)
    state = files.state(str(path))
    leftover.write_text("secret")
    assert files.state(str(path)) == state
    files.remove(str(path))
    assert os.listdir(tmp_path) == []
    leftover.write_text("secret")
    files.remove(str(path))
    assert os.listdir(tmp_path) == []


def test_a_failed_write_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _content: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    path = str(tmp_path / "app.conf")
    with pytest.raises(OSError, match="No space left") as caught:
        files.write(path, b"content", 0o600)
    assert (caught.value.filename, caught.value.errno) == (path, errno.ENOSPC)
    assert os.listdir(tmp_path) == []
