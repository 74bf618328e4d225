"""Open models worth a look, by what they do: which there are, what they need, who may use them."""

from localgpt.checkpoints.catalogue.entries import (
    CatalogueEntry,
    Job,
    find_entry,
    load_catalogue,
    resolve_name,
)
from localgpt.checkpoints.catalogue.fit import Fit, fit_to

__all__ = ["CatalogueEntry", "Fit", "Job", "find_entry", "fit_to", "load_catalogue", "resolve_name"]
