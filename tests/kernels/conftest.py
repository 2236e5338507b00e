"""Triton comes for Linux alone; elsewhere plain math is all there is."""

import sys

collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]
