"""`health` of a service, and `verify` of one or of the deployment: read, checked, and in the form that is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from reconciler.core.desired import Ask, Probe, Verify, Watch
from reconciler.desired.ground import Ground
from reconciler.desired.nodes import Entries
from reconciler.desired.problems import ORIGIN_DEFAULT
from reconciler.desired.read import MAX_PORT, Reader
from reconciler.desired.schema import LAYER
from reconciler.desired.scope import Got
from reconciler.desired.windows import span

_LONGEST = 300  # seconds that one probe may take: a pass waits for the slowest
_STATUS = range(100, 600)
_HEADER = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_DEFAULTS = {"start_period": "30s", "interval": "10s", "timeout": "5s", "settle": "5s"}
_RETRIES = 3
_VERIFY_INTERVAL, _VERIFY_TIMEOUT = "1h", "10s"
_SPAN_HINT = "write 90s, 30m, 8h or 2d"


class Asked(NamedTuple):
    """What one service says of its health. Where something of it is wrong, that has been told."""

    watch: Watch | None = None
    verifies: tuple[Verify, ...] = ()
    got: Mapping[str, Got] = {}  # all effective values, for people


def asked(service: str, reader: Reader) -> Asked:
    """`health` and `verify` of a service. Whether it is given secrets, and in which file, is not known here."""
    watch, got = _watch(service, reader)
    verifies, more = _verifies(service, reader)
    return Asked(watch, verifies, {**got, **more})


def of_deployment(ground: Ground) -> tuple[Verify, ...]:
    """`verify` at the top level."""
    reader = Reader(ground.merged, "the deployment", ground.scope, ground.evaluator, ground.problems)
    return _verifies("", reader)[0]


# ---------------------------------------------------------------- health


def _watch(service: str, reader: Reader) -> tuple[Watch | None, dict[str, Got]]:
    node = reader.node.get("health")
    if not isinstance(node, Entries):
        return None, {}
    inner = _below(reader, node, "health")
    times = {key: _time(inner, key, default) for key, default in _DEFAULTS.items()}
    _limited(inner, "timeout", times["timeout"])
    retries = inner.number("retries", _RETRIES, 1)
    got = {f"health.{key}": inner.text(key, default) for key, default in _DEFAULTS.items()}
    got["health.retries"] = retries
    probes = []
    for ask, read in _PROBES.items():
        part = node.get(ask.value)
        if isinstance(part, Entries):
            own = _below(inner, part, f"health.{ask.value}")
            seconds = _time(own, "timeout", f"{times['timeout']:g}s")
            _limited(own, "timeout", seconds)
            probes.append(read(own)._replace(seconds=seconds))
            got |= {f"health.{ask.value}.{key}": value for key, value in _shown(own).items()}
            inner.sound = inner.sound and own.sound
    if not any(node.get(ask.value) is not None for ask in _PROBES):
        hint = f"say one of {', '.join(ask.value for ask in _PROBES)}, or take `health` out"
        inner.tell(node.origin, f"`health` of service `{service}` asks nothing", hint)
    reader.sound = reader.sound and inner.sound
    timing = (times["start_period"], times["interval"], int(retries.text), times["settle"])
    return Watch(service, tuple(probes), *timing, private=False, env_file=""), got


def _below(reader: Reader, node: Entries, key: str) -> Reader:
    label = reader.label.removesuffix(f".{key.rpartition('.')[0]}")
    return Reader(node, f"{label}.{key}", reader.scope, *reader.tools)


def _shown(reader: Reader) -> dict[str, Got]:
    """What stands in a mapping, as it was evaluated; that something of it is wrong was told before."""
    known = {key: reader.string(node, key) for key, node in reader.node.entries.items()}
    return {key: got for key, got in known.items() if got is not None}


def _time(reader: Reader, key: str, default: str) -> float:
    return float(span(reader, key, default))


def _limited(reader: Reader, key: str, seconds: float) -> None:
    """Tell of a time that no probe, or too long a one, would be given."""
    if key in reader.node.entries and reader.sound and not 0 < seconds <= _LONGEST:
        reader.tell(reader.place(key), f"`{key}` of {reader.label} must be from 1s to {_LONGEST}s")


def _http(reader: Reader) -> Probe:
    given = [key for key in ("url", "port") if key in reader.node.entries]
    if len(given) != 1:
        wrong = "has both `url` and `port`" if given else "does not say where it asks"
        reader.tell(
            reader.place("port"), f"{reader.label} {wrong}", "say `port: 8080` and `path: /health`, or a whole `url`"
        )
    header = reader.text("version_header")
    if header.text and not re.fullmatch(_HEADER, header.text):
        reader.tell(header.origin, f"`version_header` of {reader.label} is no name of a header", "such as X-Version")
    return Probe(
        Ask.HTTP,
        0.0,
        target=_url(reader) if "url" in given else f"http://localhost:{_port(reader)}{_path(reader)}",
        status=_status(reader),
        holds=_pattern(reader, "body"),
        json=reader.text("version_json").text,
        header=header.text,
        ca=_ca(reader),
    )


def _ca(reader: Reader) -> str:
    got = reader.text("ca")
    if "ca" not in reader.node.entries or not reader.sound:
        return ""
    if not got.text.startswith("/"):
        reader.tell(got.origin, f"`ca` of {reader.label} is no absolute path", "a file of certificates, in PEM")
    elif not reader.text("url").text.startswith("https:"):
        hint = "say `url: https://...` beside it, or take it out"
        reader.tell(got.origin, f"`ca` of {reader.label} means nothing where it does not ask by https", hint)
    return got.text


def _url(reader: Reader) -> str:
    from urllib.parse import urlsplit

    got = reader.text("url")
    try:
        url = urlsplit(got.text)
        good = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
        plain = got.text.isascii() and not any(c.isspace() for c in got.text)
    except ValueError:
        good = plain = False
    if not (good and plain) and reader.sound:
        hint = "such as http://localhost:8080/health"
        reader.tell(got.origin, f"`url` of {reader.label} is no address of HTTP", hint)
    elif good and "@" in url.netloc:
        reader.tell(
            got.origin, f"`url` of {reader.label} has a password in it", "ask by `exec`, which gets the service's `env`"
        )
    return got.text


def _port(reader: Reader) -> int:
    got = reader.number("port", 0, 1)
    port = got.value if isinstance(got.value, int) else 0
    if port > MAX_PORT:
        reader.tell(got.origin, f"`port` of {reader.label}: there is no port {port}", f"{MAX_PORT} is the last one")
    return port


def _path(reader: Reader) -> str:
    got = reader.text("path", "/")
    plain = got.text.isascii() and not any(c.isspace() for c in got.text)
    if reader.sound and not (got.text.startswith("/") and plain):
        reader.tell(got.origin, f"`path` of {reader.label} is no path of a URL", "it begins with /, such as /health")
    return got.text


def _status(reader: Reader) -> int:
    got = reader.number("status", 0)
    status = got.value if isinstance(got.value, int) else 0
    if got.origin != ORIGIN_DEFAULT and reader.sound and status not in _STATUS:
        reader.tell(got.origin, f"`status` of {reader.label} is none of HTTP", "such as 200")
    return status


def _tcp(reader: Reader) -> Probe:
    _required(reader, "port", "say which: `port: 5672`")
    host = reader.text("host", "localhost")
    if reader.sound and (not host.text or any(c.isspace() or c == "/" for c in host.text)):
        reader.tell(host.origin, f"`host` of {reader.label} is no name of a host")
    name = f"[{host.text}]" if ":" in host.text else host.text
    return Probe(Ask.TCP, 0.0, target=f"{name}:{_port(reader)}")


def _exec(reader: Reader) -> Probe:
    return Probe(Ask.EXEC, 0.0, target=_command(reader))


def _command(reader: Reader) -> str:
    _required(reader, "command", "say what is run")
    got = reader.text("command")
    if "command" in reader.node.entries and reader.sound and not got.text.strip():
        reader.tell(got.origin, f"the command of {reader.label} is empty", "say what is run")
    return got.text.strip()


def _log(reader: Reader) -> Probe:
    if not {"must", "must_not"} & reader.node.entries.keys():
        hint = "say `must: PATTERN` or `must_not: PATTERN`"
        reader.tell(reader.node.origin, f"{reader.label} looks for nothing", hint)
    lacks = _pattern(reader, "must_not")
    if lacks and reader.sound and re.compile(lacks, re.MULTILINE).search(""):
        message = f"`must_not` of {reader.label} matches everything"
        reader.tell(reader.place("must_not"), message, "so it would never be healthy")
    target = _file(reader) if "file" in reader.node.entries else ""
    return Probe(Ask.LOG, 0.0, target=target, holds=_pattern(reader, "must"), lacks=lacks)


def _heartbeat(reader: Reader) -> Probe:
    _required(reader, "file", "say which file the service touches")
    _required(reader, "within", "say how old it may be: `within: 60s`")
    within = _time(reader, "within", "60s")
    if "within" in reader.node.entries and reader.sound and within == 0:
        reader.tell(reader.place("within"), f"`within` of {reader.label} allows no age", _SPAN_HINT)
    return Probe(Ask.HEARTBEAT, 0.0, target=_file(reader), within=within)


def _file(reader: Reader) -> str:
    got = reader.text("file")
    if got.text and not got.text.startswith("/"):
        hint = "write it in full, such as {{ paths.run }}/alive"
        reader.tell(got.origin, f"`file` of {reader.label} is no absolute path", hint)
    return got.text


def _required(reader: Reader, key: str, hint: str) -> None:
    if key not in reader.node.entries:
        reader.tell(reader.node.origin, f"{reader.label} has no `{key}`", hint)


def _pattern(reader: Reader, key: str) -> str:
    """A regular expression of Python's; empty where there is none, or none that could be used."""
    got = reader.text(key)
    try:
        re.compile(got.text, re.MULTILINE)
    except (re.error, OverflowError, RecursionError) as error:
        reader.tell(got.origin, f"`{key}` of {reader.label} is no usable pattern: {error}", "a regular expression")
        return ""
    return got.text


_PROBES: Mapping[Ask, Callable[[Reader], Probe]] = {
    Ask.HTTP: _http,
    Ask.TCP: _tcp,
    Ask.EXEC: _exec,
    Ask.LOG: _log,
    Ask.HEARTBEAT: _heartbeat,
}


# ---------------------------------------------------------------- verify


def _verifies(service: str, reader: Reader) -> tuple[tuple[Verify, ...], dict[str, Got]]:
    """In order of their names. What is wrong with one is told, and the deployment is not compiled."""
    known = LAYER.keys["verify"].each
    found: list[Verify] = []
    got: dict[str, Got] = {}
    for name, node in sorted(reader.node.section("verify").items()):
        if known is None or not isinstance(node, Entries) or node.entries.keys() - known.keys.keys():
            continue
        inner = Reader(node, f"verify {name}", reader.scope, *reader.tools)
        found.append(_verify(name, service, inner))
        got |= {f"verify.{name}.{key}": value for key, value in _shown(inner).items()}
        reader.sound = reader.sound and inner.sound
    return tuple(found), got


def _verify(name: str, service: str, reader: Reader) -> Verify:
    given = [key for key in ("equals", "matches") if key in reader.node.entries]
    if len(given) != 1:
        wrong = "has both `equals` and `matches`" if given else "does not say what is wanted"
        reader.tell(reader.node.origin, f"{reader.label} {wrong}", "say `equals: VALUE` or `matches: PATTERN`")
    seconds = _time(reader, "timeout", _VERIFY_TIMEOUT)
    _limited(reader, "timeout", seconds)
    equals = reader.text("equals").text if "equals" in reader.node.entries else None
    command, holds = _command(reader), _pattern(reader, "matches")
    probe = Probe(Ask.EXEC, seconds, target=command, holds=holds, equals=equals)
    return Verify(name, service, probe, _time(reader, "interval", _VERIFY_INTERVAL), private=False, env_file="")
