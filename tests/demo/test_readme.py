"""What README.md and the manual say of commands, exit statuses, keys, files and cron lines is what there is."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reconciler.agent.config import KEYS, Options, load_agent
from reconciler.cli.main import main
from reconciler.cli.parser import parse
from reconciler.core import diff
from reconciler.desired import Facts, json_schema, read_folder, validate

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "reconciler" / "manual").glob("*.md"))
README = "\n".join(path.read_text() for path in (ROOT / "README.md", *PAGES))


def section(title: str) -> str:
    """A section with those below it."""
    marks = re.search(rf"^(#+) {re.escape(title)}$", README, re.MULTILINE)
    assert marks, title
    rest = README[marks.end() :]
    end = re.search(rf"^#{{1,{len(marks[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def first_column(text: str) -> list[str]:
    return re.findall(r"^\| `?([^`|]+?)`? \|", text, re.MULTILINE)


@pytest.fixture(scope="module")
def help_text() -> str:
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["--help"]) == 0
    return out.getvalue()


def test_every_command_is_in_the_table_and_the_other_way_round(help_text: str) -> None:
    listed = re.findall(r"^    ([a-z]+)(?: |$)", help_text.partition("COMMAND\n")[2].partition("\n\n")[0], re.MULTILINE)
    table = [row for row in first_column(section("Commands")) if row.startswith("reconcile")]
    told = {match[1] for row in table if (match := re.match(r"reconcile ([a-z]+)", row))}
    assert told == set(listed)
    assert {"reconcile", "reconcile --once"} <= set(table)


def test_every_exit_status_is_in_the_table(help_text: str) -> None:
    listed = re.findall(r"^  (\d+) ", help_text.partition("exit status:")[2], re.MULTILINE)
    assert [row for row in first_column(section("Commands")) if row.isdigit()] == listed


def test_every_command_that_is_shown_can_be_parsed() -> None:
    words = "--once|plan|apply|diff|status|logs|validate|explain|schema|schedule|demo"
    words += "|bump|promote|rollback|history|show"
    shown = re.findall(rf"(?:^|[`/ ])reconcile ((?:{words})[^`\n]*)", README)
    for said in shown:
        line = re.split(r"\s[>|#;]|;", said.replace("[", "").replace("]", "").replace("-n N", "-n 9"))[0].split()
        line = line[:1] if len(line) > 1 and line[1] in ("does", "shows", "and") else line
        parse([word.strip(",.:`") for word in line])
    assert len(shown) > 10


def test_the_pipelines_that_are_shown_are_valid_and_call_commands_that_exist() -> None:
    yaml = YAML(typ="safe", pure=True)
    shown = re.findall(r"```yaml\n(.*?)```", section("In a pipeline"), re.DOTALL)
    gitlab, github = map(yaml.load, shown)
    steps = github["jobs"]["review"]["steps"]
    lines = [*gitlab["reconcile"]["script"], *(step["run"] for step in steps if "run" in step)]
    said = [line.removeprefix("reconcile ").partition(">")[0] for line in lines if line.startswith("reconcile ")]
    assert len(said) == 6
    for line in said:
        parse(shlex.split(line))
    assert {"-o html", "-o junit", "-o markdown"} <= {" ".join(line.split()[-2:]) for line in said}
    assert gitlab["reconcile"]["artifacts"]["reports"]["junit"] == "report.xml"


def properties(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from properties(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from properties(value)


def test_every_key_of_the_desired_state_is_told() -> None:
    told = set(re.findall(r"`([a-z0-9_]+)(?:: [^`]*)?`", section("Every key of the desired state")))
    assert sorted(set(properties(json_schema())) - told) == []


def test_every_key_of_the_agents_file_is_told() -> None:
    assert set(first_column(section("The agent's file"))) - {"key"} == set(KEYS)


def test_the_agents_file_is_valid(tmp_path: Path) -> None:
    (found,) = [block for block in blocks("yaml") if block.startswith("repo:")]
    (tmp_path / "agent.yaml").write_text(found)
    assert load_agent(Options(config=str(tmp_path / "agent.yaml")), {"HOME": "/home/ada"}).site == "aws"


def test_the_desired_state_that_is_shown_is_valid(tmp_path: Path) -> None:
    layers = [block for block in blocks("yaml") if "components:" in block]
    (template,) = blocks("jinja")
    assert len(layers) == 2
    for number, layer in enumerate(layers):
        check(tmp_path / str(number), layer, template)


def check(tmp_path: Path, layer: str, template: str) -> None:
    files = {"defaults.yaml": layer, "environments/dev.yaml": "", "sites/here.yaml": ""}
    for name, text in files.items():
        path = tmp_path / "desired" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "web.conf.j2").write_text(template)
    assert validate(read_folder(str(tmp_path)), Facts("host", "ada")) == ()


def test_the_rules_of_the_core_are_all_told() -> None:
    """By name and in order; their meaning is for people to compare."""
    told = (ROOT / "reconciler" / "core" / "README.md").read_text().partition("## The rules")[2].partition("##")[0]
    assert re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE) == [rule.__name__.lstrip("_") for rule in diff._RULES]


def test_the_sites_that_are_told_are_those_of_the_repo() -> None:
    told = set(first_column(section("What there is, and what is not there yet")))
    assert {path.stem for path in (ROOT / "desired" / "sites").glob("*.yaml") if "." not in path.stem} <= told


# ---------------------------------------------------------------- cron


def cron_lines() -> list[str]:
    return [line for block in blocks("cron") for line in block.splitlines() if not line.startswith("#")]


def test_cron_lines_run_a_pass() -> None:
    assert len(cron_lines()) == 1
    for line in cron_lines():
        minute, hour, day, month, weekday, command = line.split(maxsplit=5)
        assert (minute, hour, day, month, weekday) == ("*/5", "*", "*", "*", "*")
        program, *words = command.split()
        assert program == "$HOME/reconcile/bin/reconcile"
        assert parse(words).command is None


@pytest.mark.skipif(not shutil.which("crontab"), reason="crontab is not installed (Debian: cron)")
def test_crontab_takes_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "cron"
    path.write_text("\n".join((*blocks("cron"), "")))
    done = subprocess.run(["crontab", "-n", str(path)], capture_output=True, text=True, timeout=20, check=False)
    if "invalid option" in done.stderr:
        pytest.skip("this crontab cannot check a file")
    assert done.returncode == 0, done.stderr
