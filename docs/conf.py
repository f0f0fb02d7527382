"""Settings of the documentation: ``.venv/bin/sphinx-build -W docs docs/_build``."""

import subprocess
import sys

from docutils import nodes
from docutils.parsers.rst import Directive

from mixit_mss import __version__

project = "mixit_mss"
author = "the authors of mixit_mss"
release = __version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autosummary_generate = True
napoleon_use_ivar = True
exclude_patterns = ["_build"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = f"mixit_mss {__version__}"


class CommandHelp(Directive):
    """``.. command-help:: separate`` shows what ``mixit-mss separate --help`` prints."""

    required_arguments = 1

    def run(self):
        """Ask the command itself."""
        command = [sys.executable, "-m", "mixit_mss.bin.main", self.arguments[0], "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return [nodes.literal_block(done.stdout, done.stdout, language="none")]


def setup(app):
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
