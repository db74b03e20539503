"""The commands of the command line: NAME.py has `add(parser)` for its options, and `run(options)`."""
