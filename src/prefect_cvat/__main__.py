"""`python -m prefect_cvat` is the command `prefect-cvat`."""

from prefect_cvat.cli.main import main

main()
