"""Whose turn it is: who shares the machines, what waits in which order, what quotas and caps allow.

Pure; chooses no node.
"""
