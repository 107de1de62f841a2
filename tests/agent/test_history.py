"""What passes have done, read back: lines of earlier versions, damaged ones, files that were rotated away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.agent.config import Agent, InvalidInput
from reconciler.agent.history import find_run, read_history
from reconciler.agent.memory import journal
from reconciler.core.history import PastRun
from reconciler.report.history import history_data, history_lines, run_data, run_lines
from reconciler.report.style import Style

NOW = 1795939200.0  # 2026-11-29 08:00:00 UTC
PLAIN, NARROW = Style(colour=False, width=0), Style(colour=False, width=80)


def entry(run: str, at: str = "07:00:00", **keys: Any) -> dict[str, Any]:
    """As a line of today."""
    return {
        "run": run,
        "at": f"2026-11-29T{at}Z",
        "commit": "9fa0eb5f" * 5,
        "by": "ann on login01",
        "seconds": 1.25,
        "exit": 0,
        "changes": {"web": ["update", "version 1 -> 2 (desired/environments/dev.yaml:4)"]},
        "versions": {"web": ["1", "2"]},
        "intents": {"web": "intentional"},
        "steps": [["check:web", "done", 0.1, ""], ["restart:web", "done", 1.0, ""]],
        **keys,
    }


def earlier(run: str, **keys: Any) -> dict[str, Any]:
    """As version 0.1.0 has written them before."""
    later = ("by", "seconds", "exit", "versions", "intents")
    return {key: value for key, value in entry(run, **keys).items() if key not in later}


def agent(folder: Path, *environments: str) -> Agent:
    return Agent("", "here", state_dir=str(folder), environments=environments)


def write(folder: Path, environment: str, *lines: dict[str, Any] | str, name: str = "journal.jsonl") -> Path:
    path = folder / "here" / environment / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def runs(folder: Path, *environments: str, service: str = "") -> tuple[PastRun, ...]:
    return read_history(agent(folder, *environments), service).runs


def test_the_newest_is_first_and_a_pass_through_several_environments_is_one(tmp_path: Path) -> None:
    write(tmp_path, "dev", entry("a", "06:00:00"), entry("b", "07:00:00"))
    write(tmp_path, "prod", entry("b", "07:00:05", exit=1), entry("c", "07:10:00", exit=2))
    found = runs(tmp_path)
    assert [(run.id, [part.environment for part in run.parts], run.code) for run in found] == [
        ("c", ["prod"], 2),
        ("b", ["dev", "prod"], 1),
        ("a", ["dev"], 0),
    ]
    assert [run.id for run in runs(tmp_path, "dev")] == ["b", "a"]


def test_lines_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    failed = [["restart:web", "failed", 1.0, "did not start\nTraceback"]]
    write(tmp_path, "dev", earlier("a"), earlier("b", at="07:01:00", steps=failed))
    second, first = runs(tmp_path)
    assert (first.code, second.code) == (0, 1)
    assert first.parts[0].changes[0].intent == ""
    assert first.parts[0].seconds is None
    text = "\n".join(run_lines("here", second, PLAIN, NOW))
    assert "        did not start\n        Traceback" in text


def test_the_file_that_was_rotated_away_comes_before(tmp_path: Path) -> None:
    write(tmp_path, "dev", entry("b", "07:00:00"))
    write(tmp_path, "dev", entry("a", "06:00:00"), name="journal.jsonl.1")
    write(tmp_path, "old", entry("0", "05:00:00"), name="journal.jsonl.1")
    assert [run.id for run in runs(tmp_path)] == ["b", "a", "0"]


WRONG: tuple[dict[str, Any], ...] = ({"steps": [["a"]]}, {"changes": []}, {"seconds": "much"}, {"exit": 1e999})


@pytest.mark.parametrize(
    "line",
    ["", "not json", "[1]", '"text"', '{"run": "x"}', '{"run": "x", "steps": 3}', '{"steps": []}', "\0\0\0\0"]
    + [json.dumps(entry("x") | wrong) for wrong in WRONG]
    + [json.dumps(entry("x") | {"health": 7}), '{"run": "x", "at": "2026", "exit": 1, "health": {}}', "[" * 100_000],
)
def test_damaged_lines_are_told_and_left_out(tmp_path: Path, line: str) -> None:
    """A line that only adds to another that is gone says nothing, and does no harm."""
    path = write(tmp_path, "dev", entry("a"), line, entry("b", "07:00:01"))
    found = read_history(agent(tmp_path))
    assert [run.id for run in found.runs] == ["b", "a"]
    silent = not line or '2026"' in line
    assert found.warnings == (() if silent else (f"{path}: 1 line cannot be read, and left out",))


def test_a_line_that_is_being_written_is_not_there_yet(tmp_path: Path) -> None:
    path = write(tmp_path, "dev", entry("a"))
    path.write_text(path.read_text() + '{"run": "b", "at"')
    assert read_history(agent(tmp_path)) == read_history(agent(tmp_path))._replace(warnings=())
    journal.append(str(path), entry("c", "07:05:00"))
    found = read_history(agent(tmp_path))
    assert [run.id for run in found.runs] == ["c", "a"]
    assert len(found.warnings) == 1


def test_how_services_were_in_the_end_is_added_to_what_was_done(tmp_path: Path) -> None:
    path = str(write(tmp_path, "dev", entry("a")))
    health = {"web": ["degraded", "HTTP 500"]}
    journal.append(path, {"run": "a", "at": "2026-11-29T07:01:00Z", "exit": 1, "health": health})
    (run,) = runs(tmp_path)
    assert (run.code, run.parts[0].health) == (1, {"web": ("degraded", "HTTP 500")})
    assert "  degraded: web: HTTP 500" in list(run_lines("here", run, PLAIN, NOW))
    assert journal.last(path)["steps"]


def test_what_went_back_in_the_same_pass_is_told_after_what_was_tried(tmp_path: Path) -> None:
    tried = entry("a", changes={name: ["update", "version 1 -> 2"] for name in ("queue", "web")})
    back = {"changes": {"web": ["update", "version 2 -> 1"]}, "rolled_back": {"web": ["2", "1", "HTTP 500", ""]}}
    write(tmp_path, "dev", tried, entry("a", "07:01:00", exit=1, **back))
    (run,) = runs(tmp_path)
    assert (run.code, dict(run.counts), run.parts[0].seconds) == (1, {"update": 2}, 2.5)
    assert [change.reasons for change in run.parts[0].changes if change.service == "web"] == [
        ("version 1 -> 2",),
        ("version 2 -> 1",),
    ]
    assert len(run.parts[0].steps) == 4
    assert "  rolled-back: web: 2 failed: HTTP 500; 1 is kept" in list(run_lines("here", run, PLAIN, NOW))
    assert run_data("here", run)["deployments"][0]["rolled_back"] == ["web: 2 failed: HTTP 500; 1 is kept"]


def removal(name: str, *paths: str, entries: int = 2, size: int = 0, **keys: Any) -> dict[str, Any]:
    told = {"root": f"/scratch/{name}", "entries": entries, "bytes": size, "removed": list(paths)}
    return {"cleanup": {name: {**told, "more": 0, "failed": [], **keys}}}


def test_what_was_cleaned_up_is_told(tmp_path: Path) -> None:
    """By a pass, beside what else it did, and by hand, where each rule has a line of its own."""
    by_hand = {"run": "b", "at": "2026-11-29T07:02:00Z", "commit": "9fa0eb5f"}
    many = tuple(f"run-{number:02}" for number in range(25))
    failed = ["a\nb: Permission denied"]
    lines = [removal("old", *many, entries=1250, size=3 * 10**9, more=5), removal("in", failed=failed)]
    write(tmp_path, "dev", entry("a", **removal("old", "wf/x\ny")), *(by_hand | line for line in lines))
    found = read_history(agent(tmp_path))
    assert ([run.id for run in found.runs], found.warnings) == (["b", "a"], ())
    hand, own = found.runs
    shown = list(history_lines(found.runs, NARROW, NOW))
    assert ["1,252 cleaned" in shown[1], "~1 2 cleaned" in shown[2]] == [True, True]
    assert list(run_lines("here", hand, PLAIN, NOW))[3:] == [
        "dev  ok (exit status 0)",
        "  cleanup.old below /scratch/old removed 1,250 entries, about 3.0 GB more are free",
        *(f"      {path}" for path in many[:20]),
        "      and 10 more, 25 of all by --json",
        "  cleanup.in below /scratch/in removed 2 entries",
        "      failed: a\\nb: Permission denied",
    ]
    assert list(run_lines("here", own, PLAIN, NOW))[-1] == "      wf/x\\ny"
    (old, _) = run_data("here", hand)["deployments"][0]["removed"]
    assert (old["rule"], old["entries"], old["bytes"]) == ("old", 1250, 3 * 10**9)
    assert (len(old["paths"]), old["more"]) == (25, 5)

    log = tmp_path / "here/dev/removed.log"
    log.write_text("")
    found = read_history(agent(tmp_path))
    assert f"      and 10 more; all names are in {log}" in run_lines("here", found.runs[0], PLAIN, NOW)
    assert run_data("here", found.runs[0])["deployments"][0]["names"] == str(log)
    assert found.names == (str(log),)


def test_only_those_of_a_service(tmp_path: Path) -> None:
    other = entry("b", "07:00:01", changes={"queue": ["restart", "has exited"]}, steps=[["start:queue", "done", 1, ""]])
    write(tmp_path, "dev", entry("a"), other)
    assert [run.id for run in runs(tmp_path, service="queue")] == ["b"]
    with pytest.raises(InvalidInput, match=r"has changed a service `wep`\n.*did you mean `web`"):
        runs(tmp_path, service="wep")
    assert runs(tmp_path / "none", service="web") == ()


def test_a_run_by_the_beginning_of_its_name(tmp_path: Path) -> None:
    names = ("20261129T070000Z-7", "20261129T070000Z-71", "20261129T080000Z-9")
    write(tmp_path, "dev", *(entry(name, f"07:0{at}:00") for at, name in enumerate(names)))
    found = read_history(agent(tmp_path))
    assert find_run(found, "").id == names[2]
    assert find_run(found, "20261129T08").id == names[2]
    assert find_run(found, names[0]).id == names[0]
    with pytest.raises(InvalidInput, match=r"several passes .*\n.*Z-71, 20261129T070000Z-7$"):
        find_run(found, "20261129T07")
    with pytest.raises(InvalidInput, match="no pass that is remembered is called `2027`"):
        find_run(found, "2027")


def test_each_line_fits_a_terminal(tmp_path: Path) -> None:
    kinds = ("create", "update", "restart", "remove", "blocked")
    many = {f"{kind}{at}": [kind, "why"] for kind in kinds for at in range(40)}
    for environment in ("development", "staging", "production"):
        write(tmp_path, environment, *(entry(f"20261129T070000Z-{at}", changes=many, exit=at) for at in range(4)))
    found = [run._replace(subject="Bump everything, and say so at great length " * 3) for run in runs(tmp_path)]
    for style in (PLAIN, NARROW, Style(colour=False, width=200)):
        lines = list(history_lines(found, style, NOW))
        assert len(lines) == 5
        assert all(len(line) <= (style.width or 80) for line in lines), lines


def test_what_a_person_reads(tmp_path: Path) -> None:
    findings = [["web", "on_start", "odd\nmore", 1.0]]
    wrong: dict[str, Any] = {"exit": 1, "error": "disk full", "cut": True, "findings": findings}
    wrong["hints"] = {"restart:web": "see the log"}
    steps = [["check:web", "done", 0.1, ""], ["restart:web", "failed", 12.25, "did not start\nline two"]]
    write(tmp_path, "dev", entry("20261129T070000Z-7", steps=steps, **wrong))
    (run,) = runs(tmp_path)
    run = run._replace(subject="Bump web", author="Ann <a@b>")
    assert list(history_lines([run], NARROW, NOW)) == [
        "RUN               AGO   COMMIT    IN   DONE  ENDED   SUBJECT",
        "20261129T070000Z  1h0m  9fa0eb5f  dev  ~1    failed  Bump web",
    ]
    lines = list(run_lines("here", run, PLAIN, NOW))
    assert lines[0].startswith("20261129T070000Z-7 of here, ")
    assert lines[0].endswith("(1h0m ago), by ann on login01")
    assert lines[1:] == [
        "commit 9fa0eb5f  Bump web (Ann <a@b>)",
        "",
        "dev  failed (exit status 1) in 1.2 s",
        "  ~ web  version 1 -> 2 (desired/environments/dev.yaml:4) [intentional]",
        "    done        0.1 s  check:web",
        "    failed     12.2 s  restart:web",
        "        did not start",
        "        line two",
        "        -> see the log",
        "  finding: web: odd",
        "      more",
        "  error: disk full",
        "  There was more than a journal has room for.",
    ]
    data = run_data("here", run)
    assert data["deployments"][0]["steps"][1]["message"] == "did not start\nline two"
    assert history_data("here", read_history(agent(tmp_path)), [run])["runs"][0]["counts"] == {"update": 1}
