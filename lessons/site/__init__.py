"""The course as a site: `python -m lessons.site [FOLDER]`, with pip install -e '.[site]'."""
