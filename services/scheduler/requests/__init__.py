"""What clients and administrators ask of the machine, one module for each subject.

Pure; what comes here was checked in `intake`.
"""
