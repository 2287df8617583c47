"""An exported model is written, loaded again as anybody would, and compared before it is kept."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.errors import BadInput
from restaudit.policy.adapters import merged_weights, unmergeable
from restaudit.policy.exactness import ROUGH_BOUND
from restaudit.policy.model import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from restaudit.policy.turns import prompt_tokens
from restaudit.weights.agreement import (
    EXACT,
    Agreement,
    Apart,
    Response,
    TokenLogprobs,
    apart,
    from_recorded,
    to_float32,
    token_logprobs,
)
from restaudit.weights.files import base_for_adapter, write_adapter, write_checkpoint, write_words

if TYPE_CHECKING:
    from restaudit.models.artifacts import Artifact
    from restaudit.policy import Policy

LOADERS = {
    "peft": "PeftModel.from_pretrained",
    "checkpoint": "AutoModelForCausalLM.from_pretrained",
}


def make_adapter(
    policy: Policy,
    base: Artifact,
    recorded: Path,
    out: Path,
    responses: Sequence[Response],
    *,
    pushed: bool,
) -> Agreement:
    """Write the adapter, load it on the base model with PEFT and compare.

    The policy cannot be used afterwards. Raises BadInput where it is not the audited policy then.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors.torch import load_file

    dtype, device = policy.model.dtype, policy.device
    where = folder_of(policy, base)
    if (where / ADAPTER_CONFIG).is_file():
        raise BadInput(
            f"{base.spec}: the base model is an adapter itself, and PEFT puts none on another; "
            "use --format checkpoint"
        )
    write_adapter(policy, recorded, out, base_for_adapter(base.spec, where, pushed=pushed))
    write_words(policy, out, where)
    audited = _as_audited(policy, responses)
    audited_float32 = _in_float32(policy, responses)
    attention = policy.config.attn_implementation
    _let_go(policy)

    # As anybody loads it, and not by our own loader, which is stricter.
    model = PeftModel.from_pretrained(_loaded(where, device, attention, dtype), str(out)).eval()
    written = load_file(str(out / ADAPTER_WEIGHTS))
    loaded = get_peft_model_state_dict(model, save_embedding_layers=False)
    _check_words(policy, out, responses)
    # PEFT only warns where it drops a tensor.
    if not all(name in loaded and _same(value, loaded[name]) for name, value in written.items()):
        raise BadInput(
            f"PEFT does not load {ADAPTER_WEIGHTS} as it was written; nothing was exported"
        )
    exported = token_logprobs(model, responses, device)
    exported_float32 = None
    if audited_float32 is not None and to_float32(model):
        exported_float32 = token_logprobs(model, responses, device)
    return _agreed(
        "peft",
        responses,
        dtype,
        audited,
        exported,
        audited_float32,
        exported_float32,
        bit_equal=False,
    )


def make_checkpoint(
    policy: Policy, base: Artifact, out: Path, responses: Sequence[Response]
) -> Agreement:
    """Write the merged weights, load them again with transformers and compare.

    The policy cannot be used afterwards. Raises BadInput where it is not the audited policy then.
    """
    dtype, device = policy.model.dtype, policy.device
    audited = _as_audited(policy, responses)
    if not hasattr(policy.model, "peft_config"):
        model = policy.model
    elif policy.routes.sampling.merged and unmergeable(policy.model) is None:
        model = _merged(policy.model)
    else:
        model = _merged_by_peft(policy, responses)
    where = folder_of(policy, base)
    write_checkpoint(model, out, where)
    # Afterwards, since `save_pretrained` has a generation config of its own.
    write_words(policy, out, where)
    _check_words(policy, out, responses)
    reloaded = _loaded(out, device, policy.config.attn_implementation, None)
    if reloaded.dtype != dtype or not _bit_equal(model, reloaded):
        raise BadInput(
            f"transformers does not load the weights of {type(model).__name__} as it saves them; "
            "nothing was exported"
        )
    exported = token_logprobs(reloaded, responses, device)
    # The same weights, but config.json may make another model of them: float32 hides nothing.
    exported_float32 = audited_float32 = None
    if to_float32(reloaded):
        exported_float32 = token_logprobs(reloaded, responses, device)
    # Three models of the base model's size would be in memory otherwise.
    del reloaded
    if to_float32(model):
        audited_float32 = token_logprobs(model, responses, device)
    return _agreed(
        "checkpoint",
        responses,
        dtype,
        audited,
        exported,
        audited_float32,
        exported_float32,
        bit_equal=True,
    )


def folder_of(policy: Policy, base: Artifact) -> Path:
    """The folder that the base model was loaded from: of a GGUF, what it was converted to."""
    loaded = Path(str(policy.model.config._name_or_path))
    return loaded if loaded.is_dir() else base.path


def _as_audited(policy: Policy, responses: Sequence[Response]) -> TokenLogprobs:
    """The policy's figures with its weights as sampling had them."""
    with policy.inference(merged=policy.routes.sampling.merged) as model:
        return token_logprobs(model, responses, policy.device)


def _in_float32(policy: Policy, responses: Sequence[Response]) -> TokenLogprobs | None:
    """The figures of the recorded weights, unmerged; the model computes in float32 from here on."""
    if not to_float32(policy.model):
        return None
    policy.write_back()  # the float32 masters, where the model had them rounded
    return token_logprobs(policy.model, responses, policy.device)


def _let_go(policy: Policy) -> None:
    """Free the model's memory for the one that is loaded next."""
    policy.model = None
    policy.masters.clear()
    policy.initial.clear()
    gc.collect()


# --- merging


def _merged(model: Any) -> Any:
    """The base model with the adapter in its weights, the very ones that were sampled from."""
    from peft.tuners.lora import LoraLayer

    merged: dict[str, Any] = {}
    with merged_weights(model) as base:
        for name, module in base.named_modules():
            if isinstance(module, LoraLayer):
                merged[name] = module.base_layer.weight.data
    # `unload` leaves the plain layers, into which the merged weights go.
    plain = model.unload()
    for name, weight in merged.items():
        plain.get_submodule(name).weight.data = weight
    return plain


def _merged_by_peft(policy: Policy, responses: Sequence[Response]) -> Any:
    """The base model as PEFT merges it, in float32 and then rounded.

    Raises BadInput where that is another policy.
    """
    model = policy.model
    why = unmergeable(model) or "merged weights did not give what the adapter gives"
    refused = f"{policy.config.model}: this adapter cannot be merged into a checkpoint ({why}"
    dtype = model.dtype
    named = model.get_base_model().named_parameters()
    kinds = {n.replace(".base_layer", ""): p.dtype for n, p in named}
    audited_float32 = _in_float32(policy, responses)
    if audited_float32 is None:
        raise BadInput(
            f"{refused}, and the model cannot be computed in float32 here); use --format peft"
        )
    try:
        plain = model.merge_and_unload()
    except (ValueError, AttributeError, RuntimeError, NotImplementedError, TypeError) as e:
        first = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise BadInput(f"{refused}; PEFT: {first}); use --format peft") from None
    difference = apart(token_logprobs(plain, responses, policy.device), audited_float32)
    if difference.token > EXACT:
        raise BadInput(f"{refused}; PEFT's own merge differs by {difference}); use --format peft")
    for name, p in plain.named_parameters():
        # What was trained beside the base model has no name there.
        p.data = p.data.to(kinds.get(name, dtype))
    return plain


# --- loading again


def _loaded(folder: Path, device: str, attention: str, dtype: Any) -> Any:
    """A model as anybody loads it; `dtype` None is what its configuration says."""
    from transformers import AutoModelForCausalLM

    from restaudit.models.pretrained import quiet_loading

    chosen = {} if attention == "auto" else {"attn_implementation": attention}
    if dtype is not None:
        chosen["dtype"] = dtype
    with quiet_loading():
        model = AutoModelForCausalLM.from_pretrained(
            str(folder),
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            **chosen,
        )
    return model.to(device).eval()


def _check_words(policy: Policy, out: Path, responses: Sequence[Response]) -> None:
    """Raise BadInput where the exported tokenizer asks in other tokens, or stops elsewhere."""
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(
        str(out), trust_remote_code=False, local_files_only=True
    )
    stops = policy.stop_tokens
    if GenerationConfig.from_pretrained(str(out), local_files_only=True).eos_token_id != stops:
        raise BadInput(
            f"the exported generation config does not stop at the audit's tokens {stops}; nothing "
            "was exported"
        )
    for r in responses:
        if tuple(prompt_tokens(tokenizer, r.messages, policy.config, stops)) != r.prompt:
            raise BadInput(
                "the exported tokenizer puts a prompt into other tokens than the audit's; nothing "
                "was exported"
            )


def _same(a: Any, b: Any) -> bool:
    import torch

    return a.dtype == b.dtype and torch.equal(a.cpu(), b.cpu())


def _bit_equal(a: Any, b: Any) -> bool:
    """Whether two models of one kind have the same parameters."""
    ours, theirs = dict(a.named_parameters()), dict(b.named_parameters())
    return ours.keys() == theirs.keys() and all(_same(ours[n].data, theirs[n].data) for n in ours)


def _agreed(
    kind: str,
    responses: Sequence[Response],
    dtype: Any,
    audited: TokenLogprobs,
    exported: TokenLogprobs,
    audited_float32: TokenLogprobs | None,
    exported_float32: TokenLogprobs | None,
    *,
    bit_equal: bool,
) -> Agreement:
    """What was measured. Raises BadInput where the difference is more than rounding.

    `audited` and `exported` are in the audit's dtype. What counts is the difference of a token,
    since rounding adds up over a response.
    """
    name = str(dtype).removeprefix("torch.")
    difference = apart(exported, audited)
    in_float32 = rounding = own_rounding = None
    if name == "float32":
        in_float32 = difference
    else:
        if audited_float32 is not None:
            rounding = apart(audited, audited_float32)
        if exported_float32 is not None and not bit_equal:
            own_rounding = apart(exported, exported_float32)
        if audited_float32 is not None and exported_float32 is not None:
            in_float32 = apart(exported_float32, audited_float32)
    recorded, recorded_of = from_recorded(audited, responses)
    if in_float32 is not None:
        _refuse(kind, in_float32, too_far=in_float32.token > EXACT)
    else:
        _refuse(kind, difference, too_far=difference.token > ROUGH_BOUND)
    return Agreement(
        loader=LOADERS[kind],
        responses=len(responses),
        tokens=sum(len(r.tokens) for r in responses),
        dtype=name,
        difference=difference,
        rounding=rounding,
        own_rounding=own_rounding,
        in_float32=in_float32,
        bit_equal=bit_equal,
        recorded=recorded,
        recorded_of=recorded_of,
    )


def _refuse(kind: str, difference: Apart, *, too_far: bool) -> None:
    if too_far:
        raise BadInput(
            f"the exported folder, loaded with {LOADERS[kind]}, is not the audited policy: its "
            f"log-probabilities differ by up to {difference}, which rounding does not explain; "
            "nothing was exported"
        )
