"""Building blocks shared by the networks in `localgpt.models`."""
