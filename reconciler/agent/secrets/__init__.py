"""Secrets that stand elsewhere than in git: got on the host that needs them, for as long as a pass lasts.

`vault` knows which are needed, whether they have changed, and what becomes of those that cannot be had; `sources`
gets them; `document` finds one in a file with several. A value is in the memory of the pass and in the rendered
files that are closed to others, nowhere else.
"""

from __future__ import annotations

from reconciler.agent.secrets.private import Unresolved
from reconciler.agent.secrets.vault import Vault

__all__ = ["Unresolved", "Vault"]
