#!/usr/bin/env python3
"""Makes the golden values in tests/golden from independent libraries: transformers, sentencepiece.

Needs: pip install torch==2.11.0 transformers sentencepiece numpy safetensors
Run from the repository's root: make_golden.py
"""
import json
import pathlib

import numpy as np
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from transformers import (AutoModelForCausalLM, AutoModelForImageTextToText, CLIPVisionConfig, Gemma2Config, Gemma2ForCausalLM, Gemma3Config,
                          Gemma3ForConditionalGeneration, Gemma3TextConfig, GemmaConfig, GPT2Config, GPTNeoXConfig, LlamaConfig, LlamaForCausalLM, LlavaConfig,
                          LlavaForConditionalGeneration, LlavaNextConfig, LlavaNextForConditionalGeneration, MistralConfig, Olmo2Config, Phi3Config,
                          Qwen2Config, Qwen3Config, SiglipVisionConfig, SmolVLMConfig, SmolVLMForConditionalGeneration)
from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DEMO = ROOT / "data" / "demo"

TINY = dict(vocab_size=97, pad_token_id=0, eos_token_id=1, bos_token_id=2, max_position_embeddings=128, attn_implementation="eager")


def tiny_models():
    """Two random models: grouped queries, a window shorter than the context, strong soft-caps, norms away from 1."""
    # Large weights, so that scores reach the soft-caps and errors in them would show.
    torch.manual_seed(0)
    a = Gemma2ForCausalLM(Gemma2Config(hidden_size=48, intermediate_size=96, num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=2,
                                       head_dim=8, query_pre_attn_scalar=16, sliding_window=5, attn_logit_softcapping=4.0,
                                       final_logit_softcapping=3.0, rope_theta=500.0, initializer_range=0.4, **TINY))
    torch.manual_seed(1)
    b = Gemma2ForCausalLM(Gemma2Config(hidden_size=32, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4,
                                       head_dim=16, query_pre_attn_scalar=16, sliding_window=7, attn_logit_softcapping=20.0,
                                       final_logit_softcapping=30.0, rms_norm_eps=1e-5, initializer_range=0.3, **TINY))
    for model in (a, b):
        for name, parameter in model.named_parameters():
            if "norm" in name:
                torch.nn.init.normal_(parameter, 0.0, 0.3)
    return a, b


def save_tiny(a, b):
    """a: one f32 file and the older config style; b: bf16 shards with an index and the newer style."""
    a.save_pretrained(HERE / "tiny_old_style", safe_serialization=True)
    config = json.loads((HERE / "tiny_old_style" / "config.json").read_text())
    rope = config.pop("rope_parameters", None) or {}
    config["rope_theta"] = rope.get("rope_theta", config.get("rope_theta", 500.0))
    config.pop("layer_types", None)
    config["torch_dtype"] = config.pop("dtype", "float32")
    (HERE / "tiny_old_style" / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    b.to(torch.bfloat16).save_pretrained(HERE / "tiny_shards", safe_serialization=True, max_shard_size="20KB")
    for folder in ("tiny_old_style", "tiny_shards"):
        (HERE / folder / "generation_config.json").unlink(missing_ok=True)


def save_tiny_llamas():
    """Llama 3 shape: scaled rotary embedding, grouped queries, tied head. Llama 2 shape: untied head, linear scaling, older config style."""
    torch.manual_seed(2)
    three = LlamaForCausalLM(LlamaConfig(hidden_size=48, intermediate_size=112, num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=2, head_dim=16,
                                         tie_word_embeddings=True, initializer_range=0.3, rms_norm_eps=1e-5,
                                         rope_parameters={"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
                                                          "high_freq_factor": 4.0, "original_max_position_embeddings": 32}, **TINY))
    torch.manual_seed(3)
    two = LlamaForCausalLM(LlamaConfig(hidden_size=32, intermediate_size=88, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4,
                                       tie_word_embeddings=False, initializer_range=0.3,
                                       rope_parameters={"rope_type": "linear", "rope_theta": 1000.0, "factor": 2.0}, **TINY))
    for model in (three, two):
        for name, parameter in model.named_parameters():
            if "norm" in name:
                torch.nn.init.normal_(parameter, 1.0, 0.3)
    three.save_pretrained(HERE / "tiny_llama3", safe_serialization=True)
    two.to(torch.bfloat16).save_pretrained(HERE / "tiny_llama2", safe_serialization=True, max_shard_size="20KB")
    config = json.loads((HERE / "tiny_llama2" / "config.json").read_text())
    config.pop("rope_parameters")
    config.pop("head_dim", None)
    config.update(rope_theta=1000.0, rope_scaling={"type": "linear", "factor": 2.0})
    config["torch_dtype"] = config.pop("dtype", "bfloat16")
    (HERE / "tiny_llama2" / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    for folder in ("tiny_llama3", "tiny_llama2"):
        (HERE / folder / "generation_config.json").unlink(missing_ok=True)


def save_tiny_modalities():
    """Llamas inside models of several modalities, under each way of naming their tensors: language_model.model. (LLaVA, as all files were
    and are saved), model.language_model. (as transformers 4.52 to 4.57 saved them), model.text_model. (SmolVLM)."""
    def text(seed, **more):
        torch.manual_seed(seed)
        return LlamaConfig(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3,
                           rope_parameters={"rope_type": "default", "rope_theta": 300.0}, **more, **TINY)
    vision = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=4, patch_size=2)
    clip = CLIPVisionConfig(projection_dim=8, **vision)
    images = dict(image_token_index=96, vision_feature_layer=-1)
    for name, model in (("tiny_llava", LlavaForConditionalGeneration(LlavaConfig(vision_config=clip, text_config=text(4), **images))),
                        ("tiny_llava_next", LlavaNextForConditionalGeneration(LlavaNextConfig(vision_config=clip, text_config=text(5), **images))),
                        ("tiny_smolvlm", SmolVLMForConditionalGeneration(SmolVLMConfig(
                            vision_config=SmolVLMVisionConfig(**vision), text_config=text(6), image_token_id=96, scale_factor=2, pad_token_id=0)))):
        for parameter_name, parameter in model.named_parameters():
            if "norm" in parameter_name:
                torch.nn.init.normal_(parameter, 1.0, 0.3)
        model.save_pretrained(HERE / name, safe_serialization=True)
        (HERE / name / "generation_config.json").unlink(missing_ok=True)
    path = HERE / "tiny_llava_next/model.safetensors"
    renamed = {name.replace("language_model.model.", "model.language_model.").replace("language_model.lm_head", "lm_head"): tensor for name, tensor in load_file(path).items()}
    save_file(renamed, path, {"format": "pt"})


def family_configs():
    """One small model of each further family: windows shorter than the context, grouped queries, heads that are not hidden / heads wide."""
    sizes = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3, **TINY)
    default = {"rope_type": "default", "rope_theta": 300.0}
    plain = {key: value for key, value in sizes.items() if key != "num_key_value_heads"}
    one_pair = {"rope_type": "linear", "factor": 2.0, "rope_theta": 300.0, "partial_rotary_factor": 0.34}
    return {
        "tiny_llama_biases": LlamaConfig(attention_bias=True, mlp_bias=True, rope_parameters=default, **sizes),
        "tiny_mistral": MistralConfig(head_dim=8, sliding_window=5, rope_parameters=default, **sizes),
        "tiny_qwen2": Qwen2Config(use_sliding_window=True, sliding_window=6, max_window_layers=1, tie_word_embeddings=True, rope_parameters=default, **sizes),
        "tiny_qwen3": Qwen3Config(head_dim=12, rope_parameters=default, **sizes),
        "tiny_gemma": GemmaConfig(head_dim=8, hidden_act="gelu", attention_bias=True, rope_parameters=default, **sizes),
        "tiny_gemma3": Gemma3TextConfig(head_dim=8, sliding_window=5, sliding_window_pattern=3, query_pre_attn_scalar=12, **sizes,
                                        rope_parameters={"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 700.0},
                                                         "sliding_attention": {"rope_type": "default", "rope_theta": 90.0}}),
        "tiny_gpt2": GPT2Config(n_embd=24, n_layer=3, n_head=4, n_positions=24, scale_attn_by_inverse_layer_idx=True, initializer_range=0.3,
                                **{k: v for k, v in TINY.items() if k != "max_position_embeddings"}),
        "tiny_pythia": GPTNeoXConfig(**{**plain, "hidden_size": 32}, rope_parameters={**default, "partial_rotary_factor": 0.5}),
        "tiny_gpt_neox": GPTNeoXConfig(use_parallel_residual=False, attention_bias=False, hidden_act="gelu_new", **plain, rope_parameters=one_pair),
        "tiny_olmo2": Olmo2Config(rope_parameters=default, **sizes),
        "tiny_phi3": Phi3Config(sliding_window=9, original_max_position_embeddings=32, **{**sizes, "hidden_size": 32},
                                rope_parameters={"rope_type": "longrope", "rope_theta": 300.0, "partial_rotary_factor": 0.75, "short_factor": [1.0, 1.5, 3.0],
                                                 "long_factor": [1.0, 2.0, 8.0]})}


def save_tiny_families():
    for seed, (name, config) in enumerate(family_configs().items()):
        torch.manual_seed(10 + seed)
        model = AutoModelForCausalLM.from_config(config)
        randomize(model, 0.0 if "gemma" in name else 1.0)
        model.save_pretrained(HERE / name, safe_serialization=True)
        (HERE / name / "generation_config.json").unlink(missing_ok=True)
    vision = SiglipVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=4, patch_size=2)
    text = family_configs()["tiny_gemma3"]
    text.layer_types = ["full_attention", "sliding_attention", "sliding_attention"]
    torch.manual_seed(30)
    model = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision, image_token_index=96, boi_token_index=95, eoi_token_index=94, mm_tokens_per_image=4))
    randomize(model, 0.0)
    model.save_pretrained(HERE / "tiny_gemma3_images", safe_serialization=True)
    (HERE / "tiny_gemma3_images/generation_config.json").unlink(missing_ok=True)
    # A head of the whole: the tied one of Gemma-2's default, without its cap.
    torch.manual_seed(31)
    text = Gemma2Config(hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
                        sliding_window=5, final_logit_softcapping=3.0, initializer_range=0.3, **TINY)
    clip = CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=4, patch_size=2, projection_dim=8)
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=clip, text_config=text, image_token_index=96, vision_feature_layer=-1))
    randomize(model, 0.0)
    model.save_pretrained(HERE / "tiny_llava_gemma2", safe_serialization=True)
    (HERE / "tiny_llava_gemma2/generation_config.json").unlink(missing_ok=True)
    config = json.loads((HERE / "tiny_llava_gemma2/config.json").read_text())
    config.pop("tie_word_embeddings", None)
    config["text_config"].pop("tie_word_embeddings", None)
    (HERE / "tiny_llava_gemma2/config.json").write_text(json.dumps(config, indent=1) + "\n")
    # as the published files of Gemma 3 have it
    config = json.loads((HERE / "tiny_gemma3/config.json").read_text())
    config.pop("rope_parameters")
    config.pop("layer_types")
    config.update(rope_theta=700.0, rope_local_base_freq=90.0, rope_scaling={"rope_type": "linear", "factor": 4.0}, sliding_window_pattern=3)
    (HERE / "tiny_gemma3/config.json").write_text(json.dumps(config, indent=1) + "\n")


def randomize(model, mean):
    """Norms and biases away from what they begin with."""
    for name, parameter in model.named_parameters():
        if "norm" in name and not name.endswith("bias"):
            torch.nn.init.normal_(parameter, mean, 0.3)
        elif "ln_" in name and name.endswith("weight"):
            torch.nn.init.normal_(parameter, 1.0, 0.3)
        elif name.endswith("bias"):
            torch.nn.init.normal_(parameter, 0.0, 0.3)


def language_model(model):
    """The blocks' module of a model, or of the language model in it."""
    inside = model.base_model
    return getattr(inside, "language_model", getattr(inside, "text_model", inside))


def blocks_of(model):
    inside = language_model(model)
    return inside.h if hasattr(inside, "h") else inside.layers


def hidden_states(folder, ids, layers, out):
    """f32 residual streams [layers, contexts, length, d] behind the named layers (-1: embedding), and the mean loss."""
    several = "text_config" in json.loads((folder / "config.json").read_text())
    model = (AutoModelForImageTextToText if several else AutoModelForCausalLM).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    streams = []
    handles = [blocks_of(model)[layer].register_forward_hook(lambda _m, _i, o: streams.append(o[0] if isinstance(o, tuple) else o))
               for layer in layers if layer >= 0]
    with torch.no_grad():
        result = model(input_ids=torch.from_numpy(ids), output_hidden_states=True, use_cache=False)
        loss = torch.nn.functional.cross_entropy(result.logits[:, :-1].reshape(-1, result.logits.shape[-1]), torch.from_numpy(ids)[:, 1:].reshape(-1))
    for handle in handles:
        handle.remove()
    if -1 in layers:
        streams.insert(0, result.hidden_states[0])
    np.save(HERE / f"{out}_residual.npy", torch.stack(streams).numpy())
    np.save(HERE / f"{out}_ids.npy", ids.astype(np.int32))
    return {"model": str(pathlib.Path(folder).relative_to(ROOT)), "layers": layers, "loss": loss.item()}


def demo_ids(processor, contexts, length):
    ids = processor.encode((DEMO / "corpus" / "analysis.txt").read_text()[:20000])
    rows = [[2] + ids[i * (length - 1):(i + 1) * (length - 1)] for i in range(contexts)]
    return np.array(rows, dtype=np.int64)


def extraction():
    save_tiny(*tiny_models())
    rng = np.random.default_rng(0)
    tiny = rng.integers(3, 97, (3, 24))
    tiny[:, 0] = 2
    processor = sentencepiece.SentencePieceProcessor(model_file=str(DEMO / "tokenizer.model"))
    ids = demo_ids(processor, 2, 96)
    return {"tiny_old_style": hidden_states(HERE / "tiny_old_style", tiny, [-1, 0, 1, 2, 3], "tiny_old_style"),
            "tiny_shards": hidden_states(HERE / "tiny_shards", tiny, [0, 1, 2], "tiny_shards"),
            "demo_small": hidden_states(DEMO / "models" / "small", ids, [0, 3, 5], "demo_small"),
            "demo_large": hidden_states(DEMO / "models" / "large", ids, [0, 5, 9], "demo_large")}


def llama_extraction():
    save_tiny_llamas()
    rng = np.random.default_rng(1)
    ids = rng.integers(3, 97, (3, 40))
    ids[:, 0] = 2
    return {"tiny_llama3": hidden_states(HERE / "tiny_llama3", ids, [-1, 0, 1, 2, 3], "tiny_llama3"),
            "tiny_llama2": hidden_states(HERE / "tiny_llama2", ids, [-1, 0, 1, 2], "tiny_llama2")}


def modality_extraction():
    save_tiny_modalities()
    ids = np.random.default_rng(2).integers(3, 96, (3, 24))
    ids[:, 0] = 2
    return {name: hidden_states(HERE / name, ids, [-1, 0, 1], name) for name in ("tiny_llava", "tiny_llava_next", "tiny_smolvlm")}


def family_extraction():
    save_tiny_families()
    ids = np.random.default_rng(3).integers(3, 94, (3, 24))
    ids[:, 0] = 2
    return {name: hidden_states(HERE / name, ids, [-1, 0, 1, 2], name) for name in [*family_configs(), "tiny_gemma3_images", "tiny_llava_gemma2"]}


def tokens():
    """Ids of two documents with odd characters, by the sentencepiece library."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(DEMO / "tokenizer.model"))
    documents = ["The king's daughter sat down; \"What will you give me?\" said the dwarf.\nShe wept.", "Na\u00efve caf\u00e9s cost 3 \u20ac \u2013 \u4e16\u754c."]
    (HERE / "tokens.json").write_text(json.dumps({"documents": documents, "ids": [processor.encode(d) for d in documents]}, indent=1) + "\n")


def main():
    tokens()
    record = {"extraction": extraction() | llama_extraction() | modality_extraction() | family_extraction(),
              "versions": {"torch": torch.__version__, "transformers": __import__("transformers").__version__, "numpy": np.__version__, "sentencepiece": sentencepiece.__version__}}
    (HERE / "golden.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
