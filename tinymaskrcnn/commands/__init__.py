"""The work of each command of the command line: commands/NAME.py has run(options) -> status."""
