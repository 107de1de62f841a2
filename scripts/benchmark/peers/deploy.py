"""The same job for pyinfra: pyinfra -y @local deploy.py --data root=ROOT"""

import os

import yaml  # type: ignore[import-not-found,import-untyped,unused-ignore]
from pyinfra import host  # type: ignore[import-not-found,unused-ignore]
from pyinfra.facts.files import FindFiles  # type: ignore[import-not-found,unused-ignore]
from pyinfra.facts.server import Command  # type: ignore[import-not-found,unused-ignore]
from pyinfra.operations import files, server  # type: ignore[import-not-found,unused-ignore]

FILES = (("env", "env/{}.env", "600"), ("shim", "bin/{}", "700"), ("conf", "conf.d/{}.conf", "600"))

here = os.path.dirname(os.path.abspath(__file__))
root = host.data.root
ctl = os.environ["CTL"]
with open(f"{here}/site.yaml", "rb") as file:
    site = yaml.load(file, Loader=yaml.CSafeLoader)

reload, restart, wanted = False, [], set()
for service in site["services"]:
    will = {}
    for kind, path, mode in FILES:
        target = f"{root}/{path.format(service['name'])}"
        wanted.add(target)
        done = files.template(
            src=f"{here}/templates/{kind}.j2",
            dest=target,
            mode=mode,
            service=service,
            site=site["site"],
            startsecs=site["startsecs"],
            root=root,
        )
        will[kind] = done.will_change
    reload |= will["conf"]
    if (will["env"] or will["shim"]) and not will["conf"]:
        restart.append(service["name"])
for path in host.get_fact(FindFiles, path=f"{root}/conf.d"):
    if path not in wanted:
        files.file(path=path, present=False)
        reload = True
if reload:
    server.shell(commands=[f"{ctl} update"])
if restart:
    server.shell(commands=[f"{ctl} restart {' '.join(restart)}"])
status = host.get_fact(Command, command=f"{ctl} status || true") or ""
down = [line.split()[0] for line in status.splitlines() if line.split()[1:2] not in ([], ["RUNNING"], ["STARTING"])]
if down:
    server.shell(commands=[f"{ctl} start {' '.join(down)}"])
