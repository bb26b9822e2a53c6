"""`python -m otscert` is `otscert`."""

from otscert.cli import main

main()
