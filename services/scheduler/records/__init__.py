"""What the tables hold, as values, and the way from there back to the state.

Writes nothing: that is the store's.
"""
