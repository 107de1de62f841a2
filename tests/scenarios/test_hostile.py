"""Broken input of every kind: no traceback, and nothing changes on the host."""

# ruff: noqa: E501 - tables read best with a row to a line

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from reconciler.desired import Facts, compile_site, validate
from tests.scenarios.world import DEFAULTS, SLEEP, TEMPLATE, Done, World, a_world  # noqa: F401

pytestmark = [pytest.mark.scenario, pytest.mark.git, pytest.mark.slow]

DEV = "desired/environments/dev.yaml"
TEXTS = {
    "desired/defaults.yaml": DEFAULTS,
    DEV: f"services:\n  one: {{component: app, command: {SLEEP}, files: [app.conf], supervisor: {{startsecs: 0}}}}\n",
    "desired/sites/x.yaml": 'environments: [dev]\npaths: {root: "/srv/x"}\n',
    "templates/app.conf.j2": TEMPLATE,
}
PIECES = (
    b"{{", b"}}", b"{% for x in ", b"%}", b"\0", b"\xff\xfe", b"\t", b": ", b"- ", b"!!python/object:os.system ", b"&a [*a]",
    b"*nobody", b"<<: *a", b"!secret ", b"---\n", b"...", b"'", b'"', b"|\n", b"1.10", b"services:\n", b"vars: ", b"null",
    b"{{ vars }}", b"{{ 1/0 }}", b"{{ ''.__class__.__mro__ }}", b"{% include '/etc/passwd' %}", b"{{ x", b"..", b"../../../etc",
    b"9" * 400, b"[" * 60, b"\xe2\x80\xae", b"$(reboot)", b"; rm -rf /", b"%n", b"{{ 'a' * 999999999 }}", b"{{ range(10**9)|list }}",
)  # fmt: skip


def mutations(seed: int) -> Iterator[tuple[str, bytes]]:
    """Without end: a file of the repo, and what has become of it."""
    pick = random.Random(seed)
    while True:
        name = pick.choice(list(TEXTS))
        content = bytearray(TEXTS[name].encode())
        for _ in range(pick.randint(1, 6)):
            at = pick.randrange(len(content) + 1)
            end = min(at + pick.choice((0, 0, 1, 3, 20)), len(content))
            content[at:end] = pick.choice((pick.choice(PIECES), pick.randbytes(pick.randint(1, 9)), b""))
        yield name, bytes(content)


def broken(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Those that do not validate. Working it out must not raise, for the others neither."""
    facts = Facts(host="h", account="a", salt="s")
    for name, content in mutations(seed):
        tree = {**{path: text.encode() for path, text in TEXTS.items()}, name: content}
        result = compile_site(tree, "x", None, facts)
        assert result.problems or result.compiled
        if result.problems:
            assert not result.compiled
            assert validate(tree, facts)
            assert all(problem.message and problem.origin.file for problem in result.problems)
            yield name, content
            count -= 1
        if not count:
            return


def sound(done: Done, *codes: int) -> Done:
    assert done.code in codes, done.said
    assert "Traceback" not in done.out + done.err, done.said
    assert "a defect in reconcile" not in done.err, done.said
    return done


@pytest.mark.parametrize("seed", range(5))
def test_a_hundred_broken_layers_of_each_seed(seed: int) -> None:
    assert len(list(broken(seed, 100))) == 100


@pytest.fixture
def up(world: World) -> World:
    """A host on which a service runs."""
    world.commit({DEV: TEXTS[DEV]})
    world.once()
    return world


@pytest.mark.supervisor
def test_broken_commits_one_after_the_other(up: World) -> None:
    """Each refused with its errors; nothing on the host changes; a good one is taken at once."""
    files, pids = up.files(), up.pids()
    for name, content in broken(77, 25):
        path = name.replace("/x.yaml", f"/{up.site}.yaml")
        good = (up.repo / path).read_bytes()
        up.commit({path: content.replace(b"/srv/x", os.fsencode(up.root))})
        done = sound(up.run("--once"), 3)
        assert "is not valid" in done.out
        assert (up.files(), up.pids()) == (files, pids), content
        up.write({path: good})
    up.commit(up.versions("1.5"))
    up.once()
    assert b"app = 1.5" in up.files()["config/app.conf"]


STRANGE: dict[str, dict[str, str | bytes | None]] = {
    "no such environment": {DEV: None},
    "only blanks": {DEV: "   \n\t\n"},
    "a list": {DEV: "- a\n"},
    "a text": {DEV: "hello\n"},
    "bombs": {DEV: "a: &a [x,x,x]\n" + "".join(f"{n}: &{n} [*{m},*{m},*{m}]\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True))},
    "too deep": {DEV: "vars: " + "[" * 5000 + "]" * 5000 + "\n"},
    "too long": {DEV: "vars: {a: '" + "x" * (2 << 20) + "'}\n"},
    "binary": {DEV: bytes(range(256)) * 10},
    "UTF-16": {DEV: TEXTS[DEV].encode("utf-16")},
    "a template that never ends": {"templates/app.conf.j2": "{% for a in range(10**12) %}x{% endfor %}"},
    "a template that includes itself": {"templates/app.conf.j2": "{% include 'app.conf.j2' %}"},
    "a template that reaches out": {"templates/app.conf.j2": "{{ cycler.__init__.__globals__.os.popen('id').read() }}"},
    "a template of the host": {"templates/app.conf.j2": "{% include '/etc/passwd' %}"},
    "a path outside": {"desired/defaults.yaml": DEFAULTS.replace("{{ paths.config }}", "{{ paths.root }}-outside")},
    "a path outside, by dots": {"desired/defaults.yaml": DEFAULTS.replace("/app.conf", "/../../../x")},
    "a name of dots": {DEV: f"services: {{one: {{component: app, command: {SLEEP}, name: ../../x}}}}\n"},
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
def test_a_repo_of_a_strange_kind(name: str, world: World) -> None:
    world.commit({DEV: TEXTS[DEV]})
    world.commit(STRANGE[name])
    codes = (0, 3) if name == "only blanks" else (3,)
    sound(world.run("--once", seconds=60), *codes)
    sound(world.run("validate", "repo", "--json", seconds=60), *codes)
    assert codes != (3,) or not world.root.exists()
    assert not os.path.exists(f"{world.root}-outside")


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "nowhere"])
def test_links_in_the_repo(target: str, world: World) -> None:
    (world.folder / "outside").write_text("services: {}\n")
    world.commit({DEV: TEXTS[DEV]})
    (world.repo / DEV).unlink()
    (world.repo / DEV).symlink_to(target)
    world.commit()
    sound(world.run("--once"), 1, 3)
    sound(world.run("validate", "repo"), 3)
    assert not world.root.exists()


# ---------------------------------------------------------------- the agent's file and the options


def test_agents_files_of_garbage(world: World) -> None:
    """Forty, mutated from a good one; whatever they say, nothing is done on the host.

    Where it remembers is said by an option: root may make any folder that a mutated file names.
    """
    world.commit({DEV: TEXTS[DEV]})
    pick = random.Random(5)
    config = world.folder / "agent.yaml"
    good = f"repo: {world.repo}\nsite: {world.site}\nbranch: main\nenvironments: [dev]\nstate_dir: {world.state}\n"
    for turn in range(40):
        content = bytearray(good.encode())
        for _ in range(pick.randint(1, 4)):
            at = pick.randrange(len(content))
            content[at : at + pick.choice((0, 1, 12))] = pick.choice(PIECES)
        config.write_bytes(b"}{" + content if turn % 4 == 0 else content)
        words = ("plan", "--config", str(config), "--state-dir", str(world.state))
        done = sound(world.run(*words, where=False), 1, 2, 3)
        assert done.code != 2 or not done.err
        assert not world.root.exists()


BAD_OPTIONS = (
    ["--interval", "soon"],
    ["--interval", "0"],
    ["--timeout", "-1"],
    ["--timeout=nan"],
    ["--max-staleness", "1y"],
    ["--branch", "--upload-pack=touch x"],
    ["--branch", "a..b"],
    ["--branch", ""],
    ["--branch", "x\ny"],
    ["--environment", "../.."],
    ["--environment", "nowhere"],
    ["--site", "nowhere"],
    ["--site", "../../etc"],
    ["--repo", "ext::sh -c id"],
    ["--repo", "--upload-pack=id"],
    ["--repo", "ssh://-oProxyCommand=id/x"],
    ["--repo", "ftp://host/x"],
    ["--repo", "http://[::1"],
    ["--config", "/nonexistent"],
    ["--config", "/etc"],
    ["--state-dir", "/dev/null/x"],
    ["--what"],
    ["--onc"],
    ["sideways"],
    ["diff"],
    ["diff", "nothing"],
    ["diff", "--repo=x", "a..b"],
    ["diff", "main..--output=x"],
    ["diff", "main..no-such-branch"],
    ["explain"],
    ["explain", "nobody"],
    ["explain", "one", "no.key"],
    ["apply", "/nonexistent"],
    ["apply", "/dev/null"],
    ["apply", "/etc/passwd"],
    ["validate", "/nonexistent"],
    ["validate", "/dev/null"],
    ["plan", "--out", "/nonexistent/x"],
    ["\udcff"],
)


def test_options_of_garbage(world: World) -> None:
    """Each told in a sentence; 3 where the input is not valid, 1 where something could not be reached."""
    world.commit({DEV: TEXTS[DEV]})
    for words in BAD_OPTIONS:
        base = ["--repo", str(world.repo), "--site", world.site, "--state-dir", str(world.state)]
        action = [] if words[0] in ("diff", "explain", "apply", "validate", "plan") else ["--once"]
        done = sound(world.run(*base, *action, *words, where=False), 0, 1, 3)
        assert done.code in (1, 3), (words, done.said)
        assert done.out or done.err
        assert not world.root.exists(), words
    assert sorted(os.listdir(world.folder)) in (["a", "home", "repo", "s"], ["a", "home", "repo"])
