"""Files that people write, as YAML: read within bounds, taken apart field by field, and judged with every problem told.

What a framework, a job, a sweep or a model may say is elsewhere; here is how it is read. Pure.
"""
