"""Commands as SLURM jobs: the process inside a job, and the process that waits for it."""
