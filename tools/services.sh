#!/usr/bin/env bash
# What tests start on this machine, from the distribution's packages: PostgreSQL, promtool of
# Prometheus, and Chromium with a font. Installed where they are missing, if this is root on a system with apt;
# elsewhere it says what is missing, and the tests that need it are skipped.
set -euo pipefail

packages=()
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null \
    || packages+=(postgresql)
command -v promtool >/dev/null || packages+=(prometheus)
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || packages+=(chromium)
compgen -G '/usr/share/fonts/truetype/*/*.ttf' >/dev/null || packages+=(fonts-dejavu-core)

if ((${#packages[@]} == 0)); then
    exit 0
fi
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "Missing for some tests: ${packages[*]}; install them with the system's packages." >&2
    exit 0
fi

# Only the programs are wanted: no cluster is made, and no service started.
mkdir -p /etc/postgresql-common
[[ -e /etc/postgresql-common/createcluster.conf ]] \
    || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}"
