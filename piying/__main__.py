"""`python -m piying` is `piying`."""

from piying.cli import main

main()
