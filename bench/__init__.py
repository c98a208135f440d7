"""Measurements. ``python -m bench`` runs them all and prints a table; ``--json FILE`` keeps the figures."""
