"""The documentation site: `make docs`. It is built from the checkout alone, without the network."""

# ruff: noqa: INP001 - Sphinx reads this file by its path

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "nixhive_nb"
extensions = ["myst_nb", "sphinx.ext.autodoc", "hive_reference", "hive_sources"]
exclude_patterns = ["_ext", "_static", "notebooks/*.md", "**/.ipynb_checkpoints"]
root_doc = "index"

# Notebooks are shown, not run: they need a fleet. `make demo` and the tests run them.
nb_execution_mode = "off"
nb_merge_streams = True
# The scripts for widgets would come from elsewhere. What a run leaves in a notebook is static.
nb_ipywidgets_js = {}

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# `--option` is no dash and a letter.
smartquotes = False

# Docstrings are plain text with `names` in it.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "nixhive_nb"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
