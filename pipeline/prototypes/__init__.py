"""A mosaic of nobody: cells that come from means of many people and not from the face that is covered.

``faces.safetensors`` holds the shipped means, made by ``vidpipe prototypes`` (``train.prototypes``; card:
``docs/prototypes.md``). ``prototype`` reads it and draws the cells of a mask from a mean, ``pose`` says how a
face is turned, ``scene`` reads light and tint where nothing is masked, ``choice`` gives each person a mean
and counts what the choice tells.
"""
