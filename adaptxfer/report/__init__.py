"""Reports: one page, tables and plots that show what a folder of runs found."""
