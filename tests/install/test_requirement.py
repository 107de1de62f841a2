"""What may stand in a requirement, and what becomes of the passwords in it."""

from __future__ import annotations

import pytest

from reconciler.install.requirement import RequirementError, parse, problem, redact


@pytest.mark.parametrize(
    ("requirement", "lines", "arguments"),
    [
        ("jaws-site==2.8.1", ("jaws-site==2.8.1",), ()),
        ("'jaws-site >= 2.8' six[extra]", ("jaws-site >= 2.8", "six[extra]"), ()),
        ("--no-deps --pre six", ("--pre", "six"), ("--no-deps",)),
        ("-i https://index/simple six", ("--index-url https://index/simple", "six"), ()),
        ("--index-url=https://index/simple six", ("--index-url https://index/simple", "six"), ()),
        ("-f/wheels --no-index six", ("--find-links /wheels", "--no-index", "six"), ()),
        ("-f '/my wheels' six", ("--find-links '/my wheels'", "six"), ()),
        (
            "-r /srv/requirements.txt -c /srv/c.txt",
            ("--requirement /srv/requirements.txt", "--constraint /srv/c.txt"),
            (),
        ),
        ("/srv/site-1.0-py3-none-any.whl", ("/srv/site-1.0-py3-none-any.whl",), ()),
        ("file:///srv/site", ("file:///srv/site",), ()),
        ("'site @ https://host/site.whl'", ("site @ https://host/site.whl",), ()),
        ("--only-binary :all: six", ("--only-binary :all:", "six"), ()),
    ],
)
def test_what_pip_gets(requirement: str, lines: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    assert parse(requirement)[:2] == (lines, arguments)
    assert problem(requirement) == ""


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ("", "names nothing"),
        ("--pre", "names nothing"),
        ("--target /x six", "--target is not allowed here; allowed are"),
        ("--editable /x", "--editable is not allowed"),
        ("-e /x", "-e is not allowed"),
        ("--pre=yes six", "takes no value"),
        ("six -i", "needs a value"),
        ("./site", "a path must be absolute"),
        ("~/site", "a path must be absolute"),
        ("src/site", "a path must be absolute"),
        ("site-1.0-py3-none-any.whl", "a path must be absolute"),
        ("-f wheels six", "must be absolute"),
        ("six >= 1.0", "is put in quotes"),
        ("ftp://host/x", "not a kind of URL"),
        ("'six", "cannot be split"),
        ("'six\n--pre'", "line break"),
    ],
)
def test_what_is_refused(requirement: str, message: str) -> None:
    with pytest.raises(RequirementError, match=message):
        parse(requirement)
    assert message in problem(requirement)


def test_logins_go_into_the_netrc() -> None:
    parsed = parse("-i https://svc:p%40ss@index.org:8443/simple --extra-index-url https://u:w@two.org/s six")
    assert parsed.lines == ("--index-url https://index.org:8443/simple", "--extra-index-url https://two.org/s", "six")
    assert parsed.logins == (("index.org", "svc", "p@ss"), ("two.org", "u", "w"))


@pytest.mark.parametrize(
    "login",
    [
        "token",  # no password: a netrc entry needs one
        "svc:with%20blank",  # not a plain word for every netrc reader
    ],
)
def test_a_login_that_a_netrc_cannot_say_stays(login: str) -> None:
    parsed = parse(f"-i https://{login}@index.org/simple six")
    assert (parsed.logins, parsed.lines[0]) == ((), f"--index-url https://{login}@index.org/simple")


def test_a_second_login_of_one_host_stays() -> None:
    parsed = parse("-i https://a:x1@h.org/s --extra-index-url https://b:y2@h.org/t six")
    assert parsed.logins == (("h.org", "a", "x1"),)
    assert parsed.lines[1] == "--extra-index-url https://b:y2@h.org/t"


def test_redact() -> None:
    parsed = parse("-i https://svc:open%25sesame@h/s six")
    text = "https://svc:x@h/s and open%25sesame and open%sesame and user@host"
    assert redact(text, parsed.secrets) == "https://****@h/s and **** and **** and user@host"
