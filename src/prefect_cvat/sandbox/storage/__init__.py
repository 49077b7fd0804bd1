"""The sandbox's state on disk: SQLite tables, transactions, old snapshots."""
