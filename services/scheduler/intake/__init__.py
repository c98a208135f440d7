"""The way in: what a request says is checked and completed before the machine hears of it.

Decides nothing.
"""
