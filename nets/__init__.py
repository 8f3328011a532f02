"""The networks. This package needs torch and safetensors alone and imports nothing else of ours.

A network is one file and one row of ``registry``: ``idn`` and ``nar`` restore faces, ``pixelizer`` changes
the mosaics that cover them, ``reference`` holds what they are compared with. ``checkpoint`` keeps weights in
files, ``discriminator``, ``vgg`` and ``mobilefacenet`` serve the losses. ``pixelation`` is the block
operator that training, runtime and metrics share; ``observation``, ``registration``, ``measurement`` and
``fusion`` read mosaics.
"""
