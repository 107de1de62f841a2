"""What two states of a repo are told to differ in, and why: without any host."""

from __future__ import annotations

import re

from reconciler.core.report import DeploymentReport
from reconciler.report.compare import compare_text
from reconciler.report.style import Style
from tests.report.repos import DEFAULTS, Repo, compared, repo

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
