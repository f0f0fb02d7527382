"""Commands: each parses its options, calls the package, and exits."""
