"""The paper's claims on the miniature's bench: heads of every design, trained and judged alike."""
