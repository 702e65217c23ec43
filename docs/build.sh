#!/usr/bin/env bash
# Builds the site of documentation:
#
#   docs/build.sh           into docs/_build/html, whose index.html is the start; a warning is an error, as is a link to a
#                           page, a section or a file of the site that is not there
#   docs/build.sh --links   checks the links to pages elsewhere, over the network
#
# It takes the Python of the active virtual environment, if that has what the site needs (pip install .[docs]), else it
# makes an environment of its own, .venvs/docs.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

can_build() {
    "$1" -c 'import furo, prometheus_client, pytest, redis, simplejson, sphinx, sphinx_copybutton, tornado' 2>/dev/null
}

python=python3
if ! can_build $python; then
    python=.venvs/docs/bin/python
    if ! can_build $python; then
        python3 -m venv .venvs/docs
        $python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
    fi
fi

# A fresh environment each time (-E): Sphinx warns of a page when it reads it only.
sphinx=("$python" -m sphinx -q -n -W --keep-going -E -j auto docs -d docs/_build/doctrees)
case ${1:-} in
    --links) exec "${sphinx[@]}" -b linkcheck docs/_build/links ;;
    '') ;;
    *) echo "usage: docs/build.sh [--links]" >&2; exit 2 ;;
esac
rm -rf docs/_build/html
"${sphinx[@]}" -b html docs/_build/html
"$python" docs/links.py docs/_build/html
echo "The site: docs/_build/html/index.html"
