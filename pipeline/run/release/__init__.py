"""The release check: the file that was written is decoded and looked through before it gets its name.

Three questions, each in a file of its own, put together by ``check``:

    coverage       is a face in it that no mask covers? Judged by the pixels that were painted (``painted``)
    see_through    does a mask show the face that it covers?
    other_streams  is there a face in another picture of the file: a second video stream, a cover?

``looks`` says on which frames; ``promises`` which settings are weaker than the defaults.
"""
