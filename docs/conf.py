"""How the documentation is built: `make docs`. Pages are Markdown, where they are; notebooks are shown as they are saved, and not run.

The root of the pages is the repository's, so that a link between two files is the same link on a web page, in an editor and on a code host.
"""

from importlib.metadata import version as version_of

project = "smr_notebook"
author = "the smr_notebook authors"
version = release = version_of("smr_notebook")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/**",
    "notebooks/*.ipynb",
    "tests/README.md",
    "smr_notebook/dataflow/FORMAT.md",
]
exclude_patterns = ["docs/images/**", "docs/conf.py"]

nb_execution_mode = "off"
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["misc.highlighting_failure"]  # tracebacks of our own errors are no Python

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "inherited-members": "BaseException, object", "show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"smr_notebook {release}"
html_copy_source = False
html_show_sourcelink = False
