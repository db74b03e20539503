"""The commands: NAME.py has `add(parser)` for its options, and `run(options)`, its work."""
