"""The state of a commit as GitLab and GitHub show it beside the commit, under one context for each site.

https://docs.gitlab.com/api/commits/#set-commit-pipeline-status
https://docs.github.com/en/rest/commits/statuses
"""

from __future__ import annotations

from enum import Enum
from urllib.parse import quote

from reconciler.notify.base import Forge
from reconciler.notify.http import Refused, first_line, post

_MOST = 140  # characters of a description that GitHub takes; GitLab takes 255


class CommitState(Enum):
    """How far a commit has come on a site."""

    PENDING = "pending"  # something of it is not so yet
    SUCCESS = "success"
    FAILURE = "failure"


def show(forge: Forge, commit: str, state: CommitState, description: str) -> None:
    """Raises `Undelivered`."""
    token = first_line(forge.token_file)
    brief = description if len(description) <= _MOST else description[: _MOST - 1] + "…"
    _WAYS[forge.kind](forge, token, commit, state, brief)


def _gitlab(forge: Forge, token: str, commit: str, state: CommitState, description: str) -> None:
    """It refuses the state that a commit has already; then nothing is to be done."""
    word = "failed" if state is CommitState.FAILURE else state.value
    url = f"{forge.url}/api/v4/projects/{quote(forge.project, safe='')}/statuses/{commit}"
    body = {"state": word, "name": forge.context, "description": description}
    try:
        post(url, body, {"PRIVATE-TOKEN": token})
    except Refused as refused:
        if refused.status != 400 or "Cannot transition status" not in refused.said:
            raise


def _github(forge: Forge, token: str, commit: str, state: CommitState, description: str) -> None:
    url = f"{forge.url}/repos/{quote(forge.project)}/statuses/{commit}"
    body = {"state": state.value, "context": forge.context, "description": description}
    headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    post(url, body, {**headers, "Authorization": f"Bearer {token}"})


_WAYS = {"gitlab": _gitlab, "github": _github}
