"""What callers see of tasks and nodes, live or from the database, each only what they may.

Changes nothing.
"""
