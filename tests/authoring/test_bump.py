"""`bump` and `promote`: the right line, as a commit on a branch of its own, and nothing else anywhere."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler.authoring.shown import file_diffs
from tests.authoring.conftest import LAYERS, Checkout

pytestmark = pytest.mark.git

DEV, PROD = "desired/environments/dev.yaml", "desired/environments/prod.yaml"


def reached(data: dict[str, object]) -> list[str]:
    """The deployments that the answer says would change."""
    effect = data["effect"]
    assert isinstance(effect, dict)
    return [f"{site['site']} {one['environment']}" for site in effect["sites"] for one in site["deployments"]]


def test_a_bump_is_one_line_on_a_branch(checkout: Checkout) -> None:
    """What lies about in the work tree, staged or not, stays there and is no part of it."""
    checkout.write({DEV: "spoilt: [", "desired/new.yaml": "x: 1\n", "templates/web.conf.j2": "staged\n"})
    checkout.git("add", "templates/web.conf.j2")
    data = checkout.made("bump", "web", "2.9.0", "--environment", "dev")
    assert (data["branch"], data["base"], data["files"]) == ("bump/web-2.9.0-dev", checkout.first, [DEV])
    assert checkout.changed("bump/web-2.9.0-dev") == (
        ["  web: '2.8.1'     # since spring"],
        ["  web: '2.9.0'     # since spring"],
    )
    made = checkout.git("log", "--format=%H %P %an <%ae> %s%n%b", "main..bump/web-2.9.0-dev")
    assert made == (
        f"{data['commit']} {checkout.first} Ann <ann@example.org> Bump web to 2.9.0 in dev\n{DEV}:3: 2.8.1 -> 2.9.0"
    )
    assert reached(data) == ["aws dev", "dori dev"]
    assert data["notes"] == [f"not committed yet, and so not part of it: {DEV}"]
    assert data["next"] == ["git merge bump/web-2.9.0-dev"]
    said = checkout.refused("bump", "web", "2.9.0", "--environment", "dev")
    assert "there is a branch bump/web-2.9.0-dev already" in said
    assert "git branch -D bump/web-2.9.0-dev" in said
    assert "git branch -D" not in checkout.refused("bump", "web", "2.9.0", "--branch", "main")


def test_the_second_time_there_is_nothing_to_do(checkout: Checkout) -> None:
    checkout.made("bump", "web", "2.9.0", "--environment", "dev")
    checkout.merge("bump/web-2.9.0-dev")
    told = checkout.run("bump", "web", "2.9.0", "--environment", "dev")
    assert (told.code, told.err) == (0, "")
    assert told.out == "web is 2.9.0 in dev already\nNothing to change, so nothing is committed.\n"
    assert checkout.run("validate", str(checkout.path)).code == 0


def test_what_a_person_reads(checkout: Checkout) -> None:
    checkout.git("remote", "add", "origin", "ssh://git.example.org/x.git")
    out = checkout.run("bump", "web", "2.9.0", "--environment", "dev").out
    assert out.startswith("Bump web to 2.9.0 in dev, on top of main (")
    assert f"--- a/{DEV}\n+++ b/{DEV}\n" in out
    assert "\n-  web: '2.8.1'     # since spring\n+  web: '2.9.0'     # since spring\n" in out
    assert "2 of 4 deployments differ." in out
    assert "Next: git push origin bump/web-2.9.0-dev, and open a merge request" in out


def test_a_dry_run_makes_nothing(checkout: Checkout) -> None:
    objects = checkout.git("count-objects", "-v")
    data = checkout.made("bump", "web", "2.9.0", "--environment", "dev", "--dry-run")
    assert (data["commit"], data["next"], checkout.branches()) == (None, [], ["main"])
    assert reached(data) == ["aws dev", "dori dev"]
    assert checkout.git("count-objects", "-v") == objects
    assert "Nothing is committed: --dry-run." in checkout.run("bump", "web", "3", "--environment=dev", "--dry-run").out


def test_what_holds_for_all_is_left_for_the_others(checkout: Checkout) -> None:
    """`tool` is set in defaults.yaml: dev gets a line of its own, as its neighbours are written."""
    data = checkout.made("bump", "tool", "1.1", "--environment", "dev")
    assert checkout.changed("bump/tool-1.1-dev") == ([], ["  tool: '1.1'"])
    assert reached(data) == ["aws dev", "dori dev"]
    data = checkout.made("bump", "tool", "1.2")
    assert checkout.changed("bump/tool-1.2") == (
        ['  tool: "1.0"      # the same in every environment'],
        ['  tool: "1.2"      # the same in every environment'],
    )
    assert reached(data) == ["aws dev", "aws prod", "dori dev", "dori prod"]


def test_what_comes_later_does_not_get_what_was_asked_for_one(checkout: Checkout) -> None:
    """Nobody but dev has it now, by files that are for everybody: another environment that comes would."""
    checkout.commit("only dev", {f"desired/sites/{site}.yaml": "environments: [dev]\n" for site in ("aws", "dori")})
    data = checkout.made("bump", "tool", "1.1", "--environment", "dev")
    assert data["files"] == [DEV]
    data = checkout.made("bump", "tool", "1.1", "--environment", "dev", "--site", "aws")
    assert data["files"] == ["desired/sites/aws.dev.yaml"]
    data = checkout.made("bump", "tool", "1.1")
    assert data["files"] == ["desired/defaults.yaml"]


def test_what_keeps_its_version_is_named_with_all_options_that_change_it(checkout: Checkout) -> None:
    """With the site alone the line of the site in the environment would win all the same."""
    checkout.commit("dori stays", {"desired/sites/dori.dev.yaml": 'versions: {web: "2.6.0", tool: "0.9"}\n'})
    both = "--environment dev --site dori changes that"
    for asked in (("--environment", "dev"), ("--site", "dori")):
        told = checkout.made("bump", "web", "2.9.0", *asked)["notes"]
        assert [note for note in told if both in note], told
    (note,) = checkout.made("bump", "tool", "2.9.0")["notes"]
    assert note == f"dori dev keeps tool 0.9 (desired/sites/dori.dev.yaml:1); {both}"


@pytest.mark.parametrize(
    ("layers", "hint"),
    [
        (("environments/dev", "environments/prod"), "give --environment: dev, prod"),
        (("sites/aws", "sites/dori"), "give --site: aws, dori"),
        (("sites/aws.dev",), "give --environment dev --site aws"),
        (("sites/aws", "environments/dev"), "give --environment: dev; or --site: aws"),
    ],
)
def test_what_is_not_set_for_all_is_asked_for_where_it_is_set(
    checkout: Checkout, layers: tuple[str, ...], hint: str
) -> None:
    plain = {DEV: "", PROD: ""}
    set_there = {f"desired/{layer}.yaml": 'versions: {web: "1"}\n' for layer in layers}
    checkout.commit("elsewhere", plain | set_there)
    assert hint in checkout.refused("bump", "web", "2")


def test_several_environments_in_one_commit(checkout: Checkout) -> None:
    data = checkout.made("bump", "web", "3.0", "--environment", "dev", "--environment", "prod")
    assert (data["branch"], data["subject"]) == ("bump/web-3.0-dev-prod", "Bump web to 3.0 in dev, prod")
    assert data["files"] == [DEV, PROD]
    assert len(reached(data)) == 4


def test_a_site_with_a_version_of_its_own_keeps_it(checkout: Checkout) -> None:
    checkout.commit("dori stays", {"desired/sites/dori.dev.yaml": 'versions: {web: "2.6.0"}\n'})
    data = checkout.made("bump", "web", "2.9.0", "--environment", "dev")
    assert reached(data) == ["aws dev"]
    both = "--environment dev --site dori changes that"
    assert data["notes"] == [f"dori keeps web 2.6.0 (desired/sites/dori.dev.yaml:1); {both}"]
    data = checkout.made("bump", "web", "2.9.0", "--environment", "dev", "--site", "dori")
    assert (data["files"], reached(data)) == (["desired/sites/dori.dev.yaml"], ["dori dev"])
    assert data["branch"] == "bump/web-2.9.0-dev-dori"
    data = checkout.made("bump", "web", "2.9.0", "--environment", "dev", "--site", "aws")
    assert (data["files"], reached(data)) == (["desired/sites/aws.dev.yaml"], ["aws dev"])
    assert checkout.read("desired/sites/aws.dev.yaml", "bump/web-2.9.0-dev-aws") == 'versions:\n  web: "2.9.0"\n'
    own = {f"desired/sites/{site}.yaml": 'versions: {web: "1"}\n' for site in ("aws", "dori")}
    checkout.commit("each its own", own)
    said = checkout.refused("bump", "web", "2.9.1", "--environment", "dev")
    assert "every deployment in dev sets web itself" in said
    assert "aws keeps web 1 (desired/sites/aws.yaml:1)" in said


@pytest.mark.parametrize(
    ("words", "why", "hint"),
    [
        (("wep", "1", "--environment", "dev"), "no component `wep`", "did you mean `web`?"),
        (("web", "1", "--environment", "dve"), "no environment `dve`", "did you mean `dev`?"),
        (("web", "1", "--environment", "dev", "--site", "dory"), "no site `dory`", "did you mean `dori`?"),
        (("web", "1"), "web is not set for all environments at once", "give --environment: dev, prod"),
        (("server", "1"), "no component `server`", "`server` is a service of `web`: `reconcile bump web`"),
        (("web", "1 2", "--environment", "dev"), "`1 2` cannot be a version", "letters, digits"),
        (("web", "9", "--environment", "dev", "--branch", "a..b"), "not the name of a branch", ""),
        (("web", "9", "--environment", "dev", "--branch", "main"), "there is a branch main already", "--branch NAME"),
        (("web", "9", "--environment", ""), "has no value", "leave it out or give one"),
    ],
)
def test_what_is_not_valid_is_told(checkout: Checkout, words: tuple[str, ...], why: str, hint: str) -> None:
    said = checkout.refused("bump", *words)
    assert why in said
    assert hint in said


def test_what_would_not_be_valid_is_not_committed(checkout: Checkout) -> None:
    """The version comes to a place where it cannot be: what `validate` says of the result decides."""
    tool = "{install: apptainer-sif, image: 't.sif', sha256: '{{ version }}'}"
    text = f"components: {{web: {{install: none}}, tool: {tool}}}\n"
    checkout.commit("an image", {"desired/sites/aws.yaml": text + f'versions: {{tool: "{"a" * 64}"}}\n'})
    said = checkout.refused("bump", "tool", "1.1", "--site", "aws")
    assert said.startswith("reconcile: desired/sites/aws.yaml:1:")
    assert "sha256" in said


def test_a_layer_that_cannot_be_read_is_told(checkout: Checkout) -> None:
    checkout.commit("broken", {PROD: "versions: ["})
    assert f"{PROD}:2:1: not YAML" in checkout.refused("bump", "web", "9", "--environment", "dev")


# ---------------------------------------------------------------- whatever the checkout is like


def test_a_detached_head_a_bare_repo_another_work_tree_and_a_folder_within(checkout: Checkout, tmp_path: Path) -> None:
    later = checkout.commit("later", {"README": "x\n"})
    checkout.git("checkout", "--quiet", "--detach", checkout.first)
    words = ("bump", "web", "2.9.0", "--environment", "dev", "--branch")
    assert checkout.made(*words, "detached")["base"] == checkout.first
    assert "on top of a detached HEAD" in checkout.run(*words, "detached-too").out
    checkout.git("checkout", "--quiet", "main")
    checkout.git("worktree", "add", "--quiet", "-b", "side", str(tmp_path / "side"))
    assert checkout.made(*words, "from-side", repo=tmp_path / "side")["base"] == later
    assert checkout.made(*words, "within", repo=checkout.path / "desired" / "sites")["base"] == later
    checkout.git("clone", "--quiet", "--bare", str(checkout.path), str(tmp_path / "bare.git"))
    assert checkout.run(*words, "bare", repo=tmp_path / "bare.git").code == 0
    found = checkout.git("diff", "--stat=200", "main", "bare", path=tmp_path / "bare.git")
    assert "1 file changed, 1 insertion(+), 1 deletion(-)" in found
    assert {"detached", "from-side", "within"} < set(checkout.branches())
    assert checkout.git("fsck", "--strict", "--no-dangling") == ""


def test_without_a_name_git_says_how_to_give_one(checkout: Checkout) -> None:
    """It is not guessed from the account and the host, as git would do."""
    checkout.git("config", "--global", "--remove-section", "user")
    said = checkout.refused("bump", "web", "2.9.0", "--environment", "dev", code=1)
    assert "git config --global user.email" in said
    assert "auto-detection is disabled" in said


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed (Debian: openssh-client)")
def test_who_signs_commits_signs_this_one(checkout: Checkout, tmp_path: Path) -> None:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")]
    subprocess.run(argv, check=True, capture_output=True)
    for key, value in {"gpg.format": "ssh", "user.signingKey": tmp_path / "key.pub", "commit.gpgSign": "yes"}.items():
        checkout.git("config", key, str(value))
    data = checkout.made("bump", "web", "2.9.0", "--environment", "dev")
    assert "\ngpgsig -----BEGIN SSH SIGNATURE-----" in checkout.git("cat-file", "commit", data["commit"])
    checkout.git("config", "user.signingKey", str(tmp_path / "gone.pub"))
    assert "gone.pub" in checkout.refused("bump", "web", "2.9.1", "--environment", "dev", code=1)


def test_what_is_no_checkout_is_told(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    for repo, why in {"plain": "is no git repository", "missing": "there is no folder"}.items():
        told = checkout.run("bump", "web", "1", "--environment", "dev", repo=tmp_path / repo)
        assert (told.code, told.out) == (3, "")
        assert why in told.err
    told = checkout.run("bump", "web", "1", repo=Path("ssh://git.example.org/x"))
    assert (told.code, told.out) == (3, "")
    checkout.git("init", "--quiet", str(tmp_path / "empty"))
    assert checkout.run("bump", "web", "1", repo=tmp_path / "empty").code == 3


def test_no_secret_is_in_the_diff(checkout: Checkout) -> None:
    """Those beside the line that changes: called like one, marked here or in another layer, or what an alias names."""
    text = """vars:
  pin: &pin 's3cr3t'
  api_key: *pin
  plain: hidden elsewhere
versions: {web: '1', tool: '9'}
services:
  server:
    env: {API_TOKEN: "hunter2 in
      lines", LC_ALL: C}
"""
    defaults = LAYERS["desired/defaults.yaml"].replace("level: INFO", "level: INFO, plain: !secret x")
    checkout.commit("secrets", {DEV: text, "desired/defaults.yaml": defaults})
    diff = checkout.made("bump", "web", "2.9.0", "--environment", "dev")["diff"]
    assert "-versions: {web: '1', tool: '9'}\n+versions: {web: '2.9.0', tool: '9'}" in diff
    assert diff.count("***") == 3
    assert ", LC_ALL: C}" in diff
    for secret in ("s3cr3t", "hidden", "elsewhere", "hunter2", "lines"):
        assert secret not in diff


def test_of_a_secret_that_changes_it_is_seen_that_it_does() -> None:
    old = b"vars:\n  marked: !secret |\n    one\n    two\n  b: 1\n"
    (found,) = file_diffs({DEV: old}, {DEV: old.replace(b"two", b"three")}, "salt")
    assert [line[:25] for line in found.lines[3:]] == [
        " vars:",
        found.lines[4][:25],
        found.lines[5][:25],
        "   b: 1",
    ]
    assert found.lines[4].startswith("-  marked: !secret *** (")
    assert found.lines[5].startswith("+  marked: !secret *** (")
    assert found.lines[4][1:] != found.lines[5][1:]
    (gone,) = file_diffs({DEV: b"a: [\nsecret: x\n"}, {DEV: None}, "salt")
    assert "secret: x" not in "".join(gone.lines)


# ---------------------------------------------------------------- promote


def test_the_version_of_one_environment_goes_to_another(checkout: Checkout) -> None:
    data = checkout.made("promote", "web", "--from", "dev", "--to", "prod")
    assert (data["branch"], data["subject"]) == ("promote/web-2.8.1-prod", "Promote web 2.8.1 from dev to prod")
    assert checkout.changed("promote/web-2.8.1-prod") == (['versions: {web: "2.7.0"}'], ['versions: {web: "2.8.1"}'])
    assert reached(data) == ["aws prod", "dori prod"]
    checkout.merge("promote/web-2.8.1-prod")
    told = checkout.run("promote", "web", "--from", "dev", "--to", "prod")
    assert (told.code, told.out.splitlines()[0]) == (0, "web is 2.8.1 in prod already")


def test_several_components_at_once_and_one_that_is_worked_out(checkout: Checkout) -> None:
    checkout.edit("worked out", DEV, "vars:", '  tool: "{{ level | lower }}-1"\nvars:')
    data = checkout.made("promote", "web", "tool", "--from", "dev", "--to", "prod")
    assert data["branch"] == "promote/web-2.8.1-tool-debug-1-prod"
    assert checkout.read(PROD, data["branch"]) == 'versions: {web: "2.8.1", tool: "debug-1"}\n'
    assert "is worked out" in checkout.refused("promote", "tool", "--from", "prod", "--to", "dev")


def test_where_sites_differ_one_is_chosen(checkout: Checkout) -> None:
    checkout.commit("dori first", {"desired/sites/dori.dev.yaml": 'versions: {web: "3.0"}\n'})
    said = checkout.refused("promote", "web", "--from", "dev", "--to", "prod")
    assert "web has several versions in dev: 2.8.1 on aws; 3.0 on dori" in said
    assert "--site" in said
    data = checkout.made("promote", "web", "--from", "dev", "--to", "prod", "--site", "dori")
    assert (data["files"], reached(data)) == (["desired/sites/dori.prod.yaml"], ["dori prod"])
    said = checkout.refused("promote", "web", "--from", "dev", "--to", "prd", "--site", "dori")
    assert "--to: there is no environment `prd`" in said
    assert "did you mean `prod`?" in said
