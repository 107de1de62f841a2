"""How long pure planning takes, and whether it grows as the number of services does. Runs on reconcile's own Python."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from time import perf_counter

from reconciler.core.desired import Compiled, Deployment, Field, File, Install, Manager, Policy, Role, Service
from reconciler.core.diff import diff
from reconciler.core.inventory import Inventory
from reconciler.core.observed import Observed
from reconciler.core.plan import Plan
from reconciler.core.planner import make_plan
from reconciler.core.problem import Origin
from reconciler.core.simulated import as_applied, nothing

SIZES = (1000, 2000, 5000, 10000)
REPEAT = 3
ROLES = (Role.SHIM, Role.ENV, Role.UNIT)


def compiled(count: int, version: str) -> Compiled:
    """So many services of a hundred components in groups of ten, each of which starts one after another."""
    services = tuple(_service(number, version) for number in range(count))
    files = tuple(
        File(
            path=f"/srv/{role.value}/{one.name}",
            mode=0o600,
            digest=f"{role.value}-{one.spec}",
            role=role,
            services=(one.name,),
            name=one.name,
            secret=False,
        )
        for one in services
        for role in ROLES
    )
    installs = tuple(
        Install(f"c{number}-{version}", f"c{number}", version, "venv", version, f"/srv/venvs/c{number}", "c", "", "")
        for number in range(100)
    )
    desired = Deployment(
        "site",
        "prod",
        version,
        "/srv",
        (("/srv/run", 0o700),),
        services,
        files,
        installs,
        (Manager("supervisor", "spec", (("socket", "/srv/run/s"),)),),
        {},
        Policy(),
    )
    return Compiled(desired, {}, {service.name: _fields(service) for service in services})


def _service(number: int, version: str) -> Service:
    after = (f"s{number - 1:05d}",) if number % 10 else ()
    component, name = f"c{number % 100}", f"s{number:05d}"
    return Service(
        name=name,
        unit=name,
        component=component,
        version=version,
        launcher="supervisor",
        group="all",
        spec=f"{name}-{version}",
        launch=name,
        install=f"{component}-{version}",
        after=after,
        ready_seconds=1.0,
        stop_seconds=10.0,
        program="/bin/sleep",
        prologue="",
    )


def _fields(service: Service) -> dict[str, Field]:
    origin = Origin("desired/defaults.yaml", 1, 1)
    return {
        "version": Field(service.version, origin),
        "command": Field("sleep infinity", origin),
        **{f"env.V{number}": Field("x", origin) for number in range(8)},
    }


def cases(count: int) -> dict[str, Callable[[], Plan]]:
    old, new = compiled(count, "1"), compiled(count, "2")
    same, bare = as_applied(old), nothing()

    def plan(wanted: Compiled, observed: Observed, inventory: Inventory) -> Plan:
        desired = wanted.deployment
        return make_plan(desired, diff(desired, observed, inventory, wanted.fields))

    # Of the other half nothing is known any more: it has been renamed, or goes.
    half = compiled(count // 2, "1")
    return {
        "nothing to do": lambda: plan(old, same.observed, same.inventory),
        "all bumped": lambda: plan(new, same.observed, same.inventory),
        "all created": lambda: plan(old, bare.observed, bare.inventory),
        "half of it unwanted": lambda: plan(half, same.observed, same.inventory),
    }


def measure() -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for count in SIZES:
        for name, work in cases(count).items():
            gc.collect()
            times = []
            for _ in range(REPEAT):
                began = perf_counter()
                steps = len(work().steps)
                times.append(perf_counter() - began)
            found.append({"case": name, "services": count, "seconds": min(times), "steps": steps})
    return found


def main() -> None:
    found = measure()
    if "--json" in sys.argv:
        print(json.dumps(found, indent=1))
        return
    times = {(str(row["case"]), int(str(row["services"]))): float(str(row["seconds"])) for row in found}
    sizes = "".join(f"{size:>9}" for size in SIZES)
    print(f"{f'diff and plan, best of {REPEAT}, ms':32}{sizes}   us a service, most/least")
    for case in dict.fromkeys(name for name, _ in times):
        each = [times[case, size] / size * 1e6 for size in SIZES]
        row = "".join(f"{times[case, size] * 1e3:9.1f}" for size in SIZES)
        print(f"{case:32}{row}   {max(each):.0f}/{min(each):.0f}")


main()
