"""Each rule of validation: what is told, where, and how to mend it."""

# ruff: noqa: E501 - tables read best with a row to a line

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.core.problem import Origin, Problem
from reconciler.desired import Facts, compile_site, validate

BOTH = "desired/sites/x.dev.yaml"

# What the last layer says; line and column of the problem; parts of its message; a part of its hint.
ONE_PROBLEM = {
    "unknown key": ("services:\n  web: {comand: x}", 2, 9, "unknown key `comand`", "`command`"),
    "unknown top key": ("servces: {}", 1, 1, "unknown key `servces`", "`services`"),
    "a key of a section at the top": ("self_heal: false", 1, 1, "unknown key `self_heal`", "belongs below `policy`"),
    "wrong type": ("services: {web: {command: [a, b]}}", 1, 27, "`command` must be text, this is a list", ""),
    "mapping wanted": ("services: [a]", 1, 11, "`services` must be a mapping", ""),
    "number as text": ("services: {web: {group: 12}}", 1, 25, "this is a number", '"12"'),
    "flag wanted": ('services: {web: {enabled: "yes"}}', 1, 27, "true or false", "without quotes"),
    "list wanted": ("services: {web: {after: job}}", 1, 25, "a list of names", "after: ["),
    "unquoted version": ("versions:\n  app: 1.10", 2, 8, "not quoted: as a number it reads 1.1", '"1.10"'),
    "unquoted word version": ("versions: {app: v1.2.3}", 1, 17, "not quoted", '"v1.2.3"'),
    "unquoted integer version": ("versions: {app: 0123456}", 1, 17, "reads 123456", '"0123456"'),
    "unquoted infinite version": ("versions: {app: 12e5678}", 1, 17, "reads inf", '"12e5678"'),
    "version of a path": ('versions: {app: "../1"}', 1, 17, "cannot be part of a path", ""),
    "version of nothing": ('versions: {ap: "1"}', 1, 12, "unknown component `ap`", "`app`"),
    "unknown component": ("services: {web: {component: ap}}", 1, 29, "unknown component `ap`", "`app`"),
    "no version": ("versions: {app: null}", 7, 8, "no version of component `app`", "versions"),
    "unknown template": ("files: {app.conf: {template: ap.conf.j2}}", 1, 30, "no template `ap.conf.j2`", "`app.conf.j2`"),
    "unknown file": ("services: {web: {files: [ap.conf]}}", 1, 26, "unknown file `ap.conf`", "`app.conf`"),
    "unknown after": ("services: {web: {after: [jobs]}}", 1, 26, "unknown service `jobs`", "`job`"),
    "after cycle": ("services: {web: {after: [job]}}", 19, 12, "job -> web -> job", "after"),
    "after disabled": ("services: {web: {enabled: false}}", 19, 13, "`web`, which is disabled", "enable"),
    "port twice": ("services: {job: {ports: [8080]}}", 1, 26, "port 8080 is used twice: by `job` in dev", "another port"),
    "port too high": ("services: {job: {ports: [70000]}}", 1, 26, "no port 70000", "65535"),
    "port no number": ('services: {job: {ports: ["{{ level }}"]}}', 1, 26, "it gives `INFO`", ""),
    "name twice": ("services: {web: {name: job}}", 1, 24, "one name on the host: `job`", "another `name`"),
    "no name": ("services: {web: {name: a/b}}", 1, 24, "no usable name", ""),
    "no service name": ("services: {-web: {component: app, command: x}}", 1, 12, "no usable name", ""),
    "no env name": ("services: {web: {env: {A-B: c}}}", 1, 24, "no usable name", ""),
    "path leaves root": ("files: {app.conf: {path: /etc/app.conf}}", 1, 26, "leaves its root", "below one of `paths`"),
    "relative path": ("files: {app.conf: {path: app.conf}}", 1, 26, "must be absolute", ""),
    "path with dots": ('files: {app.conf: {path: "{{ paths.config }}/../../x"}}', 1, 26, "must not have `..`", ""),
    "relative root": ("paths: {root: srv}", 1, 15, "must be absolute", ""),
    "root of all": ("paths: {root: /}", 1, 15, "whole file system", ""),
    "no root": ("paths: {root: null}", 0, 0, "`paths.root` is missing", ""),
    "no command": ("services: {web: {command: null}}", 1, 17, "has no `command`", ""),
    "empty command": ('services: {web: {command: " "}}', 1, 27, "is empty", ""),
    "no install": ("components: {app: {install: null}}", 1, 19, "`install` is missing", "venv"),
    "needs requirement": ("components: {app: {install: venv}}", 1, 19, "needs `requirement`", "pip"),
    "unknown install": ("components: {app: {install: vnev}}", 1, 29, "unknown install `vnev`", "`venv`"),
    "secret in two places": ("services: {web: {env: {A: !secret {file: /x, env: X}}}}", 1, 46, "`env` beside `file`", "keep one"),
    "secret with an unknown key": ("services: {web: {env: {A: !secret {file: /x, kex: X}}}}", 1, 46, "unknown key `kex` of a secret", "`key`"),
    "secret with no place": ("services: {web: {env: {A: !secret {flie: /x}}}}", 1, 27, "`A` must be one value, this is a mapping", "has one of `file`"),
    "secret of a number": ("services: {web: {env: {A: !secret {file: 12}}}}", 1, 42, "`file` of a secret must be text, this is a number", "quotes"),
    "secret of nothing": ('services: {web: {env: {A: !secret {file: " "}}}}', 1, 42, "must be text, this is empty", "quotes"),
    "secret of a relative file": ("services: {web: {env: {A: !secret {file: x}}}}", 1, 42, "must be an absolute path: `x`", "`age` or `sops`"),
    "secret of no variable": ("services: {web: {env: {A: !secret {env: A-B}}}}", 1, 41, "`A-B` is no name of a variable", "letters"),
    "secret of a missing file": ("services: {web: {env: {A: !secret {age: secrets/prod.age}}}}", 1, 41, "no file `secrets/prod.age` in the repo", "below `secrets/`"),
    "secret that is whole": ("services: {web: {env: {A: !secret {env: X, key: a}}}}", 1, 44, "a secret of `env` is whole", "take it out"),
    "secret of a secret": ('vars: {a_key: x}\nservices: {web: {env: {A: !secret {file: "/{{ a_key }}"}}}}', 2, 42, "cannot itself be a secret", "no secret in it"),
    "secret in a command": ("services: {web: {command: !secret {file: /x}}}", 1, 27, "`command` of service web holds a secret", "`env` or into a file"),
    "secret port": ("services: {web: {ports: [!secret {file: /x}]}}", 1, 26, "must be a whole number", ""),
    "secret as a mapping": ("services: {web: {env: !secret {file: /x}}}", 1, 23, "`env` must be a mapping", ""),
    "secret root": ("paths: {root: !secret {file: /x}}", 1, 15, "`paths.root` holds a secret", "no secret in it"),
    "needs image": ("components: {app: {install: apptainer-sif}}", 1, 19, "needs `image`", "below paths.images"),
    "not managed, with a command": ("services: {web: {managed: false, command: x, process: y}}", 1, 34, "`command` means nothing", "take it out"),
    "not managed, seen twice": ("services: {web: {managed: false, process: y, launcher: systemd}}", 1, 46, "both `process` and `launcher`", "by which"),
    "not managed, seen nowhere": ("services: {web: {managed: false}, job: {after: null, launcher: systemd}}", 1, 17, "no supervisord runs here", "`process: PATTERN`"),
    "not managed, an instance": ("services: {web: {managed: false, launcher: apptainer}}", 1, 44, "cannot tell of service `web`", "`process: PATTERN`"),
    "not managed, no pattern": ("services: {web: {managed: false, process: 'a('}}", 1, 43, "no usable pattern", "regular expression"),
    "not managed, any pattern": ("services: {web: {managed: false, process: 'a*'}}", 1, 43, "it matches everything", ""),
    "not managed, a user of no process": ("services: {web: {managed: false, user: y}}", 1, 34, "`user` of service `web` goes with", "process"),
    "not managed, no flag": ("services: {web: {managed: no}}", 1, 27, "true or false", ""),
    "not managed, name twice": ("services: {web: {managed: false, name: job}}", 1, 17, "one name on the host: `job`", "another `name`"),
    "managed, seen": ("services: {web: {process: y}}", 1, 18, "`web` is managed", "managed: false"),
    "window without kind": ("policy: {windows: {night: {for: 8h}}}", 1, 27, "does not say when it opens", "deny, allow"),
    "window of two kinds": ('policy: {windows: {night: {deny: "@daily", allow: "@daily", for: 8h}}}', 1, 44, "has `deny` and `allow`", "two windows"),
    "window without end": ('policy: {windows: {night: {deny: "@daily"}}}', 1, 28, "does not say how long it stays open", "`for: 8h`"),
    "window with a bad cron": ('policy: {windows: {night: {deny: "0 25 * * *", for: 8h}}}', 1, 34, "`25` is no hour", "0 to 23"),
    "window with half a cron": ('policy: {windows: {night: {deny: "0 22", for: 8h}}}', 1, 34, "5 fields, this has 2", "minute, hour"),
    "window in no zone": ('policy: {windows: {night: {deny: "@daily", for: 8h, zone: Europe/Berlim}}}', 1, 59, "no time zone `Europe/Berlim`", "Europe/Berlin"),
    "window for no time": ('policy: {windows: {night: {deny: "@daily", for: 8 hours}}}', 1, 49, "must be a length of time", "8h"),
    "window for zero": ('policy: {windows: {night: {deny: "@daily", for: 0h}}}', 1, 49, "stays open for no time", "8h"),
    "window with a buffer": ('policy: {windows: {night: {deny: "@daily", for: 8h, buffer: 2h}}}', 1, 53, "means nothing to", "take it out"),
    "maintenance in a zone": ("policy: {windows: {night: {slurm_reservation: true, zone: UTC}}}", 1, 53, "means nothing to", "take it out"),
    "maintenance of no nodes": ('policy: {windows: {night: {slurm_reservation: true, nodes: "nid[1-"}}}', 1, 60, "] is missing", "nid[001-100]"),
    "no maintenance": ("policy: {windows: {night: {slurm_reservation: false}}}", 1, 27, "does not say when it opens", "slurm_reservation"),
    "window of no service": ('policy: {windows: {night: {deny: "@daily", for: 8h, services: [wep]}}}', 1, 64, "a service that is not there: `wep`", "`web`"),
    "window that holds what": ('policy: {windows: {night: {deny: "@daily", for: 8h, holds: everything}}}', 1, 60, "unknown holds `everything`", "all, changes"),
    "keeps half a version": ("components: {app: {keep: 1.5}}", 1, 26, "must be a whole number", ""),
    "keeps fewer than none": ("components: {app: {keep: -1}}", 1, 26, "cannot be below 0", ""),
    "keeps no size": ("components: {app: {keep_bytes: 20 GB}}", 1, 32, "is no size", "20G"),
    "keeps a size without a unit": ('components: {app: {keep_bytes: "20"}}', 1, 32, "is no size", '"20G"'),
    "keeps a number": ("components: {app: {keep_bytes: 20}}", 1, 32, "must be text, this is a number", 'with a unit: "20G"'),
    "cleanup without root": ("cleanup: {in: {older_than: 14}}", 1, 15, "has no `root`", "which folder"),
    "cleanup without age": ("cleanup: {in: {root: /scratch/x}}", 1, 15, "has no `older_than`", "in days"),
    "cleanup of all": ("cleanup: {in: {root: /, older_than: 14}}", 1, 22, "belongs to the system", "the scratch folder itself"),
    "cleanup of the system": ("cleanup: {in: {root: /usr/share/x, older_than: 14}}", 1, 22, "belongs to the system", ""),
    "cleanup of a relative root": ("cleanup: {in: {root: scratch, older_than: 14}}", 1, 22, "must be absolute", "such as"),
    "cleanup by way of dots": ("cleanup: {in: {root: /scratch/../x, older_than: 14}}", 1, 22, "must not have `..`", ""),
    "cleanup of what is installed": ('cleanup: {in: {root: "{{ paths.venvs }}/old", older_than: 14}}', 1, 22, "part of what is installed here", "another folder"),
    "cleanup around what is installed": ('cleanup: {in: {root: "/srv/{{ site }}-dev", older_than: 14}}', 1, 22, "holds or is part of what is installed", "another folder"),
    "cleanup with an empty var": ('vars: {scratch: ""}\ncleanup: {in: {root: "{{ scratch }}/tmp/x", older_than: 14}}', 2, 22, "is empty: {{ scratch }} gives nothing", "the root would be `/tmp/x`"),
    "cleanup with a var of an empty one": ('vars: {scratch: "/data{{ disk }}/jaws", disk: ""}\ncleanup: {in: {root: "{{ scratch }}/x", older_than: 14}}', 2, 22, "is empty: {{ disk }} gives nothing", "give it a value"),
    "cleanup with a filtered empty one": ('cleanup: {in: {root: "/scratch/{{ level[9:] }}/x", older_than: 14}}', 1, 22, "gives nothing", ""),
    "cleanup with a block": ('cleanup: {in: {root: "/scratch/{% if site %}x{% endif %}", older_than: 14}}', 1, 22, "it cannot be told", ""),
    "cleanup of no depth": ("cleanup: {in: {root: /scratch/x, older_than: 14, min_depth: 0}}", 1, 61, "`min_depth` cannot be below 1", ""),
    "cleanup that never goes": ("cleanup: {in: {root: /scratch/x, older_than: 14, min_depth: 3, max_depth: 2}}", 1, 64, "less than its `min_depth`", "3 or more"),
    "cleanup of a type": ("cleanup: {in: {root: /scratch/x, older_than: 14, type: l}}", 1, 56, "unknown type `l`", "any, d, f"),
    "cleanup by an age": ("cleanup: {in: {root: /scratch/x, older_than: 14, age: oldest}}", 1, 55, "unknown age `oldest`", "newest, self"),
    "cleanup with a bad schedule": ('cleanup: {in: {root: /scratch/x, older_than: 14, schedule: "0 25 * * *"}}', 1, 60, "`25` is no hour", "0 to 23"),
    "cleanup in no zone": ("cleanup: {in: {root: /scratch/x, older_than: 14, zone: Mars}}", 1, 56, "no time zone `Mars`", "Europe/Berlin"),
    "cleanup for no size": ('cleanup: {in: {root: /scratch/x, older_than: 14, free_below: "10 GB"}}', 1, 62, "is no size", "500G"),
    "cleanup for a size without a unit": ('cleanup: {in: {root: /scratch/x, older_than: 14, free_below: "10"}}', 1, 62, "is no size", '"10%" or "500G"'),
    "cleanup for nothing, 0%": ('cleanup: {in: {root: /scratch/x, older_than: 14, free_below: "0%"}}', 1, 62, "is nothing, so it would never", "leave it out"),
    "cleanup for nothing, 0G": ('cleanup: {in: {root: /scratch/x, older_than: 14, free_below: "0G"}}', 1, 62, "is nothing, so it would never", "leave it out"),
    "cleanup of /var/log": ("cleanup: {in: {root: /var/log, older_than: 14}}", 1, 22, "belongs to the system", "name the scratch folder"),
    "cleanup of a pattern": ('cleanup: {in: {root: "/tmp/*", older_than: 14}}', 1, 22, "has `*`, and no pattern is looked for", "name one folder"),
    "cleanup of /var/lib/postgresql": ("cleanup: {in: {root: /var/lib/postgresql, older_than: 14}}", 1, 22, "belongs to the system", "name the scratch folder"),
    "cleanup for a number": ("cleanup: {in: {root: /scratch/x, older_than: 14, free_below: 10}}", 1, 62, "must be text, this is a number", 'with a unit: "10%"'),
    "cleanup in use nowhere": ("cleanup: {in: {root: /scratch/x, older_than: 14, in_use: {}}}", 1, 58, "does not say what lists", "`command:`"),
    "cleanup in use twice": ("cleanup: {in: {root: /scratch/x, older_than: 14, in_use: {command: x, file: /y}}}", 1, 58, "both `command` and `file`", ""),
    "cleanup in use of a relative file": ("cleanup: {in: {root: /scratch/x, older_than: 14, in_use: {file: y}}}", 1, 65, "no absolute path", "in full"),
    "cleanup that excludes all": ('cleanup: {in: {root: /scratch/x, older_than: 14, exclude: ["/"]}}', 1, 60, "cannot be `/`", "a pattern"),
    "cleanup that excludes by two stars": ('cleanup: {in: {root: /scratch/x, older_than: 14, exclude: ["**/keep"]}}', 1, 60, "has `**`, and one star stands for slashes too", "as for `find -name`"),
    "cleanup that excludes by half a pattern": ('cleanup: {in: {root: /scratch/x, older_than: 14, exclude: ["a[z-b]"]}}', 1, 60, "has a range that holds nothing, `z-b`", "as for `find -name`"),
    "cleanup of what root": ("cleanup: {in: {root: /scratch/x, older_than: 14, root_is: scratch}}", 1, 59, "unknown root_is `scratch`", "home, mount"),
    "window's unknown key": ('policy: {windows: {night: {deny: "@daily", fro: 8h}}}', 1, 44, "unknown key `fro`", "`for`"),
    "unknown launcher": ("services: {web: {launcher: supervisord}}", 1, 28, "unknown launcher", "`supervisor`"),
    "launcher's option": ("services: {web: {supervisor: {startsec: 1}}}", 1, 31, "`startsec` of supervisor", "`startsecs`"),
    "launcher's setting": ("supervisor: {prot: 1}", 1, 14, "`prot` of supervisor", "`port`"),
    "option's type": ("services: {web: {supervisor: {startsecs: x}}}", 1, 42, "a whole number", ""),
    "launcher refuses": ('services: {job: {command: "a; b"}}', 1, 27, "service `job`: command", ""),
    "unquoted mode": ("files: {app.conf: {mode: 0640}}", 1, 26, "must be quoted", '"0640"'),
    "no mode": ('files: {app.conf: {mode: "0980"}}', 1, 26, "no octal number", ""),
    "sync of what": ("policy: {sync: manuel}", 1, 16, "unknown sync `manuel`", "`manual`"),
    "prune how": ("policy: {prune: yes}", 1, 17, "unknown prune `yes`", "confirm, false, true"),
    "self-heal how": ("policy: {self_heal: never}", 1, 21, "true or false", "without quotes"),
    "guard without command": ("services: {web: {guard: {b: {timeout: 5s}}}}", 1, 29, "guard b of service web has no `command`", "must succeed"),
    "guard with an empty command": ("services: {web: {guard: {b: {command: ' '}}}}", 1, 30, "has no `command`", "must succeed"),
    "guard without end": ("services: {web: {guard: {b: {command: x, timeout: 2h}}}}", 1, 51, "must be from 1s to 600s", ""),
    "guard's unknown key": ("services: {web: {guard: {b: {comand: x}}}}", 1, 30, "unknown key `comand`", "`command`"),
    "guard that is no mapping": ("services: {web: {guard: {b: x}}}", 1, 29, "must be a mapping", ""),
    "bad limit": ("policy: {max_removals: many}", 1, 24, "a number or a percentage", "30%"),
    "unknown name": ('services: {job: {command: "{{ levle }}"}}', 1, 27, "unknown name `levle`", "`level`"),
    "unknown inner name": ('services: {job: {command: "{{ ports.wbe }}"}}', 1, 27, "there is no `wbe`", "`web`"),
    "unknown in a block": ("services:\n  job:\n    prologue: |\n      a\n      {{ b }}", 5, 1, "unknown name `b`", ""),
    "version in a var": ('vars: {a: "{{ version }}"}\nservices: {job: {command: "x {{ a }}"}}', 1, 11, "not known here", "within"),
    "no template": ('services: {job: {command: "{{ level"}}', 1, 27, "does not parse", ""),
    "unknown filter": ('services: {job: {command: "{{ level|qoute }}"}}', 1, 27, "No filter named", "`quote`"),
    "failing template": ('services: {job: {command: "{{ 1 // 0 }}"}}', 1, 27, "the template fails", ""),
    "var cycle": ('vars: {a: "{{ b }}", b: "{{ c }}", c: "{{ b }}{{ a }}"}\nservices: {job: {command: "x{{ a }}{{ b }}{{ c }}"}}',
                  1, 25, "b -> c -> b", "value of its own"),
    "var of its own": ('vars: {level: "{{ level }}"}', 1, 15, "level -> level", ""),
    "path cycle": ('paths: {root: "{{ paths.run }}"}', 1, 15, "paths.root -> paths.run -> paths.root", ""),
    "reserved var": ("vars: {paths: 1}", 1, 8, "cannot be called `paths`", "`my_paths`"),
    "site's key": ("environments: [dev]", 1, 1, "belongs into desired/sites/SITE.yaml", ""),
    "blank": ("services:\n", 1, 1, "nothing stands below `services`", "`null`"),
    "key twice": ("vars:\n  a: 1\n  b: 2\n  a: 3", 4, 3, "`a` is written twice; first in line 2", ""),
    "two documents": ("vars: {}\n---\nvars: {}", 2, 1, "document", "`---`"),
    "unknown tag": ("vars: {a: !env HOME}", 1, 11, "unknown tag `!env`", "`!secret`"),
    "key no text": ("vars: {1: a}", 1, 8, "a key must be text, this is a number", '"1"'),
    "key a list": ("vars: {[a]: a}", 1, 8, "a key must be text, this is a list", ""),
    "no mapping": ("- a", 1, 1, "a layer is a mapping", ""),
    "no yaml": ("vars: {a: [}", 1, 12, "not YAML", ""),
    "unknown alias": ("vars: {a: *b}", 1, 11, "alias", ""),
    "control character": ("vars: {a: \x07}", 1, 11, "U+0007", ""),
    "escaped NUL": ('vars: {a: "\\0"}', 1, 11, "control character", ""),
    "NUL by template": ("services: {job: {command: '{{ \"\\0\" }}'}}", 1, 27, "U+0000", ""),
    "too deep": ("vars: " + "[" * 60 + "]" * 60, 1, 56, "nested deeper than 50", ""),
    "contains itself": ("vars: &a {b: *a}", 1, 14, "inside of what it stands for", ""),
    "mark of ours": ("services: {web: {env: {RECONCILE_PID: x}}}", 1, 17, "one of the marks", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_PROBLEM)
def test_is_told(name: str, told: Callable[..., list[Problem]]) -> None:
    text, line, column, message, hint = ONE_PROBLEM[name]

    problems = told(text)

    assert len(problems) == 1, [str(problem) for problem in problems]
    assert (problems[0].origin.line, problems[0].origin.column) == (line, column)
    assert message in problems[0].message
    assert hint in problems[0].hint


def test_all_at_once(told: Callable[..., list[Problem]]) -> None:
    """One slip hides no other, within a service, among services and between files."""
    problems = told(
        "versions: {app: 1.0}\nservices:\n  web: {comand: x, ports: [0], env: {A: '{{ nope }}'}, after: [joob]}\n  job: {files: [none]}",
        {"templates/app.conf.j2": "{% if %}"},
    )
    words = ("not quoted", "`comand`", "`ports`", "`nope`", "`joob`", "`none`", "does not parse")
    messages = [problem.message for problem in problems]

    assert [word for word in words if not any(word in message for message in messages)] == []
    assert len(problems) == len(words)
    assert problems == sorted(problems)


def test_what_cannot_be_read_is_not_missed_elsewhere(told: Callable[..., list[Problem]]) -> None:
    """One slip of the pen in defaults.yaml is one problem: its components may be there after all."""
    problems = told(changes={"desired/defaults.yaml": "components: {app: {install: none}"})
    assert [problem.origin.file for problem in problems] == ["desired/defaults.yaml"]


def test_undecodable(told: Callable[..., list[Problem]]) -> None:
    assert [(p.origin, p.message) for p in told(b"vars:\n  a: \xff")] == [
        (Origin(BOTH, 2, 1), "this line is not UTF-8")
    ]


def test_oversized(told: Callable[..., list[Problem]]) -> None:
    assert "are the limit" in told("# " + "x" * (1 << 20))[0].message


def test_alias_bomb(told: Callable[..., list[Problem]]) -> None:
    """Nine levels of nine aliases: 387 million values in 500 bytes."""
    lines = ["vars:", "  a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]

    assert "aliases stand for more than" in told("\n".join(lines))[0].message


def test_template_errors_name_the_template(told: Callable[..., list[Problem]]) -> None:
    """Also where the error stands in a template that another one includes."""
    inner = {"templates/app.conf.j2": "a\n{% include 'b.j2' %}", "templates/b.j2": "a\nb\n{{ levle|upper }}"}

    (problem,) = told("", inner)

    assert problem.origin == Origin("templates/b.j2", 3, 1)
    assert (problem.message, problem.hint) == ("unknown name `levle`", "did you mean `level`?")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{% include 'app.conf.j2' %}", "without end"),
        ("{% include 'ap.conf.j2' %}", "unknown template `ap.conf.j2`"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "rounds"),
        ("{% for a in range(99999) %}" + "x" * 100 + "{% endfor %}", "grows over"),
        ("{{ 'x' * 999999999 }}", "too long"),
        ("{{ 9 ** 999999 }}", "too large"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ '\\ud800' }}", "not text"),
    ],
)
def test_runaway_templates(text: str, words: str, told: Callable[..., list[Problem]]) -> None:
    (problem,) = told("", {"templates/app.conf.j2": text})

    assert words in problem.message


@pytest.mark.parametrize("more", ['a: "{{ nobody }}"', 'a: "{{ b }}", b: "{{ a }}"'])
def test_a_var_that_nothing_uses_is_not_looked_at(
    more: str, tree: Callable[..., dict[str, bytes]], facts: Facts
) -> None:
    """So a layer for all sites may have vars that only some of them can tell."""
    assert validate(tree({"desired/environments/dev.yaml": f"vars: {{{more}}}\n"}), facts) == ()


def test_unused_templates_parse_too(tree: Callable[..., dict[str, bytes]], facts: Facts) -> None:
    (problem,) = validate(tree({"templates/unused.j2": "a\n{% endif %}"}), facts)

    assert problem.origin == Origin("templates/unused.j2", 2, 1)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("desired/sites/x.qa.yaml", "no environment `qa`"),
        ("desired/sites/y.dev.yaml", "no site `y`"),
        ("desired/enviroments/dev.yaml", "nothing reads it"),
        ("desired/sites/x.yml", "nothing reads it"),
    ],
)
def test_strays(path: str, words: str, tree: Callable[..., dict[str, bytes]], facts: Facts) -> None:
    (problem,) = validate(tree({path: ""}), facts)

    assert words in problem.message
    assert problem.origin == Origin(path, 0, 0)
    assert problem.hint


def test_unknown_site_and_environment(tree: Callable[..., dict[str, bytes]], facts: Facts) -> None:
    assert "no site `y`" in compile_site(tree(), "y", None, facts).problems[0].message
    assert "no environment `qa`" in compile_site(tree(), "x", ["qa"], facts).problems[0].message
    assert (
        "no environment `qa`" in validate(tree({"desired/sites/x.yaml": "environments: [dev, qa]"}), facts)[0].message
    )
    assert "no site" in validate({}, facts)[0].message


TWO = {"desired/sites/x.yaml": "environments: [dev, prod]", "desired/environments/prod.yaml": ""}


def test_environments_share_the_host(told: Callable[..., list[Problem]]) -> None:
    """Both take port 8080, and it counts once. Asking for one environment only changes nothing."""
    (problem,) = told("", TWO)

    assert problem.origin == Origin("desired/defaults.yaml", 4, 16)  # the var that both use
    assert problem.message == "port 8080 is used twice: by `web` in dev and by `web` in prod"


def test_environments_with_one_root(told: Callable[..., list[Problem]]) -> None:
    apart = {**TWO, "desired/environments/prod.yaml": "vars: {ports: {web: 8081}}\npaths: {root: /srv/a/b}"}

    assert [p.message for p in told("paths: {root: /srv/a}", apart)] == [
        "environments dev and prod have one root inside of the other: /srv/a"
    ]


def test_daemon_ports_count(told: Callable[..., list[Problem]]) -> None:
    (problem,) = told("supervisor: {port: 8080, username: u, password: p}")

    assert "port 8080 is used twice: by `web` in dev and by launcher supervisor in dev" in problem.message
    assert problem.origin == Origin(BOTH, 1, 20)


def test_files_with_one_path(told: Callable[..., list[Problem]]) -> None:
    """Among them those that launchers render."""
    text = 'files: {a: {template: app.conf.j2, path: "{{ paths.%s"}}'

    assert (
        "two files have one path, /srv/x-dev/config/app.conf: by file `a`"
        in told(text % "config }}/app.conf")[0].message
    )
    assert "shim of `web`" in told(text % "bin }}/web")[0].message


def test_each_thing_once(tree: Callable[..., dict[str, bytes]], facts: Facts) -> None:
    """A problem of many deployments is told once; one of some of them says which."""
    many = {f"desired/sites/{site}.yaml": "vars: {ports: {web: 1}, only: 1}" for site in ("a", "b", "c")}
    bump = {"desired/environments/dev.yaml": 'services: {job: {command: "{{ nope }} {{ only }}"}}'}
    some = {"desired/environments/dev.yaml": 'services: {job: {command: "{{ only }}"}}'}

    assert [p.message for p in validate(tree({**many, **bump}), facts)] == ["unknown name `nope`"]
    assert [p.message for p in validate(tree({**many, **some}), facts)] == ["unknown name `only` (in x/dev)"]


@pytest.mark.parametrize(
    ("file", "text", "place", "message", "hint"),
    [
        ("x.dev", "3f2a91c4: why", ":1:1", "`3f2a91c4` is not the whole id of a plan", "32 letters"),
        ("x.dev", f"{'0' * 31}f: [why]", ":1:35", "what is said of a plan is text, this is a list", "in quotes"),
        ("x.dev", "- a", ":1:1", "a layer is a mapping", ""),
        ("x.prod", "", "", "there is no deployment of this name", "`approvals/x.dev.yaml`"),
    ],
)
def test_approvals(  # noqa: PLR0917 - a row of the table
    file: str, text: str, place: str, message: str, hint: str, told: Callable[..., list[Problem]]
) -> None:
    path = f"approvals/{file}.yaml"
    (problem,) = told("", {path: text})
    assert str(problem).startswith(f"{path}{place}: ")
    assert message in problem.message
    assert hint in problem.hint
