"""Commands as jobs of a SLURM cluster: what runs within a job, and the wait for it outside."""
