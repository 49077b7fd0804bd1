"""`python -m prefect_cvat` is the command `prefect-cvat`."""

from prefect_cvat.cli import main

main()
