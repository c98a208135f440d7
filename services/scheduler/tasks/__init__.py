"""How a task moves: its life, its elements, what it waits for, its silent node, who is told.

Pure; chooses no node.
"""
