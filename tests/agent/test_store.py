"""What is remembered, and by whom."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

import pytest

from reconciler.agent.memory.store import Store
from reconciler.core.inventory import Inventory


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another account")
def test_an_inventory_of_another_account_is_not_believed(tmp_path: Path) -> None:
    """It names what may be removed, and lies below a root that somebody else may have made."""
    root, store = str(tmp_path / "root"), Store(str(tmp_path / "state"), "here")
    os.mkdir(root)
    store.prepare()
    noted = Inventory(files={str(tmp_path / "theirs"): "digest"})
    store.save_inventory("dev", root, noted)
    shutil.rmtree(store.state_dir)
    assert store.inventory("dev", root).inventory == noted
    copy = Path(root) / ".reconcile/inventory.json"
    uid = pwd.getpwnam("nobody").pw_uid
    os.chown(copy, uid, -1)
    found = store.inventory("dev", root)
    assert found.inventory == Inventory()
    assert found.damage == f"{copy} cannot be read: it belongs to another account (uid {uid})"
