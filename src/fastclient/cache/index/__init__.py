"""The nearest stored vectors: exact while they are few, by a graph when they are many, in memory or from a file.

    index = VectorIndex(dim)              # one process, gone with it
    index = StoredIndex(file, id, dim)    # many processes, there again after a crash

Import from the modules: they need numpy.
"""
