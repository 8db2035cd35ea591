"""Real data of a folder, laid out for studies: tasks, a mix for training, and what the studies of objectives train on."""
