"""Images: what is complete, what is put into place and how, and what is not. No Apptainer is needed for these."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from threading import Event, Thread

import pytest

from reconciler.install import NAMES, method
from reconciler.install.apptainer.hints import hint
from reconciler.install.apptainer.meter import Meter
from reconciler.install.base import BuildStopped, ComponentSpec, InstallError
from tests.install.sif import Wanted, sha256, wanted, write_sif

OTHER = "0" * 64


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_sif(tmp_path / "source.sif")


def put(wanted: Wanted, content: bytes) -> None:
    """By hand, as `cp` to another name and `mv` do."""
    wanted.path.parent.mkdir(exist_ok=True)
    os.replace(write_sif(wanted.path.with_name("new"), content), wanted.path)


def test_nobody_else_may_write_it_whatever_the_umask_is(images: Path, source: Path) -> None:
    """Whoever can write an image says what its services run."""
    one = wanted(images, source=source)
    before = os.umask(0)
    try:
        one.build()
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o022 for path in (images, one.path)] == [0, 0]


# ---------------------------------------------------------------- what git says


def test_both_are_methods_for_images() -> None:
    assert {"apptainer-sif", "apptainer-docker"} <= set(NAMES)
    for name in ("apptainer-sif", "apptainer-docker"):
        one = method(name)
        assert (one.name, one.required, one.is_image) == (name, ("image",), True)


@pytest.mark.parametrize(
    ("name", "image", "source", "digest", "words"),
    [
        ("sif", "site-1.sif", "", "", ""),
        ("sif", "a/site-1.sif", "/srv/x.sif", "A" * 64, ""),
        ("sif", "x.sif", "/srv/sandbox/", "", ""),
        ("sif", "x.sif", "oras://ghcr.io/team/site:1", "", ""),
        ("sif", "x.sif", "oras://ann:sesame@ghcr.io/team/site:1", "", ""),
        ("sif", "x.sif", "library://team/default/site:1", "", ""),
        ("sif", "x.sif", "https://host/x.sif", "", ""),
        ("sif", "x.sif", "http://host/x.sif", OTHER, ""),
        ("sif", "x.sif", "http://127.0.0.1:5000/x.sif", "", ""),
        ("docker", "x.sif", "docker://host/team/site:1", "", ""),
        ("docker", "x.sif", "docker://ann:sesame@host/team/site:1", "", ""),
        ("docker", "x.sif", f"docker://alpine@sha256:{OTHER}", "", ""),
        ("docker", "x.sif", "docker-archive:/srv/x.tar", "", ""),
        ("docker", "x.sif", "oci-archive:/srv/x.tar", "", ""),
        ("docker", "x.sif", "oci:/srv/x:1", "", ""),
        ("sif", "/x.sif", "", "", "below `paths.images`"),
        ("sif", "../x.sif", "", "", "below `paths.images`"),
        ("sif", "a/../../x.sif", "", "", "below `paths.images`"),
        ("sif", "a/", "", "", "below `paths.images`"),
        ("sif", ".x.sif.complete", "", "", "begin with a dot"),
        ("sif", "x\n.sif", "", "", "printable"),
        ("sif", "x.sif", "srv/x.sif", "", "must be absolute"),
        ("sif", "x.sif", "/srv/x.def", "", "give what was built"),
        ("sif", "x.sif", "docker://host/team/site:1", "", "`install: apptainer-docker`"),
        ("sif", "x.sif", "docker-archive:/srv/x.tar", "", "`install: apptainer-docker`"),
        ("docker", "x.sif", "/srv/x.sif", "", "`install: apptainer-sif`"),
        ("docker", "x.sif", "oras://ghcr.io/team/site:1", "", "`install: apptainer-sif`"),
        ("docker", "x.sif", "docker-archive:x.tar", "", "must be absolute"),
        ("docker", "x.sif", "docker://host/team/site:1", OTHER, "docker://HOST/NAME@sha256:"),
        ("docker", "x.sif", "docker:host/x", "", "two slashes"),
        ("docker", "x.sif", "docker://", "", "two slashes"),
        ("docker", "x.sif", "docker://ann@host/x", "", "both a user and a password"),
        ("sif", "x.sif", "shub://team/site", "", "shub: is not a kind of source"),
        ("sif", "x.sif", "--force", "", "must be absolute"),
        ("sif", "x.sif", "http://host/x.sif", "", "http:// proves nothing"),
        ("sif", "x.sif", "https://ann:sesame@host/x.sif", "", "process list"),
        ("sif", "x.sif", "https://host/x.sif?token=sesame\n", "", "line break"),
        ("sif", "x.sif", "/srv/x.sif", "abc", "64 hexadecimal digits"),
    ],
)
def test_what_may_be_said(name: str, image: str, source: str, digest: str, words: str) -> None:
    spec = ComponentSpec("site", "1", "", image, source, "", "", "", digest)
    told = method(f"apptainer-{name}").check(spec)
    assert words in told
    assert bool(words) is bool(told)
    assert "sesame" not in told


def test_the_identity_covers_what_the_image_is_made_from(tmp_path: Path) -> None:
    one = wanted(tmp_path, "/x.sif").install
    others = [
        wanted(tmp_path, "/y.sif").install,
        wanted(tmp_path, "/x.sif", image="a/site.sif").install,
        wanted(tmp_path, "/x.sif", sha256=OTHER).install,
        wanted(tmp_path, name="apptainer-docker").install,
    ]
    assert wanted(tmp_path, "/x.sif", program="/opt/apptainer", prologue="module load x").install.digest == one.digest
    assert len({one.digest, *(other.digest for other in others)}) == 5
    assert (one.id, one.path, one.tool) == ("site-1.0", str(tmp_path / "site.sif"), "apptainer")
    assert others[1].path == str(tmp_path / "a" / "site.sif")


def test_another_password_is_not_another_image(tmp_path: Path) -> None:
    found = {wanted(tmp_path, f"oras://ann:{word}@host/x:1").install.digest for word in ("sesame", "mustard")}
    assert len(found) == 1


def test_a_sha256_is_one_in_any_case(tmp_path: Path) -> None:
    assert wanted(tmp_path, sha256="AB" * 32).install == wanted(tmp_path, sha256="ab" * 32).install


def test_the_program_is_looked_for_inside(tmp_path: Path) -> None:
    one = wanted(tmp_path)
    assert (one.method.exports(one.install), one.method.find_program(one.install, "sh")) == ((), "")


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("FATAL: write /x/image.sif: no space left on device", "is full"),
        ("FATAL: ... Disk quota exceeded", "is full"),
        ("dial tcp: lookup nosuch.invalid on 10.0.0.1:53: no such host", "cannot be reached"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", "cannot be reached"),
        ("GET http://127.0.0.1/v2/x/manifests/1: unexpected status code 401 Unauthorized", "another user"),
        ("FATAL: Download did not succeed: 401", "another user"),
        ("GET https://host/v2/x/manifests/9: MANIFEST_UNKNOWN: manifest unknown", "no such image"),
        ("GET http://127.0.0.1/v2/team/app/manifests/9: NOT_FOUND:", "no such image"),
        ("tls: first record does not look like a TLS handshake", "APPTAINER_NOHTTPS"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "not trusted"),
        ("script: line 9: exec: apptainer: not found", "was not found"),
        ("the prologue failed with exit status 1", "prologue"),
        ("something new", ""),
    ],
)
def test_known_errors_have_advice(printed: str, words: str) -> None:
    assert words in hint(printed)
    assert bool(hint(printed)) is bool(words)


# ---------------------------------------------------------------- what is complete


def test_put_there_by_others(images: Path) -> None:
    """Without a source and a digest, any file is the right one, and nothing is written."""
    one = wanted(images)
    assert one.complete() is False
    put(one, b"1")
    assert one.complete() is True
    one.build()
    assert not one.marker.exists()
    put(one, b"2")
    assert one.complete() is True


def test_put_there_by_others_with_a_digest(images: Path, source: Path) -> None:
    one = wanted(images, sha256=sha256(source))
    put(one, b"2")
    assert one.complete() is False
    with pytest.raises(InstallError, match=f"has another sha256 than git wants: {sha256(one.path)}"):
        one.build()
    put(one, b"1")
    assert one.complete() is False  # it was not read yet
    before = os.stat(one.path)
    one.build()
    assert one.complete() is True
    assert os.stat(one.path) == before
    put(one, b"2")
    assert one.complete() is False


def test_nobody_put_it_there(images: Path) -> None:
    one = wanted(images)
    with pytest.raises(
        InstallError, match=r"there is no image .*/images/site\.sif; put it there, or say with `source`"
    ):
        one.build()


def test_it_is_copied(images: Path, source: Path) -> None:
    one = wanted(images, source)
    assert one.complete() is False
    told: list[str] = []
    one.build(told.append)
    assert one.complete() is True
    assert one.path.read_bytes() == source.read_bytes()
    assert one.others() == []
    assert told == [f"site-1.0: copies {source}"]
    before = os.stat(one.path)
    one.build()  # again: nothing
    assert os.stat(one.path) == before


def test_what_was_there_without_a_mark_is_fetched(images: Path, source: Path) -> None:
    one = wanted(images, source)
    put(one, b"2")
    assert one.complete() is False
    one.build()
    assert one.path.read_bytes() == source.read_bytes()


def test_what_was_there_and_has_the_digest_is_kept(images: Path, source: Path) -> None:
    one = wanted(images, source, sha256=sha256(source))
    put(one, b"1")
    before = os.stat(one.path)
    one.build()
    assert one.complete() is True
    assert os.stat(one.path) == before


def test_replaced_by_hand(images: Path, source: Path) -> None:
    """Without a digest, whoever replaced it has the last word."""
    one = wanted(images, source)
    one.build()
    put(one, b"2")
    assert one.complete() is True


def test_replaced_by_hand_with_a_digest(images: Path, source: Path) -> None:
    one = wanted(images, source, sha256=sha256(source))
    one.build()
    assert one.complete() is True
    put(one, b"2")
    assert one.complete() is False
    one.build()
    assert one.complete() is True
    assert one.path.read_bytes() == source.read_bytes()


def test_touched(images: Path, source: Path) -> None:
    """The digest tells that it is still the same: nothing is fetched."""
    one = wanted(images, source, sha256=sha256(source))
    one.build()
    os.utime(one.path, (1, 1))
    source.unlink()
    assert one.complete() is False
    one.build()
    assert one.complete() is True


def test_taken_away(images: Path, source: Path) -> None:
    one = wanted(images, source)
    one.build()
    one.path.unlink()
    assert one.complete() is False
    one.build()
    assert one.complete() is True


def test_another_source(images: Path, source: Path, tmp_path: Path) -> None:
    first, second = wanted(images, source), wanted(images, write_sif(tmp_path / "other.sif", b"2"))
    first.build()
    assert second.complete() is False
    second.build()
    assert (first.complete(), second.complete()) == (False, True)
    assert second.path.read_bytes() == (tmp_path / "other.sif").read_bytes()


def test_a_folder_that_cannot_be_looked_into_is_no_missing_image(images: Path) -> None:
    images.mkdir()
    one = wanted(images / "in" / "x")
    (images / "in").symlink_to("in")
    with pytest.raises(OSError, match="Too many levels"):
        one.method.complete(one.install)
    with pytest.raises(InstallError, match=r"site-1\.0 could not be built: .*in"):
        one.build()


def test_a_subfolder_is_made(images: Path, source: Path) -> None:
    one = wanted(images, source, image="a/b/site.sif")
    one.build()
    assert one.complete() is True


def test_a_link_is_replaced_and_not_followed(images: Path, source: Path, tmp_path: Path) -> None:
    images.mkdir()
    shared = write_sif(tmp_path / "shared.sif", b"2")
    one = wanted(images, source)
    one.path.symlink_to(shared)
    one.build()
    assert (one.complete(), one.path.is_symlink(), shared.read_bytes()[-1:]) == (True, False, b"2")


# ---------------------------------------------------------------- builds that fail


@pytest.mark.parametrize("before", [True, False])
def test_a_wrong_digest_puts_nothing_into_place(before: bool, images: Path, source: Path) -> None:
    one = wanted(images, source, sha256=OTHER)
    if before:
        put(one, b"old")
    with pytest.raises(
        InstallError, match=f"what came from {source} has another sha256 than git wants: {sha256(source)}"
    ):
        one.build()
    assert (one.complete(), one.path.exists(), one.others()) == (False, before, [])
    assert not before or one.path.read_bytes().endswith(b"old")


def test_no_image(images: Path, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("<html>please log in</html>")
    one = wanted(images, tmp_path / "page")
    with pytest.raises(InstallError, match=r"/page is no image of Apptainer"):
        one.build()
    assert (one.path.exists(), one.others()) == (False, [])


def test_half_an_image(images: Path, source: Path) -> None:
    source.write_bytes(source.read_bytes()[:-1])
    one = wanted(images, source)
    with pytest.raises(InstallError, match=r"is not whole: it has 128 of 129 bytes"):
        one.build()


def test_a_source_that_is_not_there(images: Path) -> None:
    with pytest.raises(InstallError, match=r"its source /nonexistent does not exist\n.*correct `source:`"):
        wanted(images, "/nonexistent").build()


def test_a_source_that_changes_meanwhile(images: Path, source: Path) -> None:
    one = wanted(images, source)

    def change() -> bool:
        write_sif(source, b"12")
        return False

    with pytest.raises(InstallError, match="changed while it was copied"):
        one.build(asked_to_stop=change)
    assert (one.path.exists(), one.others()) == (False, [])


def test_a_folder_in_the_place(images: Path, source: Path) -> None:
    one = wanted(images, source)
    one.path.mkdir(parents=True)
    assert one.complete() is False
    with pytest.raises(InstallError, match="not ours"):
        one.build()
    assert one.path.is_dir()


def test_a_full_disk(images: Path, tmp_path: Path) -> None:
    """A really full file system; only root may mount one."""
    images.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(images)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("cannot mount a small file system here")
    try:
        one = wanted(images, write_sif(tmp_path / "large.sif", b"1" * 200_000))
        with pytest.raises(InstallError, match=r"make room below paths\.images"):
            one.build()
        assert (one.path.exists(), one.others()) == (False, [])
    finally:
        subprocess.run(["umount", str(images)], check=True)


def test_asked_to_stop(images: Path, source: Path) -> None:
    one = wanted(images, source)
    with pytest.raises(BuildStopped, match=r"site-1\.0 was not built"):
        one.build(asked_to_stop=lambda: True)
    assert (one.path.exists(), one.others()) == (False, [])


def test_what_a_killed_build_left_goes(images: Path, source: Path) -> None:
    """Also where folders in it are closed, as those of an image may be."""
    one = wanted(images, source)
    left = images / ".site.sif.building-abc"
    (left / "tmp" / "rootfs" / "closed").mkdir(parents=True)
    (left / "tmp" / "rootfs" / "closed" / "file").write_text("x")
    (left / "tmp" / "rootfs" / "closed").chmod(0)
    (left / "tmp" / "rootfs" / "outside").symlink_to(images.parent)
    others = images / ".other.sif.building-abc"
    others.mkdir()
    one.build()
    assert one.complete() is True
    assert one.others() == [others.name]
    assert source.exists()


def test_a_link_in_the_place_of_what_a_killed_build_left(images: Path, source: Path, tmp_path: Path) -> None:
    """Whoever may write beside the images can lay one there: it goes, and nothing that it leads to is touched."""
    victim = tmp_path / "victim" / "sub"
    victim.mkdir(parents=True)
    victim.chmod(0o755)
    images.mkdir()
    (images / ".site.sif.building-abc").symlink_to(victim.parent)
    one = wanted(images, source)
    one.build()
    assert victim.stat().st_mode & 0o777 == 0o755
    assert (one.complete(), one.others()) == (True, [])


def test_killed_before_it_is_marked(
    images: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new image is in place, and is not taken for the old one if git goes back to that."""
    old, new = wanted(images, source), wanted(images, write_sif(tmp_path / "other.sif", b"2"))
    old.build()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("reconciler.install.apptainer.making.record", killed)
        with pytest.raises(KeyboardInterrupt):
            new.build()
    assert new.path.read_bytes() == (tmp_path / "other.sif").read_bytes()
    assert (old.complete(), new.complete()) == (False, False)
    old.build()
    assert (old.complete(), old.path.read_bytes()) == (True, source.read_bytes())


def test_two_at_once_build_it_once(images: Path, source: Path) -> None:
    """Two deployments may share the folder."""
    one, told = wanted(images, source), list[str]()
    began, go_on = Event(), Event()

    def wait() -> bool:
        began.set()
        assert go_on.wait(30)
        return False

    first = Thread(target=one.build, args=(told.append, wait))
    first.start()
    assert began.wait(30)
    second = Thread(target=one.build, args=(told.append,))
    second.start()
    second.join(0.3)
    assert one.complete() is False
    go_on.set()
    first.join(30)
    second.join(30)
    assert one.complete() is True
    assert [line.partition(": ")[2][:5] for line in told] == ["copie", "waits"]


# ---------------------------------------------------------------- how far it is


def test_progress_is_told_now_and_then(images: Path, tmp_path: Path) -> None:
    told: list[str] = []
    meter = Meter("site-1", told.append, lambda: False, pause=0)
    meter.tell("copies", 5_000_000, 20_000_000)
    meter.tell("written so far", 5_000_000)
    assert told == ["site-1: copies: 5 MB of 20 MB, 25 %", "site-1: written so far: 5 MB"]
    patient = Meter("site-1", told.append, lambda: False)
    patient.tell("copies", 1, 2)
    assert len(told) == 2


# ---------------------------------------------------------------- by a stand-in for Apptainer


@pytest.fixture
def stand_in(tmp_path: Path, source: Path) -> Path:
    """It writes down how it was called, and gives the source for whatever it is asked for."""
    program = tmp_path / "bin" / "my-apptainer"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/called\nenv > {tmp_path}/env\n'
        f"[ -e {tmp_path}/fails ] && cat {tmp_path}/fails >&2 && exit 3\n"
        f'[ -d "$APPTAINER_TMPDIR" ] || exit 4\ncp {source} "$3" 2>/dev/null || cp {source} "$2"\n'
    )
    program.chmod(0o755)
    return program


def called(tmp_path: Path) -> list[str]:
    return (tmp_path / "called").read_text().split()


def environment(tmp_path: Path) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())


def test_a_password_is_no_argument(images: Path, tmp_path: Path, stand_in: Path) -> None:
    """Nor is it in what is told."""
    told: list[str] = []
    one = wanted(images, "oras://ann:se%24ame@host/x:1", program=str(stand_in))
    one.build(told.append)
    assert called(tmp_path)[0::2] == ["pull", "oras://host/x:1"]
    env = environment(tmp_path)
    assert (env["APPTAINER_DOCKER_USERNAME"], env["APPTAINER_DOCKER_PASSWORD"]) == ("ann", "se$ame")
    assert told == ["site-1.0: pulls oras://host/x:1"]


def test_a_password_never_shows_in_an_error(images: Path, tmp_path: Path, stand_in: Path) -> None:
    (tmp_path / "fails").write_text("\x1b[91mFATAL: sesame is wrong for https://ann:sesame@host: unauthorized\x1b[0m\n")
    one = wanted(images, "docker://ann:sesame@host/x:1", name="apptainer-docker", program=str(stand_in))
    with pytest.raises(InstallError) as error:
        one.build()
    text = str(error.value)
    assert "sesame" not in text
    assert "\x1b" not in text
    assert f"{stand_in} build" in text
    assert "exit status 3" in text
    assert "wants another user" in text
    assert (one.path.exists(), one.others()) == (False, [])


def test_the_prologue_is_run_first(
    images: Path, tmp_path: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It brings the program, and has the last word about where things are kept."""
    monkeypatch.delenv("APPTAINER_CACHEDIR", raising=False)
    prologue = f"export PATH={stand_in.parent}:$PATH\nexport APPTAINER_CACHEDIR=/c"
    wanted(images, "library://a/b/c:1", program="my-apptainer", prologue=prologue).build()
    env = environment(tmp_path)
    assert env["APPTAINER_CACHEDIR"] == "/c"
    assert "APPTAINER_DISABLE_CACHE" not in env
    assert env["APPTAINER_TMPDIR"].startswith(f"{images}/.site.sif.building-")


def test_nothing_is_kept_in_the_home(
    images: Path, tmp_path: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("APPTAINER_CACHEDIR", raising=False)
    monkeypatch.setenv("RECONCILE_CONFIG", "/x")
    wanted(images, "docker://host/x:1", name="apptainer-docker", program=str(stand_in)).build()
    env = environment(tmp_path)
    assert env["APPTAINER_DISABLE_CACHE"] == "1"
    assert "RECONCILE_CONFIG" not in env


def test_a_failing_prologue_fails_the_build(images: Path, stand_in: Path) -> None:
    one = wanted(images, "oras://host/x:1", program=str(stand_in), prologue="export TOKEN=not-to-be-shown\nfalse")
    with pytest.raises(InstallError, match="the prologue failed with exit status 1") as error:
        one.build()
    assert "not-to-be-shown" not in str(error.value)


@pytest.mark.parametrize("prologue", ["", "true"])
def test_no_apptainer(prologue: str, images: Path) -> None:
    one = wanted(images, "oras://host/x:1", program="no-such-apptainer", prologue=prologue)
    with pytest.raises(InstallError, match=r"Apptainer was not found here: load it by the `prologue:`"):
        one.build()


def test_a_page_in_the_place_of_an_image(images: Path, source: Path, stand_in: Path) -> None:
    """A server that asks for a login may answer with a page, and say that all is well."""
    source.write_text("<html>")
    one = wanted(images, "https://host/x.sif?token=sesame", program=str(stand_in))
    with pytest.raises(InstallError, match=r"what came from https://host/x\.sif\?\*\*\*\* is no image of Apptainer"):
        one.build()


def test_it_is_ended_when_that_is_asked_for(images: Path, tmp_path: Path) -> None:
    """With all that it has started."""
    program = tmp_path / "slow"
    program.write_text(f"#!/bin/sh\n(sleep 8765 & echo $! > {tmp_path}/child; wait)\n")
    program.chmod(0o755)
    one = wanted(images, "oras://host/x:1", program=str(program))
    with pytest.raises(BuildStopped):
        one.build(asked_to_stop=(tmp_path / "child").exists)
    child = int((tmp_path / "child").read_text())
    assert not Path(f"/proc/{child}").exists() or b"Z" in Path(f"/proc/{child}/stat").read_bytes().split()[2]
    assert one.others() == []
    shutil.rmtree(images)
