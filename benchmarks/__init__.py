"""Speed and memory, measured; ratios within one run. Not part of the tests."""
