"""FrameworkService, JobService and SweepService: decode, one call, encode; how what is handed in becomes a job."""
