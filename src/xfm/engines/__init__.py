"""Who does the units of a large piece of work: processes of this machine, a Slurm array, or Ray."""
