"""Repos of many deployments, made of words that mean mischief, and what a change of them comes to."""

from __future__ import annotations

import json
from collections.abc import Mapping

from reconciler.agent.compare import compare
from reconciler.core.report import Comparison
from reconciler.core.review import Who
from reconciler.desired import Facts
from reconciler.report.review import Remark, Review, of_comparison

FACTS = Facts(host="h", account="a", salt="salt")
CANARY = "c4nary"
# What a page, a comment or XML would take for more than text; git's messages may hold the rest as well.
EVIL = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "`x` | @all #1 !2 <details> [a](javascript:alert(1)) ~~~",
    "]]><!--&amp;{{ '{{' }}",
)
CONTROL = "\x1b[31mred\x1b]0;title\x07 \u202etxt.exe\u2028\x00\x9b2J"

DEFAULTS = """\
versions: {app: "1.0"}
vars: {level: INFO, db_password: c4nary-old}
paths: {root: "/srv/{{ site }}-{{ environment }}"}
components: {app: {install: none}}
files:
  app.conf: {template: app.conf.j2, path: "{{ paths.config }}/app.conf"}
  secret.conf: {template: secret.conf.j2, path: "{{ paths.config }}/secret.conf"}
services:
  web: {component: app, command: sleep 1, files: [app.conf]}
  worker: {component: app, command: sleep 2, env: {LEVEL: "{{ level }}", DB_PASSWORD: "{{ db_password }}"}}
  reader: {component: app, command: sleep 3, files: [secret.conf]}
"""
Repo = dict[str, bytes]


def repo(*sites: str, changes: Mapping[str, str] | None = None) -> Repo:
    """A repo with these sites, each in dev and prod."""
    files = {
        "desired/defaults.yaml": DEFAULTS,
        "desired/environments/dev.yaml": "",
        "desired/environments/prod.yaml": "",
        "templates/app.conf.j2": "level = {{ level }}\n# of {{ site }}\nworkers = 4\n",
        "templates/secret.conf.j2": "password = {{ db_password }}\n",
        **{f"desired/sites/{site}.yaml": f"vars: {{queue: q-{site}}}\n" for site in sites},
        **(changes or {}),
    }
    return {path: text.encode() for path, text in files.items()}


def compared(before: Repo, after: Repo, **more: str) -> Comparison:
    return compare(("a" * 40, before), ("b" * 40, after), FACTS, **more)  # type: ignore[arg-type]


def evil_review() -> Review:
    """A report in which every text of others is hostile."""
    env = "".join(f"      E{n}: {json.dumps(text)}\n" for n, text in enumerate(EVIL))
    after = DEFAULTS.replace("level: INFO", "level: DEBUG").replace(f"{CANARY}-old", f"{CANARY}-new")
    after += f"  evil:\n    component: app\n    command: sleep 4\n    files: [app.conf]\n    env:\n{env}"
    template = "level = {{ level }}\n</script><img src=x onerror=alert(1)> ``` @all\n````\n"
    changes = {"desired/defaults.yaml": after, "templates/app.conf.j2": template}
    found = compared(repo("aws", "dori"), repo("aws", "dori", changes=changes))
    assert not found.problems, found.problems
    return spoiled(of_comparison(found))


def spoiled(review: Review) -> Review:
    """With what git's messages and a host may say besides."""
    worst = " ".join((*EVIL, CONTROL, "```\n/close\n```"))
    who = Who("c" * 40, worst, worst, 1.0)
    told = tuple(
        one._replace(
            reasons=(*one.reasons, worst),
            restarts=(worst,),
            failures=(worst,),
            causes=tuple(cause._replace(who=who) for cause in one.causes),
        )
        for one in review.told
    )
    lines = ("@@ -1 +1 @@", f"-{worst}", f"+{worst}", "+```````")
    files = tuple(
        file._replace(delta=file.delta._replace(lines=lines)) if file.delta.lines else file for file in review.files
    )
    places = tuple(place._replace(remarks=(Remark("error", worst),)) for place in review.places)
    causes = tuple(cause._replace(who=who) for cause in review.causes)
    remarks = (Remark("warning", worst),)
    return review._replace(
        title=worst, subject=worst, told=told, files=files, places=places, causes=causes, remarks=remarks
    )
