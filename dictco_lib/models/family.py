"""Who belongs to the family: the pages by name, and the presets of all of them."""

from __future__ import annotations

from dictco_lib.config import CodecConfig
from dictco_lib.errors import ConfigError, listed, quoted
from dictco_lib.models import cca, dictionary, saaf, stf, tcm, wacnn
from dictco_lib.models.papers import Paper

#: Name of a family in a configuration -> the page that says what its networks are.
FAMILIES = {
    "dictionary": dictionary,
    "wacnn": wacnn,
    "stf": stf,
    "tcm": tcm,
    "cca": cca,
    "saaf": saaf,
}
#: Configurations by name: published sizes, small ones for tests and notebooks, what ships.
PRESETS: dict[str, CodecConfig] = {}
for _page in FAMILIES.values():
    PRESETS |= _page.PRESETS


def preset(name: str) -> CodecConfig:
    """Configuration of a preset: see :data:`PRESETS`.

    Raises:
        ConfigError: if there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset {quoted(name)}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def paper_of(config: CodecConfig) -> Paper:
    """The paper whose networks a configuration has; small presets are ours all the same."""
    page = FAMILIES[config.family]
    special = getattr(page, "paper", None)
    return special(config) if special else page.PAPER


def config_from_dict(values: dict) -> CodecConfig:
    """Rebuild the configuration of any member; unknown families and keys are errors.

    Args:
        values: what ``to_dict`` of a configuration gave.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"model config is a {type(values).__name__}, expected a table")
    values = dict(values)
    family = values.pop("family", "dictionary")
    if not isinstance(family, str) or family not in FAMILIES:
        raise ConfigError(
            f"model config names the family {quoted(family)}, known are [{listed(FAMILIES)}]"
        )
    return FAMILIES[family].Config.from_dict(values)
