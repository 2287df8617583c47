"""The language model that is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from restaudit.config.section import Section


class LoraConfig(Section):
    """Low-rank adapter (Hu et al. 2021, arXiv 2106.09685).

    Layers below `first_layer` (counted from 0) get no adapter, so that no gradient has to be
    computed through them. `targets` are the last names of linear layers; `parameters` are tensors
    that are no layer, as PEFT names them (`target_parameters`), for instance a mixture's experts:
    mlp.experts.gate_up_proj.
    """

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    parameters: tuple[str, ...] = ()
    first_layer: int = Field(0, ge=0)


class PolicyConfig(Section):
    """The language model that is trained.

    attn_implementation  how attention is computed; auto takes what transformers takes for the model
    template_arguments   further arguments of the chat template, for example {enable_thinking:
                         false}
    """

    model: str
    sha256: str | None = None
    licence: str | None = None
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    training: Literal["lora", "full"] = "lora"
    lora: LoraConfig = LoraConfig()
    attn_implementation: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    chat: bool = True
    template_arguments: dict[str, bool | int | float | str] = {}
    system_prompt: str | None = None
    max_prompt_tokens: int = Field(512, ge=1)
