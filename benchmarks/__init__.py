"""How fast we are beside bare aioquic, on this machine, in this run."""
