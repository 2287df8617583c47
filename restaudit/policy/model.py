"""The policy: a model with its tokenizer, one set of trained weights, and the ways of computing
proved on it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restaudit.config import PolicyConfig
from restaudit.errors import BadInput
from restaudit.files import plain
from restaudit.models.tensors import header
from restaudit.policy.adapters import adapters_of, merged_weights
from restaudit.policy.forward import Routes
from restaudit.policy.turns import prompt_tokens, stop_tokens, turn_end, write_ahead

if TYPE_CHECKING:
    import torch

    from restaudit.policy.exactness import Exactness

# As PEFT calls them, and as we call the weights of a whole model.
ADAPTER_WEIGHTS, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
WHOLE_WEIGHTS = "weights.safetensors"
# What runs called an adapter before it was kept in PEFT's format.
OLD_WEIGHTS = "adapter.safetensors"


@dataclass
class Policy:
    """A model with its tokenizer, and one set of trained weights on top of the checkpoint.

    With LoRA the trained weights are float32 masters of the adapter; with full fine-tuning, of
    every parameter. The checkpoint's own weights are never changed in place by sampling:
    `inference` swaps merged ones in and out exactly. `routes` say how anything is computed, and
    `exactness` what was measured before they were taken.
    """

    model: Any
    tokenizer: Any
    config: PolicyConfig
    device: str
    masters: dict[str, torch.Tensor] = field(default_factory=dict)
    initial: dict[str, torch.Tensor] = field(default_factory=dict)

    routes: Routes = field(default_factory=Routes)
    exactness: Exactness | None = None

    def keep_trained(self) -> None:
        """Put aside what is trained, as it is now, as float32 masters."""
        import torch

        for name, p in self.model.named_parameters():
            if p.requires_grad:
                self.masters[name] = p.detach().to(torch.float32, copy=True)
                self.initial[name] = self.masters[name].clone()

    def routes_for(self, length: int) -> Routes:
        """The routes for sequences of up to `length` tokens (prompt and response).

        They were proved when the policy was loaded, for sequences as long as the configuration lets
        them be. Where the model may compute longer ones otherwise (a window, scaled positions),
        they are proved again for this length.
        """
        if self.routes.reach is not None and length > self.routes.reach:
            from restaudit.policy.exactness import prove

            prove(self, longest=length)
        return self.routes

    @cached_property
    def stop_tokens(self) -> list[int]:
        """Token ids that end a response."""
        return stop_tokens(self.tokenizer, self.model.generation_config, self.config)

    def prompt_tokens(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Token ids of one prompt, ready for the response to follow.

        Raises BadInput as turns.prompt_tokens does.
        """
        return prompt_tokens(self.tokenizer, messages, self.config, self.stop_tokens)

    def write_ahead(self, prompts: Sequence[Sequence[dict[str, str]]]) -> None:
        """Have the chat template write many prompts at once, which is faster than one by one."""
        write_ahead(self.tokenizer, prompts, self.config)

    def response_tokens(self, text: str) -> list[int]:
        """Token ids of a reference response, ended as the template ends a turn."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*(int(i) for i in ids), *turn_end(self.tokenizer, self.config)]

    def text(self, tokens: Sequence[int]) -> str:
        """The text of a response, without special tokens and outer blanks."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()

    def parameters(self) -> dict[str, int]:
        """Number of parameters in all (an adapter's too), and of those that are trained."""
        return {
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "trained_parameters": sum(m.numel() for m in self.masters.values()),
        }

    def facts(self) -> dict[str, Any]:
        """What environment.json holds of it: what the self-check saw, and what LoRA adapts and
        leaves alone.
        """
        facts: dict[str, Any] = {}
        if self.exactness is not None:
            facts["exactness"] = self.exactness.to_json()
        if self.config.training == "lora":
            facts["lora"] = adapters_of(self.model)
        return facts

    def remarks(self) -> list[str]:
        """What a person should know before a run begins, in lines: the self-check, and what LoRA
        leaves alone.
        """
        lines = [] if self.exactness is None else self.exactness.lines()
        if self.config.training == "lora":
            for name, row in adapters_of(self.model)["not_adapted"].items():
                if "reason" in row:
                    lines.append(
                        f"  LoRA does not adapt {name} ({row['numbers']:,} numbers): "
                        f"{row['reason']}"
                    )
        return lines

    # --- weights

    def become(self, folder: Path | None) -> None:
        """Take the trained weights saved in `folder`; None is the checkpoint itself.

        Raises BadInput where the folder holds anything but plain files, or weights that are not
        whole or not this policy's.
        """
        from safetensors.torch import load_file

        if folder is None:
            for name, value in self.initial.items():
                self.masters[name].copy_(value)
        else:
            saved = load_file(str(_weights_in(folder)))
            for name, value in self._by_parameter(folder, saved).items():
                if value.shape != self.masters[name].shape:
                    raise BadInput(
                        f"{folder}: {name} has the shape {tuple(value.shape)}, and in this policy "
                        f"{tuple(self.masters[name].shape)}; these weights are another policy's"
                    )
                self.masters[name].copy_(value)
        self.write_back()

    def _by_parameter(
        self, folder: Path, saved: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Saved weights by the name of the parameter they are.

        Raises BadInput where they are not this policy's.
        """
        # Whole models, and runs from before adapters were kept in PEFT's format.
        if set(saved) == set(self.masters):
            return saved
        names = self._peft_names
        if names is None or set(saved) != set(names.values()):
            raise BadInput(
                f"{folder}: its weights do not belong to this policy (other names or another "
                "adapter)"
            )
        return {name: saved[key] for name, key in names.items()}

    def has(self, folder: Path) -> bool:
        """Whether `become(folder)` can be asked for: trained weights are kept there."""
        return folder.is_dir()

    def save(self, folder: Path) -> None:
        """Save the trained weights: float32, safetensors; an adapter as PEFT saves it, with its
        configuration.

        An adapter that PEFT would save as something else than its trained weights (virtual tokens
        made by a network) is saved by the names of its parameters, as whole models are.
        """
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        names, file = self._peft_names, ADAPTER_WEIGHTS
        if names is None:
            names, file = {n: n for n in self.masters}, WHOLE_WEIGHTS
        else:
            plain.write(folder, ADAPTER_CONFIG, self._adapter_config().encode())
        save_file(
            {names[n]: v.contiguous().cpu() for n, v in self.masters.items()}, str(folder / file)
        )

    @cached_property
    def _peft_names(self) -> dict[str, str] | None:
        """The name under which PEFT saves each trained parameter; None where that is no matter of
        names.

        None too where PEFT would not load again what it saves: for some architectures the names of
        a checkpoint are not those of the model, and PEFT then drops tensors with no more than a
        warning.
        """
        if not hasattr(self.model, "peft_config"):
            return None
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        adapter = self.model.active_adapter
        state = dict(self.model.named_parameters(remove_duplicate=False))
        state |= dict(self.model.named_buffers(remove_duplicate=False))
        try:
            # With the masters in place of the parameters, so that they can be told by identity in
            # what PEFT returns: how names are changed differs by kind of adapter.
            kept = get_peft_model_state_dict(
                self.model,
                state_dict={**state, **self.masters},
                adapter_name=adapter,
                save_embedding_layers=False,
            )
        except (KeyError, ValueError):
            return None
        keys = {id(tensor): key for key, tensor in kept.items()}
        names = {
            name: keys[id(tensor)] for name, tensor in self.masters.items() if id(tensor) in keys
        }
        if not len(names) == len(self.masters) == len(kept):
            return None
        # Loaded again as they are now, which changes nothing but tells what PEFT would drop.
        now = {names[n]: state[n].detach().clone() for n in names}
        lost = set_peft_model_state_dict(self.model, now, adapter_name=adapter)
        if lost.unexpected_keys or set(lost.missing_keys) & set(self.masters):
            return None
        return names

    def _adapter_config(self) -> str:
        """PEFT's adapter_config.json: the same text in every process, and no path of this
        machine.
        """
        config = self.model.peft_config[self.model.active_adapter].to_dict()
        config |= {"base_model_name_or_path": self.config.model, "inference_mode": True}
        # PEFT holds some settings as sets, whose order differs from process to process.
        return json.dumps(config, indent=2, sort_keys=True, default=sorted) + "\n"

    def take(self) -> None:
        """Copy the parameters the model computes with into the masters: somebody else's optimiser
        changed them.
        """
        params = dict(self.model.named_parameters())
        for name, master in self.masters.items():
            master.copy_(params[name].data)

    def write_back(self) -> None:
        """Copy the float32 masters into the parameters the model computes with."""
        params = dict(self.model.named_parameters())
        for name, master in self.masters.items():
            params[name].data.copy_(master)

    @contextlib.contextmanager
    def inference(self, *, merged: bool | None = None) -> Iterator[Any]:
        """The model to sample from and to ask for likelihoods: adapters merged into its weights, or
        as it is.

        `merged` is what was proved for sampling unless it is given.
        """
        wanted = self.routes.sampling.merged if merged is None else merged
        if wanted and hasattr(self.model, "peft_config"):
            with merged_weights(self.model) as model:
                yield model
        else:
            yield self.model


def _weights_in(folder: Path) -> Path:
    # A run of somebody else's may hold links, which lead out of it, and pipes, which never end.
    files = plain.names(folder.parent, folder.name)
    for name in (ADAPTER_WEIGHTS, WHOLE_WEIGHTS, OLD_WEIGHTS):
        if f"{folder.name}/{name}" in files:
            header(folder / name)
            return folder / name
    raise BadInput(f"{folder}: holds no trained weights ({ADAPTER_WEIGHTS} or {WHOLE_WEIGHTS})")
