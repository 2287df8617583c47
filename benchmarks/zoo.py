"""Tiny checkpoints of every kind of causal language model that transformers has, to measure
exactness on.

Two layers (more where a kind needs them), width 32, vocabulary 512, float32. A fresh model gives
nearly flat logits, in which a missing window, bias or scale is a difference of 1e-5 nats. The
weights here are large, so that it is one of 0.1 nats or more. Windows and chunks are 8 tokens, so
that a short prompt exceeds them. Adapters of every kind that PEFT has follow.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

VOCABULARY, WIDTH, WINDOW = 512, 32, 8
SPECIALS = ("<|pad|>", "<s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = re.findall(
    r"\w+",
    "the a an of and in with it is was film plot scene actor music story ending review doctor "
    "nurse engineer teacher woman man people good bad slow warm great dull write tell explain "
    "compare how many why what does about one two apples river mountain city school answer "
    "sentence short long never always because if then",
)

# What a configuration is given where it has a setting of that name.
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 3,
    "pad_token_id": 0,
    "sliding_window": WINDOW,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}
LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 8,
    "first_k_dense_replace": 1,
}
DELTA = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
STATE_SPACE = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_chunk_size": WINDOW,
}
CHUNKED_STATE_SPACE = {
    "state_size": 8,
    "num_heads": 8,
    "head_dim": 8,
    "n_groups": 1,
    "chunk_size": WINDOW,
}
SLIDING, FULL, LINEAR = "sliding_attention", "full_attention", "linear_attention"
MIXED = {"layer_types": [SLIDING, FULL]}
ALL = {"use_sliding_window": False, "sliding_window": None}
HYBRID = {"layer_types": [LINEAR, FULL]}
# How fast a state forgets: drawn anew, and it would remember nothing.
DECAYS = ("A_log", ".D", "dt_bias", "dt_proj.bias", "gate_preact.bias")


def _of(kind: str, /, **changes: Any) -> Callable[[], Any]:
    """What makes a tiny configuration of a model type: COMMON as far as the type knows it, then the
    changes.
    """

    def configuration() -> Any:
        from transformers import CONFIG_MAPPING

        made = CONFIG_MAPPING[kind]
        known = made().to_dict().keys() | made.attribute_map.keys()
        wanted = {k: v for k, v in COMMON.items() if k in known} | changes
        return made(**{k: v for k, v in wanted.items() if v is not ...})

    return configuration


def _rope(kind: str, /, **settings: Any) -> dict[str, Any]:
    return {"rope_type": kind, "rope_theta": 10000.0, **settings}


ARCHITECTURES: dict[str, Callable[[], Any]] = {
    # --- attention over everything
    **{
        k: _of(k)
        for k in (
            "gemma",
            "gpt2",
            "gpt_neox_japanese",
            "phi",
            "olmo2",
            "biogpt",
            "bloom",
            "mpt",
            "persimmon",
            "bitnet",
            "glm",
            "glm4",
            "helium",
            "seed_oss",
            "arcee",
            "apertus",
            "nanochat",
            "diffllama",
            "jais2",
            "hunyuan_v1_dense",
        )
    },
    "llama": _of("llama", tie_word_embeddings=False),
    "llama_tied": _of("llama", tie_word_embeddings=True),
    "llama_wide": _of("llama", hidden_size=128, intermediate_size=128, head_dim=32),
    "llama_bias": _of("llama", attention_bias=True, mlp_bias=True),
    "llama_dynamic_rope": _of(
        "llama", max_position_embeddings=40, rope_parameters=_rope("dynamic", factor=4.0)
    ),
    "llama_yarn": _of(
        "llama", rope_parameters=_rope("yarn", factor=8.0, original_max_position_embeddings=32)
    ),
    "qwen2": _of("qwen2", **ALL, tie_word_embeddings=True),
    "qwen3": _of("qwen3", **ALL),
    "gpt2_inverse_layers": _of(
        "gpt2", scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False
    ),
    "openai_gpt": _of("openai-gpt"),
    "gptj": _of("gptj", rotary_dim=4),
    "codegen": _of("codegen", rotary_dim=4),
    "gpt_neox": _of("gpt_neox", rope_parameters=_rope("default", partial_rotary_factor=0.5)),
    "gpt_bigcode": _of("gpt_bigcode", multi_query=True),
    "mistral": _of("mistral", sliding_window=None),
    "phi3": _of("phi3", sliding_window=None),
    "olmo": _of("olmo", clip_qkv=1.0),
    "opt": _of("opt", ffn_dim=64, word_embed_proj_dim=WIDTH),
    "opt_projected": _of("opt", ffn_dim=64, word_embed_proj_dim=16, do_layer_norm_before=False),
    "xglm": _of("xglm", ffn_dim=64),
    "falcon_rope": _of("falcon", alibi=False, multi_query=True),
    "falcon_alibi": _of("falcon", alibi=True, multi_query=False, parallel_attn=False, bias=True),
    "falcon_new": _of("falcon", alibi=False, new_decoder_architecture=True, num_kv_heads=2),
    "granite": _of(
        "granite",
        logits_scaling=2.0,
        embedding_multiplier=3.0,
        residual_multiplier=0.7,
        attention_multiplier=0.2,
        attention_bias=True,
    ),
    "cohere": _of("cohere", logit_scale=0.5, use_qk_norm=True),
    "smollm3": _of("smollm3", **ALL, no_rope_layers=[1, 0]),
    "stablelm": _of("stablelm", use_qkv_bias=True, qk_layernorm=True, use_parallel_residual=True),
    "nemotron": _of("nemotron", mlp_bias=True),
    "ernie4_5": _of("ernie4_5", use_bias=True),
    "hyperclovax": _of("hyperclovax", logits_scaling=2.0, embedding_multiplier=3.0),
    "minicpm3": _of(
        "minicpm3", **{**LATENT, "first_k_dense_replace": ...}, scale_emb=2, dim_model_base=16
    ),
    "ctrl": _of("ctrl", dff=64),
    "xlm": _of("xlm", causal=True),
    "trocr": _of("trocr", decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=64),
    "bart_decoder": _of(
        "bart",
        encoder_layers=1,
        encoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
    ),
    **{
        f"{k}_decoder": _of(k, is_decoder=True)
        for k in ("bert", "roberta", "electra", "rembert", "roformer")
    },
    "big_bird": _of("big_bird", is_decoder=True, attention_type="original_full"),
    "hrm_text": _of(
        "hrm_text",
        num_layers_per_stack=1,
        num_hidden_layers=...,
        embedding_scale=1.0,
        H_cycles=1,
        L_cycles=2,
        L_bp_cycles=[1],
    ),
    # --- windows and chunks
    **{k: _of(k, **MIXED) for k in ("olmo3", "exaone4", "cwm", "gpt_oss")},
    "mistral_window": _of("mistral"),
    "ministral_window": _of("ministral", **MIXED),
    "qwen2_window": _of("qwen2", use_sliding_window=True, layer_types=[FULL, SLIDING]),
    "gemma2": _of(
        "gemma2",
        query_pre_attn_scalar=8,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=4.0,
        **MIXED,
    ),
    "gemma3": _of("gemma3_text", query_pre_attn_scalar=8, **MIXED),
    "gemma3n": _of(
        "gemma3n_text",
        num_hidden_layers=4,
        layer_types=[SLIDING, FULL] * 2,
        laurel_rank=4,
        num_kv_shared_layers=2,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=VOCABULARY,
        activation_sparsity_pattern=[0.5, 0.5, 0.0, 0.0],
        intermediate_size=[64] * 4,
        altup_num_inputs=2,
    ),
    "gemma4": _of(
        "gemma4_text",
        num_hidden_layers=4,
        layer_types=[SLIDING, FULL] * 2,
        num_kv_shared_layers=2,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=VOCABULARY,
        final_logit_softcapping=4.0,
        global_head_dim=16,
    ),
    "phi3_window": _of("phi3"),
    "phi3_longrope": _of(
        "phi3",
        sliding_window=None,
        max_position_embeddings=256,
        original_max_position_embeddings=40,
        rope_parameters=_rope(
            "longrope",
            short_factor=[1.0, 1.1, 1.3, 1.6],
            partial_rotary_factor=1.0,
            long_factor=[1.0, 2.0, 4.0, 8.0],
            original_max_position_embeddings=40,
        ),
    ),
    "starcoder2_window": _of("starcoder2"),
    "cohere2": _of("cohere2", logit_scale=0.5, **MIXED),
    "vaultgemma": _of("vaultgemma", query_pre_attn_scalar=8, final_logit_softcapping=4.0, **MIXED),
    "modernbert_decoder": _of("modernbert-decoder", local_attention=16, **MIXED),
    "gpt_neo_local": _of("gpt_neo", attention_types=[[["global", "local"], 1]], window_size=WINDOW),
    "doge": _of("doge", keep_window_size=WINDOW),
    "granite_window": _of("granite_swa", **MIXED),
    # --- experts
    **{k: _of(k) for k in ("olmoe", "minimax_m2", "flex_olmo")},
    "mixtral": _of("mixtral", sliding_window=None),
    "mixtral_window": _of("mixtral"),
    "qwen2_moe": _of("qwen2_moe", **ALL),
    "qwen3_moe": _of("qwen3_moe", **ALL),
    "phimoe": _of("phimoe", sliding_window=None, attention_bias=True, lm_head_bias=True),
    "granitemoe": _of(
        "granitemoe", logits_scaling=2.0, embedding_multiplier=3.0, residual_multiplier=0.7
    ),
    "granitemoe_shared": _of("granitemoeshared", shared_intermediate_size=32, logits_scaling=2.0),
    "dbrx": _of(
        "dbrx",
        d_model=WIDTH,
        hidden_size=...,
        num_key_value_heads=...,
        attn_config={"kv_n_heads": 2, "clip_qkv": 1.0, "rope_theta": 10000.0},
        ffn_config={"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2},
    ),
    "deepseek_v2": _of("deepseek_v2", n_shared_experts=1, **LATENT),
    "deepseek_v3": _of("deepseek_v3", **LATENT),
    "deepseek_v32_index": _of(
        "deepseek_v32", index_topk=WINDOW, index_n_heads=2, index_head_dim=16, **LATENT
    ),
    "llama4": _of(
        "llama4_text",
        num_local_experts=2,
        num_experts_per_tok=1,
        intermediate_size_mlp=64,
        attention_chunk_size=WINDOW,
        no_rope_layers=[1, 0],
        layer_types=["chunked_attention", FULL],
        floor_scale=16,
        attn_scale=0.5,
    ),
    "ernie4_5_moe": _of("ernie4_5_moe", moe_num_experts=4, moe_k=2, moe_layer_start_index=1),
    "glm4_moe": _of("glm4_moe", first_k_dense_replace=1),
    "dots1": _of("dots1", n_shared_experts=1, first_k_dense_replace=1, sliding_window=None),
    "hunyuan_moe": _of("hunyuan_v1_moe", moe_topk=2),
    "jetmoe": _of("jetmoe", kv_channels=8),
    "longcat_flash": _of(
        "longcat_flash",
        **{**LATENT, "first_k_dense_replace": ...},
        moe_topk=2,
        num_layers=1,
        num_hidden_layers=...,
        zero_expert_num=2,
        ffn_hidden_size=64,
        expert_ffn_hidden_size=32,
    ),
    "mimo_v2": _of("mimo_v2_flash", v_head_dim=8, mlp_layer_types=["dense", "sparse"], **MIXED),
    "afmoe": _of("afmoe", num_dense_layers=1, **MIXED),
    "laguna": _of(
        "laguna", mlp_layer_types=["dense", "sparse"], num_attention_heads_per_layer=[4, 4], **MIXED
    ),
    "deepseek_v4": _of(
        "deepseek_v4",
        num_key_value_heads=1,
        num_hidden_layers=2,
        q_lora_rank=16,
        o_lora_rank=8,
        o_groups=2,
        index_n_heads=2,
        index_head_dim=8,
        index_topk=4,
        qk_rope_head_dim=4,
        layer_types=["compressed_sparse_attention", "heavily_compressed_attention"],
        compress_rates={"compressed_sparse_attention": 2, "heavily_compressed_attention": 4},
        mlp_layer_types=["moe", "moe"],
    ),
    "minimax_m3": _of(
        "minimax_m3_vl_text",
        dense_intermediate_size=32,
        shared_intermediate_size=32,
        rotary_dim=4,
        mlp_layer_types=["dense", "sparse"],
        index_n_heads=2,
        index_head_dim=8,
        index_block_size=8,
        index_topk_blocks=2,
        layer_types=["minimax_m3_sparse", FULL],
    ),
    "inkling": _of(
        "inkling_text",
        swa_num_attention_heads=4,
        swa_num_key_value_heads=2,
        swa_head_dim=8,
        d_rel=4,
        sliding_window_size=WINDOW,
        rel_extent=16,
        layer_types=["hybrid_sliding", "hybrid"],
        n_shared_experts=1,
        mlp_layer_types=["dense", "sparse"],
        unpadded_vocab_size=500,
        logits_mup_width_multiplier=2.0,
    ),
    # --- states that are carried from token to token
    "mamba": _of("mamba", state_size=8),
    "mamba2": _of("mamba2", **CHUNKED_STATE_SPACE),
    "falcon_mamba": _of("falcon_mamba", state_size=8),
    "jamba": _of(
        "jamba",
        num_hidden_layers=4,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        mamba_d_state=8,
        mamba_dt_rank=4,
        use_mamba_kernels=False,
    ),
    "bamba": _of("bamba", attn_layer_indices=[1], **STATE_SPACE),
    "zamba": _of(
        "zamba",
        num_hidden_layers=4,
        layers_block_type=[LINEAR, "hybrid"] * 2,
        head_dim=...,
        attention_hidden_size=64,
        attention_head_dim=16,
        num_key_value_heads=4,
        mamba_d_state=8,
        mamba_dt_rank=4,
        n_mamba_heads=2,
        use_mamba_kernels=False,
    ),
    "zamba2": _of(
        "zamba2",
        num_hidden_layers=4,
        layers_block_type=[LINEAR, "hybrid"] * 2,
        head_dim=...,
        num_key_value_heads=4,
        mamba_d_state=8,
        n_mamba_heads=8,
        chunk_size=WINDOW,
        num_mem_blocks=1,
        use_shared_attention_adapter=True,
        adapter_rank=4,
        use_mamba_kernels=False,
    ),
    "falcon_h1": _of(
        "falcon_h1", mamba_d_ssm=64, lm_head_multiplier=0.5, key_multiplier=0.7, **STATE_SPACE
    ),
    "granitemoehybrid": _of(
        "granitemoehybrid",
        shared_intermediate_size=32,
        logits_scaling=2.0,
        position_embedding_type="rope",
        **HYBRID,
        **STATE_SPACE,
    ),
    "nemotron_h": _of(
        "nemotron_h",
        num_hidden_layers=4,
        ssm_state_size=8,
        mamba_num_heads=8,
        mamba_head_dim=8,
        layers_block_type=[LINEAR, "moe", FULL, "mlp"],
        n_groups=1,
        chunk_size=WINDOW,
        moe_shared_expert_intermediate_size=32,
        use_mamba_kernels=False,
        sliding_window=None,
    ),
    "lfm2": _of("lfm2", layer_types=["conv", FULL]),
    "lfm2_moe": _of("lfm2_moe", layer_types=["conv", FULL], num_dense_layers=1),
    **{k: _of(k, **DELTA, **HYBRID) for k in ("qwen3_next", "qwen3_5_text", "olmo_hybrid")},
    "kimi_linear": _of(
        "kimi_linear",
        linear_head_dim=8,
        linear_num_heads=4,
        num_experts_per_token=2,
        mlp_layer_types=["dense", "sparse"],
        **HYBRID,
        **{**LATENT, "q_lora_rank": None, "first_k_dense_replace": ...},
    ),
    "lfm3": _of("lfm3", num_hidden_layers=3, layer_types=["conv", SLIDING, FULL], conv_L_cache=3),
    "minimax": _of("minimax", block_size=WINDOW, sliding_window=None, **HYBRID),
    "recurrent_gemma": _of(
        "recurrent_gemma",
        num_hidden_layers=3,
        lru_width=WIDTH,
        attention_window_size=WINDOW,
        logits_soft_cap=4.0,
        w_init_variance_scale=1.0,
        sliding_window=...,
    ),
    "rwkv": _of("rwkv", attention_hidden_size=WIDTH, context_length=256),
    "xlstm": _of("xlstm", num_heads=4, hidden_size=64, qk_dim_factor=1.0, chunk_size=WINDOW),
    # --- to be refused: tokens that see later ones, chance inside the forward pass, an encoder
    "reformer": _of(
        "reformer",
        is_decoder=True,
        attn_layers=["local", "lsh"],
        attention_head_size=8,
        feed_forward_size=64,
        axial_pos_shape=[16, 16],
        axial_pos_embds_dim=[16, 16],
        num_buckets=4,
        local_attn_chunk_length=8,
        lsh_attn_chunk_length=8,
        num_hidden_layers=...,
    ),
    "cpmant": _of(
        "cpmant", dim_head=8, dim_ff=64, prompt_types=4, prompt_length=4, segment_types=4
    ),
    "bert_both_ways": _of("bert", is_decoder=False),
    "xlnet": _of("xlnet", d_inner=64, d_head=8),
    "t5": _of("t5", d_ff=64, decoder_start_token_id=0),
}


def make(name: str, folder: Path) -> None:
    """Write the checkpoint of an architecture and its tokenizer, the same bytes each time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = ARCHITECTURES[name]()
    kind = AutoModelForSeq2SeqLM if config.model_type == "t5" else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind.from_config(config, dtype=torch.float32, trust_remote_code=False)
        enlarge(model)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 3, 0
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def enlarge(model: Any) -> None:
    """Draw the weights anew, large enough that everything a model computes can be seen in its
    logits.
    """
    import torch

    with torch.no_grad():
        for name, p in model.named_parameters():
            last = name.rsplit(".", 1)[-1]
            if not p.is_floating_point() or name.endswith(DECAYS):
                continue
            if p.dim() >= 2:
                p.normal_(0, 0.25)
            elif "bias" in last:
                p.normal_(0, 1.0 if "head" in name else 0.5)
            else:
                p.add_(0.2 * torch.randn_like(p))


@functools.cache
def tokenizer() -> Any:
    """A byte-level BPE tokenizer trained on the spot; every text can be encoded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    draw = random.Random(0)
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 12,
        special_tokens=list(SPECIALS),
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    core.train_from_iterator(
        [" ".join(draw.choices(WORDS, k=12)) + "." for _ in range(1000)], trainer
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>", "<|endoftext|>"],
    )
    made.chat_template = CHATML
    return made


# --- adapters


def _adapter(kind: str, /, **settings: Any) -> Callable[[], Any]:
    """What makes a configuration of one of PEFT's kinds; on query and value projections unless it
    says otherwise.
    """

    def configuration() -> Any:
        import peft

        prompt = kind.startswith(("Prompt", "Prefix"))
        where = (
            {}
            if prompt or "target_modules" in settings
            else {"target_modules": ["q_proj", "v_proj"]}
        )
        return getattr(peft, kind)(task_type="CAUSAL_LM", **where, **settings)

    return configuration


_lora = functools.partial(_adapter, "LoraConfig", r=4)

PEFT_VARIANTS: dict[str, Callable[[], Any]] = {
    "lora": _lora(),
    "lora_all_linear": _lora(target_modules="all-linear"),
    "lora_patterns": _lora(
        rank_pattern={"v_proj": 2}, alpha_pattern={"q_proj": 16}, layers_to_transform=[1]
    ),
    "lora_conv1d": _lora(target_modules=["c_attn", "c_proj"], fan_in_fan_out=True),
    "rslora": _lora(use_rslora=True),
    "dora": _lora(use_dora=True),
    "lora_bias": _lora(bias="lora_only", lora_bias=True),
    "lora_all_biases": _lora(bias="all"),
    "lora_modules_to_save": _lora(modules_to_save=["lm_head", "embed_tokens"]),
    "lora_norms_to_save": _lora(modules_to_save=["norm", "input_layernorm"]),
    "lora_tokens": _lora(trainable_token_indices=[1, 2, 3, 4, 40, 100, 101]),
    "lora_tokens_tied": _lora(trainable_token_indices=[1, 2, 3, 4, 40, 100, 101]),
    "lora_head": _lora(target_modules=["q_proj", "lm_head"]),
    "lora_head_tied": _lora(target_modules=["q_proj", "lm_head"]),
    "lora_embedding": _lora(target_modules=["q_proj", "embed_tokens"]),
    "lora_embedding_tied": _lora(target_modules=["q_proj", "embed_tokens"]),
    "lora_experts": _lora(target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]),
    "lora_activated": _lora(alora_invocation_tokens=[2]),
    "lora_replicated_layers": _lora(layer_replication=[[0, 2], [1, 2]]),
    "pissa": _lora(init_lora_weights="pissa"),
    "olora": _lora(init_lora_weights="olora"),
    "lora_named": _lora(),
    "lora_second": _lora(),
    "lora_both": _lora(),
    "lora_4bit": _lora(),
    "lora_8bit": _lora(),
    "lora_packed_uint8": _lora(),
    "lora_packed_int8": _lora(),
    "lora_packed_float8": _lora(),
    "adalora": _adapter("AdaLoraConfig", init_r=4, target_r=2, total_step=100),
    "ia3": _adapter(
        "IA3Config",
        target_modules=["k_proj", "v_proj", "down_proj"],
        feedforward_modules=["down_proj"],
    ),
    "loha": _adapter("LoHaConfig", r=4),
    "lokr": _adapter("LoKrConfig", r=4),
    "oft": _adapter("OFTConfig", r=0, oft_block_size=8),
    "boft": _adapter("BOFTConfig", boft_block_size=4),
    "hra": _adapter("HRAConfig", r=4),
    "miss": _adapter("MissConfig", r=4),
    "vera": _adapter("VeraConfig", r=4, d_initial=0.5),
    "randlora": _adapter("RandLoraConfig", r=4),
    "vblora": _adapter("VBLoRAConfig", r=4, num_vectors=8, vector_length=16),
    "fourierft": _adapter("FourierFTConfig", n_frequency=16, scaling=20.0),
    "shira": _adapter("ShiraConfig", r=4, random_seed=0),
    "c3a": _adapter("C3AConfig", block_size=16),
    "road": _adapter("RoadConfig", group_size=8),
    "ln_tuning": _adapter("LNTuningConfig", target_modules=["input_layernorm", "norm"]),
    "trainable_tokens": _adapter(
        "TrainableTokensConfig", token_indices=[2, 3, 40], target_modules=["embed_tokens"]
    ),
    "prompt_tuning": _adapter("PromptTuningConfig", num_virtual_tokens=6),
    "prefix_tuning": _adapter("PrefixTuningConfig", num_virtual_tokens=6),
    "p_tuning": _adapter("PromptEncoderConfig", num_virtual_tokens=6, encoder_hidden_size=16),
}
# The base where it is not llama, and the adapters' names where it is not "default": the last one is
# active, or both.
BASES = {
    "lora_conv1d": "gpt2",
    "lora_experts": "qwen3_moe",
    "lora_4bit": "llama_wide",
    "lora_8bit": "llama_wide",
    **dict.fromkeys(("lora_tokens_tied", "lora_head_tied", "lora_embedding_tied"), "llama_tied"),
}
LEVELS = {"uint8": 7.0, "int8": 127.0, "float8": 400.0}
NAMES = {
    "lora_named": ("policy",),
    "lora_second": ("default", "other"),
    "lora_both": ("default", "other"),
}


def adapted(variant: str, base: Path, seed: int = 0) -> Any:
    """The checkpoint in `base` with a fresh adapter, as a trainer has it.

    Raises ImportError where a library lacks.
    """
    import torch
    from peft import get_peft_model

    first, *others = NAMES.get(variant, ("default",))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = get_peft_model(_base(variant, base), PEFT_VARIANTS[variant](), adapter_name=first)
        for name in others:
            model.add_adapter(name, PEFT_VARIANTS[variant]())
    _activate(variant, model)
    return model.eval()


def readapted(variant: str, base: Path, saved: Path) -> Any:
    """The checkpoint in `base` with the adapters that `save_pretrained` wrote into `saved`."""
    from peft import PeftModel

    first, *others = NAMES.get(variant, ("default",))
    folders = {name: saved if name == "default" else saved / name for name in (first, *others)}
    model = PeftModel.from_pretrained(_base(variant, base), folders[first], adapter_name=first)
    for name in others:
        model.load_adapter(folders[name], name)
    _activate(variant, model)
    return model.eval()


def perturb(model: Any, seed: int, size: float = 0.1) -> None:
    """Change the weights of all adapters, also of those that are not active, so that a mixed-up one
    would be seen.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad or ".lora_" in name:
                p.add_(size * torch.randn(p.shape, generator=generator))


def _activate(variant: str, model: Any) -> None:
    names = list(NAMES.get(variant, ("default",)))
    if variant == "lora_both":
        model.base_model.set_adapter(names)
    elif len(names) > 1:
        model.set_adapter(names[-1])


def _base(variant: str, folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    settings: dict[str, Any] = {}
    if variant in ("lora_4bit", "lora_8bit"):
        import bitsandbytes  # noqa: F401 - transformers' own message would not name the library

        four = variant == "lora_4bit"
        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=four, load_in_8bit=not four
        )
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=True,
        **settings,
    )
    kind = variant.removeprefix("lora_packed_")
    return _packed(model, kind) if kind != variant else model


def _packed(model: Any, storage: str) -> Any:
    """The model with linear layers whose `weight` is not the matrix: packed or scaled integers, or
    scaled floats.

    Quantising libraries have such layers, in their own classes under torch.nn.Linear.
    """
    import torch

    class Packed(torch.nn.Linear):
        def __init__(self, whole: torch.nn.Linear) -> None:
            super().__init__(whole.in_features, whole.out_features, bias=False)
            self.scale = whole.weight.detach().abs().amax(1, keepdim=True) / LEVELS[storage]
            scaled = whole.weight.detach() / self.scale
            if storage == "uint8":
                four = (scaled.round() + 8).to(torch.uint8).reshape(-1, 2)
                data = four[:, :1] * 16 + four[:, 1:]
            else:
                data = (
                    scaled.round().to(torch.int8)
                    if storage == "int8"
                    else scaled.to(torch.float8_e4m3fn)
                )
            self.weight = torch.nn.Parameter(data, requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight = self.weight
            if storage == "uint8":
                weight = (torch.cat([weight // 16, weight % 16], 1).float() - 8).reshape(
                    self.out_features, -1
                )
            return torch.nn.functional.linear(x, weight.float() * self.scale)

    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and module is not model.get_output_embeddings():
            model.set_submodule(name, Packed(module))
    return model
