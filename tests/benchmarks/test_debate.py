import argparse
import json

import numpy as np

from benchmarks import debate
from tests.support.misbehaving_server import completion, serving
from wm_envs.debate.relevance import KeywordRelevance
from wm_envs.debate.tendencies import TENDENCIES


class Letters:
    """Embeddings by how often a text has each letter."""

    def encode(self, texts):
        return np.array(
            [[text.count(chr(97 + place)) + 1 for place in range(26)] for text in texts]
        )


def judge(request):
    """A language model that counts seed words."""
    items = json.loads(request["messages"][-1]["content"])
    rows = KeywordRelevance().score([item["text"] for item in items])
    answers = {
        item["id"]: {
            str(t): min(float(value), 1.0) for t, value in zip(TENDENCIES, row, strict=True)
        }
        for item, row in zip(items, rows, strict=True)
    }
    return 200, completion(answers)


def test_embeddings_and_a_language_model_stand_in_the_table_of_every_reader():
    with serving(judge) as (url, requests):
        options = argparse.Namespace(seed=1, embeddings=Letters(), endpoint=url, judge="stub")
        figures = debate.measure_ownership(options)
    assert len(requests) == 8  # 157 texts by 20, each asked about once
    reader = figures["readers"]["second_reader"]
    assert reader["kappa"]["low"] < reader["kappa"]["estimate"] < 1
    for table in (figures, reader):
        assert table["language_model_judge"]["num_observations"] == 157
        assert table["language_model_judge"]["accuracy"] == table["keyword_baseline"]["accuracy"]
        assert table["sentence_embeddings"]["accuracy"] < table["default"]["accuracy"]
