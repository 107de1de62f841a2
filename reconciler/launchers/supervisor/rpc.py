"""XML-RPC with supervisord, over its unix socket or its port: one connection for each request.

`xmlrpc.client` takes longer to import than a whole pass with nothing to do may last, and longer to
parse than supervisord to answer. What supervisord sends is regular, so regular expressions read it;
where something does not fit them, `xmlrpc.client` decides after all.

`_socket` is what `socket` wraps; the wrapper costs another 6 ms.
"""

from __future__ import annotations

import re
import sys
from _socket import AF_INET, AF_UNIX, SO_PEERCRED, SOCK_STREAM, SOL_SOCKET, socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

UNKNOWN_METHOD = 1
SHUTDOWN_STATE = 6
BAD_NAME = 10
SPAWN_ERROR = 50
ALREADY_STARTED = 60
NOT_RUNNING = 70
ALREADY_ADDED = 90
CANT_REREAD = 92

_END = b"</methodResponse>"
_MOST = 256 << 20  # bytes of an answer; more is not supervisord
_CALLS = 100  # of one multicall: supervisord does nothing else while it answers
_EACH = 0.5  # seconds more for each: a start forks, and a busy host takes its time

Params = tuple[object, ...]
Info = dict[str, str | int]


class RpcError(Exception):
    """No answer came, or none that supervisord would give. The text says which."""


class Fault(Exception):  # noqa: N818 - its name in XML-RPC
    """supervisord refused a request."""

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(text)


class Endpoint(NamedTuple):
    """Where a supervisord listens: a unix socket, or a port, which takes a user's name and password."""

    path: str  # of the socket; empty: a port
    host: str = ""
    port: int = 0
    username: str = ""
    password: str = ""

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


class Peer(NamedTuple):
    """The process that listens on a unix socket; behind a port nobody can tell."""

    pid: int
    uid: int


class Request:
    """One request on its way. Raises `OSError` where nobody listens."""

    def __init__(self, endpoint: Endpoint, body: str, seconds: float) -> None:
        self._until = monotonic() + seconds
        self._seconds = seconds
        self._socket = socket(AF_UNIX if endpoint.path else AF_INET, SOCK_STREAM)
        try:
            self._socket.settimeout(seconds)
            self._socket.connect(endpoint.path or (endpoint.host, endpoint.port))
            self.peer = _peer(self._socket) if endpoint.path else Peer(0, 0)
            self._socket.sendall(_http(body, endpoint))
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def read(self) -> str:
        """The body of the answer. Raises `RpcError`."""
        try:
            answer = self._receive()
        except TimeoutError:
            raise RpcError(f"no answer within {self._seconds:g} s") from None
        except OSError as error:
            raise RpcError(f"no answer: {error.strerror or error}") from error
        finally:
            self.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head[:32].split(b" ")
        if len(status) < 2 or not status[0].startswith(b"HTTP/"):
            raise RpcError("what answers there does not speak HTTP")
        if status[1] != b"200":
            raise RpcError(f"it answers with HTTP status {status[1].decode(errors='replace')}")
        if _END not in body[-64:]:
            raise RpcError("the answer broke off")
        return body.decode(errors="replace")

    def _receive(self) -> bytes:
        answer = bytearray()
        while _END not in answer[-64:] and len(answer) < _MOST:
            left = self._until - monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            chunk = self._socket.recv(1 << 18)
            if not chunk:
                break
            answer += chunk
        return bytes(answer)


def _peer(connection: socket) -> Peer:
    raw = connection.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)  # struct ucred: three ints
    pid, uid = (int.from_bytes(raw[at : at + 4], sys.byteorder, signed=True) for at in (0, 4))
    return Peer(pid, uid)


def _http(body: str, endpoint: Endpoint) -> bytes:
    content = body.encode("ascii", "xmlcharrefreplace")
    # 1.0: the answer ends with the connection, whatever length it declares.
    head = b"POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n" % len(content)
    return b"%b%b\r\n%b" % (head, _authorization(endpoint), content)


def _authorization(endpoint: Endpoint) -> bytes:
    if not endpoint.username:
        return b""
    from binascii import b2a_base64

    return b"Authorization: Basic " + b2a_base64(f"{endpoint.username}:{endpoint.password}".encode()).strip() + b"\r\n"


def call(endpoint: Endpoint, seconds: float, method: str, *params: object) -> object:
    """Ask one thing. Raises `OSError`, `RpcError`, `Fault`."""
    return loads(Request(endpoint, dumps(method, *params), seconds).read())


def multicall(endpoint: Endpoint, seconds: float, calls: Sequence[tuple[str, Params]]) -> Iterator[object]:
    """Ask many things in few requests; where supervisord refuses one, its result is a `Fault`."""
    for at in range(0, len(calls), _CALLS):
        part = calls[at : at + _CALLS]
        structs = [{"methodName": method, "params": list(params)} for method, params in part]
        results = call(endpoint, seconds + _EACH * len(part), "system.multicall", structs)
        if not isinstance(results, list) or len(results) != len(part):
            raise RpcError("supervisord answered another number of requests than it was asked")
        yield from map(_result, results)


def _result(value: object) -> object:
    if isinstance(value, dict) and "faultCode" in value:
        return Fault(int(value["faultCode"]), str(value["faultString"]))
    return value


# ---------------------------------------------------------------- writing


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def dumps(method: str, *params: object) -> str:
    values = "".join(f"<param>{_value(param)}</param>" for param in params)
    return f"<?xml version='1.0'?>\n<methodCall><methodName>{method}</methodName><params>{values}</params></methodCall>"


def _value(value: object) -> str:
    if isinstance(value, bool):
        inner = f"<boolean>{value:d}</boolean>"
    elif isinstance(value, int):
        inner = f"<int>{value}</int>"
    elif isinstance(value, dict):
        members = (f"<member><name>{escape(key)}</name>{_value(item)}</member>" for key, item in value.items())
        inner = f"<struct>{''.join(members)}</struct>"
    elif isinstance(value, list):
        inner = f"<array><data>{''.join(map(_value, value))}</data></array>"
    else:
        inner = f"<string>{escape(str(value))}</string>"
    return f"<value>{inner}</value>"


# ---------------------------------------------------------------- reading

_MEMBER = re.compile(r"<member>\s*<name>([^<]*)</name>\s*<value><(string|int)>([^<]*)</\2></value>\s*</member>")
_TAG = r"<(/?)([A-Za-z0-9.]+)(/?)>([^<]*)"
_WANTED = frozenset(
    ("name", "group", "statename", "pid", "start", "stop", "now", "exitstatus", "spawnerr", "description")
)
_FAULT = frozenset(("faultCode", "faultString"))


class _IrregularError(Exception):
    """Not what the quick readers know."""


def unescape(text: str) -> str:
    if "&" not in text:
        return text
    text = text.replace("&lt;", "<").replace("&gt;", ">")
    if re.search(r"&(?!amp;)", text):
        raise _IrregularError
    return text.replace("&amp;", "&")


def read_infos(text: str) -> list[Info | Fault]:
    """The structs of `getAllProcessInfo`, or of many `getProcessInfo`, in their order. Raises `RpcError`, `Fault`."""
    if "<fault>" not in text:
        with suppress(_IrregularError):
            return [_info(part) for part in text.split("<struct>")[1:]]
    values = loads(text)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise RpcError("the answer is not a list of processes")
    return [_checked(value) for value in values]


def _info(part: str) -> Info | Fault:
    members = _MEMBER.findall(part)
    if len(members) != part.count("<member>"):
        raise _IrregularError
    info: Info = {name: int(value) if kind == "int" else unescape(value) for name, kind, value in members}
    return _checked(info, _IrregularError)


def _checked(info: Info, otherwise: type[Exception] = RpcError) -> Info | Fault:
    if info.keys() >= _WANTED:
        return info
    if info.keys() >= _FAULT:
        return Fault(int(info["faultCode"]), str(info["faultString"]))
    raise otherwise("supervisord describes a process in words that are not known")


def loads(text: str) -> object:
    """The value of an answer. Raises `Fault` where it is one, `RpcError` where it cannot be read."""
    try:
        return _unfault(_quick(text), is_fault="<fault>" in text)
    except (_IrregularError, ValueError, IndexError, KeyError, TypeError):
        return _thorough(text)


def _thorough(text: str) -> object:
    import xmlrpc.client
    from xml.parsers.expat import ExpatError

    try:
        return xmlrpc.client.loads(text)[0][0]
    except xmlrpc.client.Fault as fault:
        raise Fault(fault.faultCode, fault.faultString) from None
    except (ExpatError, xmlrpc.client.Error, IndexError, ValueError, TypeError) as error:
        raise RpcError(f"the answer is not XML-RPC: {error}") from error


def _unfault(value: object, *, is_fault: bool) -> object:
    if is_fault:
        if not isinstance(value, dict):
            raise _IrregularError
        raise Fault(int(value["faultCode"]), str(value["faultString"]))
    return value


def _quick(text: str) -> object:
    """A stack of the values that are being read: lists collect values, structs names and values."""
    stack: list[list[object]] = [[]]
    for close, tag, empty, content in re.findall(_TAG, text):
        if empty:
            raise _IrregularError
        if not close:
            if tag in ("array", "struct"):
                stack.append([])
            elif tag == "name":
                stack[-1].append(unescape(content))
            elif tag in ("string", "int", "boolean"):
                stack[-1].append(_scalar(tag, content))
            elif tag == "value" and content.strip():
                raise _IrregularError  # an untyped string; supervisord does not write it
        elif tag in ("array", "struct"):
            items = stack.pop()
            stack[-1].append(items if tag == "array" else _struct(items))
    if len(stack) != 1 or len(stack[0]) != 1:
        raise _IrregularError
    return stack[0][0]


def _struct(items: list[object]) -> dict[object, object]:
    return dict(zip(items[::2], items[1::2], strict=True))


def _scalar(tag: str, content: str) -> object:
    if tag == "string":
        return unescape(content)
    return content == "1" if tag == "boolean" else int(content)
