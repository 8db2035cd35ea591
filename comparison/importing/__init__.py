"""Make results with scores item by item from files of other tools: TREC runs with judgements, predictions of mteb."""
