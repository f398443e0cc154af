"""The verifier's weights for each kind of embeddings, as `benchmarks/fit_verifier.py --write` left them."""

from __future__ import annotations

from typing import Final

__all__ = ["FITTED"]

FITTED: Final[dict[str, dict[str, float]]] = {
    "sentence": {
        "bias": -4.1590,
        "cosine": 8.9940,
        "ahead": 3.5105,
        "behind": -13.5543,
        "reworded": 2.3458,
        "trigrams": -2.4380,
        "slips": 2.7796,
        "exchanged": -0.5407,
        "inserted_one": -0.2626,
        "names": -0.6419,
        "strange": -0.4027,
        "acts": -0.0887,
        "same_number": 0.6344,
        "date": -0.8509,
        "time": -0.0777,
        "why": -0.3013,
        "when": -0.2551,
        "duration": -0.9611,
        "cost": -0.9959,
        "limit": -0.3922,
        "who": -0.3585,
        "length": -1.7314,
        "deny": 1.1456,
    },
    "lexical": {
        "bias": -0.0295,
        "ahead": 2.6409,
        "behind": -16.3117,
        "shared": 3.8962,
        "reworded": 0.6834,
        "trigrams": -1.6964,
        "slips": 2.3418,
        "exchanged": -0.3795,
        "inserted_one": -0.1043,
        "names": -0.4156,
        "name": -0.1062,
        "strange": -0.6066,
        "acts": -0.3736,
        "same_number": 0.8816,
        "unit": -0.0231,
        "date": -1.3127,
        "time": -0.1090,
        "where": -0.0739,
        "duration": -0.6251,
        "cost": -1.2116,
        "limit": -0.0214,
        "who": -0.4784,
        "length": -1.4534,
        "deny": 0.9874,
    },
}
