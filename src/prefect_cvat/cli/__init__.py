"""The command `prefect-cvat`, with one module per subcommand."""
