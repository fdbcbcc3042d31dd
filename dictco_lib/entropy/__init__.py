"""Everything between the latent y and bits: hyperprior, slice loop, tables, streams, guard."""
