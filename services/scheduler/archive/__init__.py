"""What is left of tasks: what they wrote, what they were given and gave, how long all is kept.

Starts and ends nothing.
"""
