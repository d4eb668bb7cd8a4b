"""The logits that count: what a model is asked for, and where they are read."""

from types import SimpleNamespace

import torch
from torch import nn

from adarank_core.scoring.encoding import logits_of


class OwnForSequenceClassification(nn.Module):
    """As BioGPT's classifier: it takes ``logits_to_keep``, and looks for the last token itself."""

    def forward(self, input_ids, attention_mask, logits_to_keep=0):
        assert logits_to_keep == 0
        last = attention_mask.sum(dim=1) - 1
        return SimpleNamespace(logits=input_ids[torch.arange(len(last)), last][:, None].float())


def test_a_classifier_is_never_asked_for_few_logits():
    batch = {"input_ids": torch.tensor([[5, 7, 0], [1, 2, 3]])}
    batch["attention_mask"] = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert logits_of(OwnForSequenceClassification(), batch).tolist() == [[7], [3]]
