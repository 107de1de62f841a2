"""Helpers that assert say what they have seen, as tests do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.launchers.bench", "tests.launchers.scenarios", "tests.launchers.drifts")
