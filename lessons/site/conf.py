"""Settings of the course's site. Its sources are the lessons themselves; `python -m lessons.site`
builds it.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # reading.py, formulas.py, sources.py

project = "tinymaskrcnn: the course"
html_title = "Mask R-CNN from scratch"
extensions = ["myst_nb", "sphinx_copybutton", "formulas", "sources"]
root_doc = "index"
include_patterns = [
    "index.md",
    "glossary.md",
    "[0-9][0-9]*_*.py",
    "exercises/[0-9][0-9]*_*.py",
]

html_theme = "sphinx_book_theme"
html_theme_options = {"show_navbar_depth": 1, "use_download_button": False}
html_context = {"default_mode": "light"}
html_static_path = ["static"]
html_extra_path = [str(Path(os.environ["LESSONS_SITE_CACHE"]) / "pages")]
html_css_files = ["course.css", "run.css"]
html_js_files = [
    "figures.js",
    "try_it.js",
    ("run.js", {"data-pyodide": os.environ["LESSONS_SITE_PYODIDE"]}),
]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_show_search_summary = False  # it would fetch pages; browsers forbid that for local files
html_math_renderer = "mathml"

nb_custom_formats = {".py": ["reading.read", {}]}
nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(os.environ["LESSONS_SITE_CACHE"]) / "runs")
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_code_prompt_show = "Show the code"  # of cells with the tag hide-input
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["dollarmath"]
suppress_warnings = ["mystnb.unknown_mime_type"]
