"""A deployment on a cluster, as a fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.beds import all_clusters
from tests.backends.cluster import Cluster
from tests.slurm.deck import Deck

__all__ = ["all_clusters"]


@pytest.fixture(name="decks")
def all_decks(short_folder: Path, clusters: Callable[..., Cluster]) -> Iterator[Callable[..., Deck]]:
    """Makes a deployment on a cluster of its own: `decks(24, nodes=["n2"])`."""
    made: list[Deck] = []

    def make(version: int = 24, **how: Any) -> Deck:
        made.append(Deck(short_folder / f"w{len(made)}", clusters(version, **how)))
        return made[-1]

    yield make
    for deck in made:
        deck.end()


@pytest.fixture(name="deck")
def a_deck(decks: Callable[..., Deck]) -> Deck:
    """On a Slurm 24.11 of one node."""
    return decks(24)
