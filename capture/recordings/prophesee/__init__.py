"""Decoders of Prophesee's files: RAW (EVT2, EVT2.1 and EVT3) and DAT; kernels beside readable references."""
