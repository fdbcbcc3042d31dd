"""Building blocks that know no codec: convolutions, attention, dictionaries, gains."""
