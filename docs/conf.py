"""Sphinx' configuration of the site: docs/build.sh builds it."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.domains.python._object import PyObject
from sphinx.util.docfields import TypedField
from tornado.httputil import HTTPServerRequest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tornadio

project = "TornadIO"
author = "The authors of TornadIO"
release = version = tornadio.version

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore_regex = [("py:class", r"tornadio\..*\.T")]  # variables of types
highlight_language = "text"  # of :: blocks

# Names of Python's and Tornado's documentation, as many as the pages refer to: a build needs no network.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", "inventories/python.txt"),
    "tornado": ("https://www.tornadoweb.org/en/stable", "inventories/tornado.txt"),
}

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"TornadIO {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
# The colours of examples/common.css.
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b6b66",
        "color-brand-content": "#0b6b66",
        "color-brand-visited": "#0b6b66",
        "color-api-name": "#0b6b66",
        "color-api-pre-name": "#5b6472",
    },
    "dark_css_variables": {
        "color-brand-primary": "#5cc4b8",
        "color-brand-content": "#5cc4b8",
        "color-brand-visited": "#5cc4b8",
        "color-api-name": "#5cc4b8",
        "color-api-pre-name": "#9aa4b1",
        "color-background-primary": "#14171b",
        "color-background-secondary": "#1d2127",
    },
}

copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

# docs/build.sh --links: pages elsewhere. What is on the reader's own machine, or an example, is not asked for.
linkcheck_ignore = [r"https?://(localhost|127\.0\.0\.1)\b", r"https?://([\w-]+\.)*example(\.\w+)?\b"]
linkcheck_timeout = 20
linkcheck_retries = 2

# Names in annotations that the modules import for type checkers alone.
tornadio.conn.HTTPServerRequest = HTTPServerRequest  # type: ignore[attr-defined]
tornadio.settings.Bus = tornadio.Bus  # type: ignore[attr-defined]

# Tornado makes servers in __new__, which takes anything.
tornadio.SocketServer.__signature__ = inspect.signature(  # type: ignore[attr-defined]
    tornadio.SocketServer.__init__
).replace(parameters=list(inspect.signature(tornadio.SocketServer.__init__).parameters.values())[1:])

# What :ivar says of a class.
for field in PyObject.doc_field_types:
    if isinstance(field, TypedField) and field.name == "variable":
        field.label = "Attributes"


def name_the_greeting(
    _app: Sphinx, _what: str, _name: str, _object: Any, _options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Put the name of a default without a form of its own into signatures."""
    return signature and re.sub(r"<object object.*?>", "SESSION_ID", signature), returned


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", name_the_greeting)
