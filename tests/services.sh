#!/bin/sh
# PostgreSQL 17 with pgvector, for the tests that ask a real server: installed from Debian, started on a port of its own.
# Tests find it by build/services.env, which the environment overrides. And Chromium, for the tests
# of the page, the libraries of the exported page, and `ip`, for the test of two hosts.
set -eu
cd "$(dirname "$0")/.."
bin=/usr/lib/postgresql/17/bin
data=build/postgres
port=${XFM_TEST_POSTGRES_PORT:-54317}

if [ ! -x "$bin/postgres" ] || [ ! -e /usr/share/postgresql/17/extension/vector.control ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql-17 postgresql-17-pgvector
fi
if ! command -v chromium > /dev/null; then
    # Without it the tests of the page are skipped; PostgreSQL's go on.
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
        || echo "Chromium cannot be installed: the tests of the page are skipped"
fi
if [ ! -d build/web/node_modules/onnxruntime-web ]; then
    # The command that `xfm export --format web` names.
    install=$(sed -n 's/^INSTALL = "\(.*\)"$/\1/p' src/xfm/inference/web_export.py)
    $install --silent --no-audit --no-fund --prefix build/web \
        || echo "npm cannot install the libraries of the exported page: its tests are skipped"
fi
if ! command -v ip > /dev/null; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends iproute2; } \
        || echo "iproute2 cannot be installed: the test of two hosts is skipped"
fi
mkdir -p build
if [ ! -d "$data" ]; then
    mkdir "$data"
    chown postgres "$data"
    (cd / && su postgres -c "$bin/initdb --pgdata '$OLDPWD/$data' --auth trust --no-sync --username postgres" > /dev/null)
fi
if ! "$bin/pg_isready" --quiet --host 127.0.0.1 --port "$port"; then
    (cd / && su postgres -c "$bin/pg_ctl --pgdata '$OLDPWD/$data' --wait --log '$OLDPWD/$data/log' \
        --options '-h 127.0.0.1 -p $port -k /tmp' start" > /dev/null)
fi
echo "XFM_TEST_POSTGRES=postgresql://postgres@127.0.0.1:$port/postgres" > build/services.env
echo "PostgreSQL listens at 127.0.0.1:$port; the tests find it by build/services.env"
