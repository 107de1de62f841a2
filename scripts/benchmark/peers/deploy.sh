#!/usr/bin/env bash
# deploy.sh ROOT REPO: the deployment as one writes it in an hour: a process or more for each file.
# $CTL is supervisorctl and $DAEMON supervisord, both with their configuration.
set -euo pipefail
root=$1 repo=$2 tree=$1/checkout

if [ -d "$tree/.git" ]; then
    git -C "$tree" fetch -q origin main
    git -C "$tree" reset -q --hard origin/main
else
    git clone -q "$repo" "$tree"
fi

reload='' restart='' names=''
install_file() { # MODE PATH: standard input becomes the file; succeeds when that changed it
    local new
    new=$(mktemp "$2.XXXXXX")
    cat >"$new"
    chmod "$1" "$new"
    if cmp -s "$new" "$2"; then
        rm "$new"
        return 1
    fi
    mv "$new" "$2"
}
fill() { # TEMPLATE
    sed -e "s|{{ service.name }}|$name|g; s|{{ service.version }}|$version|g; s|{{ service.port }}|$port|g; s|{{ service.workers }}|$workers|g" \
        -e "s|{{ service.level }}|$level|g; s|{{ service.inputs }}|$inputs|g; s|{{ site }}|$site|g; s|{{ root }}|$root|g" \
        -e "s|{{ startsecs }}|$startsecs|g" "$tree/peers/templates/$1.j2"
}
read -r site startsecs < <(awk '/^site:/ {s = $2} /^startsecs:/ {print s, $2}' "$tree/peers/site.yaml")
while read -r name version port workers level inputs; do
    names+=" $name "
    changed=''
    if fill env | install_file 600 "$root/env/$name.env"; then changed=1; fi
    if fill shim | install_file 700 "$root/bin/$name"; then changed=1; fi
    if fill conf | install_file 600 "$root/conf.d/$name.conf"; then
        reload=1
    elif [ -n "$changed" ]; then
        restart+=" $name"
    fi
done < <(awk '/- name:/ {if (n) print n; n = $3} /version:|port:|workers:|level:|inputs:/ {gsub(/"/, ""); n = n " " $2}
    END {print n}' "$tree/peers/site.yaml")
for conf in "$root"/conf.d/*.conf; do
    name=$(basename "$conf" .conf)
    [[ $names == *" $name "* ]] && continue
    rm -f "$conf" "$root/bin/$name" "$root/env/$name.env"
    reload=1
done

# $CTL and the lists of names are meant to be split.
# shellcheck disable=SC2086
{
    if ! $CTL pid >/dev/null 2>&1; then
        $DAEMON
    elif [ -n "$reload" ]; then
        $CTL update
    fi
    [ -z "$restart" ] || $CTL restart $restart
    down=$($CTL status | awk '$2 != "RUNNING" && $2 != "STARTING" {print $1}' || true)
    [ -z "$down" ] || $CTL start $down
}
