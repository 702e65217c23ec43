#!/usr/bin/env bash
# Sets up all that the benchmarks need and runs them: `benchmarks/run.sh --quick` to see that they work, `--help` for the
# rest. The table goes to stdout. README.rst beside this file says what it means.
#
# The virtual environment and the packages from npm stay in .venvs and are used again as long as what they are made from
# stays as it is. PYTHON names another Python (default: python3).

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=$PWD/.venvs/bench
NPM=$PWD/.venvs/bench-npm
SERVERS=benchmarks/servers
PYTHON=${PYTHON:-python3}
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '\n==> %s\n' "$*" >&2; }
fail() { printf '\n==> FAILED: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need COMMAND PACKAGE...
need() {
    local command=$1
    shift
    if command -v "$command" >/dev/null; then return; fi
    command -v apt-get >/dev/null || fail "$command is missing and there is no apt-get to install $*; please install it"
    say "Installing $* with apt-get"
    as_root apt-get update -qq >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

need "$PYTHON" python3 python3-venv
need cc gcc libc6-dev
need taskset util-linux
need node nodejs
need npm npm
need redis-server redis-server
need setpriv util-linux

stamp=$({ "$PYTHON" --version; pwd; cat "$SERVERS/requirements.txt"; } | sha256sum)
if [ "$(cat "$VENV/stamp" 2>/dev/null)" != "$stamp" ]; then
    say "Setting up .venvs/bench"
    rm -rf "$VENV"
    "$PYTHON" -m venv "$VENV"
    "$VENV/bin/pip" install --quiet --requirement "$SERVERS/requirements.txt" >&2
    echo "$stamp" >"$VENV/stamp"
fi

stamp=$({ node --version; cat "$SERVERS/package-lock.json"; } | sha256sum)
if [ "$(cat "$NPM/stamp" 2>/dev/null)" != "$stamp" ]; then
    say "Setting up .venvs/bench-npm"
    rm -rf "$NPM"
    mkdir -p "$NPM"
    cp "$SERVERS"/package.json "$SERVERS"/package-lock.json "$NPM"
    (cd "$NPM" && npm ci --no-audit --no-fund --ignore-scripts --no-update-notifier >&2)
    echo "$stamp" >"$NPM/stamp"
fi

ulimit -n "$(ulimit -Hn)"  # a mode has 10,000 connections
export NODE_PATH=$NPM/node_modules
exec "$VENV/bin/python" -m benchmarks "$@"
