"""The gallery: what was claimed elsewhere, what its smallest replica showed, rebuilt from small files that are kept."""
