# Part of scripts/setup: two versions of Slurm, each with the munge of its suite.
# shellcheck shell=bash
#
# Clusters of several versions run side by side in tests, and a distribution has one of them: both are unpacked beside
# the system. 22.05 stands for sites that are slow to follow: Debian's has no scrontab. Nothing is started.

slurm_backends() {
    slurm_backend 24.11 trixie /opt/slurm24
    slurm_backend 22.05 bookworm /opt/slurm22
}

slurm_backend() {
    local version=$1 suite=$2 place=$3 why
    [ ! -x "$place/sbin/munged" ] || return 0
    why=$(why_hands_off)
    if [ -z "$why" ]; then
        say "unpacks Debian $suite's Slurm $version in $place"
        why=$(unpack_beside "$suite" "place_slurm $place" install --download-only --no-install-recommends \
            slurm-client slurmctld slurmd munge) || why=${why:-its installation failed}
    fi
    [ -x "$place/sbin/munged" ] || say "left out: Slurm $version ($why)"
}

# All of it appears at once. What lies there already, and is not this, is moved aside.
place_slurm() {
    local place=$1 new
    new=$(mktemp -d "$place.XXXXXX") || return
    if fill_slurm "$place" "$new" && { [ ! -e "$place" ] || mv -T "$place" "$new.before"; } && mv -T "$new" "$place"; then
        return
    fi
    rm -rf "$new"
    return 1
}

# Its programs get their plain names, and look for their libraries where they are going to be.
fill_slurm() {
    local place=$1 new=$2 program
    chmod 755 "$new" && mkdir "$new"/{bin,sbin,lib,plugins} || return
    find . -path './*/lib/*-linux-gnu/*.so*' ! -path '*-linux-gnu/*/*' -exec cp -a -t "$new/lib" {} + || return
    cp -a slurm-wlm-basic-plugins/usr/lib/*/slurm-wlm/*.so "$new/plugins" || return
    cp -a slurm-client/usr/bin/s* munge/usr/bin/munge munge/usr/bin/unmunge "$new/bin" || return
    for program in slurm{ctl,}d/usr/sbin/slurm*d-wlm munge/usr/sbin/munged; do
        cp -a "$program" "$new/sbin/$(basename "$program" -wlm)" || return
    done
    on_own_libraries "$place/lib:$place/plugins" "$(basename "$new"/lib/ld-linux*.so.*)" "$new"/bin/* "$new"/sbin/*
}
