"""The words that a command takes beside its run: settings of its own, and overrides of the run's."""

from collections.abc import Mapping, Sequence

from src.errors import BadInput, did_you_mean


def own_and_others(words: Sequence[str], defaults: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The command's own settings, the defaults of those that were not typed among them, and all other words.

    Raises:
        BadInput: a word is no `key=value`, or seems to mean another key.
    """
    own, others = dict(defaults), []
    for word in words:
        key, equals, value = word.partition("=")
        if key in own and equals:
            own[key] = value
        elif (equals and "." in key) or key in ("threads", "matmul_precision"):
            others.append(word)
        else:
            hint = did_you_mean(key, own) or (f" Did you mean run={word}?" if not equals and not own["run"] else "")
            raise BadInput(f"unknown word {word!r}.{hint} Known here: {', '.join(own)}, data.KEY.")
    return own, others


def one_of(key: str, value: str, choices: Sequence[str]) -> str:
    """A value that is one of a few words.

    Raises:
        BadInput: it is not.
    """
    if value not in choices:
        raise BadInput(f"{key} must be one of {', '.join(choices)}, got {value!r}. Try {key}={choices[0]}.")
    return value
