"""Prophesee's files: RAW, in EVT2, EVT2.1 and EVT3, and DAT, decoded by kernels beside readable references."""
