"""What a preflight is to look for: only what can be found without being the service."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.core.desired import Compiled


@pytest.mark.parametrize(
    ("keys", "program"),
    [
        ("command: tool --x", "tool"),
        ("command: tool --x, env: {LANG: C}", "tool"),
        ('command: tool --x, env: {PATH: "/opt/bin:/usr/bin"}', ""),
        ('command: /opt/bin/tool --x, env: {PATH: "/opt/bin:/usr/bin"}', "/opt/bin/tool"),
    ],
)
def test_a_path_of_its_own(keys: str, program: str, compiled: Callable[..., Compiled]) -> None:
    services = compiled(f"services: {{job: {{{keys}}}}}").deployment.services
    assert [service.program for service in services if service.name == "job"] == [program]
