"""An exported folder is read in a process of its own and compared with its model."""
