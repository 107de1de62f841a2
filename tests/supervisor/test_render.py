"""What is written for supervisord, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor.datatypes import dict_of_key_value_pairs
from supervisor.options import UnhosedConfigParser

from reconciler.core.desired import Role
from reconciler.launchers import shim
from reconciler.launchers.base import Rendering, ServiceSpec
from reconciler.launchers.supervisor import LAUNCHER, stanza
from tests.supervisor.deployment import place, service


def render(*services: ServiceSpec, root: str = "/srv/jaws", settings: Mapping[str, object] | None = None) -> Rendering:
    return LAUNCHER.render(place(root, settings), services)


def changed(**changes: object) -> ServiceSpec:
    return service("rpc")._replace(**changes)  # type: ignore[arg-type]


def text(rendering: Rendering, role: Role) -> str:
    (file,) = (file for file in rendering.files if file.role is role)
    return file.content.decode()


def test_the_files_of_a_deployment() -> None:
    files = render(service("rpc")).files
    assert [(file.path, oct(file.mode), file.role, file.service, file.secret) for file in files] == [
        ("/srv/jaws/config/supervisord.conf", "0o600", Role.DAEMON, "", False),
        ("/srv/jaws/config/supervisor/rpc.conf", "0o600", Role.UNIT, "rpc", False),
        ("/srv/jaws/bin/rpc", "0o700", Role.SHIM, "rpc", False),
        ("/srv/jaws/config/env/rpc.env", "0o600", Role.ENV, "rpc", False),
    ]


def test_variables_that_hold_a_secret_are_one_and_what_is_shown_of_them_has_none() -> None:
    files = render(service("rpc", env=(("A", "plain"), ("B", "hunter2")), secrets=frozenset({"B"}))).files
    (one,) = [file for file in files if file.role is Role.ENV]
    assert one.secret
    assert b"hunter2" in one.content
    assert one.shown
    assert (b"export A=plain" in one.shown.content, b"hunter2" in one.shown.content) == (True, False)


def test_every_file_says_whose_it_is() -> None:
    owners = {file.role: shim.owner_of(file.content.decode()) for file in render(service("rpc")).files}
    assert owners.pop(Role.DAEMON) == ("dori/dev", "", "/srv/jaws")
    assert set(owners.values()) == {("dori/dev", "rpc", "/srv/jaws")}


def test_a_section() -> None:
    rendering = render(service("rpc", stop_signal="sigint", stop_seconds=7.2, options={"exitcodes": "0,2"}))
    assert text(rendering, Role.UNIT) == (
        "; managed by reconcile: deployment=dori/dev unit=rpc root=/srv/jaws\n"
        "[program:rpc]\n"
        "command=/srv/jaws/bin/rpc\n"
        "autostart=false\n"
        "autorestart=true\n"
        "startsecs=1\n"
        "startretries=3\n"
        "stopsignal=INT\n"
        "stopwaitsecs=8\n"
        "stopasgroup=true\n"
        "killasgroup=true\n"
        "redirect_stderr=true\n"
        "stdout_logfile=/srv/jaws/logs/rpc.log\n"
        "exitcodes=0,2\n"
        'environment=RECONCILE_DEPLOYMENT="dori/dev",RECONCILE_ROOT="/srv/jaws",RECONCILE_SERVICE="rpc",'
        'RECONCILE_DAEMON="",RECONCILE_PID="",RECONCILE_SPEC="",'
        f'RECONCILE_LAUNCH="{rendering.launch["rpc"]}"\n'
    )


def test_a_shim() -> None:
    rendering = render(service("rpc", "jaws-site --log 'a b' rpc", exports=('PATH="/srv/v/bin:$PATH"; export PATH',)))
    assert text(rendering, Role.SHIM) == (
        "#!/bin/sh\n"
        "# managed by reconcile: deployment=dori/dev unit=rpc root=/srv/jaws\n"
        "# Written by reconcile at every change: edit the desired state instead.\n"
        "[ -r /srv/jaws/config/env/rpc.env ] || "
        "{ printf '%s\\n' 'reconcile: rpc: cannot read /srv/jaws/config/env/rpc.env' >&2; exit 78; }\n"
        ". /srv/jaws/config/env/rpc.env\n"
        'PATH="/srv/v/bin:$PATH"; export PATH\n'
        "export RECONCILE_PID=$$ RECONCILE_SPEC=spec-1 RECONCILE_VERSION=2.8.1 RECONCILE_COMPONENT=site\n"
        "cd /srv/jaws || exit 78\n"
        "exec jaws-site --log 'a b' rpc\n"
    )


def test_no_section_changes_with_a_version() -> None:
    old = render(service("rpc"))
    new = render(service("rpc", "other", version="2.9.0", spec="spec-2", env=(("A", "b"),), prologue="true"))
    assert text(old, Role.UNIT) == text(new, Role.UNIT)
    assert (old.launch, old.manager) == (new.launch, new.manager)


@pytest.mark.parametrize(
    "changes",
    [{"stop_seconds": 6.0}, {"stop_signal": "INT"}, {"options": {"startsecs": 2}}, {"unit": "rpc2"}],
)
def test_a_section_that_changes_is_another_launch(changes: dict[str, object]) -> None:
    assert render(changed(**changes)).launch != render(service("rpc")).launch


def test_more_services_are_the_same_daemon() -> None:
    assert render(service("rpc")).manager == render(service("rpc"), service("log")).manager


@pytest.mark.parametrize("settings", [{"loglevel": "debug"}, {"minfds": 4096}, {"umask": "027"}, {"socket": "/x/s"}])
def test_other_settings_are_another_daemon(settings: dict[str, object]) -> None:
    first, second = render().manager, render(settings=settings).manager
    assert first
    assert second
    assert first.spec != second.spec


def test_the_password_is_hashed_and_the_file_secret() -> None:
    rendering = render(settings={"port": 64101, "username": "jaws", "password": "secret"})
    assert "secret" not in text(rendering, Role.DAEMON)
    assert "password={SHA}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4\n" in text(rendering, Role.DAEMON)
    assert "port=127.0.0.1:64101\n" in text(rendering, Role.DAEMON)
    assert (rendering.files[0].secret, rendering.ports) == (True, (64101,))


@pytest.mark.parametrize(
    ("settings", "root", "words"),
    [
        ({"port": 64101}, "/srv", "port needs username and password"),
        ({"port": 64101, "username": "jaws"}, "/srv", "port needs username and password"),
        ({"username": "a:b"}, "/srv", "username must not contain"),
        ({"umask": "9"}, "/srv", "not an octal number"),
        ({"socket": "/" + "x" * 99}, "/srv", "longer than 99 bytes"),
        ({}, '/srv/it\'s "x"/a', "both kinds of quotes"),
        ({}, "/srv/a\nb", "control character"),
        ({}, "/srv/a[b]", "make it a pattern"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, object], root: str, words: str) -> None:
    assert words in LAUNCHER.check_settings(place(root, settings))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unit": "a b"}, "cannot be a program's name"),
        ({"unit": "a:b"}, "cannot be a program's name"),
        ({"options": {"exitcodes": "zero"}}, "exitcodes 'zero' is not valid"),
        ({"options": {"stdout_logfile_maxbytes": "much"}}, "write it like '50MB'"),
        ({"options": {"umask": "rwx"}}, "umask 'rwx' is not valid"),
        ({"options": {"autorestart": "maybe"}}, "none of true, false, unexpected"),
        ({"stop_signal": "STOPPIT"}, "no signal 'STOPPIT'"),
        ({"env": (("RECONCILE_PID", "1"),)}, "one of the marks"),
        ({"env": (("a-b", "1"),)}, "not a name that a shell can export"),
        ({"command": ""}, "is empty"),
        ({"command": "a && b"}, "has '&&'"),
        ({"command": "a\nb"}, "has '\\n'"),
        ({"command": "a | b"}, "has '|'"),
        ({"command": "a &"}, "has '&'"),
        ({"command": "A=1 b"}, "begins with the assignment 'A=1'"),
        ({"command": "a 'b"}, "no closing quotation"),
    ],
)
def test_services_that_are_refused(changes: dict[str, object], words: str) -> None:
    assert words in LAUNCHER.check(place("/srv"), changed(**changes))


@pytest.mark.parametrize(
    "command",
    [
        "a --b='c && d' \"e | f\" g\\;h",
        "exec a",
        "a > out 2>&1",
        "a $(b | c) d",
        "a \\\n  b",
        "a `b | c`",
        "apptainer run --env-file=x image.sif",
    ],
)
def test_commands_that_are_taken(command: str) -> None:
    assert LAUNCHER.check(place("/srv"), service("rpc", command)) == ""


PATH = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=30)


@given(PATH.map(lambda tail: f"/{tail}x").filter(lambda path: not stanza.check_text(path)), st.integers(1, 2))
def test_supervisord_reads_what_was_written(path: str, expansions: int) -> None:
    """Through supervisord's own parser, in the same order as it."""
    parser = UnhosedConfigParser()
    marks = {"RECONCILE_ROOT": path, "RECONCILE_PID": ""}
    options = (("value", stanza.escape(path, expansions)), ("environment", stanza.environment(marks)))
    parser.read_string(stanza.section("program:x", options))
    parser.expand_here("/here")
    value = parser.get("program:x", "value")
    for _ in range(expansions):
        value = value % {"here": "/here"}
    environment = parser.get("program:x", "environment") % {"here": "/here"}
    assert value == path.rstrip()
    assert dict_of_key_value_pairs(environment) == marks


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_quoting_for_a_shell(value: str) -> None:
    import shlex

    assert shlex.split(shim.quote(value)) == [value]


def test_a_shell_reads_the_environment(tmp_path: Path) -> None:
    odd = "a'b\"c $HOME `x` \\ \n%d"
    (tmp_path / "env").write_text(shim.render_env("dori/dev", "/srv", "rpc", (("ODD", odd), ("EMPTY", ""))))
    script = f'. {tmp_path}/env; printf \'%s|%s\' "$ODD" "${{EMPTY-unset}}"'
    assert subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True).stdout.decode() == f"{odd}|"


@pytest.mark.parametrize("prologue", ["module load python/3.11", "command -v module"])
def test_module_is_looked_for_where_it_is_used(prologue: str) -> None:
    text_of = text(render(service("rpc", prologue=prologue)), Role.SHIM)
    assert text_of.startswith("#!/bin/bash\n")
    assert "/etc/profile.d/modules.sh" in text_of
    assert "profile.d" not in text(render(service("rpc", prologue="python -m modules.module")), Role.SHIM)


@pytest.mark.parametrize("prologue", ["", "true", "module load x", "f() {\n  :\n}\nf # done", "cat <<E\nx\nE"])
def test_a_shim_parses(prologue: str) -> None:
    content = text(render(service("rpc", prologue=prologue), root="/srv/a 'b"), Role.SHIM)
    shell = content.partition("\n")[0].removeprefix("#!")
    done = subprocess.run([shell, "-n"], input=content, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_long_paths_move_the_socket() -> None:
    short, long = (
        dict(daemon.address)["socket"] for daemon in (render().manager, render(root="/x" * 50).manager) if daemon
    )
    assert short == "/srv/jaws/run/supervisor.sock"
    assert long.startswith(f"/tmp/reconcile-{os.getuid()}/")
    assert len(long) < 60


def test_the_pure_half_loads_no_host() -> None:
    code = (
        "import sys, reconciler.launchers.supervisor\n"
        "heavy = {'socket', '_socket', 'subprocess', 'xmlrpc', 'shlex', 'signal', 'json', 'hashlib', 'dataclasses'}\n"
        "heavy = heavy & sys.modules.keys() | {name for name in sys.modules if name.startswith('reconciler.host')}\n"
        "assert not heavy, heavy"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-S", "-c", code], check=True, cwd=root, timeout=60)
