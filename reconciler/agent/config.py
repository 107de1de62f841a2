"""The agent's file, and options that stand in for it: which repo, which site, where to remember."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from reconciler.core.problem import Origin, Problem

if TYPE_CHECKING:
    from reconciler.desired.nodes import Entries
    from reconciler.desired.problems import Problems
    from reconciler.source.trust import Trust

DAY = 86400.0


class InvalidInput(Exception):  # noqa: N818 - it says what is so
    """Something that a person wrote is not valid. Nothing of it was applied; exit status 3."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, problems)))


class Named(NamedTuple):
    """A file or folder that the agent's file names, and where it does."""

    path: str
    key: str
    origin: Origin


class Agent(NamedTuple):
    """What one agent is to do on this host. Times are in seconds."""

    repo: str
    site: str
    branch: str = "main"
    environments: tuple[str, ...] = ()  # empty: all that the site has
    state_dir: str = ""
    interval: float = 300.0
    timeout: float = 60.0  # of each call of git
    max_staleness: float = DAY
    verify: Trust | None = None  # whose commits are followed; None: whoever can push
    sources: tuple[str, ...] = ()  # patterns of what may be installed; empty: anything
    roots: tuple[str, ...] = ()  # folders that all paths of git must be below; empty: wherever the account may write
    age_identity: str = ""  # the file with the private key that secrets are decrypted with
    notify: str = ""  # the file that says who is told, absolute; empty: nobody
    metrics: str = ""  # the file that Prometheus reads, absolute; empty: none
    own: str = ""  # the agent's file, absolute; in its usual folder, which holds nothing else, that
    named: tuple[Named, ...] = ()  # the files that it names, and where

    @property
    def reads(self) -> tuple[str, ...]:
        """Files and folders that it goes by, which are nobody's scratch: the repo, where it is one of this host, its
        own file, and what that names."""
        from reconciler.source.address import is_local

        repo = is_local(self.repo) if self.repo else None
        return tuple(path for path in (repo, self.own, *(one.path for one in self.named)) if path)

    def naming(self, path: str) -> str:
        """`` `verify.ssh` in FILE:LINE names it`` of a file that the agent's file names, or one in such a folder."""
        found = (one for one in self.named if f"{path}/".startswith(f"{one.path}/"))
        return next((f"`{one.key}` in {one.origin} names it" for one in found), "")


class Options(NamedTuple):
    """The same as given on the command line; empty where it was not."""

    config: str = ""
    repo: str = ""
    branch: str = ""
    site: str = ""
    environments: tuple[str, ...] = ()
    state_dir: str = ""
    interval: str = ""
    timeout: str = ""
    max_staleness: str = ""


_TIMES = ("interval", "timeout", "max_staleness")
_PATHS = ("age_identity", "notify", "metrics")
_LISTS = ("environments", "sources", "roots")
_WORDS = ("repo", "branch", "site", "state_dir", *_TIMES, *_PATHS)
KEYS = (*_WORDS, *_LISTS, "verify")
_KINDS = {
    "environments": "a list of names",
    "sources": "a list of patterns",
    "roots": "a list of folders",
    "verify": "gpg, ssh and require",
}
_OF_VERIFY = ("gpg", "ssh", "require")
_UNIT = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY}
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def _is_name(text: str) -> bool:
    import re

    return re.fullmatch(_NAME, text) is not None


def seconds(text: str) -> float | None:
    """`90`, `90s`, `5m`, `24h`, `7d` in seconds; None for anything else."""
    number, unit = text.strip(), 1.0
    if number[-1:] in _UNIT:
        number, unit = number[:-1].rstrip(), _UNIT[number[-1]]
    whole, point, part = number.partition(".")
    plain = number.isascii() and whole.isdigit() and (part.isdigit() if point else True)
    return float(number) * unit if plain else None


def default_state_dir(env: Mapping[str, str]) -> str:
    base = env.get("XDG_STATE_HOME") or os.path.join(env.get("HOME") or os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "reconcile")


def find_config(options: Options, env: Mapping[str, str]) -> str:
    """The agent's file that holds: named, from the environment, or in its usual place. Empty where there is none."""
    named = options.config or env.get("RECONCILE_CONFIG", "")
    if named:
        return named
    usual = os.path.join(_usual_folder(env), "agent.yaml")
    return usual if os.path.exists(usual) else ""


def _usual_folder(env: Mapping[str, str]) -> str:
    base = env.get("XDG_CONFIG_HOME") or os.path.join(env.get("HOME") or os.path.expanduser("~"), ".config")
    return os.path.join(base, "reconcile")


def load_agent(options: Options, env: Mapping[str, str], *, needs: Sequence[str] = ("repo", "site")) -> Agent:
    """The agent's file with the options laid over it. Raises `InvalidInput` with all that is wrong."""
    path = find_config(options, env)
    values, problems = _read(path) if path else ({}, [])
    given = {key: value for key, value in options._asdict().items() if value and key != "config"}
    values = {**values, **{key: (value, Origin(flag(key), 0, 0)) for key, value in given.items()}}
    problems += [_missing(key, path) for key in needs if key not in values and not problems]
    agent = _build(values, problems, env, os.path.abspath(path) if path else "")
    if problems:
        raise InvalidInput(problems)
    return agent


def flag(key: str) -> str:
    """The option that stands for a key of the agent's file."""
    return "--" + {"environments": "environment"}.get(key, key).replace("_", "-")


def _missing(key: str, path: str) -> Problem:
    where = path or "the command line"
    usual = "~/.config/reconcile/agent.yaml"
    hint = f"add `{key}: ...` to {path}" if path else f"write {usual}, or give {flag(key)}, or --config FILE"
    return Problem(Origin(where, 0, 0), f"no {key} is given", hint)


_NAME_IT = "name another one with --config, or write it: `reconcile help agent` says what stands in it"
_Values = dict[str, tuple[object, Origin]]


def _read(path: str) -> tuple[_Values, list[Problem]]:
    from reconciler.host import files

    try:
        content = files.read(path)
    except OSError as error:
        return {}, [Problem(Origin(path, 0, 0), f"cannot be read: {error.strerror or error}", _NAME_IT)]
    simple = _read_simple(path, content)
    return (simple, []) if simple is not None else _read_yaml(path, content)


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-@:~+=")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/")


def _read_simple(path: str, content: bytes) -> _Values | None:
    """The file where it is nothing but `key: word` lines, which mean the same to YAML, and such lines indented below
    `verify:`; None for any other.

    Nearly every agent's file is such a one, and a YAML parser takes a quarter of the time of an idle pass to load.
    """
    values: _Values = {}
    inner: _Values | None = None  # of `verify`, while its lines follow
    for number, line in enumerate(content.decode("latin-1").splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        if line == "verify:" and "verify" not in values:
            inner = {}
            values["verify"] = (inner, Origin(path, number + 1, 3))
            continue
        inner = inner if line.startswith("  ") else None
        place, known, indent = (values, _WORDS, 0) if inner is None else (inner, _OF_VERIFY, 2)
        key, colon, word = line[indent:].partition(": ")
        text = word.strip(" ")
        if not colon or key not in known or key in place or not _is_plain(text):
            return None
        if inner is not None and not inner:  # a comment may stand before the first of its lines
            values["verify"] = (inner, Origin(path, number, 3))
        place[key] = (text, Origin(path, number, indent + len(key) + 3))
    return values


def _is_plain(word: str) -> bool:
    """A word that YAML reads as the text that it is: no number, no truth value, no null, nothing with a meaning."""
    starts = word[:1] in _LETTERS or (word[:1].isdigit() and word[-1:] in "smhd")
    return (
        starts and _PLAIN.issuperset(word) and not word.endswith(":") and word.lower() not in ("null", "true", "false")
    )


def _read_yaml(path: str, content: bytes) -> tuple[_Values, list[Problem]]:
    from reconciler.desired.problems import Problems
    from reconciler.desired.text import parse

    problems = Problems()
    entries = parse(content, path, problems)
    values = _entries(entries, KEYS, problems) if entries else {}
    return values, list(problems.told(1))


def _entries(entries: Entries, known: Sequence[str], problems: Problems) -> _Values:
    """The values of a mapping, each of the kind that its key asks for; all else is told."""
    from reconciler.desired.nodes import Entries, Items, Scalar
    from reconciler.desired.problems import suggest

    values: _Values = {}
    for key, node in entries.entries.items():
        if key not in known:
            problems.add(entries.places[key], f"unknown key `{key}`", suggest(key, known))
        elif isinstance(node, Items) and key in _LISTS:
            texts = tuple(item.text if isinstance(item, Scalar) else "" for item in node.items)
            values[key] = (texts, node.origin)
        elif isinstance(node, Entries) and key == "verify":
            values[key] = (_entries(node, _OF_VERIFY, problems), node.origin)
        elif isinstance(node, Scalar) and node.value is not None and key in (*_WORDS, *_OF_VERIFY):
            values[key] = (node.text, node.origin)
        else:
            wanted = _KINDS.get(key, "a text")
            problems.add(node.origin, f"`{key}` is {node.kind}; {wanted} is wanted")
    return values


def _build(values: _Values, problems: list[Problem], env: Mapping[str, str], config: str) -> Agent:
    folder = os.path.dirname(config) if config else os.getcwd()

    def text(key: str, default: str = "") -> str:
        return str(values[key][0]) if key in values else default

    times = {key: _time(values, key, problems) for key in _TIMES}
    site, environments = text("site"), values.get("environments", ((), Origin("", 0, 0)))[0]
    for key, names in (("site", (site,)), ("environments", environments)):
        bad = [name for name in (names if isinstance(names, tuple) else ()) if name and not _is_name(name)]
        problems += [Problem(values[key][1], f"`{name}` cannot be a name", "letters, digits, . _ -") for name in bad]
    return Agent(
        repo=_repo(values, problems, folder) if "repo" in values else "",
        site=site,
        branch=_branch(values, problems),
        environments=tuple(dict.fromkeys(environments)) if isinstance(environments, tuple) else (),
        state_dir=os.path.abspath(os.path.expanduser(text("state_dir", default_state_dir(env)))),
        verify=_verify(values, problems, folder) if "verify" in values else None,
        sources=_sources(values, problems) if "sources" in values else (),
        roots=_roots(values, problems) if "roots" in values else (),
        age_identity=_beside(folder, text("age_identity")),
        notify=_beside(folder, text("notify")),
        metrics=_beside(folder, text("metrics")),
        own=folder if config and folder == os.path.abspath(_usual_folder(env)) else config,
        named=tuple(_named(values, folder)),
        **{key: value for key, value in times.items() if value is not None},
    )


def _verify(values: _Values, problems: list[Problem], folder: str) -> Trust | None:
    """Paths are taken from the folder of the file. What it means cannot be guessed: anything wrong makes it None."""
    from reconciler.source.trust import Require, Trust

    inner, origin = values["verify"]
    found = inner if isinstance(inner, dict) else {}
    told = {key: str(value) for key, (value, _) in found.items()}
    words = [word.value for word in Require]
    require = told.pop("require", Require.HEAD.value)
    if require not in words:
        problems.append(Problem(found["require"][1], f"`require` is `{require}`", "one of: " + ", ".join(words)))
        return None
    if not any(told.values()) or not all(told.values()):
        hint = "give `gpg`, a file or folder of public keys, or `ssh`, an allowed signers file, or both"
        problems.append(Problem(origin, "`verify` names no keys", hint))
        return None
    paths = {key: _beside(folder, path) for key, path in told.items()}
    return Trust(**paths, require=Require(require))


def _named(values: _Values, folder: str) -> Iterator[Named]:
    """Without what names nothing: `verify` with something wrong in it is told elsewhere."""
    yield from (Named(_beside(folder, str(values[key][0])), key, values[key][1]) for key in _PATHS if key in values)
    inner = values["verify"][0] if "verify" in values else {}
    for key, (path, origin) in inner.items() if isinstance(inner, dict) else ():
        if key != "require" and path:
            yield Named(_beside(folder, str(path)), f"verify.{key}", origin)


def _beside(folder: str, path: str) -> str:
    """A path that is taken from the folder of the file; empty where none is given."""
    return os.path.normpath(os.path.join(folder, os.path.expanduser(path))) if path else ""


def _roots(values: _Values, problems: list[Problem]) -> tuple[str, ...]:
    """Folders, in full. An empty list would be read as no limit by one, as nothing allowed by another."""
    found, origin = values["roots"]
    roots = tuple(os.path.expanduser(root) for root in found) if isinstance(found, tuple) else ()
    if not roots or not all(root.startswith("/") and root == os.path.normpath(root) for root in roots):
        problems.append(Problem(origin, "`roots` is a list of absolute paths", "write `roots: [/srv/ours]`"))
    return roots


def _sources(values: _Values, problems: list[Problem]) -> tuple[str, ...]:
    """An empty list would be read as no restriction by one, as nothing allowed by another: it is refused."""
    found, origin = values["sources"]
    patterns = found if isinstance(found, tuple) else ()
    if not patterns or not all(patterns):
        problems.append(Problem(origin, "`sources` is a list of patterns", 'write `sources: ["our-*==*"]`'))
    return patterns


def _time(values: _Values, key: str, problems: list[Problem]) -> float | None:
    if key not in values:
        return None
    value, origin = values[key]
    found = seconds(str(value))
    if found is None or (found == 0 and key != "max_staleness"):
        problems.append(Problem(origin, f"`{value}` is no time", "write 90s, 5m, 24h or 7d"))
        return None
    return found


def _repo(values: _Values, problems: list[Problem], folder: str) -> str:
    """A path is taken from the folder of the file that names it, or from the current one."""
    from reconciler.source.address import check_url, is_local

    value, origin = str(values["repo"][0]), values["repo"][1]
    wrong = check_url(value)
    if wrong:
        problems.append(Problem(origin, f"repo: {wrong}", "https, ssh, git, file or a path"))
    if wrong or "://" in value or is_local(value) is None:
        return value
    base = os.getcwd() if origin.file.startswith("--") else folder
    return os.path.normpath(os.path.join(base, os.path.expanduser(value)))


def _branch(values: _Values, problems: list[Problem]) -> str:
    from reconciler.source.address import check_branch

    value, origin = values.get("branch", ("main", Origin("", 0, 0)))
    wrong = check_branch(str(value))
    if wrong:
        problems.append(Problem(origin, f"branch: {wrong}"))
    return str(value)
