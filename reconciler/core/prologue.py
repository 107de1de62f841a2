"""Prologues: the shell lines that a component needs before anything of it can run. Pure text."""

from __future__ import annotations

import re

# Where the command `module` is defined, the most particular place first. The last one is what a login
# shell reads; it stands at the end because it may do anything.
_MODULE_FILES = (
    "/etc/profile.d/modules.sh",
    "/etc/profile.d/lmod.sh",
    "/etc/profile.d/z00_lmod.sh",
    "/etc/profile.d/00-modulepath.sh",
    "/usr/share/lmod/lmod/init/bash",
    "/usr/share/Modules/init/bash",
    "/opt/cray/pe/lmod/lmod/init/bash",
    "/etc/profile",
)
_USES_MODULE = r"(?<![-/.])\bmodule\b"


def prologue_script(prologue: str) -> str:
    """A prologue as a shell runs it, with `module` made available to one that uses it. Ends with its last status."""
    return f"{_module() if re.search(_USES_MODULE, prologue) else ''}:\n{prologue.strip()}\n"


def _module() -> str:
    return (
        f"for reconcile_file in {' '.join(_MODULE_FILES)}; do\n"
        "  command -v module >/dev/null 2>&1 && break\n"
        '  [ -r "$reconcile_file" ] && . "$reconcile_file"\n'
        "done\n"
        "unset reconcile_file\n"
    )
