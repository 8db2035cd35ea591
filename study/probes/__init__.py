"""Probes: measurements of what a vector notices, without labels, on any corpus (docs/probes.md).

``python -m study.probes ADAPTER … --corpus FILE --output_dir OUT`` is the command line.
"""

# In the order in which they run; `study.probes.run.PROBES` has a row for each.
NAMES = ("position", "dilution", "word_order", "geometry", "compression", "layers", "massive")
