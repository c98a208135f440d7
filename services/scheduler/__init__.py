"""The master: tasks, nodes, accounts (S0)."""
