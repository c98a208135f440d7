"""What starts now, who starts together, who makes room for whom, and why the others wait.

Pure; hears no events.
"""
