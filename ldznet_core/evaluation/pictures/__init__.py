"""Generated and reconstructed pictures: how good they are, judged and shown."""
