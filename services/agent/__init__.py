"""One per machine: runs what the scheduler sends."""
