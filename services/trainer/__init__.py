"""The training controller: jobs of any framework, from their queue to their one end (S3)."""
