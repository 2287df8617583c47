"""The language model that is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from restaudit.config.section import Argument, Batch, Line, Section, Text, Tokens


class LoraConfig(Section):
    """Low-rank adapter (Hu et al. 2021, arXiv 2106.09685).

    Layers below `first_layer` (counted from 0) get no adapter, so that no gradient has to be
    computed through them. `targets` are the last names of linear layers; `parameters` are tensors
    that are no layer, as PEFT names them (`target_parameters`), for instance a mixture's experts:
    mlp.experts.gate_up_proj.
    """

    rank: Batch = 16
    # Twice the rank, as is usual: the adapter's output is scaled by alpha / rank.
    alpha: float = Field(32.0, gt=0, le=1_000_000)
    dropout: float = Field(0.0, ge=0, lt=1)
    # Names of layers differ from model to model; PEFT finds all linear ones but the head.
    targets: tuple[Line, ...] | Literal["all-linear"] = "all-linear"
    parameters: tuple[Line, ...] = ()
    first_layer: int = Field(0, ge=0, le=100_000)


class PolicyConfig(Section):
    """The language model that is trained.

    attn_implementation  how attention is computed; auto takes what transformers takes for the model
    template_arguments   further arguments of the chat template, for example {enable_thinking:
                         false}
    """

    model: Line
    sha256: Line | None = None
    licence: Text | None = None
    # Not float16: its range is too small for training without a scaler of gradients.
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    # An adapter is a few megabytes an iteration, where full weights are gigabytes.
    training: Literal["lora", "full"] = "lora"
    lora: LoraConfig = LoraConfig()
    attn_implementation: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    chat: bool = True
    template_arguments: dict[Line, Argument] = {}
    system_prompt: Text | None = None
    max_prompt_tokens: Tokens = 512
