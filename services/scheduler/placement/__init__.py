"""Which node: the nodes as the scheduler sees them, how busy they are, where tasks fit.

Pure; knows neither tasks nor turns.
"""
