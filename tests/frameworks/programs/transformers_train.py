"""Hugging Face's Trainer as its users write it: a small BERT learns which of two tokens comes more often. Nothing here
knows where it runs."""

from __future__ import annotations

import json

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

STEPS = 60


def examples(count: int) -> list[dict[str, torch.Tensor]]:
    tokens = torch.randint(1, 3, (count, 9), generator=torch.Generator().manual_seed(7))
    labels = (tokens == 2).sum(1) > 4
    return [{"input_ids": row, "labels": label.long()} for row, label in zip(tokens, labels, strict=True)]


def main() -> None:
    set_seed(7)
    torch.set_num_threads(1)
    config = BertConfig(
        vocab_size=3, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )  # fmt: skip
    arguments = TrainingArguments(
        output_dir="out", max_steps=STEPS, per_device_train_batch_size=16, learning_rate=5e-3, logging_steps=5,
        save_strategy="no", use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(BertForSequenceClassification(config), arguments, train_dataset=examples(512))
    loss = trainer.train().training_loss
    print("result", json.dumps({"loss": loss, "last": trainer.state.log_history[-2]["loss"]}), flush=True)


main()
