"""Reading supervisord's answers: recorded ones, and the quick reader against xmlrpc.client."""

from __future__ import annotations

import subprocess
import sys
import xmlrpc.client
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.launchers.supervisor import rpc

RECORDED = Path(__file__).parent / "recorded"

# What XML can carry and comes back unchanged: no control characters, no carriage return.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=30)
INT = st.integers(-(2**31), 2**31 - 1)
INFO = st.fixed_dictionaries(
    {
        **dict.fromkeys(("name", "group", "statename", "spawnerr", "description", "logfile"), TEXT),
        **dict.fromkeys(("pid", "start", "stop", "now", "exitstatus", "state"), INT),
    }
)
FAULT = st.fixed_dictionaries({"faultCode": INT, "faultString": TEXT})
VALUE = st.recursive(
    TEXT | INT | st.booleans(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)
)


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.xml").read_text()


def answer(value: object) -> str:
    return xmlrpc.client.dumps((value,), methodresponse=True)  # type: ignore[arg-type]


def test_a_recorded_answer() -> None:
    infos = [info for info in rpc.read_infos(recorded("all")) if not isinstance(info, rpc.Fault)]
    assert [(info["group"], info["name"], info["statename"], info["spawnerr"]) for info in infos] == [
        ("a&b<c>%%d", "a&b<c>%%d", "FATAL", "can't find command '/no/such&<file>'"),
        ("fails", "fails", "FATAL", "Exited too quickly (process log may have details)"),
        ("g&h", "x", "STOPPED", ""),
        ("leaves", "leaves", "EXITED", "Bad exit code 3"),
        ("rpc", "rpc", "RUNNING", ""),
    ]
    assert infos == xmlrpc.client.loads(recorded("all"))[0][0]


def test_recorded_answers_for_some() -> None:
    known, unknown = rpc.read_infos(recorded("few"))
    assert isinstance(known, dict)
    assert known["statename"] == "RUNNING"
    assert isinstance(unknown, rpc.Fault)
    assert (unknown.code, unknown.text) == (rpc.BAD_NAME, "BAD_NAME: nobody")


def test_recorded_answers_to_orders() -> None:
    assert rpc.loads(recorded("stop")) == [True, {"faultCode": 10, "faultString": "BAD_NAME: nobody"}]
    assert rpc.loads(recorded("reload")) == [[[], [], []]]
    with pytest.raises(rpc.Fault, match=r"bad\.conf'\n\t\[line  2\]: 'nothing <&>\\n'") as caught:
        rpc.loads(recorded("refused"))
    assert caught.value.code == rpc.CANT_REREAD


def test_a_refusal_instead_of_processes() -> None:
    with pytest.raises(rpc.Fault):
        rpc.read_infos(recorded("refused"))


def test_recorded_answers_need_no_xml_library() -> None:
    code = (
        "import sys; from reconciler.launchers.supervisor import rpc\n"
        f"for name in ('all', 'few'): rpc.read_infos(open(f'{RECORDED}/{{name}}.xml').read())\n"
        f"for name in ('stop', 'reload'): rpc.loads(open(f'{RECORDED}/{{name}}.xml').read())\n"
        "heavy = {'xmlrpc', 'xml', 'socket', 'http', 'json', 'subprocess', 'logging', 'ssl'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-S", "-c", code], check=True, cwd=root, timeout=60)


@given(st.lists(INFO | FAULT, max_size=5))
def test_processes_are_read_as_xmlrpc_client_reads_them(values: list[dict[str, object]]) -> None:
    text = answer(values)
    found = [
        {"faultCode": info.code, "faultString": info.text} if isinstance(info, rpc.Fault) else info
        for info in rpc.read_infos(text)
    ]
    assert found == xmlrpc.client.loads(text)[0][0]


@given(VALUE)
def test_values_are_read_as_xmlrpc_client_reads_them(value: object) -> None:
    text = answer(value)
    assert rpc.loads(text) == xmlrpc.client.loads(text)[0][0]


@given(VALUE)
def test_requests_are_read_by_xmlrpc_client(value: object) -> None:
    assert xmlrpc.client.loads(rpc.dumps("system.multicall", value)) == ((value,), "system.multicall")


@pytest.mark.parametrize(
    ("inner", "value"),
    [
        ("<value>untyped</value>", "untyped"),
        ("<value><string>a&#38;b&amp;lt;</string></value>", "a&b&lt;"),
        ("<value><i4>3</i4></value>", 3),
        ("<value><string/></value>", ""),
    ],
)
def test_other_xml_is_read_thoroughly(inner: str, value: object) -> None:
    text = f"<?xml version='1.0'?><methodResponse><params><param>{inner}</param></params></methodResponse>"
    assert rpc.loads(text) == value


@given(st.text(max_size=60))
def test_what_is_no_answer_is_told(text: str) -> None:
    with pytest.raises(rpc.RpcError):
        rpc.loads(text)


def test_processes_in_unknown_words() -> None:
    with pytest.raises(rpc.RpcError, match="not known"):
        rpc.read_infos(answer([{"name": "rpc"}]))
    with pytest.raises(rpc.RpcError, match="not a list of processes"):
        rpc.read_infos(answer([["<struct>", {"a": "b"}]]))
