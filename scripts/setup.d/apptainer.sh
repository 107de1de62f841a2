# Part of scripts/setup: Apptainer, which Debian has in its suite sid only.
# shellcheck shell=bash
#
# Where the distribution has a package of it, that is what is installed. Elsewhere sid's is unpacked
# beside the system, together with the libraries of sid that it was built against: they go to a folder
# that nothing else looks into, and neither the system's libraries nor its package lists are touched.

APPTAINER_LIBRARIES=/opt/apptainer/lib
DEBIAN_KEYS=/usr/share/keyrings/debian-archive-keyring.gpg

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
    local mirror
    mirror=$(debian_mirror)
    if [ -z "$mirror" ] || [ ! -e $DEBIAN_KEYS ]; then
        echo "neither a package of this distribution nor a mirror of Debian to have it from"
        return
    fi
    command -v patchelf >/dev/null || apt_install patchelf >&2 || { echo "needs patchelf"; return; }
    say "unpacks Debian sid's apptainer beside the system"
    unpack_apptainer "$mirror"
}

# The one that this machine's own suite comes from, whatever file and form it is written in.
debian_mirror() (
    . /etc/os-release
    apt-get update --print-uris 2>/dev/null | sed -n "s|^'\(.*\)/dists/${VERSION_CODENAME:-none}/InRelease'.*|\1|p" | head -n 1
)

unpack_apptainer() (
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    if ! { apt_beside "$1" update && apt_beside "$1" download apptainer libc6 libseccomp2 libsqlite3-0; } >log 2>&1; then
        echo "no download from $1: $(grep -m 1 '^[EW]:' log || tail -n 1 log)"
        return
    fi
    for deb in *.deb; do dpkg-deb -x "$deb" "${deb%%_*}" || return; done
    place_apptainer || echo "it could not be put in place"
)

# apt with lists and a state of its own, which checks signatures as ever. A mirror may stand still for longer than its lists say.
apt_beside() {
    local mirror=$1
    shift
    mkdir -p lists/partial archives/partial
    : >status
    echo "deb [signed-by=$DEBIAN_KEYS] $mirror sid main" >sources
    apt-get -q -o Dir::State="$PWD" -o Dir::State::Lists="$PWD/lists" -o Dir::State::status="$PWD/status" \
        -o Dir::Cache="$PWD" -o Dir::Etc::SourceList="$PWD/sources" -o Dir::Etc::SourceParts=/dev/null \
        -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Check-Valid-Until=no \
        -o Acquire::Retries=1 -o Acquire::http::Timeout=20 "$@" </dev/null
}

# The program itself comes last: it is what tells that all of it is there.
place_apptainer() {
    local libc starter loader program
    libc=$(dirname libc6/usr/lib/*/libc.so.6)
    starter=$(echo apptainer/usr/lib/*/apptainer/bin/starter)
    mkdir -p $APPTAINER_LIBRARIES /var/lib/apptainer/mnt/session || return
    cp -a "$libc"/*.so* libseccomp2/usr/lib/*/*.so* libsqlite3-0/usr/lib/*/*.so* $APPTAINER_LIBRARIES/ || return
    loader=$(echo $APPTAINER_LIBRARIES/ld-linux*.so.*)
    [ -d /etc/apptainer ] || cp -r apptainer/etc/apptainer /etc/ || return
    for program in "$starter" apptainer/usr/bin/apptainer; do
        # An RPATH, unlike a RUNPATH, is where the libraries' own needs are looked for too.
        patchelf --force-rpath --set-interpreter "$loader" --set-rpath $APPTAINER_LIBRARIES "$program" || return
        install -D "$program" "/${program#*/}.new" && mv "/${program#*/}.new" "/${program#*/}" || return
    done
}
