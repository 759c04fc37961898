"""Loss of hidden held-out tokens, under masks that are the same at every evaluation and in every run."""

from __future__ import annotations

from pathlib import Path

from model_foundry.errors import DataError, RecipeError
from model_foundry.evaluation import Evaluator, Subject, Suite


class MaskedLoss(Evaluator):
    """Nats a hidden token, under the masks of the objective; no loss of the text, so no perplexity."""

    def open(self, subject: Subject, folders: list[Path]) -> Suite:
        """Return the masked windows of the held-out text.

        Measured is ``loss``, nats a hidden token, in all and by source; the items are batches of windows. All
        rows are masked, with the mask ratio of the end of the run, by a seed that belongs to no run.

        Raises:
            DataError: When nothing is held out.
            RecipeError: When the objective masks nothing.
        """
        from model_foundry.evaluation._masked_windows import MaskedWindows

        if not subject.held_out:
            raise DataError(
                "evaluation masked_loss: nothing is held out. Set corpus.validation.fraction above 0."
            )
        if subject.objective is None or not subject.objective.needs_mask_token:
            raise RecipeError(
                "evaluation masked_loss: no objective masks here. Use it in a run of masked_lm or hybrid."
            )
        return MaskedWindows(subject, subject.objective)
