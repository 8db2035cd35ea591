"""Data sets of other kinds become triplets: classes, sentence similarity, entailment; and triplets are filtered."""
