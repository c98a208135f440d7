"""Sweeps: training jobs that are begun, compared and stopped by what they report. A machine beside that of jobs."""
