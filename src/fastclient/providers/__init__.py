"""Provider formats: how a request is written, how an answer is read, and what its errors mean. No I/O here."""
