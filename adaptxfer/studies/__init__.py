"""Studies: the record table, the statistics core, gains, simulated worlds and power. Works on records alone."""
