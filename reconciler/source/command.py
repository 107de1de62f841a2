"""How git is called: an environment in which it asks nothing and obeys no stray variable, and its errors told.

A user and password in an http(s) address are taken out of it. Git gets them through a credential
helper that reads two variables of the environment, which only the account itself can read; in the
address they would stand in the process list for everybody.
"""

from __future__ import annotations

import os
import os.path
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import NamedTuple

from reconciler.host import child
from reconciler.host.child import Child, Ended
from reconciler.source.address import Address, is_local, is_ssh, take_apart
from reconciler.source.errors import NoBranch, SourceError, Stopped, Unreachable, hint

# what a hook or an alias that calls us would pass on: `git rev-parse --local-env-vars`, and a few more
STRAY = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DEFAULT_HASH",
    "GIT_DEFAULT_REF_FORMAT",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
_QUIET = {
    "GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file",
    "GIT_ASKPASS": "",  # empty: not even the desktop's or the editor's; set, it also hides SSH_ASKPASS from git
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GCM_INTERACTIVE": "never",
    "LC_ALL": "C",
    "SSH_ASKPASS_REQUIRE": "never",
}
_CREDENTIALS = (
    '!f() { test "$1" = get && '
    'printf "username=%s\\npassword=%s\\n" "$RECONCILE_GIT_USER" "$RECONCILE_GIT_PASSWORD"; }; f'
)
_TRUSTING = "git -c 'safe.directory=*' upload-pack"


def never() -> bool:
    """Nobody asks to stop."""
    return False


def start(
    argv: list[str], env: Mapping[str, str], *, feed: bool = False, asked_to_stop: Callable[[], bool] = never
) -> Child:
    """Start git, or what it is run by. Raises `SourceError`; waiting for it raises `Stopped` when that is asked for."""

    def heed() -> None:
        if asked_to_stop():
            raise Stopped

    try:
        return child.start(argv, env, feed=feed, heed=heed)
    except OSError as error:
        raise SourceError(f"{argv[0]} could not be started: {error.strerror or error}") from error


def environment() -> dict[str, str]:
    """The caller's environment as git may see it."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in STRAY and not key.startswith("GIT_TRACE") and key != "GIT_CURL_VERBOSE"
    }
    kept.update(_QUIET)
    return kept


class Remote(NamedTuple):
    """A repository as git is told of it."""

    address: Address
    options: tuple[str, ...]  # for ls-remote and fetch
    env: dict[str, str]
    asked_to_stop: Callable[[], bool]

    def start(self, argv: list[str], *, feed: bool = False) -> Child:
        """Start git in this environment. Raises `SourceError`, and `Stopped` while it is waited for."""
        return start(argv, self.env, feed=feed, asked_to_stop=self.asked_to_stop)

    def run(self, argv: list[str], timeout: float) -> bytes:
        """Run git to its end and give its output. Raises `SourceError`; `Unreachable` when it took too long."""
        ended = self.start(argv).finish(monotonic() + timeout)
        if ended.late:
            raise Unreachable(describe(argv, ended, timeout, self.address))
        if ended.code:
            raise SourceError(describe(argv, ended, timeout, self.address))
        return ended.out


def remote(repo: str, timeout: float, asked_to_stop: Callable[[], bool] = never) -> Remote:
    """Prepare to call a repository. `timeout` in seconds bounds ssh's connecting."""
    address, env = take_apart(repo), environment()
    if address.user:
        _give_credentials(env, address)
    if is_ssh(repo):
        _silence_ssh(env, timeout)
    # who names a path in the agent's file trusts it; its owner may be another account
    options = (f"--upload-pack={_TRUSTING}",) if is_local(repo) else ()
    return Remote(address, options, env, asked_to_stop)


def _give_credentials(env: dict[str, str], address: Address) -> None:
    key = f"credential.{address.base}"
    _configure(env, f"{key}.username", address.user)
    if address.password:
        _configure(env, f"{key}.helper", "")  # forget the account's own helpers for this host
        _configure(env, f"{key}.helper", _CREDENTIALS)
        env["RECONCILE_GIT_USER"], env["RECONCILE_GIT_PASSWORD"] = address.user, address.password


def _configure(env: dict[str, str], key: str, value: str) -> None:
    """Git's way to give configuration through the environment (2.31); what the account gave so is kept."""
    count = env.get("GIT_CONFIG_COUNT", "")
    number = int(count) if count.isdigit() else 0
    env[f"GIT_CONFIG_KEY_{number}"], env[f"GIT_CONFIG_VALUE_{number}"] = key, value
    env["GIT_CONFIG_COUNT"] = str(number + 1)


def _silence_ssh(env: dict[str, str], timeout: float) -> None:
    """BatchMode for ssh, whoever chose the command; another program than ssh is left as it is.

    A master that stays in the background would hold our pipes, so none is started; a running one is used.
    """
    if env.get("GIT_SSH") and not env.get("GIT_SSH_COMMAND"):
        return
    command = env.get("GIT_SSH_COMMAND") or _configured_ssh(env) or "ssh"
    if os.path.basename(command.split(" ", 1)[0]) == "ssh":
        seconds = max(1, int(min(timeout, 20)))
        env["GIT_SSH_COMMAND"] = f"{command} -o BatchMode=yes -o ConnectTimeout={seconds} -o ControlMaster=no"


def _configured_ssh(env: dict[str, str]) -> str:
    asked = start(["git", "-C", "/", "config", "--get", "core.sshCommand"], env).finish(monotonic() + 10)
    return asked.out.decode(errors="replace").strip() if asked.code == 0 else ""


def ask(source: Remote, branch: str) -> Child:
    """Start asking for a branch. The mirror is left out of it: it may be damaged."""
    return source.start(_asking(source, branch))


def _asking(source: Remote, branch: str) -> list[str]:
    return ["git", "-C", "/", "ls-remote", *source.options, "--", source.address.url, f"refs/heads/{branch}"]


def answer(source: Remote, branch: str, ended: Ended, timeout: float) -> str:
    """The commit that `ask` was told. Raises `Unreachable` or `NoBranch`."""
    if ended.code or ended.late:
        raise Unreachable(describe(_asking(source, branch), ended, timeout, source.address))
    for line in ended.out.decode(errors="replace").splitlines():
        commit, _, name = line.partition("\t")
        if name == f"refs/heads/{branch}" and is_commit(commit):
            return commit
    raise no_branch(source, branch)


def no_branch(source: Remote, branch: str) -> NoBranch:
    return NoBranch(
        f"{source.address.url} has no branch {branch!r}\n    check `branch` in the agent's file, or push the branch"
    )


def describe(argv: Sequence[str], ended: Ended, timeout: float, address: Address | None = None) -> str:
    """What was run, how it ended, what it said and how to mend it, without any credential."""
    how = f"exit status {ended.code}" if ended.code >= 0 else f"ended by signal {-ended.code}"
    if ended.late:
        how = f"no answer within {timeout:g} s"
    said = "\n".join(ended.err.decode(errors="replace").strip().splitlines()[-20:])
    text = f"{' '.join(_brief(argv))}: {how}" + (f"\n{said}" if said else "") + hint(said)
    for secret in address.secrets if address else ():
        text = text.replace(secret, "***")
    return text


def _brief(argv: Sequence[str]) -> list[str]:
    """The command without the settings that are the same each time."""
    settings = {at + 1 for at, word in enumerate(argv) if word == "-c"}
    return [
        word
        for at, word in enumerate(argv)
        if word != "-c" and at not in settings and not word.startswith("--upload-pack=")
    ]


def is_commit(text: str) -> bool:
    """A full object name, SHA-1 or SHA-256."""
    return len(text) in (40, 64) and all(letter in "0123456789abcdef" for letter in text)
