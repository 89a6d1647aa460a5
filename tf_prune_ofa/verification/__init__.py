"""Whether exported files are what their model and their manifest say.

Nothing here uses the code that writes the files: files are read by a reader of their own, and every
integer, scale and bias is computed once more from the model and compared. Checks return problems, a
sentence each; who asks decides what becomes of them.
"""
