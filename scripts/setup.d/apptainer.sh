# Part of scripts/setup: Apptainer, which Debian has in its suite sid only.
# shellcheck shell=bash
#
# Where the distribution has a package of it, that is what is installed. Elsewhere sid's is unpacked
# beside the system, together with the libraries of sid that it was built against: they go to a folder
# that nothing else looks into, and neither the system's libraries nor its package lists are touched.

APPTAINER_LIBRARIES=/opt/apptainer/lib

apptainer_backend() {
    local why
    [ -z "$(why_hands_off)" ] && open_fuse
    command -v apptainer >/dev/null && return
    why=$(why_hands_off)
    [ -n "$why" ] || why=$(install_apptainer) || why=${why:-its installation failed}
    command -v apptainer >/dev/null || say "left out: apptainer ($why)"
}

# Everybody may mount through it, as udev would have it. Without udev, it is root's alone.
open_fuse() {
    [ ! -c /dev/fuse ] || [ "$(stat -c %a /dev/fuse)" = 666 ] || chmod 666 /dev/fuse ||
        say "left out: /dev/fuse for ordinary users (chmod failed)"
}

# Prints why it could not be done.
install_apptainer() {
    if apt-cache show apptainer 2>/dev/null | grep -q ^Package; then
        apt_install apptainer >&2 || echo "apt-get could not install it"
        return
    fi
    say "unpacks Debian sid's apptainer beside the system"
    unpack_beside sid place_apptainer download apptainer libc6 libseccomp2 libsqlite3-0
}

# The program itself comes last: it is what tells that all of it is there.
place_apptainer() {
    local libc starter loader program
    libc=$(dirname libc6/usr/lib/*/libc.so.6)
    starter=$(echo apptainer/usr/lib/*/apptainer/bin/starter)
    mkdir -p $APPTAINER_LIBRARIES /var/lib/apptainer/mnt/session || return
    cp -a "$libc"/*.so* libseccomp2/usr/lib/*/*.so* libsqlite3-0/usr/lib/*/*.so* $APPTAINER_LIBRARIES/ || return
    loader=$(basename $APPTAINER_LIBRARIES/ld-linux*.so.*)
    [ -d /etc/apptainer ] || cp -r apptainer/etc/apptainer /etc/ || return
    for program in "$starter" apptainer/usr/bin/apptainer; do
        on_own_libraries $APPTAINER_LIBRARIES "$loader" "$program" || return
        install -D "$program" "/${program#*/}.new" && mv "/${program#*/}.new" "/${program#*/}" || return
    done
}
