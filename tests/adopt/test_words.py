"""Whatever a program was started with comes out of the layer again, to the letter; a layer keeps what it had."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.adopt import unit_text, words
from reconciler.adopt.layer import CannotAdd, Entry, Parts, added, service_at
from reconciler.desired import Facts, compile_site

SHAPES = st.sampled_from(
    [*("{{ x }}", "{% raw %}", "{#", "#}", "{{{", "%%", "%(here)s", "$HOME", "`id`"),
     *("a'b", 'a"b', "\\", "\n", "\r", "#", "; ")]
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
WORDS = st.builds("".join, st.lists(SHAPES | TEXT, max_size=4))
ROOT = "/srv/r"


def compiled(values: dict[str, object]) -> dict[str, object] | str:
    """The effective values of one service in a layer of its own; or what is wrong with it."""
    entry = Entry("svc", {"component": "app", **values}, ("a comment",))
    text = added("", Parts({"app": "1"}, {"app": {"install": "none"}}, (entry,), {"root": ROOT}))
    layers = {"environments/dev": "", "sites/x": "", "sites/x.dev": text}
    tree = {f"desired/{name}.yaml": layer.encode() for name, layer in layers.items()}
    result = compile_site(tree, "x", ["dev"], Facts(host="h", account="me", salt=""), "")
    if result.problems:
        assert all(service_at(text, problem.origin.line) == "svc" for problem in result.problems), result.problems
        return str(result.problems[0])
    return {key: field.value for key, field in result.compiled["dev"].fields["svc"].items()}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(WORDS, max_size=4), st.sampled_from(["", "/a b", "/x{{"]))
def test_command(arguments: list[str], directory: str) -> None:
    argv = ["/bin/prog", *arguments]
    meant = words.command(argv, directory)
    fields = compiled({"command": words.literal(meant)})
    if isinstance(fields, str):  # refused, and so left as it is; never another command
        assert re.search(r"character|control", fields), fields
        return
    assert fields["command"] == meant
    assert shlex.split(str(fields["command"]))[-len(argv) :] == argv


@settings(max_examples=150, deadline=None, derandomize=True)
@given(WORDS)
def test_variable(value: str) -> None:
    fields = compiled({"command": "/bin/prog", "env": {"A": words.literal(value)}})
    if isinstance(fields, str):
        assert re.search(r"character|control", fields), fields
        return
    assert fields["env.A"] == value


@pytest.mark.parametrize(
    ("env", "secret"),
    [
        ({"DB_PASSWORD": "x", "GH_TOKEN": "x", "API_KEY": "x", "AWS_SECRET_ACCESS_KEY": "x", "PGPASSWD": "x"}, 5),
        ({"DSN": "postgres://me:pw@host/db", "OPTS": "user=a password=b"}, 2),
        ({"PASSWORD": "", "KEYBOARD": "de", "MONKEY": "x", "URL": "http://host/a", "PATH": "/bin"}, 0),
    ],
)
def test_secret_variables(env: dict[str, str], secret: int) -> None:
    assert len(words.secret_variables(env)) == secret


@pytest.mark.parametrize(
    ("argv", "secret"),
    [
        (["p", "--password", "x"], True),
        (["p", "--db-password=x"], True),
        (["p", "-token", "x"], True),
        (["p", "amqp://u:p@h/"], True),
        (["p", "--tokenizer", "fast", "--keyboard=de", "key", "--verbose"], False),
    ],
)
def test_secret_word(argv: list[str], secret: bool) -> None:
    assert (words.secret_word(argv) >= 0) is secret
    assert "x" not in words.pattern(argv) or not secret


# ---------------------------------------------------------------- the layer

LAYER = """\
# of ours

vars: {a: b}      # kept
services:
    old:          # four blanks
        command: "x"
    # about what follows

    # the end

paths: {root: /r}
"""


def test_layer_keeps_what_it_had() -> None:
    entry = Entry("new", {"command": "work", "stop": {"grace": 3}, "enabled": False}, ("why",))
    text = added(LAYER, Parts({"new": "1"}, {}, (entry,)))
    kept = [line for line in text.splitlines() if line in LAYER.splitlines()]
    assert [line for line in kept if line] == [line for line in LAYER.splitlines() if line]
    assert "    # why\n    new:\n      command: work\n      stop:\n        grace: 3\n      enabled: false\n" in text
    assert text.endswith('\nversions:\n  new: "1"\n')


@pytest.mark.parametrize(
    "text", ["services: {old: {command: x}}\n", "services:\n  new: {}\n", "- a\n", "a: [\n", "services: null\n"]
)
def test_layer_that_cannot_be_added_to(text: str) -> None:
    with pytest.raises(CannotAdd):
        added(text, Parts({}, {}, (Entry("new", {"command": "y"}),)))


# ---------------------------------------------------------------- systemd's own spelling


def test_unit_file() -> None:
    text = "[Service]\nA=1\nA=\n# no\nA=2 \\\n; no\n 3\n[Install]\nB = x\n[Service]\nA=4\n"
    assert unit_text.sections(text) == {"Service": {"A": ["2   3", "4"]}, "Install": {"B": ["x"]}}
    assert unit_text.split(r"""a "b c" 'd "e' f\x20g \t"" "h"i""") == ["a", "b c", 'd "e', "f g", "\t", "hi"]
    assert unit_text.expanded(["p", "$$x ${A}"], {"A": "1 2"}) == ["p", "$x 1 2"]
    assert unit_text.seconds("1min 30s") == 90
    assert unit_text.seconds("infinity") is None


@pytest.mark.parametrize("value", ["@p q", "p ; q", "p 'q", r"p \q", "p %z", "+p"])
def test_command_that_is_not_understood(value: str) -> None:
    with pytest.raises(unit_text.Odd):
        unit_text.command([value], {"%": "%"})
