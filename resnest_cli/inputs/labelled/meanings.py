"""What the words of a labeled image mean: its side, and its class among the classes of a model.

In: the class names of a model; then `Item`s. Out: class indices and sides, and a message on labels that name no class.
Opens no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resnest_cli.inputs import splits
from resnest_cli.models.class_names import ClassNames

if TYPE_CHECKING:
    from resnest_cli.inputs.labelled.layouts import Item
    from resnest_cli.models.labels import Labels

EXAMPLES = 3  # of refused labels, in a message
MAX_REFUSED = 1000  # labels per side that are kept to count them
MAX_KNOWN = 100_000  # combinations of words whose meaning is kept: an archive may hold millions


@dataclass(frozen=True, slots=True)
class Meaning:
    """The side of an image ("" for none), and the classes that its words name: exactly one, if all is well."""

    side: str
    classes: frozenset[int]


class Meanings:
    """Finds the meaning of words; each combination of words and split is looked up once."""

    def __init__(self, labels: Labels) -> None:
        self._names = ClassNames(labels)
        self._known: dict[tuple[tuple[str, ...], str], Meaning] = {}

    def of(self, item: Item) -> Meaning:
        """Return the meaning of an item."""
        key = (item.words, item.split)
        if key not in self._known:
            if len(self._known) == MAX_KNOWN:
                self._known.clear()
            self._known[key] = Meaning(item.split, self._classes(item.words)) if item.split else self._by(item.words)
        return self._known[key]

    def complaint(self, place: str, refused: dict[str, str]) -> str:
        """Return the message on labels at `place` that name no class, or several; each with the path of an image."""
        lines = [f"  {self._reason(label, path)}" for label, path in list(refused.items())[:EXAMPLES]]
        more = f"\n  ... and {len(refused) - EXAMPLES} more" if len(refused) > EXAMPLES else ""
        wnids = "a WordNet id (n02012849), " if any(self._names.labels.wnids) else ""
        most = "at least " if len(refused) >= MAX_REFUSED else ""
        count = f"{most}{len(refused)} label{'s' * (len(refused) > 1)}"
        return (
            f"{place}: {count} cannot be understood:\n" + "\n".join(lines) + more + "\n"
            f"Name each class folder (or label in the CSV file) by {wnids}a class name or a class index; "
            "move other files out of the folder. --labels FILE gives the model other class names."
        )

    def _by(self, words: tuple[str, ...]) -> Meaning:
        """Return the side and classes that `words` name.

        A word is a side only if the other words name a class without it: `train` may be a class itself.
        """
        named = [at for at, word in enumerate(words) if splits.side(word)]
        for at in named:
            classes = self._classes((*words[:at], *words[at + 1 :]))
            if classes and (at < len(words) - 1 or not self._classes(words[at:])):
                return Meaning(splits.side(words[at]), classes)
        classes = self._classes(words)
        return Meaning(splits.side(words[named[0]]) if named and not classes else "", classes)

    def _classes(self, words: tuple[str, ...]) -> frozenset[int]:
        return frozenset(self._names.find(words))

    def _reason(self, label: str, path: str) -> str:
        if not label or splits.side(label.rpartition("/")[2]):
            return f"{path} is in no class folder"
        found = self._names.find(label.split("/"))
        if found:
            return f"{label!r} may be {' or '.join(self._names.describe(i) for i in sorted(found))}"
        near = next((name for word in reversed(label.split("/")) if (name := self._names.near(word))), "")
        return f"{label!r} is no class of the model" + (f" (is it {near!r}?)" if near else "")
