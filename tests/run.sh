#!/usr/bin/env bash
# Sets up all that the tests need and runs them:
#
#   tests/run.sh              every suite, see below
#   tests/run.sh ARGUMENTS    tests on this Python with the newest dependencies, with these arguments for pytest (paths
#                             from the repository's root)
#   tests/run.sh --fast       in less than a minute on two cores what needs nothing but pip: the tests that start no
#                             process, without the attacks and the chaos
#
# Virtual environments are made and filled by pip. Of Debian's packages all are installed for every suite, for ARGUMENTS
# those that the selected tests need, and none for --fast (tests/programs.py says what is in which package). A test that
# misses a program fails: skipped it is only where pytest is run by hand. Without root, and so without network namespaces,
# the tests of vanished peers are skipped, with that reason.
#
# The suites: all tests on this Python with the newest dependencies, in parts, of which the one with the chaos has to
# cover tornadio/ alone, since tracing slows the others for nothing; without the browser's, the proxies', the
# benchmarks' and those with programs of others, and with a short soak, on the oldest Python found (3.11 or
# newer) with the oldest dependencies that setup.py admits and asyncio's debugging on; and, also without the attacks and
# the chaos, on the newest Python found with the newest dependencies. PYTHON names another Python for the first
# (default: python3).
#
# The virtual environments stay in .venvs and are used again as long as setup.py stays as it is. To have the newest
# dependencies fetched again, remove that directory.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENVS=$PWD/.venvs
RESULTS=()
WITHOUT_BROWSER=(--ignore=tests/browser --ignore=tests/compatibility --ignore=tests/deployment
    --ignore=tests/attacks/test_script_injection.py --ignore-glob='tests/attacks/*_in_browser.py'
    --ignore=tests/test_benchmarks.py --soak 10)
# What these attacks reach, no other test does: they are traced, too.
COVERING_ATTACKS=(tests/attacks/test_forged_addresses.py tests/attacks/test_hanging_on_open.py
    tests/attacks/test_refused_by_tornado.py tests/attacks/test_unread_answers.py)
# What of the fast tests takes half of their time.
FAST=(tests/cluster tests/fuzz tests/net tests/sessions tests/web tests/websocket)
export REQUIRE_PROGRAMS=1  # what is missing is an error
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1  # the browser is Debian's
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '\n==> %s\n' "$*"; }
fail() { printf '\n==> FAILED: %s\n' "$*" >&2; exit 1; }

# Prints the version of a Python that will do: CPython 3.11 or newer, no pre-release, and able to make virtual environments.
version_of() {
    "$1" -c '
import ensurepip, platform, sys, venv
fit = sys.version_info >= (3, 11) and sys.version_info.releaselevel == "final"
print(platform.python_version()) if fit and platform.python_implementation() == "CPython" else sys.exit(1)' 2>/dev/null
}

# Prints "VERSION PATH" of every such Python on this machine, the oldest first.
find_pythons() {
    local candidate version
    for candidate in "$PYTHON" \
        $(compgen -c python3. | grep -E '^python3\.[0-9]+$' | sort -u) /usr/bin/python3 /usr/local/bin/python3 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3 "$HOME"/.local/share/uv/python/cpython-*/bin/python3; do
        if version=$(version_of "$candidate"); then
            echo "$version $candidate"
        fi
    done | sort --version-sort --stable --unique --key=1,1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# apt_install [PACKAGE...]
apt_install() {
    if [ $# = 0 ]; then return; fi
    command -v apt-get >/dev/null || fail "missing, and there is no apt-get to install it; please install: $*"
    say "Installing with apt-get: $*"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

need_python() {
    command -v "$PYTHON" >/dev/null || fail "there is no $PYTHON"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
    version_of "$PYTHON" >/dev/null || fail "TornadIO needs Python 3.11 or newer, $PYTHON is $("$PYTHON" --version)"
}

# The lowest versions that setup.py admits, as requirements: tornado==6.5.5 ... redis==5.0.1
oldest_dependencies() {
    sed -n -e '/install_requires/,/\]/ b print' -e '/"redis": \[/,/\]/ b print' -e 'd; :print' \
        -e 's/^ *"\([a-z]*\)>=\([0-9.]*\)".*/\1==\2/p' setup.py
}

# make_venv NAME PYTHON [REQUIREMENT...]: .venvs/NAME holds this project, editable, what its tests need, and the requirements.
make_venv() {
    local name=$1 python=$2 venv=$VENVS/$1 stamp
    shift 2
    stamp=$({ "$python" --version; pwd; echo "$@"; cat setup.py; } | sha256sum)
    if [ "$(cat "$venv/stamp" 2>/dev/null)" = "$stamp" ]; then return; fi
    say "Setting up .venvs/$name"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet --editable '.[tests,lint]' "$@"
    echo "$stamp" >"$venv/stamp"
}

# run_suite TITLE VENV ARGUMENT...: runs a module there, pytest for example.
run_suite() {
    local title=$1 python=$VENVS/$2/bin/python started=$SECONDS
    shift 2
    title+=", $("$python" -c '
import platform, importlib.metadata as m
print(*[f"{name} {version}" for name, version in [
    ("Python", platform.python_version()), *((name, m.version(name)) for name in ("tornado", "simplejson"))]], sep=", ")')"
    say "$title"
    "$python" -m "$@" || fail "$title"
    RESULTS+=("passed in $((SECONDS - started)) s: $title")
}

# beside COMMAND [ARGUMENT...]: runs it beside what comes next, on the other core. wait_beside prints what it has printed.
beside() {
    set -m  # a process group of its own, to be ended together
    ("$@"; printf '%s\n' "${RESULTS[@]}" >"$OTHERS/results") >"$OTHERS/output" 2>&1 &
    others=$!
    set +m
    trap 'kill -- -$others 2>/dev/null || true; rm -rf "$OTHERS"' EXIT
}

wait_beside() {
    wait $others || { cat "$OTHERS/output"; fail "a suite beside the first one: see above"; }
    cat "$OTHERS/output"
    mapfile -t -O "${#RESULTS[@]}" RESULTS <"$OTHERS/results"
}

PYTHON=${PYTHON:-python3}
need_python
OTHERS=$(mktemp -d)  # of what runs beside the first suite
trap 'rm -rf "$OTHERS"' EXIT

if [ "${1:-}" = --fast ]; then
    [ $# = 1 ] || fail "--fast takes no arguments"
    make_venv main "$PYTHON"
    # Two halves, one for each core; what the second one prints comes when it is done.
    beside run_suite "The fast tests, second half" main pytest -q -m "pure or local" "${FAST[@]}" \
        --basetemp "$OTHERS/fast" -p no:cacheprovider
    run_suite "The fast tests, first half" main pytest -q -m "pure or local" tests "${FAST[@]/#/--ignore=}" \
        "${WITHOUT_BROWSER[@]:0:3}" --ignore=tests/attacks --ignore=tests/chaos
    wait_beside
    exit
fi

if [ $# -gt 0 ]; then
    make_venv main "$PYTHON"
    "$VENVS/main/bin/python" -m pytest --missing-packages="$OTHERS/packages" -q "$@" >"$OTHERS/collected" ||
        { cat "$OTHERS/collected"; fail "the tests can't be collected: see above"; }
    mapfile -t packages <"$OTHERS/packages"
    apt_install "${packages[@]}"
    run_suite "Some tests" main pytest "$@"
    exit
fi

mapfile -t packages < <("$PYTHON" tests/programs.py)
apt_install "${packages[@]}"
make_venv main "$PYTHON"

mapfile -t pythons < <(find_pythons)
read -r oldest_version oldest <<<"${pythons[0]}"
read -r newest_version newest <<<"${pythons[-1]}"
mapfile -t oldest_requirements < <(oldest_dependencies)
say "Pythons found: ${pythons[*]%% *}"

make_venv oldest "$oldest" "${oldest_requirements[@]}"
[ "$newest_version" = "$(version_of "$PYTHON")" ] || make_venv newest "$newest"

"$VENVS/main/bin/coverage" erase

# Half of the suites run beside the first one.
run_others() {
    run_suite "The attacks" main pytest tests/attacks "${COVERING_ATTACKS[@]/#/--ignore=}" \
        --basetemp "$OTHERS/attacks" -p no:cacheprovider
    PYTHONASYNCIODEBUG=1 run_suite "Without the browser, asyncio's debugging on" oldest \
        pytest "${WITHOUT_BROWSER[@]}" --basetemp "$OTHERS/oldest" -p no:cacheprovider
}
beside run_others

run_suite "The browsers and the programs of others" main pytest tests/browser tests/compatibility
run_suite "Several processes behind proxies" main pytest tests/deployment
run_suite "All the other tests" main coverage run -m pytest \
    --ignore=tests/attacks --ignore=tests/deployment --ignore=tests/browser --ignore=tests/compatibility
run_suite "The attacks that are traced" main coverage run -m pytest "${COVERING_ATTACKS[@]}"
if [ "$newest_version" != "$(version_of "$PYTHON")" ]; then
    run_suite "Without the browser, the attacks and the chaos" newest \
        pytest "${WITHOUT_BROWSER[@]}" --ignore=tests/attacks --ignore=tests/chaos \
        --basetemp "$OTHERS/newest" -p no:cacheprovider
else
    RESULTS+=("$PYTHON is the newest Python found ($newest_version): all tests ran on it")
fi
wait_beside
"$VENVS/main/bin/coverage" combine --quiet
"$VENVS/main/bin/coverage" report || fail "the tests don't cover tornadio/ as they have to: see above"
case $oldest_version in
    3.11.*) ;;
    *) RESULTS+=("there is no Python 3.11 here, the oldest that it could be tested on is $oldest_version") ;;
esac

say "Every suite passed"
printf '    %s\n' "${RESULTS[@]}"
