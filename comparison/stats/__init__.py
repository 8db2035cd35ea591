"""The statistics: exact tests, resampling, corrections for many questions."""
