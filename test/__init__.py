"""The test suite; a package so that ``python -m test.robustness`` finds it."""
