"""The infos of native environments.

Reward components by name, for single environments and for batches.
"""

from typing import Any

REWARD_COMPONENTS = "reward_components"


def component_key(name: str) -> str:
    """The key of a reward component in the infos of a batch."""
    return f"{REWARD_COMPONENTS}/{name}"


class StepInfo(dict[str, Any]):
    """The info of a single environment, whose `reward_components` are a dictionary of their own.

    `items`, and it alone, lists them one by one as `reward_components/<name>`. Gymnasium's vector
    environments gather the infos of single environments by `items`, and their batches go to
    libraries that know no dictionary within infos, such as TorchRL.
    """

    # One is made at every step, and without attributes of its own it is quicker.
    __slots__ = ()

    def items(self) -> Any:
        """Keys and values, each reward component under a key of its own."""
        flat: dict[str, Any] = {}
        for key, value in super().items():
            if key == REWARD_COMPONENTS:
                flat.update((component_key(name), reward) for name, reward in value.items())
            else:
                flat[key] = value
        return flat.items()

    def copy(self) -> "StepInfo":
        """A copy that `items` lists in the same way."""
        return StepInfo(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return StepInfo, (dict(self),)


class BatchInfos(dict[str, Any]):
    """The infos of a batch, with the dictionary of reward components that they had before.

    For one release: `infos["reward_components"]` is made where somebody asks for it. Same-step
    batches have plain dictionaries, into which libraries look that would not look into this class.
    """

    def __missing__(self, key: str) -> Any:
        prefix = component_key("")
        masks = {name: mask for name, mask in self.items() if name.startswith(f"_{prefix}")}
        if key == f"_{REWARD_COMPONENTS}" and masks:
            return next(iter(masks.values()))
        if key != REWARD_COMPONENTS:
            raise KeyError(key)
        components = {
            name.removeprefix(prefix): self[name] for name in self if name.startswith(prefix)
        }
        components |= {f"_{name[1:].removeprefix(prefix)}": mask for name, mask in masks.items()}
        return components
