"""Use cases, and the ports they need. The application knows the domain and nothing else."""
