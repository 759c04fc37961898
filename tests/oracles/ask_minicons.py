"""Prints what minicons says of sentences: surprisal of tokens in bits, of words in nats, corrected or not."""

import json
import sys
from pathlib import Path

from minicons import scorer

folder, sentences = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
model = scorer.IncrementalLMScorer(folder, "cpu")
words = {
    name: [
        model.word_score_tokenized(
            [sentence], str.split, bos_token=True, surprisal=True, bow_correction=is_corrected
        )[0]
        for sentence in sentences
    ]
    for name, is_corrected in (("plain", False), ("corrected", True))
}
tokens = [
    model.token_score([sentence], surprisal=True, base_two=True, bos_token=True)[0] for sentence in sentences
]
print(json.dumps({"tokens": tokens, **words}))
