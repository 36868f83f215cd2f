"""Base models of several families with random weights, made in a second, as they lie in a fetched folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

TEXTS = (
    "a warm, funny and brilliant film",
    "the plot was dull, the cast weak and the ending awful",
    "lovely acting in a tedious story",
    "boring! never again",
)
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def write_bert(folder: Path, texts: Sequence[str] = TEXTS, *, positions: int = 64) -> Path:
    """Write a BERT with the vocabulary of ``texts``; Chinese characters are single tokens."""
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    words = [word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
    letters = [f"{prefix}{letter}" for prefix in ("", "##") for letter in sorted(set("".join(words)))]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    entries = dict.fromkeys([*special, *sorted(set(words)), *letters])
    tokenizer = Tokenizer(models.WordPiece({entry: number for number, entry in enumerate(entries)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    ends = [(token, special.index(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    torch.manual_seed(0)
    config = BertConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=positions, **SIZES)
    return _save(folder, BertModel(config), fast)


def write_roberta(folder: Path) -> Path:
    """Write a RoBERTa: byte-level tokens, positions that start behind the padding's."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = _train_byte_level(special)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        cls_token="<s>",
        sep_token="</s>",
    )
    torch.manual_seed(0)
    config = RobertaConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=66, pad_token_id=1, **SIZES)
    return _save(folder, RobertaModel(config), fast)


def write_gpt2(folder: Path) -> Path:
    """Write a GPT-2: a decoder whose tokenizer has no padding token and adds no token to a text."""
    tokenizer = _train_byte_level(["<|endoftext|>"])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>"
    )
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=tokenizer.get_vocab_size(), n_positions=64, n_embd=32, n_layer=2, n_head=2)
    return _save(folder, GPT2Model(config), fast)


def write_llama(folder: Path) -> Path:
    """Write a Llama: a decoder with rotary positions whose tokenizer puts one token before a text."""
    tokenizer = _train_byte_level(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=64, bos_token_id=0, eos_token_id=1, **SIZES
    )
    return _save(folder, LlamaModel(config), fast)


FAMILIES = {"bert": write_bert, "roberta": write_roberta, "gpt2": write_gpt2, "llama": write_llama}


def _train_byte_level(special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def _save(folder: Path, model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
