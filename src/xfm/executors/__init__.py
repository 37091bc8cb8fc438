"""Who does the units of large work (processes, a Slurm array, Ray), and the marks that units leave."""
