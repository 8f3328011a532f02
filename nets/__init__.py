"""The networks. This package needs torch alone and imports nothing else of ours.

One network, one file: ``nar`` and ``idn`` are the attackers, ``discriminator`` their adversary.
``pixelation`` is the block operator that training, runtime and metrics share.
"""
