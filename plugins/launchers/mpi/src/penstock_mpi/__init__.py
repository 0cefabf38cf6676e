"""penstock's launcher for clusters that start programs with mpirun or srun: every rank runs the same command."""
