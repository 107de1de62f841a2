# Part of scripts/setup: packages of another suite of Debian, unpacked beside the system.
# shellcheck shell=bash
#
# What is unpacked gets the libraries that it was built against with it, libc among them. They go to a
# folder that nothing else looks into: neither the system's libraries nor its package lists are touched.

DEBIAN_KEYS=/usr/share/keyrings/debian-archive-keyring.gpg

# unpack_beside SUITE COMMAND WORD...: has apt-get fetch what these words say, and calls the command (one argument, split
# into words) in a folder where each package is unpacked in a folder of its own. Prints why it could not be done.
unpack_beside() (
    suite=$1
    read -ra place <<<"$2"
    shift 2
    mirror=$(debian_mirror)
    if [ -z "$mirror" ] || [ ! -e $DEBIAN_KEYS ]; then
        echo "neither a package of this distribution nor a mirror of Debian to have it from"
        return
    fi
    command -v patchelf >/dev/null || apt_install patchelf >&2 || { echo "needs patchelf"; return; }
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    if ! { apt_beside "$mirror" "$suite" update && apt_beside "$mirror" "$suite" "$@"; } >log 2>&1; then
        echo "no download from $mirror: $(grep -m 1 '^[EW]:' log || tail -n 1 log)"
        return
    fi
    mkdir unpacked
    for deb in *.deb archives/*.deb; do
        [ ! -e "$deb" ] || unpack "$deb" || { echo "$deb could not be unpacked"; return; }
    done
    cd unpacked
    "${place[@]}" || echo "it could not be put in place"
)

unpack() {
    local name=${1##*/}
    dpkg-deb -x "$1" "unpacked/${name%%_*}"
}

# The one that this machine's own suite comes from, whatever file and form it is written in.
debian_mirror() (
    . /etc/os-release
    apt-get update --print-uris 2>/dev/null | sed -n "s|^'\(.*\)/dists/${VERSION_CODENAME:-none}/InRelease'.*|\1|p" | head -n 1
)

# apt with lists and a state of its own, which checks signatures as ever. A mirror may stand still for longer than its lists say.
apt_beside() {
    local mirror=$1 suite=$2
    shift 2
    mkdir -p lists/partial archives/partial
    : >status
    echo "deb [signed-by=$DEBIAN_KEYS] $mirror $suite main" >sources
    apt-get -q -y -o Dir::State="$PWD" -o Dir::State::Lists="$PWD/lists" -o Dir::State::status="$PWD/status" \
        -o Dir::Cache="$PWD" -o Dir::Etc::SourceList="$PWD/sources" -o Dir::Etc::SourceParts=/dev/null \
        -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Check-Valid-Until=no \
        -o Acquire::Retries=1 -o Acquire::http::Timeout=20 "$@" </dev/null
}

# on_own_libraries LIBRARIES PROGRAM...: they use these and no others, for what their libraries need too: an RPATH,
# unlike a RUNPATH, holds for those as well. LIBRARIES is where they are going to be.
on_own_libraries() {
    local libraries=$1 loader=$2
    shift 2
    patchelf --force-rpath --set-interpreter "${libraries%%:*}/$loader" --set-rpath "$libraries" "$@"
}
