"""Files of vectors read back, in blocks, whoever wrote them."""
