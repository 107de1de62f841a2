"""What runs by hand beside what git wants of the service of that name: in what it is another one, in words.

What cannot be told counts as another one: only what is known to be equal is. No value that may be a secret is told.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from reconciler.adopt import running, words
from reconciler.adopt.found import Found
from reconciler.adopt.running import Running
from reconciler.core.desired import Compiled, Role, Service
from reconciler.host.detached import SERVICE_PATH

VERSION = "adopted"  # of what nobody knows the version of
_OF_A_SHELL = re.compile(r"[$`*?\[\]~<>(){}|&;]")
_INTERPRETERS = re.compile(r"(python|perl|ruby|sh|bash|dash|ksh|zsh|env)[0-9.]*")
_READ_MARGIN = 1.0  # seconds: as `core.view`, what changed so shortly after a start may have been read
_SHOWN = 60  # letters of a word
_KEY = re.compile(r"\s*\"?([\w.-]+)\"?\s*[=:]")
_SEEN = 5  # lines of a file that are named


class Wanted(NamedTuple):
    """A service as git has it."""

    service: Service
    root: str
    command: str  # its own, also where it runs inside of a container
    env: Mapping[str, str]
    hidden: frozenset[str]  # variables whose values are secrets that stand elsewhere
    files: Mapping[str, bytes | None]  # by path, what it reads; None: a secret in it is not had here
    requirement: str  # of a venv
    image: str  # path of its container's
    program: str  # where its program is, if it is one of its own install


class Compared(NamedTuple):
    differs: tuple[str, ...]  # empty: it is the same in effect
    version: str  # of what runs
    in_files: bool = False  # so does what it reads, which git renders and no layer can say


def wanted(compiled: Compiled, service: Service) -> Wanted:
    fields = compiled.fields[service.name]
    deployment = compiled.deployment
    install = next((one for one in deployment.installs if one.id == service.install), None)
    own = [file for file in deployment.files if service.name in file.services]
    variables = next((compiled.contents.get(file.path, b"") for file in own if file.role is Role.ENV), b"")
    boxed = any(key.startswith("container.") for key in fields)
    venv = install is not None and install.method == "venv"
    return Wanted(
        service=service,
        root=deployment.root,
        command=str(fields["command"].value).strip().removeprefix("exec "),
        env=_exports(variables),
        hidden=frozenset(key[4:] for key, field in fields.items() if field.secret and key.startswith("env.")),
        files={file.path: compiled.contents.get(file.path) for file in own if file.role is Role.CONFIG},
        requirement=install.source if install is not None and venv else "",
        image=install.path if install is not None and boxed else "",
        program=f"{install.path}/bin" if install is not None and venv else "",
    )


def _exports(content: bytes) -> dict[str, str]:
    """The variables of a file that `shim.render_env` has written."""
    tokens = shlex.split(content.decode("utf-8", "surrogateescape"), comments=True)
    return {key: value for key, _, value in (word.partition("=") for word in tokens if word != "export")}


def compare(found: Found, now: Running, want: Wanted) -> Compared:
    """`now`: the process of `found`."""
    if not found.unwritable and want.command == words.command(found.argv, found.directory):
        told = [*_variables(found, now, want)]  # git was written from this very section
        return Compared(tuple(told), want.service.version if not told else VERSION)
    words_of = _split(want.command)
    if words_of is None:
        shell = ("its command in git is for a shell, and cannot be compared", *_files(now, want, {}))
        return Compared(shell, VERSION, len(shell) > 1)
    argv, configured = _own_words(now.argv), _own_words(found.argv) if not found.unwritable else ()
    argv = configured if configured and _fits(configured, words_of) and not _fits(argv, words_of) else argv
    return _compared(found, now, want, argv, words_of)


def _compared(found: Found, now: Running, want: Wanted, argv: Sequence[str], command: Sequence[str]) -> Compared:
    if not want.image and os.path.basename(argv[0] if argv else "") != os.path.basename(command[0]):
        shown = _word(argv[0]) if argv else "what cannot be seen"
        other = (f"runs {shown}, and git says {_word(command[0])}", *_files(now, want, {}))
        return Compared(other, VERSION, len(other) > 1)
    version, told = _version(now, want, argv[0] if argv else "", command)
    mine, theirs = (_tail(argv, command), command) if want.image else (argv[1:], command[1:])
    paths, differing, named = _arguments(mine, theirs, want)
    if named and version == want.service.version and not (want.requirement or want.image):
        version, told = named, [*told, _other(named, want)]  # its command names it, as that of git does
    told += [*differing, *_variables(found, now, want), *_folder(found, now, want)]
    files = [*_files(now, want, paths)]
    known = version or (VERSION if told or files else want.service.version)
    return Compared((*told, *files), known, bool(files))


# ---------------------------------------------------------------- its command


def _split(command: str) -> list[str] | None:
    """The words; None where a shell would make others of them."""
    try:
        found = shlex.split(command)
    except ValueError:
        return None
    return found if found and not _OF_A_SHELL.search(re.sub(r"'[^']*'", "", command)) else None


def _own_words(argv: Sequence[str]) -> tuple[str, ...]:
    """Without the interpreter that the kernel puts before a script."""
    script = len(argv) > 1 and "/" in argv[1] and not argv[1].startswith("-")
    return tuple(argv[1:] if script and _INTERPRETERS.fullmatch(os.path.basename(argv[0])) else argv)


def _fits(argv: Sequence[str], command: Sequence[str]) -> bool:
    return bool(argv) and os.path.basename(argv[0]) == os.path.basename(command[0])


def _tail(argv: Sequence[str], command: Sequence[str]) -> Sequence[str]:
    """Of what runs inside of an image, which begins with a program of the image's own."""
    return argv[len(argv) - len(command) :] if len(argv) > len(command) else argv


def _arguments(mine: Sequence[str], theirs: Sequence[str], want: Wanted) -> tuple[dict[str, str], list[str], str]:
    """Where the files of git are for what runs, which words differ, and the version that is all that some differ in."""
    if words.secret_word(("", *mine)) >= 0:
        return {}, ["its command line seems to hold a secret, and is not compared"], ""
    if len(mine) != len(theirs):
        return {}, [f"runs with `{_line(mine)}`, and git says `{_line(theirs)}`"], ""
    paths: dict[str, str] = {}
    told: list[str] = []
    named = {version for pair in zip(mine, theirs, strict=True) if (version := _named(*pair, want.service.version))}
    version = named.pop() if len(named) == 1 else ""
    for here, there in zip(mine, theirs, strict=True):
        if here == there or (version and _named(here, there, want.service.version) == version):
            continue
        path = next((path for path in want.files if path in there), "")
        before, _, after = there.partition(path) if path else ("", "", "")
        other = here.removeprefix(before).removesuffix(after)
        if path and here == before + other + after and os.path.isabs(other):
            paths[path] = other
        else:
            told.append(f"runs with `{_word(here)}`, and git says `{_word(there)}`")
    return paths, told, version


def _named(here: str, there: str, version: str) -> str:
    """The version in a word that is git's but for the version in it; empty where it is not."""
    if here == there or not version or version not in there:
        return ""
    parts = re.split(rf"(?<![\w.]){re.escape(version)}(?![\w])", there)
    found = re.fullmatch(r"([\w.+-]+)".join(map(re.escape, parts)), here) if len(parts) == 2 else None
    return found[1] if found else ""


def _other(version: str, want: Wanted) -> str:
    return f"runs version {version}, and git wants {want.service.version}"


def _line(argv: Sequence[str]) -> str:
    return " ".join(map(_word, argv))


def _word(text: str) -> str:
    plain = re.sub(r"[^\x20-\x7e\xa0-\ud7ff]", "?", text)
    return plain if len(plain) <= _SHOWN else f"{plain[: _SHOWN // 2]}...{plain[-_SHOWN // 2 :]}"


# ---------------------------------------------------------------- its version


def _version(now: Running, want: Wanted, program: str, command: Sequence[str]) -> tuple[str, list[str]]:
    """Of what runs, empty where that is not known; and what is told of it."""
    if want.image:
        return _of_image(now, want)
    if want.requirement and "/" not in command[0]:
        return _of_venv(now, want, program)
    theirs = _resolved(command[0], SERVICE_PATH, want.root)
    mine = _resolved(program, now.env.get("PATH", SERVICE_PATH), now.folder)
    if theirs and mine and os.path.realpath(theirs) == os.path.realpath(mine):
        return want.service.version, []
    return "", [f"runs {_word(mine or program)}, and git says {_word(theirs or command[0])}"]


def _of_image(now: Running, want: Wanted) -> tuple[str, list[str]]:
    if not now.image:
        return "", ["whether it runs inside of an image, and which, cannot be told"]
    mine, theirs = os.path.basename(now.image), os.path.basename(want.image)
    if mine == theirs:
        return want.service.version, []
    version = _named(mine, theirs, want.service.version)
    return version, [_other(version, want) if version else f"runs {_word(mine)}, and git wants {_word(theirs)}"]


def _of_venv(now: Running, want: Wanted, program: str) -> tuple[str, list[str]]:
    path = _resolved(program, now.env.get("PATH", SERVICE_PATH), now.folder)
    pinned = re.search(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?\s*==\s*([^\s;,'\"]+)", want.requirement)
    if pinned is None:
        return "", ["which version git requires is not written as NAME==VERSION, and cannot be compared"]
    version, put = running.installed(path, pinned[1])
    if not version:
        return "", [f"which version of {pinned[1]} runs cannot be told from {_word(path or program)}"]
    if put > now.started + _READ_MARGIN:
        return "", [f"{pinned[1]} was installed anew since it was started: {version} stands there"]
    known = version if pinned[2] == want.service.version else ""
    return known, [] if version == pinned[2] else [f"runs version {version}, and git wants {pinned[2]}"]


def _resolved(program: str, search: str, folder: str) -> str:
    from shutil import which

    if "/" in program:
        return os.path.join(folder or "/", program)
    return which(program, path=search) or ""


# ---------------------------------------------------------------- its variables, its folder, its files


def _variables(found: Found, now: Running, want: Wanted) -> Iterator[str]:
    if not now.env:
        if want.env or want.hidden:
            yield "its variables cannot be seen"
        return
    secret = words.secret_variables({**want.env, **now.env}) | found.private
    yield from (f"whether {key} is the secret that git means is not compared" for key in sorted(want.hidden))
    for key, value in sorted((key, value) for key, value in want.env.items() if key not in want.hidden):
        if key not in now.env:
            yield f"runs without {key}, and git sets it" + ("" if key in secret else f" to {_word(value)!r}")
        elif now.env[key] != value:
            shown = "" if key in secret else f": {_word(now.env[key])!r}, and git says {_word(value)!r}"
            yield f"runs with another {key}{shown}"
    private = frozenset[str]() if want.service.prologue.strip() == "" else secret
    others = sorted((found.env.keys() & now.env.keys()) - want.env.keys() - want.hidden - private - {"PATH"})
    if others:
        yield f"runs with {', '.join(others)}, which git does not set"


def _folder(found: Found, now: Running, want: Wanted) -> Iterator[str]:
    if want.image or (now.folder and os.path.realpath(now.folder) == os.path.realpath(want.root)):
        return
    yield f"runs in {_word(now.folder or found.directory or 'a folder that cannot be seen')}, and git says {want.root}"


def _files(now: Running, want: Wanted, paths: Mapping[str, str]) -> Iterator[str]:
    """`paths`: where what runs has the files of git, unless it is where git has them."""
    for path, content in want.files.items():
        yield from _file(paths.get(path, path), path, content, now.started)


def _file(path: str, meant: str, content: bytes | None, started: float) -> Iterator[str]:
    name = os.path.basename(meant)
    if content is None:
        yield f"{name}: git has a secret in it, and it is not compared"
        return
    try:
        changed = os.stat(path).st_ctime
        with open(path, "rb") as file:
            there = file.read()
    except FileNotFoundError:
        yield f"{name}: there is no {path}"
        return
    except OSError as error:
        yield f"{name}: {path} cannot be read: {error.strerror}"
        return
    if there != content:
        yield f"{name}: {path} is another one than git's, in {_lines(there, content)}"
    elif changed > started + _READ_MARGIN:
        yield f"{name}: {path} was changed since it was started"


def _lines(there: bytes, content: bytes) -> str:
    """Which lines are other ones, by what stands before `=` or `:`. Their values may be secrets."""
    from difflib import SequenceMatcher

    mine, theirs = (text.decode(errors="replace").splitlines() for text in (there, content))
    blocks = SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes()
    lines = [line for tag, a, b, c, d in blocks if tag != "equal" for line in (*mine[a:b], *theirs[c:d])]
    keys = dict.fromkeys(found[1] for line in lines if (found := _KEY.match(line)))
    count = sum(max(b - a, d - c) for tag, a, b, c, d in blocks if tag != "equal")
    shown = ", ".join(list(keys)[:_SEEN]) + (", ..." if len(keys) > _SEEN else "")
    return f"{count} line{'s' * (count != 1)}" + (f" ({shown})" if shown else "")
