"""The lower bound: the job of one pass written straight down, for no other host, data or fault than these.

bound.py full|cached ROOT REPO DAEMON...

full    parses the site, renders every file and compares it with what is on disk
cached  knows that the commit is the one of the last pass, and compares digests of the files with a list

REPO is a bare repository on this host, or an address that git asks. DAEMON is how supervisord is started.
It does not wait for what it started to stay up, syncs nothing to disk and keeps no lock; otherwise
it leaves nothing out. Whatever it can do while git or supervisord are at work, it does then.
"""

import os
import sys
from _socket import AF_UNIX, SOCK_STREAM, socket
from marshal import dumps, loads
from time import sleep

FOLDERS = ("bin", "conf.d", "env")
SOURCES = ("site.yaml", "templates/conf.j2", "templates/env.j2", "templates/shim.j2")
TEMPLATES = (("env", "env/%s.env", 0o600), ("shim", "bin/%s", 0o700), ("conf", "conf.d/%s.conf", 0o600))
END = b"</methodResponse>"
REAPS = 100  # processes that supervisord takes note of in one turn of its loop

mode, root, repo, *daemon = sys.argv[1:]
mirror, checkout, state_path = f"{root}/mirror.git", f"{root}/checkout", f"{root}/state"


# ---------------------------------------------------------------- processes and files


def spawn(argv: list[str], *, read: bool = False, detach: bool = False) -> tuple[int, int]:
    """Start a program; its pid, and a descriptor to read from."""
    out, end = os.pipe() if read else (-1, -1)
    actions: list[tuple[object, ...]] = [(os.POSIX_SPAWN_DUP2, end, 1)] if read else []
    if detach:
        actions += [(os.POSIX_SPAWN_OPEN, at, os.devnull, os.O_RDWR, 0) for at in (0, 1, 2)]
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions, setsid=detach)
    if read:
        os.close(end)
    return pid, out


def read_all(descriptor: int) -> bytes:
    content = b""
    while chunk := os.read(descriptor, 1 << 20):
        content += chunk
    os.close(descriptor)
    return content


def succeed(pid: int) -> None:
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("git failed")


def content_of(path: str) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        content = os.read(descriptor, 1 << 20)
    except (FileNotFoundError, ProcessLookupError):  # the latter of /proc
        return None
    os.close(descriptor)
    return content


def write(path: str, content: bytes, permissions: int = 0o600) -> None:
    descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, permissions)
    os.write(descriptor, content)
    os.close(descriptor)
    os.replace(path + ".new", path)


def digest(content: bytes) -> bytes:
    from _blake2 import blake2b

    return blake2b(content, digest_size=16).digest()


# ---------------------------------------------------------------- supervisord


def ask(method: str, params: str = "") -> socket | None:
    """Send one request; the connection. None where nobody listens."""
    body = f"<methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>".encode()
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.connect(f"{root}/sup.sock")
    except OSError:
        return None
    connection.sendall(
        b"POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    return connection


def answer(connection: socket | None) -> bytes:
    if connection is None:
        raise SystemExit("supervisord is gone")
    content = bytearray()
    while END not in content[-64:]:
        chunk = connection.recv(1 << 18)
        if not chunk:
            raise SystemExit(f"supervisord broke off: {bytes(content[-300:])!r}")
        content += chunk
    connection.close()
    return bytes(content)


def processes(content: bytes) -> dict[str, tuple[bytes, int]]:
    """Name to state and pid. supervisord writes one member a line."""
    found = {}
    for part in content.split(b"<struct>")[1:]:
        name, state, pid = (
            part.partition(b"<name>%b</name>\n<value><%b>" % word)[2].partition(b"<")[0]
            for word in ((b"name", b"string"), (b"statename", b"string"), (b"pid", b"int"))
        )
        found[name.decode()] = (state, int(pid))
    return found


def send(calls: list[tuple[str | bool, ...]]) -> None:
    """Many requests in few, a hundred at a time."""
    for at in range(0, len(calls), REAPS):
        structs = "".join(
            f"<value><struct><member><name>methodName</name><value><string>supervisor.{method}</string></value></member>"
            "<member><name>params</name><value><array><data>"
            + "".join(
                f"<value><boolean>{param:d}</boolean></value>"
                if isinstance(param, bool)
                else f"<value><string>{param}</string></value>"
                for param in params
            )
            + "</data></array></value></member></struct></value>"
            for method, *params in calls[at : at + REAPS]
        )
        answer(ask("system.multicall", f"<param><value><array><data>{structs}</data></array></value></param>"))


def stop(names: list[str], known: dict[str, tuple[bytes, int]]) -> None:
    """Stop all at once. supervisord sleeps up to a second unless asked something, and then reaps."""
    send([("stopProcess", name, False) for name in names])
    left = [known[name][1] for name in names]
    while left := [pid for pid in left if os.path.exists(f"/proc/{pid}")]:
        if any(b") Z " in (content_of(f"/proc/{pid}/stat") or b"") for pid in left):
            answer(ask("supervisor.getState"))
        else:
            sleep(0.0005)


# ---------------------------------------------------------------- the job

# What runs: asked first, read when it is needed.
listing = ask("supervisor.getAllProcessInfo")

# Which commit.
asking = None
commit = b""
if "://" in repo:
    asking = spawn(["git", "ls-remote", repo, "refs/heads/main"], read=True)
else:
    commit = (content_of(f"{repo}/refs/heads/main") or b"").strip()
try:
    known_commit, names, digests = loads(content_of(state_path) or b"")
except EOFError:
    known_commit, names, digests = b"", [], {}
if mode == "full":
    import jinja2
    import yaml  # type: ignore[import-not-found,import-untyped,unused-ignore]
if asking:
    commit = read_all(asking[1])[:40]
    succeed(asking[0])

# What differs on disk.
fresh = commit == known_commit
changed = set()
reload = False
on_disk = {f"{folder}/{name}" for folder in FOLDERS for name in os.listdir(f"{root}/{folder}")}
valid = (
    fresh
    and mode == "cached"
    and on_disk == digests.keys()
    and all(digest(content_of(f"{root}/{path}") or b"") == wanted for path, wanted in digests.items())
)
if not valid:
    fetching = 0
    if not fresh:
        if not os.path.isdir(mirror):
            succeed(spawn(["git", "init", "-q", "--bare", mirror])[0])
        fetching = spawn(
            [
                *("git", f"--git-dir={mirror}", "-c", "maintenance.auto=false", "-c", "gc.auto=0"),
                *("fetch", "-q", "--no-tags", "--no-write-fetch-head", repo, "+refs/heads/main:refs/heads/main"),
            ]
        )[0]
    import jinja2
    import yaml  # type: ignore[import-not-found,import-untyped,unused-ignore]

    if fetching:
        succeed(fetching)
        os.makedirs(f"{checkout}/templates", exist_ok=True)
        given, feed = os.pipe()
        os.write(feed, "".join(f"{commit.decode()}:peers/{name}\n" for name in SOURCES).encode())
        os.close(feed)
        out, end = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, end, 1)]
        argv = ["git", f"--git-dir={mirror}", "cat-file", "--batch"]
        cat = os.posix_spawnp("git", argv, os.environ, file_actions=actions)
        os.close(given)
        os.close(end)
        blobs = read_all(out)
        succeed(cat)
        for name in SOURCES:
            head, _, blobs = blobs.partition(b"\n")
            size = int(head.split()[2])
            if content_of(f"{checkout}/{name}") != blobs[:size]:
                write(f"{checkout}/{name}", blobs[:size])
            blobs = blobs[size + 1 :]

    os.makedirs(f"{root}/bytecode", exist_ok=True)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(f"{checkout}/templates"),
        bytecode_cache=jinja2.FileSystemBytecodeCache(f"{root}/bytecode"),
        keep_trailing_newline=True,
        auto_reload=False,
        autoescape=False,
    )
    templates = [(environment.get_template(f"{kind}.j2"), path, bits) for kind, path, bits in TEMPLATES]
    site = yaml.load(content_of(f"{checkout}/site.yaml"), Loader=yaml.CSafeLoader)
    digests = {}
    for service in site["services"]:
        values = {"service": service, "site": site["site"], "startsecs": site["startsecs"], "root": root}
        for template, pattern, bits in templates:
            path = pattern % service["name"]
            content = template.render(values).encode()
            digests[path] = digest(content)
            if content_of(f"{root}/{path}") != content:
                write(f"{root}/{path}", content, bits)
                changed.add(path)
    for path in on_disk - digests.keys():
        os.unlink(f"{root}/{path}")
        changed.add(path)
    names = [service["name"] for service in site["services"]]
    reload = any(path.startswith("conf.d/") for path in changed)

# Make it so.
if listing is None:
    spawn([*daemon, "-n"], detach=True)
    while (listing := ask("supervisor.getAllProcessInfo")) is None:
        sleep(0.002)
    reload = False
    answer(listing)  # the question woke its loop, and that started all
    listing = ask("supervisor.getAllProcessInfo")
running = processes(answer(listing))
if reload or running.keys() != set(names):
    told = answer(ask("supervisor.reloadConfig"))
    words = [part.partition(b"</string>")[0].decode() for part in told.split(b"<string>")[1:]]
    dropped = [name for name in running if name not in names or f"conf.d/{name}.conf" in changed]
    dropped = [name for name in dropped if name in words]
    stop([name for name in dropped if running[name][1]], running)
    send([("removeProcessGroup", name) for name in dropped])
    send([("addProcessGroup", name) for name in words if name in names])
    answer(ask("supervisor.getState"))  # wakes its loop, which starts them
    down = []
else:
    down = [name for name in names if running[name][0] not in (b"RUNNING", b"STARTING")]
again = [
    name
    for name in names
    if (f"env/{name}.env" in changed or f"bin/{name}" in changed)
    and f"conf.d/{name}.conf" not in changed
    and name in running
]
stop([name for name in again if running[name][1]], running)
send([("startProcess", name, False) for name in dict.fromkeys((*again, *down))])
if changed or not fresh:
    write(state_path, dumps((commit, names, digests)))
os._exit(0)
