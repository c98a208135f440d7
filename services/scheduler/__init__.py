"""The scheduler: tasks, nodes, accounts (S0). What lies in which room is said in README.md."""
