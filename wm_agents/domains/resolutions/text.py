"""Texts as sparse TF-IDF rows, so that the similarity of two is a dot product.

Words are hashed, so that a word first seen after the training period still makes two later texts
similar; its inverse document frequency, learned on the training period alone, is the largest there
is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_BUCKETS = 2**18


def tf_idf(texts: Sequence[str], is_training: NDArray[np.bool_]) -> Any:
    """Rows of unit length, a sparse matrix [R, 2**18] over single words and pairs.

    Args:
        texts: R texts.
        is_training: [R], those from which document frequencies are learned.
    """
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    vectorizer = HashingVectorizer(
        n_features=NUM_BUCKETS,
        ngram_range=(1, 2),
        alternate_sign=False,
        norm=None,
        stop_words="english",
    )
    counts = vectorizer.transform([text.lower() for text in texts])
    counts.data = 1 + np.log(counts.data)
    return (
        TfidfTransformer()
        .fit(counts[np.flatnonzero(is_training)])
        .transform(counts)
        .astype(np.float32)
    )


def novelty(
    rows: Any, years: NDArray[np.float64], chosen: NDArray[np.int64], threshold: float = 0.7
) -> NDArray[np.bool_]:
    """Whether no text of an earlier date is as similar as `threshold` to each chosen one, [K]."""
    similarity = (rows[chosen] @ rows.T).tocsr()
    is_novel = np.empty(len(chosen), np.bool_)
    for place, row in enumerate(chosen):
        num_earlier = np.searchsorted(years, years[row], "left")
        is_novel[place] = _largest(similarity[place], int(num_earlier)) < threshold
    return is_novel


def _largest(row: Any, num_columns: int) -> float:
    values = row.data[row.indices < num_columns]
    return float(values.max()) if len(values) else 0.0


def topics(rows: Any, is_training: NDArray[np.bool_], size: int = 80) -> NDArray[np.float32]:
    """Dense text features [R, size]: latent semantic analysis fitted on the training texts."""
    from sklearn.decomposition import TruncatedSVD

    training = np.flatnonzero(is_training)
    decomposition = TruncatedSVD(min(size, len(training) - 1), random_state=0).fit(rows[training])
    return decomposition.transform(rows).astype(np.float32)
