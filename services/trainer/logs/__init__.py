"""What instances wrote, read where it lies. Owns no byte."""
