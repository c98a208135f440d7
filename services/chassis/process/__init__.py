"""The life of a serving process: its options, its start and end, its files, its certificates."""
