"""``python -m llamasmith``: the command line, where no console script is on the path."""

from .cli.__main__ import main

main()
