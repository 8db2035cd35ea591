"""The probes, a file each: a model and a corpus become figures and panels."""
