"""LD-ZNet under A1111, Forge and reForge; ``scripts/ldznet.py`` is where they come in.

`settings` is the table from which panel, infotext and API are made; `script` follows a generation,
`listening` hears its passes, `masking` answers; `a1111`, `forge` and `reforge` translate what hosts
have, `forges` what the last two share.
"""
