#!/usr/bin/env bash
# Sets up all that the tests need and runs them:
#
#   tests/run.sh              every suite, see below, in half an hour on two cores
#   tests/run.sh --every      the same with every combination of the tests' parameters, not each value: in an hour
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
# The suites, in four rows side by side, since tests with browsers wait for most of their time:
#
#   - on this Python with the newest dependencies: all tests but the chaos. Those that neither attack nor start programs
#     have to cover tornadio/.
#   - on the newest Python found with the newest dependencies: those that start no process, without the attacks, with every
#     combination of their parameters, where the other suites have each value; and the chaos.
#   - on the oldest Python found (3.11 or newer) with the oldest dependencies that setup.py admits and asyncio's debugging
#     on: all but the browsers', the proxies', the benchmarks', the documents' and those with programs of others, with few
#     attacks and a short soak. Where that is the first one's minor version, the framings of WebSockets aren't tested
#     again, which know no dependency.
#
# PYTHON names another Python for the first (default: python3).
#
# The modules on a message's or a request's way are tested once more, compiled (TORNADIO_COMPILE=1).
#
# The virtual environments stay in .venvs and are used again as long as setup.py stays as it is. To have the newest
# dependencies fetched again, remove that directory.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENVS=$PWD/.venvs
MOST_AGAIN=3  # tests of a suite that may fail, if they pass when they run once more
RESULTS=()
WITHOUT_BROWSER=(--ignore=tests/browser --ignore=tests/compatibility --ignore=tests/deployment --ignore=tests/attacks
    --ignore=tests/test_benchmarks.py --soak 10)
# What these attacks reach, no other test does: they are traced, too.
COVERING_ATTACKS=(tests/attacks/test_forged_addresses.py tests/attacks/test_hanging_on_open.py
    tests/attacks/test_refused_by_tornado.py tests/attacks/test_unread_answers.py)
# What starts programs: examples, old applications, type checkers, pytest itself, and reads documents. In these processes
# runs nothing of tornadio/ that no other test runs.
DOCUMENTS=(tests/test_documents.py tests/test_kinds.py tests/test_layout.py tests/test_packaging.py tests/test_types.py)
PROGRAMS=(tests/old_programs tests/test_benchmarks.py tests/test_examples.py "${DOCUMENTS[@]}")
# What tests the modules that TORNADIO_COMPILE=1 compiles.
WHAT_IS_COMPILED=(tests/fuzz tests/net tests/sessions tests/test_compiled.py tests/test_connection.py tests/test_proto.py
    tests/testing/test_manual.py tests/transports tests/web tests/websocket)
THROW="the (type, exc, tb) signature of throw() is deprecated"  # by Python 3.12, and mypyc's coroutines use it
# What of the fast tests takes half of their time.
FAST=(tests/cluster tests/fuzz tests/net tests/sessions tests/web tests/websocket)
export REQUIRE_PROGRAMS=1  # what is missing is an error
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1  # the browsers are Debian's
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
    sed -n -e '/install_requires/,/\]/ b print' -e '/"metrics": \[/,/\]/ b print' \
        -e '/"redis": \[/,/\]/ b print' -e 'd; :print' \
        -e 's/^ *"\([a-z_]*\)>=\([0-9.]*\)".*/\1==\2/p' setup.py
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

# run_suite TITLE VENV ARGUMENT...: runs a module there that runs pytest.
run_suite() {
    local title=$1 python=$VENVS/$2/bin/python started=$SECONDS cache
    cache=$(mktemp -d "$OTHERS/XXXXXX")
    shift 2
    title+=", $("$python" -c '
import platform, importlib.metadata as m
print(*[f"{name} {version}" for name, version in [
    ("Python", platform.python_version()), *((name, m.version(name)) for name in ("tornado", "simplejson"))]], sep=", ")')"
    say "$title"
    "$python" -m "$@" -o cache_dir="$cache" || run_again $? "$title" "$cache" "$python" "$@"
    RESULTS+=("passed in $((SECONDS - started)) s: $title")
}

# run_again STATUS TITLE CACHE PYTHON ARGUMENT...: runs the tests that failed in a suite once more, as CPython's own runner
# does with --rerun. Of twenty thousand, some with browsers, on two busy cores, one may lose a race with itself; it is named
# at the end of the run, to be mended. Where more than MOST_AGAIN failed, or pytest did not come to its end, the suite has
# failed.
run_again() {
    local status=$1 title=$2 cache=$3 python=$4 failed
    shift 4
    [ "$status" = 1 ] && [ -f "$cache/v/cache/lastfailed" ] || fail "$title"
    mapfile -t failed < <("$python" -c 'import json, sys; print(*json.load(open(sys.argv[1])), sep="\n")' \
        "$cache/v/cache/lastfailed")
    [ ${#failed[@]} -le "$MOST_AGAIN" ] || fail "$title"
    say "Once more: ${failed[*]}"
    "$python" -m "$@" -o cache_dir="$cache" --last-failed --last-failed-no-failures=none || fail "$title"
    RESULTS+=("${failed[@]/#/failed, and passed when it ran once more: }")
}

# run_pytest TITLE VENV ARGUMENT...: run_suite with pytest, beside others.
run_pytest() {
    local title=$1 venv=$2
    shift 2
    run_suite "$title" "$venv" pytest --basetemp "$(mktemp -d "$OTHERS/XXXXXX")" "$@"
}

# beside COMMAND [ARGUMENT...]: runs it beside what comes next. wait_beside prints what they have printed.
beside() {
    set -m  # a process group of its own, to be ended together
    (RESULTS=(); "$@"; printf '%s\n' "${RESULTS[@]}" >"$OTHERS/results-$1") >"$OTHERS/output-$1" 2>&1 &
    others[$!]=$1
    set +m
    trap end_others EXIT
}

end_others() {
    local id
    for id in "${!others[@]}"; do kill -- "-$id" 2>/dev/null || true; done
    rm -rf "$OTHERS"
}

wait_beside() {
    local id name
    for id in "${!others[@]}"; do
        name=${others[$id]}
        wait "$id" || { cat "$OTHERS/output-$name"; fail "a suite beside the first ones: see above"; }
        unset "others[$id]"
        cat "$OTHERS/output-$name"
        mapfile -t -O "${#RESULTS[@]}" RESULTS <"$OTHERS/results-$name"
    done
}

PYTHON=${PYTHON:-python3}
need_python
OTHERS=$(mktemp -d)  # of what runs beside the first suites
COMPILED=$OTHERS/compiled  # the package, when on_the_compiled_package has made it
others=()  # by their process ids
trap end_others EXIT

each=(--each-value)
if [ "${1:-}" = --every ]; then
    [ $# = 1 ] || fail "--every takes no arguments"
    each=()
    shift
fi
[ $# = 0 ] || MOST_AGAIN=0

if [ "${1:-}" = --fast ]; then
    [ $# = 1 ] || fail "--fast takes no arguments"
    make_venv main "$PYTHON"
    # Two halves, one for each core; what the second one prints comes when it is done.
    beside run_pytest "The fast tests, second half" main -q -m "pure or local" "${FAST[@]}"
    run_suite "The fast tests, first half" main pytest -q -m "pure or local" tests "${FAST[@]/#/--ignore=}" \
        "${WITHOUT_BROWSER[@]:0:4}" --ignore=tests/chaos
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
version=$(version_of "$PYTHON")
if [ "$newest_version" = "$version" ]; then
    latest=main each=()
    RESULTS+=("$PYTHON is the newest Python found ($newest_version): all tests ran on it")
else
    latest=newest
    make_venv newest "$newest"
fi

"$VENVS/main/bin/coverage" erase
mkdir "$OTHERS/tables"

# What runs beside the first suites.
traced_and_on_the_oldest() {
    run_suite "The tests that start few programs, traced" main coverage run -m pytest "${PROGRAMS[@]/#/--ignore=}" \
        --ignore=tests/documents --ignore=tests/attacks --ignore=tests/deployment --ignore=tests/browser \
        --ignore=tests/compatibility --ignore=tests/chaos "${each[@]}" --basetemp "$OTHERS/traced"
    local known=()
    [ "${oldest_version%.*}" != "${version%.*}" ] || known=(--ignore=tests/websocket)
    PYTHONASYNCIODEBUG=1 run_pytest "Without the browsers, attacks and documents, asyncio's debugging on" oldest \
        "${WITHOUT_BROWSER[@]}" --ignore=tests/documents "${DOCUMENTS[@]/#/--ignore=}" "${known[@]}" "${each[@]}"
    run_pytest "The attacks that Tornado reads, too" oldest "${COVERING_ATTACKS[@]}" "${each[@]}"
}

in_other_browsers() {
    run_pytest "The browser client and the examples in Firefox and WebKit" main tests/browser --engines firefox,webkit \
        --table "$OTHERS/tables/2" "${each[@]}"
    run_pytest "The programs of others" main tests/compatibility --table "$OTHERS/tables/4" "${each[@]}"
}

# Compiles the package, as a page of the site says, into a directory of its own, and tests it.
on_the_compiled_package() {
    TORNADIO_COMPILE=1 "$VENVS/main/bin/pip" install --quiet --no-deps --target "$COMPILED" .
    TORNADIO_COMPILE=1 run_pytest "The modules that can be compiled, compiled" main -m "pure or local" --each-value \
        -o "pythonpath=$COMPILED . examples/chatroom" -W "ignore:$THROW:DeprecationWarning" "${WHAT_IS_COMPILED[@]}"
}

the_rest() {
    run_pytest "The browser client in three engines at once" main tests/browser --engines several \
        --table "$OTHERS/tables/3"
    run_pytest "The site, and the blocks of its pages" main tests/documents
    on_the_compiled_package
    COMPILED=$COMPILED run_pytest "Examples, old programs, benchmarks, other documents" main "${PROGRAMS[@]}"
    [ $latest = main ] || run_pytest "What starts no process, without the attacks and the chaos" newest \
        "${WITHOUT_BROWSER[@]}" -m "pure or local" --ignore=tests/chaos
    run_pytest "The chaos" $latest tests/chaos --soak 20 "${each[@]}"
}

beside traced_and_on_the_oldest
beside in_other_browsers
beside the_rest

run_suite "The browser client and the examples in Chromium" main pytest tests/browser --engines none,chromium \
    --table "$OTHERS/tables/1" "${each[@]}"
run_suite "Several processes behind proxies" main pytest tests/deployment
run_suite "The attacks that are traced" main coverage run -m pytest "${COVERING_ATTACKS[@]}" "${each[@]}"
run_suite "The other attacks" main pytest tests/attacks "${COVERING_ATTACKS[@]/#/--ignore=}" "${each[@]}"
wait_beside
say "What each client showed"
"$VENVS/main/bin/python" -m tests.compatibility.table "$OTHERS"/tables/*
"$VENVS/main/bin/coverage" combine --quiet
"$VENVS/main/bin/coverage" report || fail "the tests don't cover tornadio/ as they have to: see above"
case $oldest_version in
    3.11.*) ;;
    *) RESULTS+=("there is no Python 3.11 here, the oldest that it could be tested on is $oldest_version") ;;
esac

say "Every suite passed"
printf '    %s\n' "${RESULTS[@]}"
