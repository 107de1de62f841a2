#!/usr/bin/env bash
# wrapped.sh ROOT REPO pyinfra|ansible PROGRAM: what a person would put into cron around these two.
# $CTL is supervisorctl and $DAEMON supervisord, both with their configuration.
set -euo pipefail
root=$1 repo=$2 kind=$3 program=$4 tree=$1/checkout

# $DAEMON is meant to be split.
# shellcheck disable=SC2086
[ -S "$root/sup.sock" ] || $DAEMON
if [ "$kind" = ansible ]; then
    export ANSIBLE_CONFIG=$root/ansible.cfg ANSIBLE_HOME=$root/ansible ANSIBLE_LOCALHOST_WARNING=0
    printf '[defaults]\nretry_files_enabled = False\n[connection]\npipelining = True\n' \
        >"$ANSIBLE_CONFIG"
    exec "$program" -U "$repo" -C main -d "$tree" -i localhost, -e root="$root" \
        -e ansible_python_interpreter="${program%/*}/python" peers/deploy.yml
fi
if [ -d "$tree/.git" ]; then
    git -C "$tree" fetch -q origin main
    git -C "$tree" reset -q --hard origin/main
else
    git clone -q "$repo" "$tree"
fi
cd "$tree/peers"
exec "$program" -y @local deploy.py --data root="$root"
