"""The verifier's weights for each kind of embeddings, as `benchmarks/fit_verifier.py --write` left them."""

from __future__ import annotations

from typing import Final

__all__ = ["FITTED"]

FITTED: Final[dict[str, dict[str, float]]] = {
    "sentence": {
        "bias": -4.1510,
        "cosine": 9.0940,
        "ahead": 3.5022,
        "behind": -14.2851,
        "reworded": 2.3445,
        "trigrams": -2.4526,
        "slips": 2.8836,
        "exchanged": -0.5666,
        "inserted_one": -0.2565,
        "names": -0.6500,
        "strange": -0.3655,
        "acts": -0.1183,
        "same_number": 0.6387,
        "date": -0.7968,
        "time": -0.0558,
        "why": -0.3479,
        "when": -0.2625,
        "duration": -0.9800,
        "cost": -1.0201,
        "limit": -0.4183,
        "who": -0.3709,
        "length": -1.7662,
        "deny": 1.2194,
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
