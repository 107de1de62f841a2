"""What is remembered of what was adopted, as it is written."""

from __future__ import annotations

import json
from pathlib import Path

from reconciler.agent.memory.codec import decode_inventory, encode_inventory
from reconciler.agent.memory.store import Store, tool_identity
from reconciler.core.desired import Deployment, Policy
from reconciler.core.inventory import Adopted, Inventory, Stage

ONE = Adopted("adopted-supervisor", "web", "start", "spec", "launch", "1", 7, 1.0, Stage.TAKEN)


def test_what_was_adopted_is_read_as_it_was_written() -> None:
    for one in (ONE, ONE._replace(differs=("runs with another LANG",)), ONE._replace(differs=("x", "y"), waits=True)):
        inventory = Inventory(adopted={"web": one})
        assert decode_inventory(json.loads(json.dumps(encode_inventory(inventory)))) == inventory


def test_what_an_earlier_release_does_not_know_is_written_only_where_it_says_something() -> None:
    """It takes an entry with a key that it does not know for damage."""
    row = encode_inventory(Inventory(adopted={"web": ONE}))["adopted"]["web"]
    assert row.keys() == set(Adopted._fields) - {"differs", "waits"}


def test_what_another_release_has_compiled_is_not_read(tmp_path: Path) -> None:
    """It may be of another shape."""
    store = Store(str(tmp_path), "here")
    store.prepare()
    one = Deployment("here", "dev", "c", "/r", (), (), (), (), (), {}, Policy())
    store.save_formers("dev", {"0.0|c": one, f"{tool_identity()}|c": one})
    assert store.formers("dev") == {f"{tool_identity()}|c": one}
