"""Where the stages of a grid are carried out: worker processes here, or a cluster."""
