"""Instructor: an answer as a Pydantic model, asked for once. Needs instructor; the key comes from OPENAI_API_KEY.

With openai 3, `family` may be left out.
"""

import instructor
from openai import OpenAI
from pydantic import BaseModel

import fastclient as fc


class Parcel(BaseModel):
    """Where a parcel is."""

    number: int
    city: str


with fc.http_client(fc.Policy.recommended(), family="httpx") as http:
    client = instructor.from_openai(OpenAI(http_client=http))
    for _ in range(2):
        parcel = client.chat.completions.create(
            model="gpt-5-mini",
            messages=[{"role": "user", "content": "Parcel 7 is in Oslo."}],
            response_model=Parcel,
        )
        print(parcel.number, parcel.city)
