"""What a program prints is told, and no more of it than a person reads."""

from __future__ import annotations

import pytest

from reconciler.host.run import CommandFailed, run, tail


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        (b"", ""),
        (b" one\ntwo \n", "one\ntwo"),
        (b"\xff", "\ufffd"),
        ("ü".encode() * 3000, "…" + "ü" * 2047),
        (b"\n".join(b"%d" % number for number in range(100)), "\n".join(map(str, range(80, 100)))),
    ],
)
def test_the_end_of_what_was_printed(printed: bytes, kept: str) -> None:
    assert tail(printed) == kept


def test_a_failure_is_told_in_a_few_lines() -> None:
    script = "head -c 5000000 /dev/zero | tr '\\0' x >&2; seq 100000 >&2; exit 3"
    with pytest.raises(CommandFailed, match="exit status 3") as caught:
        run(["/bin/sh", "-c", script], timeout=60)
    assert str(caught.value).endswith("\n99999\n100000")
    assert len(str(caught.value)) < 5000
    script = "head -c 5000000 /dev/zero | tr '\\0' x; exit 3"
    with pytest.raises(CommandFailed) as caught:
        run(["/bin/sh", "-c", script], timeout=60)
    assert len(str(caught.value)) < 5000
