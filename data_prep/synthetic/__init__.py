"""Labelled faces without photographs: a statistical model of shape and appearance, and draws from it.

Cootes, Edwards & Taylor, "Active Appearance Models" (IEEE TPAMI 23(6), 2001): a face is a mean shape plus
principal modes of shape, painted with a mean texture plus principal modes of texture.
"""
