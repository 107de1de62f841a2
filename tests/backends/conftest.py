"""The beds as fixtures. Tests elsewhere import them from `tests.backends.beds`."""

from __future__ import annotations

from tests.backends.beds import a_cluster, a_journal, a_manager, a_registry, a_users_world, all_clusters

__all__ = ["a_cluster", "a_journal", "a_manager", "a_registry", "a_users_world", "all_clusters"]
