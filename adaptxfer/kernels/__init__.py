"""Operations of the padding-free encoder: one plain function each, usable on their own."""
