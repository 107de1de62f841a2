#!/usr/bin/env bash
# tuned.sh ROOT REPO: the same job with nothing forked for a file: the shell reads, fills in and compares.
# $CTL is supervisorctl and $DAEMON supervisord, both with their configuration.
set -euo pipefail
root=$1 repo=$2 tree=$1/checkout

if [ -d "$tree/.git" ]; then
    old=$(<"$tree/.git/refs/heads/main")
    git -C "$tree" fetch -q origin main
    [[ $(<"$tree/.git/FETCH_HEAD") == "$old"* ]] || git -C "$tree" reset -q --hard FETCH_HEAD
else
    git clone -q "$repo" "$tree"
fi

reload='' restart=()
declare -A wanted template
for kind in env shim conf; do template[$kind]=$(<"$tree/peers/templates/$kind.j2"); done

install_file() { # MODE PATH KIND; succeeds when that changed the file
    local new=${template[$3]} now=
    new=${new//'{{ service.name }}'/$name} new=${new//'{{ service.version }}'/$version} new=${new//'{{ root }}'/$root}
    case $3 in
        env)
            new=${new//'{{ service.port }}'/$port} new=${new//'{{ service.workers }}'/$workers} new=${new//'{{ site }}'/$site}
            new=${new//'{{ service.level }}'/$level} new=${new//'{{ service.inputs }}'/$inputs}
            ;;
        conf) new=${new//'{{ startsecs }}'/$startsecs} ;;
    esac
    [ ! -f "$2" ] || now=$(<"$2")
    [[ $now != "$new" ]] || return 1
    printf '%s\n' "$new" >"$2.new"
    chmod "$1" "$2.new"
    mv "$2.new" "$2"
}
one() {
    local changed=
    wanted[$name]=1
    if install_file 600 "$root/env/$name.env" env; then changed=1; fi
    if install_file 700 "$root/bin/$name" shim; then changed=1; fi
    if install_file 600 "$root/conf.d/$name.conf" conf; then
        reload=1
    elif [ -n "$changed" ]; then
        restart+=("$name")
    fi
}
name=
while read -r key value more; do
    value=${value//\"/}
    case $key in
        -)
            [ -z "$name" ] || one
            name=$more
            ;;
        site:) site=$value ;;
        startsecs:) startsecs=$value ;;
        version:) version=$value ;;
        port:) port=$value ;;
        workers:) workers=$value ;;
        level:) level=$value ;;
        inputs:) inputs=$value ;;
    esac
done <"$tree/peers/site.yaml"
[ -z "$name" ] || one
for conf in "$root"/conf.d/*.conf; do
    name=${conf##*/} name=${name%.conf}
    [[ -n ${wanted[$name]:-} ]] && continue
    rm -f "$conf" "$root/bin/$name" "$root/env/$name.env"
    reload=1
done

# $CTL is meant to be split. One question tells both whether the daemon is up and what is down.
# shellcheck disable=SC2086
{
    if [ ! -S "$root/sup.sock" ]; then
        $DAEMON
    else
        [ -z "$reload" ] || $CTL update
        [ ${#restart[@]} -eq 0 ] || $CTL restart "${restart[@]}"
    fi
    status=$($CTL status || true) down=()
    while read -r name state _; do
        [[ $state == RUNNING || $state == STARTING ]] || down+=("$name")
    done <<<"$status"
    [ ${#down[@]} -eq 0 ] || $CTL start "${down[@]}"
}
