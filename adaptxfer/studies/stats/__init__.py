"""The statistics core: pure functions on arrays. The unit of replication is counted beside every p-value."""
