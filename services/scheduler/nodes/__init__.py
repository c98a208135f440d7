"""What agents say and what people do with nodes: beats, reports, drains, whom to rely on.

Pure; streams are in `link`.
"""
