def ngram_bits_per_character(a, b, c):
    return 0.0
