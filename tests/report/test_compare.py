"""What two states of a repo are told to differ in, and why: without any host."""

from __future__ import annotations

import re
from html import unescape

import pytest

from reconciler.core.problem import Origin
from reconciler.core.report import DeploymentReport
from reconciler.core.review import Cause
from reconciler.report.compare import compare_data, compare_text
from reconciler.report.html.page import html
from reconciler.report.markdown import markdown
from reconciler.report.review import of_comparison
from reconciler.report.style import Style
from reconciler.report.text.causes import told_causes
from tests.report.repos import CANARY, DEFAULTS, Repo, compared, repo

PLAIN = Style(colour=False, width=80)


def only(before: Repo, after: Repo) -> DeploymentReport:
    """The report of aws/dev."""
    found = compared(before, after, site="aws")
    assert not found.problems
    return next(one for report in found.reports for one in report.deployments if one.plan.environment == "dev")


def causes(report: DeploymentReport, service: str) -> list[str]:
    assert report.why
    return [cause.key for cause in report.why.causes[service]]


def test_what_is_the_same_in_both_is_not_compiled() -> None:
    """A site that is not valid and that the change does not touch: compiling it would tell so."""
    broken = {"desired/sites/odd.yaml": "bogus: 1\n"}
    changed = {**broken, "desired/sites/aws.yaml": "vars: {level: DEBUG}\n"}
    found = compared(repo("aws", "dori", changes=broken), repo("aws", "dori", changes=changed))
    assert (found.exit_code, found.compared, [report.site for report in found.reports]) == (2, 6, ["aws"])
    touched = {**broken, "desired/environments/dev.yaml": "vars: {level: DEBUG}\n"}
    found = compared(repo("aws", "dori", changes=broken), repo("aws", "dori", changes=touched))
    assert (found.exit_code, [problem.message for problem in found.problems]) == (3, ["unknown key `bogus`"])


def test_a_value_is_the_cause_of_what_uses_it_and_of_nothing_else() -> None:
    before = DEFAULTS.replace("level: INFO", 'level: "{{ base }}", base: INFO, other: x')
    before = before.replace("command: sleep 3", "command: 'sleep {{ other }}'")
    after = before.replace("base: INFO", "base: DEBUG").replace("other: x", "other: y")
    after = after.replace('app: "1.0"', 'app: "1.1"')
    states = [repo("aws", changes={"desired/defaults.yaml": text}) for text in (before, after)]
    told = only(*states)
    assert causes(told, "worker") == ["vars.base", "versions.app"], "by way of another var"
    assert causes(told, "web") == ["vars.base", "versions.app"], "by its file"
    assert causes(told, "reader") == ["vars.other", "versions.app"]
    assert causes(told, "") == ["vars.base", "vars.other", "versions.app"]


@pytest.mark.parametrize(("count", "told"), [(9, "and 1 more value"), (10, "and 2 more values")])
def test_values_that_are_not_shown_are_counted(count: int, told: str) -> None:
    values = [Cause(f"vars.v{n}", "1", "2", Origin("desired/defaults.yaml", n, 1)) for n in range(count)]
    assert [*told_causes(values, PLAIN)][-1] == f"    git      {told}"


def test_files_that_are_not_shown_are_counted() -> None:
    """What only follows from a version is not shown: the shim of each service."""
    web, worker, _ = DEFAULTS.splitlines()[-3:]
    for names, told in (([web], "1 rendered file changes: "), ([web, worker], "2 rendered files change: ")):
        before = "\n".join([*DEFAULTS.splitlines()[:-3], *names])
        after = before.replace('app: "1.0"', 'app: "1.1"')
        states = [repo("aws", changes={"desired/defaults.yaml": text}) for text in (before, after)]
        assert told in compare_text(compared(*states, site="aws"), PLAIN)


def test_a_template_is_the_cause_of_what_reads_it() -> None:
    told = only(repo("aws"), repo("aws", changes={"templates/app.conf.j2": "level = {{ level }}\n# here\n"}))
    assert causes(told, "web") == ["templates/app.conf.j2"]
    assert told.why
    assert {name for name in told.why.causes if name} == {"web"}
    (cause,) = told.why.causes["web"]
    assert (cause.origin.file, cause.origin.line) == ("templates/app.conf.j2", 2)


def test_what_goes_is_told_file_by_file() -> None:
    after = DEFAULTS.replace("  web: {component: app, command: sleep 1, files: [app.conf]}\n", "")
    told = only(repo("aws"), repo("aws", changes={"desired/defaults.yaml": after}))
    assert told.why
    gone = {delta.name: delta.lines for delta in told.why.deltas if delta.word == "removed"}
    assert {"ROOT/bin/web", "ROOT/config/supervisor/web.conf"} <= gone.keys()
    assert all(line[:1] in "@-" for lines in gone.values() for line in lines)


CLEAN = 'cleanup: {old: {root: "/scratch/{{ site }}", min_depth: 2, older_than: %s, exclude: %s}}\n'


def test_a_rule_that_removes_more_is_told_in_each_form_though_no_step_comes_of_it() -> None:
    """Who merges it reads it before anything is gone. Words of others are only text in all of them."""
    before = {"desired/sites/aws.yaml": CLEAN % (14, '["*.keep", "<img src=x>"]')}
    after = {"desired/sites/aws.yaml": CLEAN % (1, '["<img src=x>"]')}
    assert only(repo("aws", changes=before), repo("aws", changes=after)).plan.steps == ()
    found = compared(repo("aws", "dori", changes=before), repo("aws", "dori", changes=after))
    assert (found.exit_code, [report.site for report in found.reports]) == (2, ["aws"])
    text = compare_text(found, PLAIN._replace(width=0))
    assert "~ cleanup.old below /scratch/aws: older_than 14 -> 1, exclude *.keep, " in text
    assert "exclude *.keep, <img src=x> -> <img src=x>; it may remove more" in text
    assert text.count("cleanup.old below") == 1  # of both environments
    (rule,) = compare_data(found)["sites"][0]["deployments"][0]["rules"]
    assert (rule["rule"], rule["change"], rule["risky"]) == ("cleanup.old", "changed", True)
    assert rule["keys"]["older_than"] == {"before": "14", "after": "1"}
    review = of_comparison(found)
    assert [remark.level for place in review.places for remark in place.remarks] == ["warning", "warning"]
    for form in (markdown(review), html(review)):
        told = unescape(form)
        assert "older_than 14 -> 1" in told
        assert "<img" not in form


def test_what_stays_of_old_versions_is_a_rule_too() -> None:
    venv = 'components: {app: {install: venv, requirement: "app=={{ version }}"%s}}\n'
    states = [repo("aws", changes={"desired/sites/aws.yaml": venv % keep}) for keep in ("", ", keep: 3", ", keep: 1")]
    for before, after, told, level in (
        (0, 1, "components.app is new among its old versions: keep 3", True),
        (1, 2, "components.app among its old versions: keep 3 -> 1; it may remove more", True),
        (2, 1, "components.app among its old versions: keep 1 -> 3", False),
        (2, 0, "components.app removes nothing any more among its old versions", False),
    ):
        (rule,) = only(states[before], states[after]).rules
        assert (str(rule), rule.is_risky) == (told, level)


def test_when_a_rule_comes_is_told_and_no_warning() -> None:
    words = [(CLEAN % (14, "[]")).replace("exclude: []", f'schedule: "0 {hour} * * *"') for hour in (2, 3)]
    states = [repo("aws", changes={"desired/sites/aws.yaml": text}) for text in words]
    (rule,) = only(*states).rules
    assert (str(rule), rule.is_risky) == ("cleanup.old below /scratch/aws: schedule 0 2 * * * -> 0 3 * * *", False)


@pytest.mark.parametrize(
    ("before", "after", "told", "risky"),
    [
        ("older_than: 14", "older_than: 1", "older_than 14 -> 1; it may remove more", True),
        ("older_than: 1", "older_than: 14", "older_than 1 -> 14", False),
        (
            "older_than: 2, in_use: {command: ids}",
            "older_than: 2, in_use: {file: /run/ids}",
            "in_use.file (none) -> /run/ids, in_use.command ids -> (none); it may remove more",
            True,
        ),
    ],
)
def test_it_is_told_in_words_that_a_rule_may_remove_more(before: str, after: str, told: str, *, risky: bool) -> None:
    rules = [f"cleanup: {{old: {{root: /scratch/x, {keys}}}}}\n" for keys in (before, after)]
    (rule,) = only(*(repo("aws", changes={"desired/sites/aws.yaml": text}) for text in rules)).rules
    assert (str(rule), rule.is_risky) == (f"cleanup.old below /scratch/x: {told}", risky)


def test_a_deployment_that_moves_is_compared_with_what_it_was() -> None:
    """Its files have the same names; pids of what is left behind are nobody's to know."""
    moved = {"desired/defaults.yaml": DEFAULTS.replace("/srv/", "/opt/")}
    found = compared(repo("aws"), repo("aws", changes=moved))
    text = compare_text(found, PLAIN, whole=True)
    assert "+++ ROOT/bin/web" in text
    assert "/dev/null" not in text
    assert not re.search(r"\bpid \d", text)
    assert "paths.root /srv/{{ site }}-{{ environment }} -> /opt/" in text.replace("\n             ", " ")


def test_a_file_without_an_end_of_line_is_told_as_diff_does() -> None:
    before = {"templates/app.conf.j2": "a\nb"}
    told = only(repo("aws", changes=before), repo("aws", changes={"templates/app.conf.j2": "a\nb\n"}))
    assert told.why
    lines = next(delta.lines for delta in told.why.deltas if delta.name == "ROOT/config/app.conf")
    assert "-\\ No newline at end of file" in lines


ENV = "  worker: {component: app, command: sleep 2, env: {%s}}"
PLAIN_ENV = 'LEVEL: "{{ level }}", COLOUR: blue'
SECRET_ENV = 'LEVEL: "{{ level }}", DB_PASSWORD: "{{ db_password }}", URL: "pg://u:{{ db_password | upper }}@h"'


def env_lines(before: str, after: str, **words: str) -> tuple[tuple[str, ...], str]:
    """Of the worker's variables, as they differ between two states."""
    lines = DEFAULTS.splitlines()
    row = next(number for number, line in enumerate(lines) if line.startswith("  worker:"))

    def state(env: str) -> dict[str, bytes]:
        return repo("aws", changes={"desired/defaults.yaml": "\n".join([*lines[:row], ENV % env, *lines[row + 1 :]])})

    new = state(after)
    for old, word in words.items():
        new["desired/defaults.yaml"] = new["desired/defaults.yaml"].replace(old.encode(), word.encode())
    told = only(state(before), new)
    assert told.why
    found = [delta for delta in told.why.deltas if delta.name == "ROOT/config/env/worker.env"]
    assert CANARY not in str(told.why.deltas).lower()
    return (found[0].lines, found[0].hidden) if found else ((), "")


def test_variables_are_shown_line_by_line() -> None:
    shown, hidden = env_lines(PLAIN_ENV, PLAIN_ENV, INFO="DEBUG")
    assert ([line for line in shown if line[:1] in "+-"], hidden) == (
        ["-export LEVEL=INFO", "+export LEVEL=DEBUG"],
        "",
    )


def test_of_variables_those_that_are_secret_have_no_value_in_it() -> None:
    shown, hidden = env_lines(SECRET_ENV, SECRET_ENV, INFO="DEBUG")
    assert [line for line in shown if line[:1] in "+-"] == ["-export LEVEL=INFO", "+export LEVEL=DEBUG"]
    assert " export URL='(secret)'" in shown
    assert hidden == ""


def test_a_secret_that_changes_is_not_shown() -> None:
    assert env_lines(SECRET_ENV, SECRET_ENV, **{f"{CANARY}-old": f"{CANARY}-new"}) == ((), "secret: not shown")


@pytest.mark.parametrize("turned", [False, True])
def test_what_is_a_secret_on_one_side_only_hides_both(*, turned: bool) -> None:
    """What was written plainly before is most likely the secret."""
    plain = f'LEVEL: "{{{{ level }}}}", DB_PASSWORD: !secret "{CANARY}", URL: "{CANARY}"'
    sides = (plain, SECRET_ENV) if not turned else (SECRET_ENV, plain)
    assert env_lines(*sides) == ((), "secret: not shown")
    sides = (f"URL: {CANARY}", 'URL: "{{ db_password }}"')
    assert env_lines(*(reversed(sides) if turned else sides)) == ((), "secret: not shown")
