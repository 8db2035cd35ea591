"""The report: one HTML file that opens anywhere, and its plots and its table as files for a paper.

Everything is made from a `Comparison` and what studies know beside scores, and from nothing else: the same input gives the
same bytes. Sentences, tables and plots are plain data (`answer`, `paper_table`, `forest`, …); `page` puts them together.
"""
