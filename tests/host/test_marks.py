"""Marks in environments: as variables, and as Apptainer keeps them; whatever else may stand there."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.observed import Mark
from reconciler.host import marks

ENV = {
    "RECONCILE_DEPLOYMENT": "dori/dev",
    "RECONCILE_ROOT": "/srv/jaws",
    "RECONCILE_SERVICE": "rpc",
    "RECONCILE_LAUNCH": "launch-1",
    "RECONCILE_PID": "1",
    "RECONCILE_SPEC": "spec-1",
    "RECONCILE_VERSION": "2.8.1",
    "RECONCILE_COMPONENT": "site",
}
MARK = ("dori/dev", "/srv/jaws", "rpc", "spec-1", "launch-1", "2.8.1", "site")


def told(env: object, name: object = "rpc-dev") -> bytes:
    document = {"engineName": "apptainer", "containerID": name, "engineConfig": {"jsonConfig": {"apptainerEnv": env}}}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")


def environ(document: bytes, size: int = 1 << 17) -> bytes:
    """As starter leaves it, in pieces of so many bytes."""
    pieces = [document[at : at + size] for at in range(0, len(document), size)] or [b""]
    lines = [b"PATH=/bin", *(b"ENGINE_CONFIG%d=%b" % one for one in enumerate(pieces, 1))]
    return b"\0" + b"\0".join([*lines, b"ENGINE_CONFIG_CHUNKS=%d" % len(pieces)]) + b"\0"


def variables(env: Mapping[str, str]) -> bytes:
    return b"\0" + b"".join(f"{key}={value}\0".encode() for key, value in env.items())


@pytest.mark.parametrize("size", [1 << 17, 40, 7])
def test_the_first_process_of_an_instance_is_the_main_one(size: int) -> None:
    content = environ(told(ENV), size)
    assert marks.wanted("dori/dev")(content)
    assert not marks.wanted("dori/de")(content)
    assert marks.read_mark(content, 77, b"appinit", leads=False) == Mark(*MARK, 77)
    assert marks.read_instance(content) == ("rpc-dev", ENV)


def test_what_stands_in_front_of_an_instance_is_not() -> None:
    assert marks.read_mark(environ(told(ENV)), 76, b"starter", leads=True) == Mark(*MARK, 1)


def test_in_the_foreground_the_process_in_front_is_the_main_one() -> None:
    """Its pid is the one that the shim had; a first process inside (`--pid`) is none of its own."""
    content = environ(told(ENV | {"RECONCILE_PID": "76"}, ""))
    assert marks.read_mark(content, 76, b"starter", leads=True) == Mark(*MARK, 76)
    assert marks.read_mark(content, 77, b"appinit", leads=False) == Mark(*MARK, 76)


def test_inside_nothing_is_main() -> None:
    assert marks.read_mark(variables(ENV), 80, b"appinit", leads=True) == Mark(*MARK, 1)


def test_others_instances_are_foreign() -> None:
    assert marks.read_mark(environ(told({"A": "b"})), 77, b"appinit", leads=False) == marks.FOREIGN
    bare = b'{"containerID":"x","engineConfig":{"jsonConfig":{}}}'
    assert marks.read_mark(environ(bare), 77, b"appinit", leads=False) == marks.FOREIGN
    assert marks.read_instance(environ(bare)) == ("x", {})


def test_an_own_variable_of_that_name_is_no_container() -> None:
    env = ENV | {"ENGINE_CONFIG1": "fast", "RECONCILE_PID": "80"}
    assert marks.read_mark(variables(env), 80, b"server", leads=True) == Mark(*MARK, 80)


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"[]", b"null", told([1, 2]), told(ENV, 7), b"\xff\xfe", b"[" * 200_000, b"9" * 5000, told(ENV)[:-3]],
)
def test_what_cannot_be_understood_has_no_mark(document: bytes) -> None:
    assert marks.read_mark(environ(document), 77, b"appinit", leads=True) is None
    assert marks.read_instance(environ(document)) is None


def test_a_missing_piece_leaves_nothing_to_understand() -> None:
    content = environ(told(ENV), 40).replace(b"ENGINE_CONFIG2=", b"ENGINE_CONFIGX=")
    assert marks.read_mark(content, 77, b"appinit", leads=True) is None


def test_odd_values() -> None:
    env = ENV | {"RECONCILE_PID": "9" * 5000, "RECONCILE_VERSION": "\ud800", "RECONCILE_SPEC": 7}
    mark = marks.read_mark(environ(told(env)), 77, b"appinit", leads=True)
    assert mark is not None
    assert (mark.pid, mark.version, mark.spec) == (0, "?", "")
    many = marks.read_mark(variables(ENV | {"RECONCILE_PID": "9" * 5000}), 80, b"sh", leads=True)
    assert many is not None
    assert many.pid == 0


@given(st.binary(max_size=300), st.booleans())
def test_nothing_that_a_process_shows_breaks_the_reading(content: bytes, inside: bool) -> None:
    text = environ(content) if inside else content
    mark = marks.read_mark(text, 77, b"appinit", leads=True)
    assert mark is None or mark.deployment == "" or b"RECONCILE_DEPLOYMENT" in text
    marks.wanted("dori/dev")(text)


_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)


@given(st.dictionaries(st.sampled_from([*ENV]) | st.text(), _JSON) | _JSON, _JSON)
def test_any_document_gives_texts_that_can_be_printed(env: object, name: object) -> None:
    found = marks.read_instance(environ(told(env, name)))
    if found is not None:
        "".join((found.name, *found.env.values())).encode()


@pytest.mark.parametrize(
    ("stop", "number"),
    [("INT 5", signal.SIGINT), ("USR1", signal.SIGUSR1), ("", signal.SIGTERM), ("_DFL 3", signal.SIGTERM)],
)
def test_the_signal_that_ends_it(stop: str, number: int) -> None:
    assert marks.stop_signal(marks.Instance("a", {"RECONCILE_STOP": stop})) == number
