# Model files and tokenizers.
list(APPEND HSD_ENGINE_SOURCES
     detok.c gguf.c gguf_get.c gguf_open.c tok_encode.c tok_load.c tok_load_bpe.c tok_map.c tok_merge.c
     tok_pretok.c tokenizer.c unicode.c)
