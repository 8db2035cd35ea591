"""The tasks of the paper (arXiv 2409.02727), by their names in mteb, and lists of them that a user can name."""

from __future__ import annotations

STS = ["BIOSSES", "SICK-R", "STS12", "STS13", "STS14", "STS15", "STS16", "STSBenchmark"]

CLASSIFICATION = [
    "AmazonPolarityClassification",
    "ToxicConversationsClassification",
    "ImdbClassification",
    "Banking77Classification",
    "EmotionClassification",
    "TweetSentimentExtractionClassification",
]

CLUSTERING = [
    "ArxivClusteringP2P",
    "ArxivClusteringS2S",
    "BiorxivClusteringP2P.v2",
    "BiorxivClusteringS2S.v2",
    "MedrxivClusteringP2P.v2",
    "MedrxivClusteringS2S.v2",
    "RedditClustering.v2",
    "RedditClusteringP2P.v2",
    "StackExchangeClustering.v2",
    "StackExchangeClusteringP2P.v2",
    "TwentyNewsgroupsClustering.v2",
]

PAIR_CLASSIFICATION = ["TwitterURLCorpus", "SprintDuplicateQuestions", "TwitterSemEval2015"]

RERANKING = ["AskUbuntuDupQuestions", "MindSmallReranking", "SciDocsRR", "StackOverflowDupQuestions"]

SUMMARIZATION = ["SummEval"]

# BEIR without CQADupstack.
RETRIEVAL = [
    "ArguAna",
    "NFCorpus",
    "FiQA2018",
    "SciFact",
    "Touche2020",
    "QuoraRetrieval",
    "TRECCOVID",
    "NQ",
    "SCIDOCS",
    "ClimateFEVER",
    "DBPedia",
    "MSMARCO",
    "HotpotQA",
    "FEVER",
]

NOT_RETRIEVAL = STS + PAIR_CLASSIFICATION + CLUSTERING + RERANKING + SUMMARIZATION + CLASSIFICATION

LISTS = {
    "paper": NOT_RETRIEVAL + RETRIEVAL,
    "paper/STS": STS,
    "paper/Classification": CLASSIFICATION,
    "paper/Clustering": CLUSTERING,
    "paper/PairClassification": PAIR_CLASSIFICATION,
    "paper/Reranking": RERANKING,
    "paper/Summarization": SUMMARIZATION,
    "paper/Retrieval": RETRIEVAL,
}
