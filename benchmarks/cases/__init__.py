"""The cases, one per file. A file has `SIZES`, by mode (full, quick, tiny, cuda), and `measure(sizes, device)`.

The first line of a file's docstring says what it measures. Another file here is another case.
"""
