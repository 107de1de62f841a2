"""The story itself: from a repo to services, a bump of one version, nothing to do, and a drift that is mended."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.request import ProxyHandler, build_opener

from reconciler.demo import package
from reconciler.demo.narrator import Narrator
from reconciler.demo.package import Package
from reconciler.demo.site import ENVIRONMENT, KEPT, RESTARTED, Site
from reconciler.demo.stage import DemoFailed, Stage

_PATIENCE = 10.0  # seconds for a service to answer
_BRANCH = "bump-web"

Services = Mapping[str, Mapping[str, Any]]


def tell(stage: Stage, narrator: Narrator) -> Site:
    """All chapters. Raises `DemoFailed` where one of them does not go as it should."""
    site = Site(stage.site_name, stage.root, sys.executable, _choose_package(stage, narrator))
    _write_repo(stage, narrator, site)
    _first_apply(stage, narrator, site)
    before = stage.services()
    _bump(stage, narrator, site)
    _apply_bump(stage, narrator, site, before)
    _nothing_to_do(stage, narrator)
    _drift(stage, narrator, site)
    return site


def _choose_package(stage: Stage, narrator: Narrator) -> Package:
    why = package.why_no_index()
    if not why:
        return package.FROM_INDEX
    narrator.say(
        f"No package index can be reached from here ({why}), so the demo cannot install a package from PyPI. "
        "It uses two wheels instead that it makes itself, of a package of one line; all else is the same."
    )
    return package.made_here(f"{stage.folder}/wheels")


def _write_repo(stage: Stage, narrator: Narrator, site: Site) -> None:
    narrator.chapter("A git repo says which services run where, in which version")
    narrator.say(
        "This is a copy of the desired state that comes with reconcile, the JAWS deployment, with a "
        f"site for this machine added: {site.name}. Component `web` is {site.package.name} "
        f"{site.package.before}, installed by pip; `clock` is a shell loop."
    )
    site.write(stage.repo)
    stage.type("git init --quiet --initial-branch main && git add .")
    stage.type('git commit --quiet -m "JAWS, and a site for this machine"')
    stage.type(f"cat {site.versions_file}")
    stage.type("reconcile validate")


def _first_apply(stage: Stage, narrator: Narrator, site: Site) -> None:
    narrator.chapter("What would a pass do? A plan changes nothing")
    stage.type("reconcile plan", expect=(2,))
    narrator.chapter("One pass makes it so")
    stage.type("reconcile --once")
    _ask(narrator, site, site.package.before)


def _ask(narrator: Narrator, site: Site, version: str) -> None:
    """Ask every service of the component which version it runs."""
    answers = [(url, _get(url)) for url in site.urls]
    narrator.say("The services themselves, asked over HTTP:")
    narrator.lines([f"GET {url}  ->  {answer}" for url, answer in answers])
    for url, answer in answers:
        if answer != f"{site.package.name} {version}":
            raise DemoFailed(f"{url} answers `{answer}` and not with version {version}")


def _get(url: str) -> str:
    """What a service answers, whatever proxy is set: it is on this machine."""
    opener = build_opener(ProxyHandler({}))
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            with opener.open(url, timeout=_PATIENCE) as response:
                return str(response.read().decode(errors="replace").strip())
        except (OSError, HTTPException) as error:
            if time.monotonic() > until:
                raise DemoFailed(f"{url} does not answer: {error}") from error
        time.sleep(0.05)


def _bump(stage: Stage, narrator: Narrator, site: Site) -> None:
    old, new = site.package.before, site.package.after
    narrator.chapter(f"A new version is one line in a branch: web {old} -> {new}")
    stage.type(f"git switch --quiet --create {_BRANCH}")
    stage.type(f"""sed -i 's/web: "{old}"/web: "{new}"/' {site.versions_file}""")
    stage.type(f'git commit --quiet --all -m "web {new}" && git show --format=%s --unified=0')
    narrator.say("Before it is merged: what would it do, on every site and environment of the repo?")
    stage.type(f"reconcile diff main..{_BRANCH}", expect=(2,))
    stage.type("git switch --quiet main")
    stage.type(f'git merge --quiet --no-ff -m "Merge: web {new}" {_BRANCH}')


def _apply_bump(stage: Stage, narrator: Narrator, site: Site, before: Services) -> None:
    narrator.chapter("The next pass finds it")
    stage.type("reconcile plan", expect=(2,))
    stage.type("reconcile --once")
    _ask(narrator, site, site.package.after)
    narrator.chapter("One component's services restarted, the others kept their processes")
    _compare(narrator, before, stage.services())


def _compare(narrator: Narrator, before: Services, after: Services) -> None:
    names = sorted({*before, *after})
    pids = {name: (before[name]["pid"], after[name]["pid"]) for name in names if name in before and name in after}
    rows = [("SERVICE", "VERSION", "PID BEFORE", "PID NOW", "")]
    for name, (old, new) in pids.items():
        same = "the same process" if old == new else "restarted"
        rows.append((name, str(after[name]["version"]), str(old), str(new), same))
    narrator.table(rows)
    changed = {name for name, (old, new) in pids.items() if old != new}
    if set(names) != {*RESTARTED, *KEPT} or changed != set(RESTARTED):
        raise DemoFailed(f"restarted were {', '.join(sorted(changed)) or 'none'}, not {', '.join(RESTARTED)}")


def _nothing_to_do(stage: Stage, narrator: Narrator) -> None:
    narrator.chapter("A second pass has nothing to do")
    narrator.say("Under cron it would print nothing at all.")
    stage.type("reconcile --once")
    stage.type("reconcile plan")


def _drift(stage: Stage, narrator: Narrator, site: Site) -> None:
    narrator.chapter("Somebody stops a service by hand: the next pass mends it")
    conf = os.path.relpath(site.supervisor_conf, stage.repo)
    stage.type(f"supervisorctl -c {conf} stop {KEPT[1]}")
    stage.type("reconcile status", expect=(1,))
    stage.type("reconcile --once")
    stage.type("reconcile status")
    wrong = [name for name, service in stage.services().items() if not service["healthy"]]
    if wrong:
        raise DemoFailed(f"not healthy in {site.name} {ENVIRONMENT}: {', '.join(wrong)}")
