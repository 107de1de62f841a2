"""What a command of git's begins with that is run about a service: the service's variables, and its programs first on
the search path, as the shim has them. Its prologue is not run: that may take long, and fail."""

from __future__ import annotations

_FILE, _FOLDER = "RECONCILE_ENV_FILE", "RECONCILE_PROGRAMS"
LINES = (  # in one line, for the numbers that the shell tells of the command's own
    f'[ ! -r "${_FILE}" ] || . "${_FILE}"; '
    f'[ -z "${_FOLDER}" ] || {{ unset PYTHONHOME; export VIRTUAL_ENV="${{{_FOLDER}%/*}}" PATH="${_FOLDER}:$PATH"; }}; '
    f"unset {_FILE} {_FOLDER}\n"
)


def variables(env_file: str, programs: str) -> dict[str, str]:
    """What `LINES` go by, to be put into the environment. `programs`: the folder `bin` of a virtual environment."""
    return {_FILE: env_file or "/dev/null", _FOLDER: programs}
