"""Operations in plain torch with backward formulas of their own: they run on a CPU, and faster ones must equal them."""
