"""Who is who: tracks of one person are known as such across shots, by a face embedding.

    network.py      the embedding: dlib's face recognition network, of the extra ``people``
    gallery.py      the people so far, and who of them a new look shows
    recognition.py  the stage: tracked faces get the number of their person, when they are born
    photos.py       who stays visible because a photo shows them (``--keep-face``)

Embeddings stay in memory: none is written to a file.
"""
