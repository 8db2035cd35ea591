"""Probes: measurements of what a vector notices, without labels, on any corpus (docs/probes.md).

``python -m study.probes ADAPTER … --corpus FILE --output_dir OUT`` is the command line.
"""

# In the order in which they run; `OF_VECTORS` and `OF_LAYERS` of `study.probes.run` have a row for each.
NAMES = ("position", "dilution", "word_order", "geometry", "compression", "layers", "massive")
FEWEST_TEXTS = 20  # of a probe: intervals over fewer say nothing
VERSION = 2  # of the definitions: a study whose probes have another one makes them again
