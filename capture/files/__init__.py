"""Datasets, depth files, focal-stack packs and exports; describing and converting files of any kind."""
