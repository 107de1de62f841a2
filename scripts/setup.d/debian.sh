# Part of scripts/setup: programs of the system that tests run against, from the distribution's packages.
# shellcheck shell=bash

# A program that tests look for, and Debian's package of it.
BACKENDS=(
    git:git ssh:openssh-client sshd:openssh-server lighttpd:lighttpd gpg:gnupg
    /lib/systemd/systemd:systemd busybox:busybox-static
    cron:cron strace:strace
    # a network file system, for what is cleaned up on one; a view of the machine in which tests can do no harm
    sshfs:sshfs bwrap:bubblewrap
    # the browser that reports as a page are looked at with (59 MB to fetch, half a minute), and letters for it
    chromium-headless-shell:chromium-headless-shell
    # what Apptainer runs: it makes images, mounts them, and maps user ids
    mksquashfs:squashfs-tools squashfuse_ll:squashfuse fusermount3:fuse3 newuidmap:uidmap
)

# Why the system must be left as it is; empty where it may be changed.
why_hands_off() {
    if [ -n "${RECONCILE_NO_SYSTEM:-}" ]; then
        echo "RECONCILE_NO_SYSTEM is set"
    elif ! command -v apt-get >/dev/null; then
        echo "this is no Debian: install what corresponds to it"
    elif [ "$(id -u)" -ne 0 ]; then
        echo "only root can install it"
    fi
}

missing_packages() {
    local entry
    for entry in "${BACKENDS[@]}"; do
        command -v "${entry%%:*}" >/dev/null || echo "${entry##*:}"
    done
}

system_packages() {
    local packages package why
    mapfile -t packages < <(missing_packages)
    [ "${#packages[@]}" -gt 0 ] || return 0
    why=$(why_hands_off)
    if [ -n "$why" ]; then
        say "left out: ${packages[*]} ($why)"
    elif ! apt_install "${packages[@]}"; then
        # One that this distribution does not have must not keep the others away.
        for package in "${packages[@]}"; do
            [ "${#packages[@]}" -gt 1 ] && apt_install "$package" || say "left out: $package (apt-get could not install it)"
        done
    fi
}

# Packages of servers start them once they are installed. policy-rc.d says no to that; the machine's own is put back.
apt_install() (
    say "installs $*"
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    log=$(mktemp)
    policy=/usr/sbin/policy-rc.d
    trap 'rm -f "$log" "$policy"; [ ! -e "$policy.reconcile" ] || mv "$policy.reconcile" "$policy"' EXIT
    [ -e "$policy.reconcile" ] || [ ! -e "$policy" ] || mv "$policy" "$policy.reconcile"
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    # The lists of a fresh machine are empty, those of an old one name packages that are gone.
    apt_get install --no-install-recommends "$@" >"$log" 2>&1 && return
    { apt_get update && apt_get install --no-install-recommends "$@"; } >"$log" 2>&1 && return
    tail -n 15 "$log" >&2
    return 1
)

apt_get() { apt-get -y -q -o DPkg::Lock::Timeout=120 "$@" </dev/null; }

# Root cannot start Apptainer instances everywhere (containers lack a capability for it), and services are
# seldom root's: tests of root's become this user for it. Its home gets what a login user's gets, user ids to map too.
test_user() {
    ! id reconcile-test >/dev/null 2>&1 && [ -z "$(why_hands_off)" ] || return 0
    say "adds the user reconcile-test"
    useradd --create-home --shell /bin/sh --comment "tests of reconcile" reconcile-test ||
        say "left out: the user reconcile-test (useradd failed)"
}
