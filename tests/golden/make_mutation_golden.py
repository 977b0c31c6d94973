#!/usr/bin/env python3
"""Makes tests/golden/mutations: configs of SAEs and models, changed key by key, each with what the format's own library makes of it.

  python3 -m venv VENV && VENV/bin/pip install torch==2.11.0 transformers==5.23.0 numpy safetensors simple-parsing natsort einops datasets accelerate ...
  VENV/bin/pip install --no-deps sae-lens==6.54.12 eai-sparsify==1.3.3 dictionary-learning==0.1.0 transformer-lens==3.5.0
  VENV/bin/pip install --no-deps --target LENS5 sae-lens==5.11.0; the same with LENS3 and sae-lens==3.23.4
  VENV/bin/python tests/golden/make_mutation_golden.py --sae-lens-5 LENS5 --sae-lens-3 LENS3

A file holds {"configs": {NAME: {"weights", "libraries", "cfg", "answers", "cases"}}}. A case has "set" (JSON pointer -> value) and "remove", and in "got"
for each library that reads the unchanged config the number of its answer, or the name of the exception with which it refuses. The answer of an SAE is its codes
for the first ROWS rows of saes/x.npy and their reconstructions; its weights are those that the library holds after loading, the arithmetic is f32.
That of a model is named at `model_answer`. Answer 0 is that of the unchanged config. No library reads the crosscoders of concord's own:
their cases stand in tests/sae/format_mutations_test.cpp.
"""
import argparse
import concurrent.futures
import copy
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import types
import warnings

os.environ.update(SPARSIFY_DISABLE_TRITON="1", WANDB_MODE="disabled", HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1")
warnings.filterwarnings("ignore")

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SAES, OUT = HERE / "saes", HERE / "mutations"
ROWS = 3
X = torch.from_numpy(np.load(SAES / "x.npy"))[:ROWS]
WRONG = [None, "x", "", -1, 0, 3, 2.5, 1e300, True, False, [], {}]  # for every key; the type that is right is among them
VALUES = {"topk", "relu", "none", "standard", "sae", "jump_relu", "hook_z", "float32", "float64", "bfloat16", "float16", "torch.", "default", "linear", "llama3",
          "encoder.weight", "encoder.bias", "b_dec", "b_enc", "threshold", "scaling_factor", "sparsify", "affine_skip_connection"}
ADDED = [1, "x", None]  # for keys that the config lacks


# --- changes ---------------------------------------------------------------------------------------------------------------------------

def leaves(cfg, at=""):
    for key, value in cfg.items():
        if key == "vision_config":  # no reader of language models looks into it
            continue
        if key != "text_config":  # whose defaults are a model of 27 GB
            yield f"{at}/{key}", value
        if isinstance(value, dict) and key not in ("training_architecture_details", "model_from_pretrained_kwargs"):
            yield from leaves(value, f"{at}/{key}")


def changes(cfg, special, more_keys, together=()):
    """Each key with other values and other types, null, gone; each further key; an unknown key; some keys together."""
    for pointer, value in leaves(cfg):
        yield {"remove": [pointer]}
        for other in [*WRONG, *special.get(pointer.split("/")[-1], [])]:
            if type(other) is not type(value) or other != value:
                yield {"set": {pointer: other}}
    for key in sorted(set(more_keys) | {"key_that_nobody_knows"}):
        if key not in cfg:
            for value in [*ADDED, *special.get(key, [])]:
                yield {"set": {f"/{key}": value}}
    yield from together


def changed(cfg, case, backwards=False):
    cfg = copy.deepcopy(cfg)
    for pointer in case.get("remove", []):
        *path, last = pointer.split("/")[1:]
        inner = cfg
        for key in path:
            inner = inner[key]
        del inner[last]
    for pointer, value in case.get("set", {}).items():
        *path, last = pointer.split("/")[1:]
        inner = cfg
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return dict(reversed(cfg.items())) if backwards else cfg


def keys_in(source):
    """Every key that a reader names: the quoted words of its source."""
    words = re.findall(r'"([a-z][A-Za-z0-9_.]*)"', (ROOT / source).read_text())
    return {w for w in words if not w.endswith((".json", ".safetensors", ".hpp"))} - VALUES


# --- answers ---------------------------------------------------------------------------------------------------------------------------

def outcome(answer, *arguments):
    try:
        with torch.no_grad():
            values = np.asarray(answer(*arguments), np.float64).ravel()
    except Exception as error:
        return type(error).__name__
    return [float(f"{v:.7g}") for v in values] if np.isfinite(values).all() else "NotFinite"


def in_folder(answer, name):
    """answer(folder) of a config: the weights of a golden SAE beside the changed config."""
    def run(weights, cfg):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for file in (SAES / weights).iterdir():
                if file.name != name:
                    os.symlink(file, folder / file.name)
            (folder / name).write_text(json.dumps(cfg))
            return answer(folder)
    return run


def flat(codes, reconstruction):
    codes = codes.to_dense() if codes.is_sparse else codes
    if codes.shape[0] != ROWS or codes.ndim != 2 or reconstruction.shape != X.shape:
        raise ValueError("codes of another shape")
    return np.concatenate([codes.numpy().ravel(), reconstruction.numpy().ravel()])


def saelens_answer(folder):
    from sae_lens import SAE
    load = getattr(SAE, "load_from_disk", None) or SAE.load_from_pretrained
    sae = load(str(folder), device="cpu").to(torch.float32)
    sae.dtype = torch.float32
    codes = sae.encode(X)
    return flat(codes, sae.decode(codes))


def sparsify_answer(folder):
    from sparsify import SparseCoder
    coder = SparseCoder.load_from_disk(folder)
    out = coder.encode(X)
    codes = torch.zeros(ROWS, coder.num_latents).scatter(1, out.top_indices, out.top_acts)
    return flat(codes, coder.decode(out.top_acts, out.top_indices))


def gemma_scope_2_answer(folder):
    import sae_lens.loading.pretrained_sae_loaders as loaders
    from safetensors.torch import load_file
    from sae_lens import SAE
    loaders.hf_hub_download = lambda repo_id, filename, subfolder="", **_: str(folder / pathlib.Path(filename).name)
    loaders.get_safetensors_tensor_shapes = lambda *_: {k: list(v.shape) for k, v in load_file(folder / "params.safetensors").items()}
    sae = SAE.from_pretrained("demo/gemma-scope-2-270m-pt", "resid_post/layer_3_width_1k", converter=loaders.gemma_3_sae_huggingface_loader)
    codes = sae.encode(X)
    return flat(codes, sae.decode(codes))


def dictionary_learning_answer(folder):
    """load_dictionary(); where config.json names no class or no k, from_pretrained() of the class, which takes k from the file."""
    sys.modules.setdefault("nnsight", types.SimpleNamespace(LanguageModel=object))
    import dictionary_learning.utils as utils
    config = json.loads((folder / "config.json").read_text())
    original = next(json.loads((p / "config.json").read_text()) for p in SAES.iterdir() if (p / "ae.pt").exists() and (p / "ae.pt").samefile(folder / "ae.pt"))
    trainer = config.get("trainer", {})
    if trainer.get("dict_class") is None:
        trainer["dict_class"] = original["trainer"]["dict_class"]
    trainer.setdefault("k", None)
    (folder / "config.json").write_text(json.dumps({**config, "trainer": trainer}))
    ae, _ = utils.load_dictionary(str(folder), "cpu")
    codes = ae.encode(X)
    return flat(codes, ae.decode(codes))


def model_answer(folder):
    """Behind the last block [first, middle and last position of the first context, the first 6 columns], then the mean cross-entropy."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from make_golden import blocks_of
    several = isinstance(json.loads((folder / "config.json").read_text()).get("text_config"), dict)
    torch.manual_seed(0)
    model, info = (AutoModelForImageTextToText if several else AutoModelForCausalLM).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    if info["missing_keys"] or info["mismatched_keys"]:
        raise KeyError("weights are missing")
    ids = torch.from_numpy(np.load(folder / "ids.npy").astype(np.int64))[:1]
    behind = []
    blocks_of(model)[model.config.get_text_config().num_hidden_layers - 1].register_forward_hook(lambda _m, _i, o: behind.append(o[0] if isinstance(o, tuple) else o))
    logits = model.eval()(input_ids=ids, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])
    rows = behind[0][0]
    return torch.cat([rows[[0, len(rows) // 2, -1], :6].ravel(), loss[None]]).numpy()


def model_in_folder(weights, cfg):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for file in (HERE / weights).iterdir():
            if file.name != "config.json":
                os.symlink(file, folder / file.name)
        os.symlink(HERE / f"{weights}_ids.npy", folder / "ids.npy")
        (folder / "config.json").write_text(json.dumps(cfg))
        return model_answer(folder)


ANSWERS = {"saelens": in_folder(saelens_answer, "cfg.json"), "sparsify": in_folder(sparsify_answer, "cfg.json"),
           "gemma_scope_2": in_folder(gemma_scope_2_answer, "config.json"),
           "dictionary_learning": in_folder(dictionary_learning_answer, "config.json"), "models": model_in_folder}


# --- files -----------------------------------------------------------------------------------------------------------------------------

def ask(work):
    """What this process's library makes of a list of (format, weights, cfg)."""
    return [outcome(ANSWERS[form], weights, cfg) for form, weights, cfg in work]


def ask_other(folder, work):
    """The same of a library in another folder, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    with tempfile.TemporaryDirectory() as temporary:
        asked, told = pathlib.Path(temporary) / "asked.json", pathlib.Path(temporary) / "told.json"
        asked.write_text(json.dumps(work))
        subprocess.run([sys.executable, __file__, "--ask", asked, "--tell", told], check=True, env=environment)
        return json.loads(told.read_text())


def numbered(values, answers):
    if isinstance(values, str):
        return values
    for number, known in enumerate(answers):
        if np.allclose(known, values, rtol=1e-5, atol=1e-6):
            return number
    answers.append(values)
    return len(answers) - 1


def record(form, configs, libraries):
    """configs: name -> (weights, cfg, special values, more keys, cases of several keys)."""
    all_cases = {name: copy.deepcopy([{}, *changes(*rest)]) for name, (_, *rest) in configs.items()}
    work, places = [], {}
    for name, (weights, cfg, *_) in configs.items():
        for i, case in enumerate(all_cases[name]):
            for order in (False, True) if case.get("backwards") else (False,):
                places[name, i, order] = len(work)
                work.append((form, weights, changed(cfg, case, order)))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        all_told = dict(zip(libraries, pool.map(lambda asking: asking(work), libraries.values())))
    made = {}
    for name, (weights, cfg, *_) in configs.items():
        cases = all_cases[name]
        told = {}
        for library, values in all_told.items():
            told[library] = [values[places[name, i, False]] for i in range(len(cases))]
            if any(case.get("backwards") for case in cases):
                told[f"{library}, keys backwards"] = [told[library][0], *(values[places[name, i, True]] if (name, i, True) in places else None for i in range(1, len(cases)))]
        told = {library: values for library, values in told.items() if not isinstance(values[0], str)}
        assert told, f"no library reads {name}"
        answers = []
        for i, case in enumerate(cases):
            asked = [values for library, values in told.items() if case.get("backwards") or "backwards" not in library]
            case["got"] = [numbered(values[i], answers) for values in asked]
            case.pop("backwards", None)
        assert set(cases[0]["got"]) == {0}, name
        refused = sum(isinstance(v, str) for c in cases for v in c["got"])
        print(f"{form} {name}: {len(cases)} cases by {', '.join(told)}, {len(answers)} answers, {refused} refusals", flush=True)
        made[name] = {"weights": weights, "libraries": list(told), "cfg": cfg, "answers": answers, "cases": cases[1:]}
    write(form, made)


def write(form, made):
    short = {"separators": (",", ":")}
    text = []
    for name, config in made.items():
        number = lambda v: 0 if v == 0 else v
        answers = ",\n  ".join(json.dumps([number(v) for v in a], **short) for a in config["answers"])
        cases = ",\n  ".join(json.dumps(c, **short) for c in config["cases"])
        text.append(f'"{name}":{{"weights":"{config["weights"]}","libraries":{json.dumps(config["libraries"])},\n "cfg":{json.dumps(config["cfg"], **short)},\n "answers":[\n  {answers}],\n "cases":[\n  {cases}]}}')
    OUT.mkdir(exist_ok=True)
    (OUT / f"{form}.json").write_text('{"configs":{\n' + ",\n".join(text) + "}}\n")


# --- formats ---------------------------------------------------------------------------------------------------------------------------

def saelens(libraries):
    versions = ["6", "6.0.0-rc.2", "6.0.0rc1", "6.0.0a1", "6.0.0.dev3", "5.11.0", "3.0.0", "6x", "x.y", "10.1"]
    special = {"architecture": ["standard", "topk", "jumprelu", "gated", "batchtopk", "temporal", "transcoder", "abstopk"],
               "normalize_activations": ["none", "expected_average_only_in", "layer_norm", "constant_norm_rescale", "covariance_whitening"],
               "dtype": ["float32", "torch.float32", "float64", "torch.float64", "bfloat16", "torch.bfloat16", "float16", "torch.float16", "f32"],
               "reshape_activations": ["none", "hook_z"], "activation_fn_str": ["relu", "topk", "tanh-relu"], "activation_fn": ["relu", "topk", "tanh-relu"],
               "activation_fn_kwargs": [{"k": 4}, {"k": None}], "sae_lens_version": versions, "d_in": [12, 13], "d_sae": [40, 41], "k": [1, 7, 40, 41],
               "hook_name": ["blocks.0.attn.hook_z", "blocks.0.hook_z.x"], "hook_point": ["blocks.0.attn.hook_z", "blocks.0.hook_resid_pre"],
               "hook_head_index": [0], "metadata": [{"sae_lens_version": None}]}
    read = lambda name: json.loads((SAES / name / "cfg.json").read_text())
    together = [{"set": {"/activation_fn": a, "/activation_fn_str": b, "/activation_fn_kwargs": {"k": 4}}, "backwards": True}
                for a, b in (("relu", "topk"), ("topk", "relu"), ("topk", "topk"), ("relu", "relu"))]
    together += [{"set": {"/activation_fn": "topk", "/k": 4}, "remove": []}, {"set": {"/activation_fn_str": "topk", "/k": 4}},
                 {"set": {"/k": 6, "/activation_fn_kwargs": {"k": 4}}}, {"set": {"/architecture": "topk", "/k": 6}},
                 {"set": {"/hook_point": "blocks.0.attn.hook_z", "/hook_name": "blocks.0.hook_resid_pre"}},
                 {"set": {"/hook_name": "blocks.0.attn.hook_z", "/reshape_activations": "none"}},
                 {"set": {"/hook_name": None, "/reshape_activations": "none"}}]
    more = keys_in("src/sae/format/saelens.cpp")
    plain = {k: v for k, v in read("saelens_5_finetuned_topk").items() if k != "finetuning_scaling_factor"}
    relu = {**plain, "activation_fn_str": "relu", "activation_fn_kwargs": {}, "finetuning_scaling_factor": False}
    three = {"model_name": "demo/small", "hook_point": "blocks.3.hook_resid_post", "hook_point_layer": 3, "hook_point_head_index": None, "d_in": 12, "d_sae": 40,
             "dtype": "torch.float32", "device": "cpu", "context_size": 128, "dataset_path": "", "is_dataset_tokenized": False, "l1_coefficient": 8e-5,
             "expansion_factor": 32, "use_ghost_grads": False, "lr": 0.0004, "prepend_bos": True, "normalize_activations": False, "activation_fn": "relu"}
    configs = {name: (name, read(name), special, more, together) for name in
               ("saelens_topk", "saelens_jumprelu", "saelens_standard", "saelens_gated", "saelens_5_topk", "saelens_5_finetuned_topk",
                "saelens_5_finetuned_standard", "saelens_5_finetuned_gated", "saelens_5_finetuned_jumprelu")}
    configs["saelens_5_whole_topk"] = ("saelens_topk", {**plain, "finetuning_scaling_factor": False}, special, more, together)
    configs["saelens_5_whole_relu"] = ("saelens_standard", relu, special, more, together)
    configs["saelens_3"] = ("saelens_standard", three, special, more, together)
    record("saelens", configs, libraries)


def sparsify(libraries):
    special = {"activation": ["groupmax", "topk"], "d_in": [13], "num_latents": [41, 40], "expansion_factor": [4, 5], "k": [1, 7, 40, 41]}
    configs = {name: (name, json.loads((SAES / name / "cfg.json").read_text()), special, keys_in("src/sae/format/sparsify.cpp"), ())
               for name in ("sparsify_topk", "sparsify_expansion")}
    record("sparsify", configs, libraries)


def gemma_scope_2(libraries):
    cfg = {"architecture": "jump_relu", "model_name": "gemma-v3-270m-pt", "hf_hook_point_in": "model.layers.3.output", "width": 40, "l0": 10, "type": "sae",
           "affine_connection": False}
    special = {"architecture": ["jumprelu", "topk"], "type": ["transcoder", "sae"], "hf_hook_point_out": ["model.layers.3.output", "model.layers.4.output"]}
    record("gemma_scope_2", {"gemma_scope_2": ("gemma_scope_2", cfg, special, keys_in("src/sae/format/gemma_scope.cpp"), ())}, libraries)


def dictionary_learning(libraries):
    names = [p.name for p in sorted(SAES.iterdir()) if p.name.startswith("dictionary_learning") and p.is_dir()]
    configs = {}
    for name in names:
        cfg = json.loads((SAES / name / "config.json").read_text())
        cfg["trainer"].update({"activation_dim": 12, "dict_size": 40, "lr": 1e-4})
        if "TopK" in name:
            cfg["trainer"]["k"] = 5
        special = {"dict_class": ["AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "JumpReluAutoEncoder", "AutoEncoderTopK", "BatchTopKSAE",
                                  "MatryoshkaBatchTopKSAE", "StandardTrainerAprilUpdate"], "k": [5, 6], "activation_dim": [13], "dict_size": [41]}
        harmless = re.search(r'TRAINER_HARMLESS = set\("""(.*?)"""', (ROOT / "scripts/convert_sae.py").read_text(), re.S).group(1).split()
        together = [{"set": {f"/trainer/{key}": value}} for key in [*harmless, "key_that_nobody_knows"] for value in (1, "x", None)]
        configs[name] = (name, cfg, special, ["buffer"], together)
    record("dictionary_learning", configs, libraries)


def keys_of_family(source):
    """The keys that a family's file names, among the names of tensors and values."""
    names = ("attn", "mlp.", "gpt_neox", "transformer", "embed_out", "lm_head", "layernorm", "dense", "query_key_value", "ln_", "proj", "norm", "layers.")
    words = {w for w in keys_in(f"src/model/families/{source}.cpp") if not any(n in w for n in names)} | ({"layer_norm_eps"} if source == "gpt_neox" else set())
    return words - {source, "gelu", "gelu_new", "gelu_pytorch_tanh", "silu", "longrope", "su", "yarn", "full_attention", "sliding_attention", "weight", "bias", "attention.",
                    "gemma3_text"}


def models(libraries):
    special = {"hidden_act": ["gelu", "relu", "silu", "gelu_pytorch_tanh"], "hidden_activation": ["gelu", "silu", "gelu_pytorch_tanh"],
               "model_type": ["llama", "gemma2", "gemma", "mistral", "gpt2"], "rope_type": ["default", "linear", "llama3", "dynamic", "yarn"],
               "type": ["default", "linear", "llama3"], "rope_theta": [700.0, 300], "rms_norm_eps": [0.01, 1e-5], "factor": [1.0, 4.0, 0.5, 4],
               "low_freq_factor": [0.5, 2.0, 5.0], "high_freq_factor": [8.0, 0.5], "original_max_position_embeddings": [16, 64, 128],
               "max_position_embeddings": [16, 64], "num_hidden_layers": [1, 2, 7], "num_attention_heads": [1, 2, 8, 12], "num_key_value_heads": [1, 2, 4, 6],
               "head_dim": [8, 16, 12, 24], "hidden_size": [32, 48, 64], "intermediate_size": [64, 96], "vocab_size": [97, 96, 200],
               "sliding_window": [1, 2, 100], "query_pre_attn_scalar": [4, 8.0, 64], "attn_logit_softcapping": [1.0, 100.0, 2],
               "final_logit_softcapping": [1.0, 100.0, 2], "use_bidirectional_attention": [True, False], "partial_rotary_factor": [1.0, 0.5],
               "attention_bias": [True, False], "mlp_bias": [True, False], "quantization_config": [{"quant_method": "bitsandbytes", "load_in_8bit": True}],
               "rope_scaling": [{"rope_type": "linear", "factor": 2.0}, {"type": "linear", "factor": 4.0}, {"rope_type": "default"},
                                {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
                                {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
                                {"type": "linear", "rope_type": "default", "factor": 4.0}, {"factor": 4.0}, {"rope_theta": 900.0}],
               "rope_parameters": [{"rope_type": "linear", "factor": 4.0}, {"rope_type": "default", "rope_theta": 700.0}, {"rope_theta": 700.0},
                                   {"full_attention": {"rope_type": "default", "rope_theta": 700.0}}],
               "layer_types": [["full_attention"] * 4, ["full_attention"] * 3, ["sliding_attention"] * 3, ["sliding_attention", "full_attention"], ["chunked_attention"] * 3],
               "tie_word_embeddings": [True, False], "architectures": [["Gemma2ForCausalLM"], ["LlamaForCausalLM"], ["GPT2LMHeadModel"]], "is_decoder": [True, False]}
    common = (keys_in("src/model/config.cpp") | keys_in("src/model/configs/rope.cpp") | keys_in("src/model/configs/shared.cpp")) - {"type", "full_attention", "sliding_attention", "gelu", "gelu_new", "gelu_pytorch_tanh", "silu", "layer_types"}
    together = [{"set": {"/rope_scaling": {"rope_type": "linear", "factor": 4.0}, "/rope_parameters": {"rope_type": "default", "rope_theta": 700.0}}},
                {"set": {"/rope_scaling": {}, "/rope_parameters": {"rope_type": "default", "rope_theta": 700.0}}},
                {"set": {"/rope_theta": 300.0, "/rope_parameters": {"rope_type": "default", "rope_theta": 700.0}}},
                {"set": {"/rope_theta": 300.0, "/rope_parameters": {"rope_type": "default"}}},
                {"set": {"/rope_theta": 300.0, "/rope_scaling": {"rope_type": "linear", "factor": 4.0, "rope_theta": 900.0}}},
                {"set": {"/original_max_position_embeddings": 16, "/rope_scaling": special["rope_scaling"][3]}},
                {"set": {"/original_max_position_embeddings": 16, "/rope_parameters": {"rope_theta": 500.0, **special["rope_scaling"][4]}}},
                {"set": {"/max_position_embeddings": 64, "/rope_parameters": {"rope_theta": 500.0, **special["rope_scaling"][4]}}},
                {"set": {"/rope_parameters": {"rope_theta": 500.0, "rope_type": "linear", "type": "default", "factor": 4.0}}}]
    special |= {"n_embd": [32, 12], "n_head": [1, 2, 8], "n_layer": [1, 2, 4], "n_inner": [96, 40], "n_positions": [1, 23, 48], "layer_norm_epsilon": [0.01],
                "layer_norm_eps": [0.01], "activation_function": ["gelu", "relu", "gelu_new", "gelu_pytorch_tanh"], "rotary_pct": [0.5, 1.0, 0.3],
                "rotary_emb_base": [700, 90.0], "use_sliding_window": [True, False], "max_window_layers": [0, 2, 5], "sliding_window_pattern": [1, 2, 3],
                "rope_local_base_freq": [200.0], "short_factor": [[2.0, 1.0, 1.0], [1.0, 2.0]], "long_factor": [[1.0]], "attention_factor": [2.0, 1.0]}
    special["layer_types"] += [["sliding_attention", "full_attention", "full_attention"]]
    special["rope_parameters"] += [{"full_attention": {"rope_type": "default", "rope_theta": 90.0}, "sliding_attention": {"rope_type": "linear", "factor": 2.0}},
                                   {"rope_type": "default", "partial_rotary_factor": 1.0}]
    configs = {}
    for name, source in (("tiny_llama2", "llama"), ("tiny_llama3", "llama"), ("tiny_llama_biases", "llama"), ("tiny_old_style", "gemma2"), ("tiny_shards", "gemma2"),
                         ("tiny_gemma", "gemma"), ("tiny_gemma3", "gemma3"), ("tiny_mistral", "mistral"), ("tiny_qwen2", "qwen2"), ("tiny_qwen3", "qwen3"),
                         ("tiny_olmo2", "olmo2"), ("tiny_phi3", "phi3"), ("tiny_pythia", "gpt_neox"), ("tiny_gpt_neox", "gpt_neox"), ("tiny_gpt2", "gpt2")):
        cfg = json.loads((HERE / name / "config.json").read_text())
        configs[name] = (name, cfg, special, common | keys_of_family(source) | {"is_decoder"}, together)
    for name in ("tiny_llava", "tiny_llava_next", "tiny_smolvlm", "tiny_llava_gemma2", "tiny_gemma3_images"):
        cfg = json.loads((HERE / name / "config.json").read_text())
        ties = [{"set": {"/tie_word_embeddings": outer, "/text_config/tie_word_embeddings": inner}} for outer in (True, False) for inner in (True, False)]
        ties += [{"set": {"/tie_word_embeddings": True}, "remove": ["/text_config/tie_word_embeddings"] * ("tie_word_embeddings" in cfg["text_config"])}]
        configs[name] = (name, cfg, {**special, "model_type": [*special["model_type"], "llava", "smolvlm"]}, {w for w in keys_in("src/model/configs/modalities.cpp") if not w.endswith(".") and "llava" not in w and w not in ("idefics3", "smolvlm", "text_config", "vision_config", "gemma3", "gemma3_text", "llama")}, ties)
    record("models", configs, libraries)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sae-lens-5", type=pathlib.Path)
    parser.add_argument("--sae-lens-3", type=pathlib.Path)
    parser.add_argument("--only", help="one format")
    parser.add_argument("--ask", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--tell", type=pathlib.Path, help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.ask:
        o.tell.write_text(json.dumps(ask(json.loads(o.ask.read_text()))))
        return
    lenses = {"sae-lens 6.54.12": ask, "sae-lens 5.11.0": lambda w: ask_other(o.sae_lens_5, w), "sae-lens 3.23.4": lambda w: ask_other(o.sae_lens_3, w)}
    for make, libraries in ((saelens, lenses), (sparsify, {"eai-sparsify 1.3.3": ask}), (gemma_scope_2, {"sae-lens 6.54.12": ask}),
                            (dictionary_learning, {"dictionary-learning 0.1.0": ask}), (models, {"transformers 5.23.0": ask})):
        if o.only in (None, make.__name__):
            make(libraries)


if __name__ == "__main__":
    main()
