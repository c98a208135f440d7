"""Who may come in: accounts, tokens, credentials of nodes and attempts.

What each role may call is in `rules`.
"""
