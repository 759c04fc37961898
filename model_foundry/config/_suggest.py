"""What a person most likely meant by a key that does not exist."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any

from model_foundry.config._problems import Path, dotted
from model_foundry.config._sections import keys_of, section_at, sections
from model_foundry.parts import Part

# What other frameworks, and people, call our keys. Only keys that exist are suggested.
_RENAMED = {
    "name": "experiment_name run_name",
    "seed": "random_seed",
    "corpus": "dataset",
    "corpus.sources": "datasets",
    "corpus.sources.0.path": "files",
    "corpus.validation.fraction": "val_fraction",
    "tokenizer.vocab_size": "vocab",
    "data.context": (
        "block_size context_length context_size max_length max_seq_len max_seq_length n_ctx seq_len "
        "seq_length sequence_length"
    ),
    "data.workers": "num_workers",
    "model": "arch architecture",
    "model.layers": "n_layer n_layers num_hidden_layers num_layers",
    "model.width": "d_model dim embedding_size hidden_dim hidden_size n_embd",
    "model.heads": "n_head n_heads num_attention_heads num_heads",
    "model.feed_forward": "d_ff ffn_dim intermediate_size n_inner",
    "model.positions": "max_position_embeddings n_positions",
    "model.dropout": "dropout_p embd_pdrop",
    "initialization": "init initialisation",
    "objective": "loss",
    "optimizer": "optim optimiser",
    "optimizer.learning_rate": "lr max_lr",
    "optimizer.betas": "adam_beta1 adam_beta2 beta1 beta2",
    "optimizer.eps": "adam_epsilon",
    "optimizer.weight_decay": "decay wd",
    "schedule": "learning_rate_schedule lr_schedule lr_scheduler scheduler lr_scheduler_type",
    "schedule.warmup": "warmup_iters warmup_ratio warmup_steps",
    "schedule.floor": "final_lr min_lr min_lr_ratio",
    "training.duration": (
        "epochs limit max_epochs max_iters max_steps max_tokens max_updates num_epochs num_steps "
        "num_train_epochs steps total_steps train_steps"
    ),
    "training.batch_size": "accumulation_steps batch bs global_batch_size train_batch_size",
    "training.micro_batch_size": (
        "device_batch_size gradient_accumulation gradient_accumulation_steps mbs microbatch_size "
        "per_device_batch_size per_device_train_batch_size"
    ),
    "training.precision": "amp bf16 dtype fp16 mixed_precision",
    "training.gradient_clip": "clip clip_grad clip_grad_norm grad_clip max_grad_norm",
    "training.max_time": "time_limit",
    "training.compile": "torch_compile",
    "checkpoints.rolling": "checkpoint_every save_every save_interval save_steps",
    "checkpoints.keep_resumable": "save_total_limit",
    "evaluation": "eval evaluations evaluators",
    "evaluation.0.every": "eval_every eval_interval eval_steps",
    "logging.every": "log_every log_interval logging_steps",
    "tracking": "loggers report_to wandb",
}
RENAMED = {synonym: path for path, synonyms in _RENAMED.items() for synonym in synonyms.split()}


def suggestion(key: str, section: Path, recipe: Any) -> str | None:
    """Return the nearest key for one that ``section`` does not have: its name, or its path elsewhere."""
    word = key.strip().lower().replace("-", "_").replace(" ", "_")
    here = section_at(recipe, section)
    own = list(keys_of(here)) if here else []
    if here and issubclass(here, Part):
        own.append("type")
    if word in own:
        return word
    elsewhere = [
        ((*path, known), known)
        for path, described in sections(recipe)
        if path != section
        for known in keys_of(described)
    ]
    target = RENAMED.get(word, "")
    if target in {dotted((*section, known)) for known in own} | {dotted(path) for path, _ in elsewhere}:
        return _relative(target, section)
    near = max(own, key=lambda known: _likeness(word, known), default="")
    if near and _is_one_slip(word, near):
        return near
    exact = next((path for path, known in elsewhere if known == word), None)
    if exact:
        return dotted(exact)
    if near and _likeness(word, near) >= 0.6:
        return near
    far, known = max(elsewhere, key=lambda item: _likeness(word, item[1]), default=((), ""))
    return dotted(far) if len(word) > 3 and _likeness(word, known) >= 0.75 else None


def _relative(path: str, section: Path) -> str:
    prefix = dotted(section) + "."
    rest = path.removeprefix(prefix)
    return rest if section and rest != path and "." not in rest else path


def _likeness(word: str, known: str) -> float:
    return SequenceMatcher(None, word, known, autojunk=False).ratio()


def _is_one_slip(word: str, known: str) -> bool:
    """Whether one letter is missing, doubled or changed, or two neighbours have changed places."""
    if abs(len(word) - len(known)) > 1 or min(len(word), len(known)) < 2:
        return False
    start = next(
        (i for i, (a, b) in enumerate(zip(word, known, strict=False)) if a != b), min(len(word), len(known))
    )
    rest, other = word[start:], known[start:]
    swapped = rest[:2] == other[:2][::-1] and rest[2:] == other[2:]
    return rest[1:] == other or rest == other[1:] or rest[1:] == other[1:] or swapped
