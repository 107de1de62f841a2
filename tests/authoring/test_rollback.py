"""`rollback`: back to what it was, as one more commit on a branch; the repo alone says what that is."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.authoring.quick import bumps_others_only
from reconciler.desired import Facts, compile_site
from reconciler.source import tree_at
from tests.authoring.conftest import Checkout

pytestmark = pytest.mark.git

DEFAULTS, DEV, PROD = (f"desired/{name}.yaml" for name in ("defaults", "environments/dev", "environments/prod"))


def state(checkout: Checkout, revision: str, environment: str, service: str = "") -> list[object]:
    """What a commit amounts to on both sites."""
    found: list[object] = []
    for site in ("aws", "dori"):
        result = compile_site(tree_at(str(checkout.path), revision)[1], site, None, Facts("h", "a", "s"))
        deployment = result.compiled[environment].deployment
        services = [one for one in deployment.services if service in ("", one.name)]
        found += [services, [one.digest for one in deployment.files if not service]]
    return found


def rolled_back(checkout: Checkout, *words: str) -> dict[str, Any]:
    data = checkout.made("rollback", *words)
    assert checkout.git("rev-parse", f"{data['branch']}^") == checkout.git("rev-parse", "HEAD")
    assert checkout.git("log", "-1", "--format=%s", data["branch"]) == data["subject"]
    return data


def test_a_bump_goes_back_and_what_came_after_it_stays(checkout: Checkout) -> None:
    bumped = checkout.edit("Bump web", DEV, "2.8.1", "2.9.0")
    checkout.edit("another service", DEV, "level: DEBUG", "level: TRACE")
    checkout.edit("no matter for dev", PROD, "2.7.0", "2.7.1")
    checkout.commit("no matter at all", {"README": "x\n", "desired/sites/aws.yaml": "# a comment\n"})
    data = rolled_back(checkout, "queue", "--environment", "dev")
    assert (data["branch"], data["files"]) == (f"rollback/queue-dev-{checkout.first[:8]}", [DEV])
    assert data["lines"][:2] == [
        f"Back to {checkout.first[:8]} (Ann: first)",
        f"Undoes {bumped[:8]} (Ann: Bump web)",
    ]
    assert data["notes"] == ["2 services besides change with it, see below"]  # server, which is of the same component
    assert state(checkout, data["branch"], "dev", "queue") == state(checkout, checkout.first, "dev", "queue")
    assert state(checkout, data["branch"], "dev", "tool") == state(checkout, "HEAD", "dev", "tool")
    assert checkout.changed(data["branch"]) == (
        ["  web: '2.9.0'     # since spring"],
        ["  web: '2.8.1'     # since spring"],
    )
    assert "there is a branch" in checkout.refused("rollback", "queue", "--environment", "dev")
    dry = checkout.made("rollback", "queue", "--environment", "dev", "--dry-run")
    assert (dry["files"], dry["commit"]) == ([DEV], None)
    (told,) = (note for note in dry["notes"] if "there is a branch" in note)
    assert "without --dry-run this is refused" in told
    assert "not the name of a branch" in checkout.refused("rollback", "queue", "--environment=dev", "--branch=a..b")


def test_an_environment_goes_back_by_one_change_and_then_there_and_back_again(checkout: Checkout) -> None:
    checkout.edit("Bump web", DEV, "2.8.1", "2.9.0")
    second = checkout.edit("More is logged", DEV, "DEBUG", "TRACE")
    data = rolled_back(checkout, "dev")
    assert data["lines"][1] == f"Undoes {second[:8]} (Ann: More is logged)"
    assert data["notes"] == []
    assert state(checkout, data["branch"], "dev") == state(checkout, f"{second}^", "dev")
    checkout.merge(data["branch"], "--no-ff", "-m", "Merge it")
    again = rolled_back(checkout, "dev")
    assert state(checkout, again["branch"], "dev") == state(checkout, second, "dev")
    assert "(Ann: Merge it)" in again["lines"][1]


def test_to_a_commit_of_one_s_own_choice(checkout: Checkout) -> None:
    """Several commits are undone, but none of what they or others did to prod."""
    checkout.edit("Bump web", DEV, "2.8.1", "2.9.0")
    checkout.edit("Bump it in prod", PROD, "2.7.0", "2.8.1")
    checkout.edit("Bump web more", DEV, "2.9.0", "2.9.1")
    checkout.edit("All take another command", DEFAULTS, "command: work", "command: work hard")
    data = rolled_back(checkout, "dev", "--to", checkout.first, "--branch", "mine")
    assert data["branch"] == "mine"
    assert state(checkout, "mine", "dev") == state(checkout, checkout.first, "dev")
    assert data["notes"] == ["2 services besides change with it, see below"]  # the command is prod's as well
    prod = state(checkout, "mine", "prod", "server")
    assert prod == state(checkout, "HEAD", "prod", "server") != state(checkout, checkout.first, "prod", "server")
    checkout.merge("mine")
    told = checkout.run("rollback", "dev", "--to", checkout.first)
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith(f"dev is as it was at {checkout.first[:8]} (Ann: first)")


def test_of_a_commit_that_changed_more_only_its_own_part_is_undone(checkout: Checkout) -> None:
    text = {file: checkout.read(file).replace("2.8.1", "3.0").replace("2.7.0", "3.0") for file in (DEV, PROD)}
    checkout.commit("Bump web everywhere", text)
    data = rolled_back(checkout, "dev")
    assert (data["files"], data["notes"]) == ([DEV], [])
    data = rolled_back(checkout, "prod", "--site", "dori")
    assert data["files"] == ["desired/sites/dori.prod.yaml"]  # a version of its own: aws keeps the new one
    assert state(checkout, data["branch"], "prod")[:2] == state(checkout, "HEAD", "prod")[:2]
    assert state(checkout, data["branch"], "prod")[2:] == state(checkout, checkout.first, "prod")[2:]


def test_neighbouring_lines_do_not_keep_a_version_from_going_back(checkout: Checkout) -> None:
    """The next line has changed since, so git cannot merge; the version itself can be set back."""
    checkout.edit("Bump web", DEV, "2.8.1", "2.9.0")
    checkout.edit("A line beside it", DEV, "# since spring\n", "# since spring\n  tool: '7'\n")
    checkout.edit("And a comment", DEV, "# since spring", "# since summer")
    data = rolled_back(checkout, "server", "--environment", "dev")
    assert data["lines"][-1] == "By: versions set back"
    assert checkout.changed(data["branch"]) == (
        ["  web: '2.9.0'     # since summer"],
        ["  web: '2.8.1'     # since summer"],
    )


def test_a_merge_counts_as_one_change(checkout: Checkout) -> None:
    checkout.git("checkout", "--quiet", "-b", "topic")
    checkout.edit("Step one", DEV, "2.8.1", "2.8.5")
    checkout.edit("Step two", DEV, "2.8.5", "2.9.0")
    checkout.git("checkout", "--quiet", "main")
    checkout.merge("topic", "--no-ff", "-m", "Merge topic")
    data = rolled_back(checkout, "dev")
    assert "(Ann: Merge topic)" in data["lines"][1]
    assert state(checkout, data["branch"], "dev") == state(checkout, checkout.first, "dev")


def test_what_was_never_valid_is_not_gone_back_to(checkout: Checkout) -> None:
    checkout.edit("A slip", DEV, "'2.8.1'", "'2 8'")
    bad = checkout.edit("Another", DEV, "'2 8'", "'2  8'")
    checkout.edit("Mended", DEV, "'2  8'", "'2.9.0'")
    data = rolled_back(checkout, "dev")
    assert [line.partition(": ")[2] for line in data["lines"][1:4]] == ["Mended)", "Another)", "A slip)"]
    assert state(checkout, data["branch"], "dev") == state(checkout, checkout.first, "dev")
    assert f"{bad[:8]} is not valid" in checkout.refused("rollback", "dev", "--to", bad)


def test_a_conflict_is_told_and_nothing_is_made(checkout: Checkout) -> None:
    changed = checkout.edit("Work harder", DEFAULTS, "command: work}", "command: work hard}")
    checkout.edit("Only a comment", DEFAULTS, "command: work hard}", "command: work hard}  # as agreed")
    said = checkout.refused("rollback", "queue", "--environment", "dev")
    assert "queue in dev cannot be set back cleanly" in said
    assert f"{DEFAULTS} was changed again since {changed[:8]} (Ann: Work harder), in the same lines" in said
    assert "git revert" in said


def test_a_file_that_came_or_went(checkout: Checkout) -> None:
    checkout.commit("dori is another one", {"desired/sites/dori.dev.yaml": "vars: {level: ERROR}\n"})
    data = rolled_back(checkout, "dev", "--site", "dori")
    assert data["files"] == ["desired/sites/dori.dev.yaml"]
    assert checkout.git("diff", "--name-status", "HEAD", data["branch"]) == "D\tdesired/sites/dori.dev.yaml"
    assert "+++ /dev/null" in data["diff"]
    checkout.merge(data["branch"])
    again = rolled_back(checkout, "tool", "--environment", "dev", "--site", "dori")
    assert checkout.git("diff", "--name-status", "HEAD", again["branch"]) == "A\tdesired/sites/dori.dev.yaml"


@pytest.mark.parametrize(
    ("asks", "found"),
    [
        ({"templates/web.conf.j2": "tool={{ versions['tool'] }}\n"}, True),
        ({"templates/web.conf.j2": "{% for name in versions %}{{ name }}={{ versions[name] }}\n{% endfor %}"}, True),
        ({"desired/sites/aws.yaml": 'vars: {level: "{{\n    versions.tool }}"}\n'}, True),
        ({"desired/sites/aws.yaml": 'vars: {level: "{{ versions.web }}"}  # not that of the tool\n'}, False),
    ],
)
def test_a_bump_of_another_component_counts_where_a_text_asks_for_it(
    checkout: Checkout, asks: dict[str, str], found: bool
) -> None:
    """Else such commits, nearly all of a long history, are passed over without working out what they amount to."""
    checkout.commit("Asks for it", asks)
    checkout.edit("Bump web", DEV, "2.8.1", "2.9.0")
    checkout.edit("Bump the tool", DEFAULTS, '"1.0" ', '"1.1" ')
    data = rolled_back(checkout, "server", "--environment", "dev")
    assert data["lines"][1].endswith("(Ann: Bump the tool)" if found else "(Ann: Bump web)")
    before, after = (tree_at(str(checkout.path), revision)[1] for revision in ("HEAD^", "HEAD"))
    assert bumps_others_only(before, after, [DEFAULTS], ["web"]) is not found
    assert not bumps_others_only(before, after, [DEFAULTS], ["web", "tool"])
    assert not bumps_others_only(before, {**after, DEFAULTS: after[DEFAULTS] + b"\nx: 1"}, [DEFAULTS], ["web"])


def test_what_is_meant_must_be_clear(checkout: Checkout) -> None:
    said = checkout.refused("rollback", "serve")
    assert "no service and no environment `serve`" in said
    assert "did you mean `server`?" in said
    assert "known: dev, prod" in checkout.refused("rollback", "server")
    assert "did you mean `dev`?" in checkout.refused("rollback", "server", "--environment", "def")
    assert "dev was never another one" in checkout.refused("rollback", "dev")
    assert "`--to COMMIT`" in checkout.refused("rollback", "dev")
    assert "names no commit" in checkout.refused("rollback", "dev", "--to", "nowhere")
    checkout.edit("new", DEFAULTS, "services:\n", "services:\n  late: {component: web, command: late}\n")
    said = checkout.refused("rollback", "late", "--environment", "dev")
    assert "late in dev has no earlier state: it came with" in said
    checkout.edit("a service called like an environment", DEFAULTS, "  late:", "  dev:")
    assert "is a service and an environment" in checkout.refused("rollback", "dev")
    checkout.git("checkout", "--quiet", "--orphan", "island")
    checkout.git("commit", "--quiet", "-m", "another history")
    assert "is not in the history of" in checkout.refused("rollback", "prod", "--to", checkout.first)
    checkout.commit("broken", {DEV: "versions: {web: '2 8'}\n"})
    assert "it is not valid for aws, dori" in checkout.refused("rollback", "prod")


def test_a_shallow_clone_ends_somewhere(checkout: Checkout) -> None:
    checkout.edit("Bump web", DEV, "2.8.1", "2.9.0")
    checkout.edit("More", DEV, "2.9.0", "2.9.1")
    shallow = checkout.path.parent / "shallow"
    checkout.git("clone", "--quiet", "--depth=1", f"file://{checkout.path}", str(shallow))
    told = checkout.run("rollback", "dev", repo=shallow)
    assert (told.code, told.out) == (3, "")
    assert "was never another one" in told.err
    assert "git fetch --unshallow" in told.err
